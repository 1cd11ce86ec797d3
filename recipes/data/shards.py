"""Shards: rows of subwords in TFRecord files, each with the lengths of its rows beside it.

A record is a `tf.train.Example` of one row: `source` and `target`, subwords without start and end,
and `line`, where the row stood in its corpus. The lengths are enough to plan batches, and to go to
any place in them, without a look at the records.
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
        values: int32, all ids.
        splits: int64 (rows + 1,), where each row begins, and the end of the last.
    """

    values: np.ndarray
    splits: np.ndarray

    def __len__(self) -> int:
        return len(self.splits) - 1

    @property
    def lengths(self) -> np.ndarray:
        return np.diff(self.splits)

    def part(self, start: int, stop: int) -> Ragged:
        """The rows of a range, without a copy of their ids."""
        splits = self.splits[start : stop + 1]
        return Ragged(self.values[splits[0] : splits[-1]], splits - splits[0])

    @classmethod
    def of(cls, rows: Sequence[np.ndarray]) -> Ragged:
        """Rows from arrays of their own."""
        splits = np.zeros(len(rows) + 1, np.int64)
        np.cumsum([len(row) for row in rows], out=splits[1:])
        return cls(np.concatenate(rows).astype(np.int32), splits)

    @classmethod
    def join(cls, parts: Sequence[Ragged]) -> Ragged:
        """All rows of some, one after the other."""
        ends = np.cumsum([0, *(len(part.values) for part in parts)])
        splits = [part.splits[:-1] + end for part, end in zip(parts, ends[:-1], strict=True)]
        values = np.concatenate([part.values for part in parts])
        return cls(values, np.concatenate([*splits, ends[-1:]]))


@dataclass(frozen=True)
class Shard:
    """One file of rows.

    Attributes:
        file: its name in the folder of the corpus.
        rows: how many rows it has.
        subwords: of both sides.
        bytes: size of the file.
        checksum: of the lengths and ids of all rows.
    """

    file: str
    rows: int
    subwords: int
    bytes: int
    checksum: int


def write_shard(
    path: Path,
    sources: Sequence[np.ndarray],
    targets: Sequence[np.ndarray],
    lines: Sequence[int],
    compressed: bool = False,
) -> Shard:
    """Writes rows into a file, and their lengths into one beside it; each is whole or not there.

    Args:
        path: of the TFRecord file.
        sources: int32 ids of each row.
        targets: the same.
        lines: number of each row in its corpus.
        compressed: whether with gzip.
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
    subwords = sum(len(side.values) for side in both)
    return Shard(path.name, len(lines), subwords, path.stat().st_size, _checksum(*both))


def lengths_path(path: Path) -> Path:
    """The file of the lengths of a shard."""
    return path.with_suffix(".npy")


def check_shard(folder: Path, shard: Shard) -> None:
    """Looks, without reading it, whether a shard is there and has its size.

    Raises:
        DataError: it is not as it was prepared.
    """
    path = folder / shard.file
    for needed in (path, lengths_path(path)):
        if not needed.is_file():
            raise damaged(needed, "it is not there")
    size = path.stat().st_size
    if size != shard.bytes:
        raise damaged(path, f"it has {size:,} bytes and had {shard.bytes:,}")


def read_lengths(folder: Path, shard: Shard) -> np.ndarray:
    """Subwords of the source and target of each row, int32 (rows, 2).

    Raises:
        DataError: the file is damaged.
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
    """The sources and the targets of a shard.

    Raises:
        DataError: the file is damaged, or another one.
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
    """Line of each row of a shard in its corpus, int64 (rows,)."""
    import tensorflow as tf

    line = {"line": tf.io.FixedLenFeature([], tf.int64)}
    return _parse(folder / shard.file, shard, compressed, line)["line"].numpy()


def damaged(path: Path, what: str) -> DataError:
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
