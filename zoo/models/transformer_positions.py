"""What a Transformer is told of the order of its subwords. T is the number of positions."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from ...layers.ops.positions import AlibiPositions, Positions, RelativePositions, RotaryPositions

ADDED = ("sinusoidal", "learned")  # to the embeddings
POSITIONS = (*ADDED, "rotary", "relative", "alibi")


def attention_positions(name: str, bidirectional: bool, dtype: Any = None) -> Positions | None:
    """What the self-attention of a block knows of places; `None` where the embeddings say it."""
    if name in ADDED:
        return None
    if name == "relative":
        return RelativePositions(bidirectional=bidirectional, dtype=dtype)
    return {"rotary": RotaryPositions, "alibi": AlibiPositions}[name](dtype=dtype)


def sinusoids(positions: tf.Tensor, width: int) -> tf.Tensor:
    """Sines, then cosines, of positions (T,) at `width // 2` wavelengths from 2 pi to 20,000 pi.

    Reference: Vaswani et al. 2017, section 3.5
    """
    half = width // 2
    rates = np.exp(-np.log(10000.0) * np.arange(half) / max(half - 1, 1)).astype(np.float32)
    angles = tf.cast(positions, tf.float32)[:, None] * rates
    waves = tf.concat([tf.sin(angles), tf.cos(angles)], axis=-1)
    return tf.pad(waves, [[0, 0], [0, width - 2 * half]])


def first_learned(table: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
    """The first `count` learned positions (count, D) of a table (longest, D).

    Raises:
        tf.errors.InvalidArgumentError: there are not so many, which a graph knows only when it
            runs. On a GPU those beyond would be zeros, and what is written from there on wrong.
    """
    longest = table.shape[0]
    enough = tf.debugging.assert_less_equal(
        count,
        longest,
        f"This model has learned positions for {longest} subwords and none beyond: give it shorter "
        "sources, targets and prefixes, or raise its max_length",
    )
    with tf.control_dependencies([] if enough is None else [enough]):
        return tf.gather(table, tf.range(count))
