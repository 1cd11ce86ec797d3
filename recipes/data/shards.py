"""Shards: rows of tokens in TFRecord files, each with the lengths of its rows beside it.

A record is a `tf.train.Example` of one row: `source` and `target`, token ids without start and end,
and `line`, the number of the row in its corpus. The lengths suffice to plan batches, and to find
any position in them, without reading the records.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ...zoo.errors import DataError
from ...zoo.files import written_atomically

SUFFIX = ".tfrecord"


class Ragged(NamedTuple):
    """Rows of ids, one after the other.

    Attributes:
        values: int32, ids of all rows.
        splits: int64 (rows + 1,), the beginning of each row, and the end of the last.
    """

    values: np.ndarray
    splits: np.ndarray

    def __len__(self) -> int:
        return len(self.splits) - 1

    @property
    def lengths(self) -> np.ndarray:
        return np.diff(self.splits)

    def part(self, start: int, stop: int) -> Ragged:
        """A range of rows, without a copy of their ids.

        Args:
            start: First row.
            stop: Row after the last.

        Returns:
            The rows.
        """
        splits = self.splits[start : stop + 1]
        return Ragged(self.values[splits[0] : splits[-1]], splits - splits[0])

    @classmethod
    def of(cls, rows: Sequence[np.ndarray]) -> Ragged:
        """Rows from separate arrays."""
        splits = np.zeros(len(rows) + 1, np.int64)
        np.cumsum([len(row) for row in rows], out=splits[1:])
        return cls(np.concatenate(rows).astype(np.int32), splits)

    @classmethod
    def join(cls, parts: Sequence[Ragged]) -> Ragged:
        """The rows of several, one after the other."""
        ends = np.cumsum([0, *(len(part.values) for part in parts)])
        splits = [part.splits[:-1] + end for part, end in zip(parts, ends[:-1], strict=True)]
        values = np.concatenate([part.values for part in parts])
        return cls(values, np.concatenate([*splits, ends[-1:]]))


@dataclass(frozen=True)
class Shard:
    """One file of rows.

    Attributes:
        file: Name of the file in the folder of the corpus.
        rows: Number of rows.
        tokens: Number of tokens of both sides.
        bytes: Size of the file.
        checksum: Checksum of the lengths and ids of all rows.
    """

    file: str
    rows: int
    tokens: int
    bytes: int
    checksum: int


def write_shard(
    path: Path,
    sources: Sequence[np.ndarray],
    targets: Sequence[np.ndarray],
    lines: Sequence[int],
    compressed: bool = False,
) -> Shard:
    """Writes rows into a file, and their lengths into one beside it, each atomically.

    Args:
        path: Path of the TFRecord file.
        sources: int32 ids of each row.
        targets: int32 ids of each row.
        lines: Number of each row in its corpus.
        compressed: Whether the file is compressed with gzip.

    Returns:
        The description of the file.
    """
    import tensorflow as tf

    # One message for all rows, as making one takes four times as long as filling it.
    example = tf.train.Example()
    feature = example.features.feature
    source, target, line = (feature[name].int64_list.value for name in ("source", "target", "line"))

    def record(source_ids: np.ndarray, target_ids: np.ndarray, number: int) -> bytes:
        for values, ids in ((source, source_ids.tolist()), (target, target_ids.tolist())):
            del values[:]
            values.extend(ids)
        line[:] = [number]
        return example.SerializeToString(deterministic=True)

    both = Ragged.of(sources), Ragged.of(targets)
    with written_atomically(lengths_path(path)) as aside:
        np.save(aside, np.stack([side.lengths for side in both], axis=1).astype(np.int32))
    with written_atomically(path) as aside:
        writer = tf.io.TFRecordWriter(str(aside), "GZIP" if compressed else "")
        with writer:
            for row in zip(sources, targets, lines, strict=True):
                writer.write(record(*row))
    tokens = sum(len(side.values) for side in both)
    return Shard(path.name, len(lines), tokens, path.stat().st_size, _checksum(*both))


def lengths_path(path: Path) -> Path:
    """The file with the lengths of a shard."""
    return path.with_suffix(".npy")


def check_shard(folder: Path, shard: Shard) -> None:
    """Checks, without reading it, that a shard exists and has its size.

    Args:
        folder: Folder of the corpus.
        shard: Description of the file.

    Raises:
        DataError: The file is missing or has another size.
    """
    path = folder / shard.file
    for needed in (path, lengths_path(path)):
        if not needed.is_file():
            raise damaged(needed, "it is not there")
    size = path.stat().st_size
    if size != shard.bytes:
        raise damaged(path, f"it has {size:,} bytes and had {shard.bytes:,}")


def read_lengths(folder: Path, shard: Shard) -> np.ndarray:
    """Reads the numbers of source and target tokens of each row.

    Args:
        folder: Folder of the corpus.
        shard: Description of the file.

    Returns:
        int32 (rows, 2).

    Raises:
        DataError: The file is damaged.
    """
    path = lengths_path(folder / shard.file)
    try:
        lengths = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise damaged(path, str(error)) from error
    if lengths.shape != (shard.rows, 2):
        raise damaged(path, f"it has {lengths.shape} lengths, expected {(shard.rows, 2)}")
    return lengths


def read_shard(folder: Path, shard: Shard, compressed: bool = False) -> tuple[Ragged, Ragged]:
    """Reads the sources and the targets of a shard.

    Args:
        folder: Folder of the corpus.
        shard: Description of the file.
        compressed: Whether the file is compressed with gzip.

    Returns:
        Ids of the sources and of the targets.

    Raises:
        DataError: The file is damaged, or another one.
    """
    import tensorflow as tf

    sides = {name: tf.io.RaggedFeature(tf.int64) for name in ("source", "target")}
    parsed = _parse(folder / shard.file, shard, compressed, sides)
    source, target = (
        Ragged(parsed[name].values.numpy().astype(np.int32), parsed[name].row_splits.numpy())
        for name in sides
    )
    if len(source) != shard.rows or _checksum(source, target) != shard.checksum:
        raise damaged(folder / shard.file, "its rows are not those that were prepared")
    if not np.array_equal(
        read_lengths(folder, shard), np.stack([source.lengths, target.lengths], axis=1)
    ):
        raise damaged(lengths_path(folder / shard.file), "its lengths are not those of the rows")
    return source, target


def read_lines_of_shard(folder: Path, shard: Shard, compressed: bool = False) -> np.ndarray:
    """Reads the number of each row in its corpus.

    Args:
        folder: Folder of the corpus.
        shard: Description of the file.
        compressed: Whether the file is compressed with gzip.

    Returns:
        int64 (rows,).
    """
    import tensorflow as tf

    line = {"line": tf.io.FixedLenFeature([], tf.int64)}
    return _parse(folder / shard.file, shard, compressed, line)["line"].numpy()


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


def _parse(path: Path, shard: Shard, compressed: bool, features: dict[str, Any]) -> dict[str, Any]:
    import tensorflow as tf

    try:
        with tf.device("CPU:0"):
            records = tf.data.TFRecordDataset(str(path), "GZIP" if compressed else "")
            # One more than there should be, so that more are found out.
            rows = records.batch(shard.rows + 1).get_single_element()
            return tf.io.parse_example(rows, features)
    except tf.errors.OpError as error:
        reason = str(error.message).splitlines()[0].split(" [Op:")[0]
        raise damaged(path, reason) from error


def _checksum(source: Ragged, target: Ragged) -> int:
    value = 0
    for side in (source, target):
        value = zlib.crc32(side.lengths.astype("<i4").tobytes(), value)
        value = zlib.crc32(side.values.astype("<i4").tobytes(), value)
    return value
