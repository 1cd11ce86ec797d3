"""An endless stream of batches, as a dataset of which each process reads its share."""

from __future__ import annotations

import functools
import itertools
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import tensorflow as tf

from ...zoo.errors import DataError
from ...zoo.text.special_ids import END_ID, PAD_ID, START_ID, UNKNOWN_ID

Batch = tuple[dict[str, np.ndarray], np.ndarray]  # source and target, labels


@dataclass(frozen=True)
class Share:
    """The share of each batch that a process reads.

    The rows of a batch are distributed over the replicas of a model one by one. It is filled up
    with rows of padding, which count for nothing, so that all replicas have the same number of
    rows.

    Attributes:
        replicas: Number of replicas on all machines.
        first: Number of the first replica of this process.
        count: Number of replicas of this process; the dataset gives their parts in order.
        static: Whether all batches of one length are filled up to the same number of rows, so that
            there are few shapes.
        parts: Number of equal parts into which the rows of a replica are divided after that.
    """

    replicas: int = 1
    first: int = 0
    count: int = 1
    static: bool = False
    parts: int = 1


WHOLE = Share()


def without_unknown(batch: Batch, copied: bool) -> Batch:
    """Replaces labels that no search writes with padding, which counts for nothing.

    Args:
        batch: Source and target, and labels (B, T), with a negative number for each unknown piece
            of a source, see `zoo.text.unknown`.
        copied: Whether the unknown pieces of a source may be written. Otherwise they are the
            unknown token.

    Returns:
        The batch with the new labels, int32.
    """
    inputs, labels = batch
    if not copied:
        inputs = {name: np.where(ids < 0, UNKNOWN_ID, ids) for name, ids in inputs.items()}
        labels = np.where(labels < 0, UNKNOWN_ID, labels)
    return inputs, np.where(labels == UNKNOWN_ID, PAD_ID, labels).astype(np.int32)


@dataclass(frozen=True)
class PlannedBatch:
    """A batch before its tokens are read.

    Attributes:
        rows: Its rows, as the stream numbers them.
        source_length: Length to which the sources are padded.
        target_length: Length to which the targets are padded.
        epoch: Number of its epoch, from 0.
    """

    rows: np.ndarray
    source_length: int
    target_length: int
    epoch: int = 0


