"""Positions of a Transformer: the order of its tokens. T is the number of positions."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from ...layers.ops.arguments import positive_int
from ...layers.ops.dense import add_bias
from ...layers.ops.positions import AlibiPositions, Positions, RelativePositions, RotaryPositions
from .backend import tensorflow

ADDED = ("sinusoidal", "sinusoidal-published", "learned")  # to the embeddings
POSITIONS = (*ADDED, "rotary", "relative", "alibi")


def attention_positions(name: str, bidirectional: bool, dtype: Any = None) -> Positions | None:
    """Positions of the self-attention of a block; `None` where the embeddings have them."""
    if name in ADDED:
        return None
    if name == "relative":
        return RelativePositions(bidirectional=bidirectional, dtype=dtype)
    return {"rotary": RotaryPositions, "alibi": AlibiPositions}[name](dtype=dtype)


@keras.saving.register_keras_serializable(package="attention_zoo")
class AddedPositions(keras.layers.Layer):
    """Adds to embeddings what tells their order; nothing where the self-attention is told it.

    Args:
        kind: `"sinusoidal"`, `"sinusoidal-published"`, `"learned"`, or one that is not added.
        max_length: The number of learned positions.
        first_position: The number of the first position, for sinusoids.

    Raises:
        ValueError: There is no such kind, or no such length.

    Call arguments:
        inputs: Embeddings (B, T, D).

    Returns:
        (B, T, D).
    """

    def __init__(
        self, kind: str = "sinusoidal", max_length: int = 512, first_position: int = 0, **kwargs
    ):
        super().__init__(**kwargs)
        if kind not in POSITIONS:
            raise ValueError(
                f"positions is one of {', '.join(POSITIONS)}. Received: positions={kind!r}"
            )
        if first_position and not kind.startswith("sinusoidal"):
            raise ValueError(
                "first_position is of sinusoids. "
                f"Received: first_position={first_position}, positions={kind!r}"
            )
        self.kind = kind
        self.max_length = positive_int("max_length", max_length)
        self.first_position = first_position

    @property
    def is_added(self) -> bool:
        return self.kind in ADDED

    @property
    def max_positions(self) -> int | None:
        return self.max_length if self.kind == "learned" else None

    def build(self, input_shape):
        self.width = input_shape[-1]
        if self.kind == "learned":
            near = keras.initializers.RandomNormal(stddev=0.02)
            self.table = self.add_weight((self.max_length, self.width), near, name="table")
        self.built = True

    def call(self, inputs):
        return add_bias(inputs, self.first(ops.shape(inputs)[1])) if self.is_added else inputs

    def first(self, count):
        """Vectors that are added at the first `count` positions, (count, D)."""
        if self.kind == "learned":
            added = first_learned(ops.convert_to_tensor(self.table), count)
        else:
            numbers = ops.arange(count) + self.first_position
            added = sinusoids(numbers, self.width, published=self.kind == "sinusoidal-published")
        return ops.cast(added, self.compute_dtype)


def sinusoids(positions, width: int, published: bool = False):
    """Sines, then cosines, of positions (T,) at `width // 2` wavelengths from 2 pi to 20,000 pi.

    Those of the paper end one step before 20,000 pi; the authors' own code reaches it.

    Args:
        positions: Whole numbers (T,).
        width: D.
        published: Whether the wavelengths are those of the paper.

    Returns:
        float32 (T, D).

    Reference: Vaswani et al. 2017, section 3.5
    """
    half = width // 2
    steps = half if published else max(half - 1, 1)
    rates = np.exp(-np.log(10000.0) * np.arange(half) / steps).astype(np.float32)
    rates = ops.convert_to_tensor(rates)  # which PyTorch multiplies by no array
    angles = ops.expand_dims(ops.cast(positions, "float32"), 1) * rates
    waves = ops.concatenate([ops.sin(angles), ops.cos(angles)], axis=-1)
    return ops.pad(waves, [[0, 0], [0, width - 2 * half]])


def first_learned(table, count):
    """The first `count` learned positions (count, D) of a table (longest, D).

    Raises:
        tf.errors.InvalidArgumentError: there are not so many, which a graph knows only when it
            runs. On a GPU those beyond would be zeros, and what is written from there on wrong.
    """
    longest = table.shape[0]
    if (tf := tensorflow()) is None:
        return ops.take(table, ops.arange(count), axis=0)
    enough = tf.debugging.assert_less_equal(
        count,
        longest,
        f"This model has learned positions for {longest} tokens and none beyond: give it shorter "
        "sources, targets and prefixes, or raise its max_length",
    )
    with tf.control_dependencies([] if enough is None else [enough]):
        return tf.gather(table, tf.range(count))
