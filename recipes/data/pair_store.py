"""The rows of a prepared corpus in two files, of which any row is read without the others.

| file | content |
|---|---|
| `pairs.rows` | a record of fixed size for each row, see `ROW` |
| `pairs.ids` | ids of all rows without start and end, each source before its target |

Both are mapped into memory, so that what is read, and no more, is in memory, once for all
processes of a machine. Numbers are little-endian. A checksum in each record finds damage when its
row is read.
"""

from __future__ import annotations

import functools
import os
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...zoo.errors import DataError
from ...zoo.text.special_ids import END_ID, PAD_ID

ROWS, IDS = "pairs.rows", "pairs.ids"
ROW = np.dtype(
    [
        ("start", "<i8"),  # position of the first id in the file of ids
        ("line", "<i8"),  # of the corpus it was read from
        ("source", "<i4"),  # number of ids
        ("target", "<i4"),
        ("checksum", "<u8"),
    ]
)
_WORDS = ROW.itemsize // 8
# Odd, so that each single bit of an id changes the sum. Those of the positions are their powers.
_SOURCE, _TARGET, _FIELDS = 0x9E3779B97F4A7C15, 0xD6E8FEB86659FD93, 0xA0761D6478BD642F


def id_type(vocab_size: int, longest: int) -> str:
    """The smaller of two types of ids that is large enough.

    Args:
        vocab_size: Number of ids.
        longest: Most tokens of a row, as unknown ones have negative numbers.

    Returns:
        "int16" or "int32".
    """
    return "int16" if max(vocab_size, longest) <= 1 << 15 else "int32"


class PairWriter:
    """Appends rows to the files of a folder.

    Args:
        folder: The folder.
        rows: Number of rows that are there; what a kill left after them is cut off.
        tokens: Number of their ids.
        dtype: Type of the ids.
        checksum: That of the rows that are there.

    Attributes:
        rows, tokens, checksum: Those of all rows that were written.

    Raises:
        DataError: There are fewer rows.
    """

    def __init__(self, folder: Path, rows: int, tokens: int, dtype: str, checksum: int):
        self.folder, self.rows, self.tokens, self.checksum = folder, rows, tokens, checksum
        self.dtype = np.dtype(dtype).newbyteorder("<")

    def append(
        self, sources: Sequence[np.ndarray], targets: Sequence[np.ndarray], lines: Sequence[int]
    ) -> None:
        """Writes rows after those that are there, onto the disk.

        Args:
            sources: int32 ids of each row.
            targets: int32 ids of each row.
            lines: Number of each row in its corpus.
        """
        found = np.empty(len(lines), ROW)
        found["line"] = lines
        found["source"] = [len(ids) for ids in sources]
        found["target"] = [len(ids) for ids in targets]
        lengths = found["source"].astype(np.int64) + found["target"]
        found["start"] = self.tokens + np.cumsum(lengths) - lengths
        found["checksum"] = _checksum_of_fields(found)
        found["checksum"] += _sums(sources, _SOURCE) + _sums(targets, _TARGET)
        ids = np.concatenate([side for row in zip(sources, targets, strict=True) for side in row])
        for name, values, size in (
            (IDS, ids.astype(self.dtype), self.tokens * self.dtype.itemsize),
            (ROWS, found, self.rows * ROW.itemsize),
        ):
            path = self.folder / name
            if (path.stat().st_size if path.exists() else 0) < size:
                raise damaged(path, f"it has less than {size:,} bytes")
            with open(path, "r+b" if path.exists() else "wb") as file:
                file.truncate(size)
                file.seek(size)
                file.write(values.tobytes())
                file.flush()
                os.fsync(file.fileno())
        self.rows, self.tokens = self.rows + len(found), self.tokens + len(ids)
        self.checksum = zlib.crc32(found.tobytes(), self.checksum)