class BatchStream(ABC):
    """An endless stream of batches that depends on a seed alone and can start anywhere.

    Attributes:
        tokens: Budget of a batch in padded tokens: rows times the longer of the two lengths.
        copy_unknown: Whether unknown pieces of a source are labels; otherwise nothing unknown is.
        num_pairs: Number of pairs to learn from.
        too_long: Number of rows that were left out because a side exceeds its limit.
        cut: Number of sources of which a part was left out.
        error: The error that ended the stream, if any: `dataset` raises TensorFlow's errors
            instead.
    """

    tokens: int
    copy_unknown: bool
    num_pairs: int
    too_long: int
    cut: int
    error: DataError | None = None
    _ended = False

    @abstractmethod
    def planned(self, number: int) -> PlannedBatch:
        """The rows and lengths of a batch, given its number in the stream."""

    @abstractmethod
    def read(self, batch: PlannedBatch) -> tuple[np.ndarray, np.ndarray]:
        """Ids of the sources and of the targets of all rows, padded, each with its end."""

    @abstractmethod
    def rows_of_batch(self, number: int) -> np.ndarray:
        """Rows of the corpus in a batch, given its number in the stream."""

    @abstractmethod
    def lengths(self) -> Iterator[np.ndarray]:
        """Numbers of source and target tokens of all pairs with their ends, arrays of (rows, 2)."""

    @abstractmethod
    def batches_in_epoch(self) -> int:
        """Number of batches in the first epoch."""

    @abstractmethod
    def checksum(self) -> int:
        """A checksum that changes with any row and with their order."""

    def rows_of_step(self, step: int, accumulate: int = 1) -> np.ndarray:
        """Rows of the corpus that a step reads.

        Args:
            step: Number of the step, from 0.
            accumulate: Number of batches in a step.

        Returns:
            Row numbers, int64.
        """
        numbers = range(step * accumulate, (step + 1) * accumulate)
        return np.concatenate([self.rows_of_batch(number) for number in numbers])

    def batch(self, planned: PlannedBatch) -> Batch:
        """Inputs and labels of the rows of a batch."""
        return without_unknown(teacher_forced(*self.read(planned)), self.copy_unknown)

    def stream(self, start_batch: int = 0) -> Iterator[Batch]:
        """The batches of the stream, beginning with number `start_batch`."""
        for number in itertools.count(start_batch):
            yield self.batch(self.planned(number))

    def dataset(
        self, start_step: int = 0, accumulate: int = 1, share: Share = WHOLE
    ) -> tf.data.Dataset:
        """The stream as a `tf.data.Dataset` of `({"source", "target"}, labels)`.

        Args:
            start_step: Number of steps that have been made.
            accumulate: Number of batches in a step; `inputs["accumulated"]` has those after the
                first.
            share: The part of each batch that this process reads.

        Returns:
            An endless dataset, which `end` ends.
        """

        def read(number: np.ndarray) -> list[np.ndarray]:
            step, replica = divmod(int(number), share.count)
            with self._reading:
                if self._ended:
                    return [np.zeros((0, 0), np.int32)] * 3 * accumulate
                batches = [
                    self._deal(batch, share, share.first + replica)
                    for batch in range(step * accumulate, (step + 1) * accumulate)
                ]
            return [ids for inputs, labels in batches for ids in (*inputs.values(), labels)]

        def element(number: tf.Tensor) -> tuple[dict[str, Any], tf.Tensor]:
            ids = tf.numpy_function(read, [number], [tf.int32] * 3 * accumulate)
            for tensor in ids:
                tensor.set_shape((None, None))
            batches = zip(ids[::3], ids[1::3], ids[2::3], strict=True)
            (inputs, labels), *others = [({"source": s, "target": t}, y) for s, t, y in batches]
            return ({**inputs, "accumulated": tuple(others)} if others else inputs), labels

        # A generator would take twice the time for each element.
        numbers = tf.data.Dataset.range(start_step * share.count, np.iinfo(np.int64).max)
        batches = numbers.map(element).take_while(lambda inputs, labels: tf.size(labels) > 0)
        return batches.prefetch(8)

    @functools.cached_property
    def _reading(self) -> threading.Lock:
        """A lock that is held while batches are made."""
        return threading.Lock()

    def end(self) -> None:
        """Ends all datasets of this stream once the batch that is being made is done.

        TensorFlow reads ahead. A program that ended in the middle of that would wait for a batch,
        which the interpreter no longer makes during shutdown.
        """
        self._ended = True
        with self._reading:
            pass

    def _deal(self, number: int, share: Share, replica: int) -> Batch:
        """The part of a batch that a replica gets; no other row is read."""
        try:
            planned = self.planned(number)
            rows = len(planned.rows)
            if share.static:
                rows = self.tokens // max(planned.source_length, planned.target_length)
            rows = -(-rows // (share.replicas * share.parts)) * share.parts  # of each replica
            own = replace(planned, rows=planned.rows[replica :: share.replicas])
            inputs, labels = self.batch(own)
        except DataError as error:
            self.error = error
            raise
        return {name: _filled(ids, rows) for name, ids in inputs.items()}, _filled(labels, rows)


def _filled(ids: np.ndarray, rows: int) -> np.ndarray:
    """A part of a batch with rows of padding after its own, so that there are so many."""
    if len(ids) == rows:
        return ids
    filled = np.full((rows, ids.shape[1]), PAD_ID, ids.dtype)
    filled[: len(ids)] = ids
    return filled


def padded(values: np.ndarray, lengths: np.ndarray, width: int) -> np.ndarray:
    """Rows of token ids, each with its end, padded to one width.

    Args:
        values: Ids of all rows, one row after the other.
        lengths: Number of ids of each row (R,), without the end.
        width: Width W of the result, larger than any length.

    Returns:
        int32 (R, W).
    """
    ids = np.full((len(lengths), width), PAD_ID, np.int32)
    ids[np.arange(width) < lengths[:, None]] = values
    ids[np.arange(len(lengths)), lengths] = END_ID
    return ids


def teacher_forced(source: np.ndarray, labels: np.ndarray) -> Batch:
    """Inputs and labels of a model: each target token is read one step after it is predicted.

    Args:
        source: Ids of the sources (R, S), each with its end.
        labels: Ids of the targets (R, T), each with its end.

    Returns:
        `source` and `target`, and the labels.
    """
    target = np.full_like(labels, PAD_ID)
    target[:, 0] = START_ID
    target[:, 1:] = np.where(labels[:, :-1] == END_ID, PAD_ID, labels[:, :-1])
    return {"source": source, "target": target}, labels
