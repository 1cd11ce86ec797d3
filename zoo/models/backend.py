"""Operations that TensorFlow has a faster form of than `keras.ops`, on every Keras backend."""

from __future__ import annotations

import keras
from keras import ops


def tensorflow():
    """TensorFlow where Keras runs on it, otherwise `None`."""
    if keras.backend.backend() != "tensorflow":
        return None
    import tensorflow

    return tensorflow


def take_rows(table, rows):
    """The rows of `table` (R, ...) with these numbers (...), none of which is negative."""
    # Keras looks for numbers that count from the end, in several operations more.
    tf = tensorflow()
    return ops.take(table, rows, axis=0) if tf is None else tf.gather(table, rows)


def take_beams(x, beams):
    """Of (B, N, ...) the beams (B, K) of each row, (B, K, ...)."""
    if (tf := tensorflow()) is not None:
        return tf.gather(x, beams, batch_dims=1)
    indices = ops.reshape(beams, (*ops.shape(beams), *(1,) * (len(x.shape) - 2)))
    return ops.take_along_axis(x, indices, axis=1)


def reverse_sequences(x, lengths):
    """The first `lengths` (B,) entries of each row of (B, S, ...) in reverse order."""
    if (tf := tensorflow()) is not None:
        return tf.reverse_sequence(x, lengths, seq_axis=1)
    lengths = ops.expand_dims(ops.cast(lengths, "int32"), 1)
    positions = ops.expand_dims(ops.arange(ops.shape(x)[1], dtype="int32"), 0)
    return take_beams(x, ops.where(positions < lengths, lengths - 1 - positions, positions))
