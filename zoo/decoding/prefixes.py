"""Targets that begin with given subwords. Shapes: R rows, P length of the longest prefix."""

from __future__ import annotations

import tensorflow as tf

from ..text.tokenizer import END_ID, PAD_ID


def until_end(prefix: tf.Tensor) -> tf.Tensor:
    """Prefixes (R, P) up to their first end or padding, and padding from there on."""
    ended = tf.cast((prefix == END_ID) | (prefix == PAD_ID), tf.int32)
    return tf.where(tf.cumsum(ended, axis=1) == 0, prefix, PAD_ID)


def with_room_for(prefix: tf.Tensor | None, limits: tf.Tensor) -> tf.Tensor:
    """Limits (R,) of the lengths, or what prefixes (R, P) and their ends take, if that is more."""
    if prefix is None:
        return limits
    lengths = tf.reduce_sum(tf.cast(prefix != PAD_ID, tf.int32), axis=1)
    return tf.maximum(limits, lengths + 1)


def forced_ids(prefix: tf.Tensor, step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The subword of each prefix (R, P) at a step, and whether there is one: (R,), (R,)."""
    places = tf.range(tf.shape(prefix)[1])
    ids = tf.reduce_sum(tf.where(places == step, prefix, 0), axis=1)
    return ids, ids != PAD_ID
