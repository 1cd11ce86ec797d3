"""Every attention weight of a model that reads a source and a given target.

Shapes: B batch, L layers, H heads, S source length, T target length.
"""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from .base import Seq2SeqModel


class AttentionMaps(NamedTuple):
    """The weights of all layers and heads, before dropout.

    Attributes:
        cross: of each step of the target over the source, (B, L, H, T, S).
        encoder: of the source over itself, (B, L, H, S, S), or `None` without self-attention.
        decoder: of the target over itself, (B, L, H, T, T), or `None` without self-attention.
    """

    cross: tf.Tensor
    encoder: tf.Tensor | None = None
    decoder: tf.Tensor | None = None


def attention_maps(model: Seq2SeqModel, inputs: dict[str, tf.Tensor]) -> AttentionMaps:
    """The attention maps of a model in inference.

    A model with more maps than one has a method `attention_maps(inputs)` that makes them all in
    one pass. Any other is led along the target step by step, and its one map is what its steps
    return.

    Args:
        model: any model of the protocol.
        inputs: `source` (B, S) and `target` (B, T), whose row t is what was read when the label t
            was written: it begins with the start id.

    Returns:
        Maps with row t for label t; the rows of padding say nothing.

    Example:

    >>> maps = attention_maps(model, {"source": source, "target": target})
    >>> maps.cross[:, -1].numpy().mean(axis=1)     # the last layer, its heads averaged: (B, T, S)
    """
    if hasattr(model, "attention_maps"):
        return model.attention_maps(inputs)
    memory, weights = model.encode(inputs["source"]), model.step_weights()
    length = inputs["target"].shape[1]
    state = model.start(memory, 1, tf.constant(length))
    rows = []
    for token_ids in tf.unstack(inputs["target"], axis=1):
        _, state, scores = model.step(token_ids[:, None], state, memory, weights)
        rows.append(scores[:, 0])  # (B, S)
    return AttentionMaps(tf.stack(rows, axis=1)[:, None, None])