class PairStore:
    """The rows that a `PairWriter` wrote.

    Args:
        folder: The folder.
        rows: Number of rows.
        tokens: Number of their ids.
        dtype: Type of the ids.

    Raises:
        DataError: A file is missing or has another size.
    """

    def __init__(self, folder: Path, rows: int, tokens: int, dtype: str):
        types = {ROWS: ROW, IDS: np.dtype(dtype).newbyteorder("<")}
        for (name, kind), count in zip(types.items(), (rows, tokens), strict=True):
            if not (folder / name).is_file():
                raise damaged(folder / name, "it is not there")
            size, expected = (folder / name).stat().st_size, count * kind.itemsize
            if size != expected:
                raise damaged(folder / name, f"it has {size:,} bytes, expected {expected:,}")
        self.folder = folder
        # As plain arrays, which are indexed faster.
        self._rows = np.asarray(np.memmap(folder / ROWS, ROW, "r"))
        self._ids = np.asarray(np.memmap(folder / IDS, types[IDS], "r"))

    def lengths(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """Numbers of source and of target tokens of the rows in a range."""
        found = self._rows[start:stop]
        return found["source"], found["target"]

    def lines(self, rows: np.ndarray) -> np.ndarray:
        """The number of each of some rows in its corpus, int64."""
        return self._rows["line"][rows]

    def read(
        self, rows: np.ndarray, source_length: int, target_length: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Ids of rows with their ends, padded.

        Args:
            rows: Numbers of the rows (R,).
            source_length: Length S of the sources, above that of any.
            target_length: Length T of the targets, above that of any.

        Returns:
            int32 (R, S) and (R, T).

        Raises:
            DataError: A row is damaged.
        """
        found = self._rows[rows]
        start, source, target = found["start"], found["source"], found["target"]
        end = start + source + target
        possible = (source >= 0) & (source < source_length) & (target >= 0)
        possible &= (target < target_length) & (start >= 0) & (end <= len(self._ids))
        if not possible.all():
            raise damaged(self.folder / ROWS, f"row {rows[~possible][0]:,} cannot be")
        sources = self._side(start, source, source_length)
        targets = self._side(start + source, target, target_length)
        sums = _checksum_of_fields(found)
        for ids, base in ((sources, _SOURCE), (targets, _TARGET)):
            sums += ids.astype(np.uint64) @ _powers(base, ids.shape[1])
        if (wrong := sums != found["checksum"]).any():
            row = rows[wrong][0]
            raise damaged(self.folder / IDS, f"row {row:,} is not the one that was prepared")
        each = np.arange(len(rows))
        sources[each, source], targets[each, target] = END_ID, END_ID
        return sources, targets

    def _side(self, starts: np.ndarray, lengths: np.ndarray, width: int) -> np.ndarray:
        columns = np.arange(width)
        ids = self._ids.take(starts[:, None] + columns, mode="clip")
        return np.where(columns < lengths[:, None], ids, PAD_ID).astype(np.int32)


def damaged(path: Path, what: str) -> DataError:
    """The error of a damaged file.

    Args:
        path: Path of the file.
        what: Description of the damage.
    """
    return DataError(
        f"{path} is damaged: {what}. Remove its folder and prepare the corpus again, or bring the "
        "file back."
    )


@functools.lru_cache(maxsize=256)  # there are few lengths
def _powers(base: int, count: int) -> np.ndarray:
    return np.cumprod(np.full(count, base, np.uint64))


def _sums(rows: Sequence[np.ndarray], base: int) -> np.ndarray:
    """The part of each row's checksum that its ids of one side give, uint64."""
    lengths = np.array([len(ids) for ids in rows])
    ends = np.cumsum(lengths)
    positions = np.arange(ends[-1]) - np.repeat(ends - lengths, lengths)
    ids = np.concatenate(rows).astype(np.uint64) * _powers(base, lengths.max())[positions]
    sums = np.cumsum(np.append(np.uint64(0), ids))
    return sums[ends] - sums[ends - lengths]


def _checksum_of_fields(rows: np.ndarray) -> np.ndarray:
    """The part of each row's checksum that all else gives, uint64."""
    words = rows.view("<u8").reshape(len(rows), _WORDS)
    return words[:, : _WORDS - 1] @ _powers(_FIELDS, _WORDS - 1)
