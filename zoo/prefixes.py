"""Targets that begin with given subwords. Shapes: R rows, P length of the longest prefix."""

from __future__ import annotations

import tensorflow as tf

from .tokenizer import PAD_ID


def prefix_lengths(prefix: tf.Tensor) -> tf.Tensor:
    """Subwords of each prefix (R, P), which is followed by padding: int32 (R,)."""
    return tf.reduce_sum(tf.cast(prefix != PAD_ID, tf.int32), axis=1)


def forced_ids(prefix: tf.Tensor, step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The subword of each prefix (R, P) at a step, and whether there is one: (R,), (R,)."""
    rows = tf.shape(prefix)[0]
    if prefix.shape[1] == 0:
        return tf.zeros([rows], tf.int32), tf.zeros([rows], tf.bool)
    places = tf.range(tf.shape(prefix)[1])
    ids = tf.reduce_sum(tf.where(places == step, prefix, 0), axis=1)
    return ids, ids != PAD_ID
