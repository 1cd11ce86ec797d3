"""An endless stream of batches, as a dataset of which each process reads its share."""

from __future__ import annotations

import functools
import itertools
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from ...zoo.errors import DataError
from ...zoo.text.tokenizer import END_ID, PAD_ID, START_ID, UNKNOWN_ID

Batch = tuple[dict[str, np.ndarray], np.ndarray]  # source and target, labels


@dataclass(frozen=True)
class Share:
    """Share of each batch that a process reads.

    A batch is dealt out over the replicas of a model row by row. Rows of padding, which count for
    nothing, fill it up, so that all replicas have as many rows.

    Attributes:
        replicas: over which each batch is dealt out, on all machines.
        first: number of the first replica of this process.
        count: replicas of this process; the dataset gives their parts one after the other.
        static: whether all batches of one length are filled up to as many rows, so that there are
            few shapes.
    """

    replicas: int = 1
    first: int = 0
    count: int = 1
    static: bool = False


WHOLE = Share()


def without_unknown(batch: Batch, copied: bool) -> Batch:
    """A batch whose labels have padding, which counts for nothing, for what no search writes.

    Args:
        batch: source and target, labels (B, T).
        copied: whether the unknown subword may be written for one of the source: then it is a
            label in rows whose source has one.
    """
    inputs, labels = batch
    unknown = labels == UNKNOWN_ID
    if copied:
        unknown &= ~(inputs["source"] == UNKNOWN_ID).any(axis=1, keepdims=True)
    return inputs, np.where(unknown, PAD_ID, labels).astype(np.int32)


class BatchStream(ABC):
    """An endless stream of batches that depends on a seed alone, and can start anywhere.

    Attributes:
        tokens: budget of a batch, in padded tokens: rows times the longer of the two lengths.
        num_pairs: how many pairs there are to learn from.
        too_long: rows that were left out because a side was longer than the limit.
        cut: sources of which a part was left out.
        error: why the stream ended, if it did: `dataset` has errors of TensorFlow's instead.
    """

    tokens: int
    num_pairs: int
    too_long: int
    cut: int
    error: DataError | None = None
    _ended = False

    @abstractmethod
    def stream(self, start_batch: int = 0) -> Iterator[Batch]:
        """The batches from a number on."""

    @abstractmethod
    def lengths(self) -> Iterator[np.ndarray]:
        """Subwords of source and target of all pairs, their ends included, (rows, 2) in parts."""

    @abstractmethod
    def rows_of_batch(self, number: int) -> np.ndarray:
        """Rows of the corpus that a batch is made of, by its number in the stream."""

    @abstractmethod
    def batches_in_epoch(self) -> int:
        """Number of batches in the first epoch."""

    @abstractmethod
    def checksum(self) -> int:
        """A number that other rows, or the same in another order, would not have."""

    def rows_of_step(self, step: int, accumulate: int = 1) -> np.ndarray:
        """Rows of the corpus that are read in a step, counted from 0."""
        numbers = range(step * accumulate, (step + 1) * accumulate)
        return np.concatenate([self.rows_of_batch(number) for number in numbers])

    def dataset(
        self, start_step: int = 0, accumulate: int = 1, share: Share = WHOLE
    ) -> tf.data.Dataset:
        """The stream as a `tf.data.Dataset` of `({"source", "target"}, labels)`.

        Args:
            start_step: steps that were made already.
            accumulate: batches in a step; those after the first are `inputs["accumulated"]`.
            share: what of each batch is read here.
        """
        lock = self._reading
        ids = tf.TensorSpec((None, None), tf.int32)
        batch = ({"source": ids, "target": ids}, ids)

        def steps():
            stream = self._noting_errors(self.stream(start_step * accumulate))
            while not self._ended:
                with lock:
                    batches = list(itertools.islice(stream, accumulate))
                for parts in zip(*(self._deal(batch, share) for batch in batches), strict=True):
                    (inputs, labels), *others = parts
                    yield ({**inputs, "accumulated": tuple(others)}, labels) if others else parts[0]

        signature = batch
        if accumulate > 1:
            signature = ({**batch[0], "accumulated": (batch,) * (accumulate - 1)}, ids)
        return tf.data.Dataset.from_generator(steps, output_signature=signature).prefetch(8)

    @functools.cached_property
    def _reading(self) -> threading.Lock:
        """Held while batches are made."""
        return threading.Lock()

    def end(self) -> None:
        """Ends all datasets of this stream, when the batch that is being made is done.

        TensorFlow reads ahead. A program that ended in the middle of that would wait for a batch,
        which the interpreter, as it shuts down, no longer makes.
        """
        self._ended = True
        with self._reading:
            pass

    def _noting_errors(self, stream: Iterator[Batch]) -> Iterator[Batch]:
        try:
            yield from stream
        except DataError as error:
            self.error = error
            raise

    def _deal(self, batch: Batch, share: Share) -> list[Batch]:
        """The parts of a batch that the replicas of this process get."""
        if share == WHOLE:
            return [batch]
        inputs, labels = batch
        rows = len(labels)
        if share.static:
            rows = self.tokens // max(inputs["source"].shape[1], inputs["target"].shape[1])
        rows = -(-rows // share.replicas) * share.replicas

        def part(ids: np.ndarray, replica: int) -> np.ndarray:
            filled = np.pad(ids, [(0, rows - len(ids)), (0, 0)], constant_values=PAD_ID)
            return filled[replica :: share.replicas]

        return [
            ({name: part(ids, i) for name, ids in inputs.items()}, part(labels, i))
            for i in range(share.first, share.first + share.count)
        ]


def padded(values: np.ndarray, lengths: np.ndarray, width: int) -> np.ndarray:
    """Rows of token ids, each with its end, padded to one width.

    Args:
        values: The ids of all rows, one row after the other.
        lengths: The number of ids of each row (R,), the end not counted.
        width: The width W, larger than any length.

    Returns:
        int32 (R, W).
    """
    ids = np.full((len(lengths), width), PAD_ID, np.int32)
    ids[np.arange(width) < lengths[:, None]] = values
    ids[np.arange(len(lengths)), lengths] = END_ID
    return ids


def teacher_forced(source: np.ndarray, labels: np.ndarray) -> Batch:
    """The inputs of a model and its labels: each token of a target is read at the step after.

    Args:
        source: Ids of the sources (R, S), each with its end.
        labels: Ids of the targets (R, T), each with its end.
    """
    target = np.full_like(labels, PAD_ID)
    target[:, 0] = START_ID
    target[:, 1:] = np.where(labels[:, :-1] == END_ID, PAD_ID, labels[:, :-1])
    return {"source": source, "target": target}, labels
