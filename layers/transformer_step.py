"""A step of a Transformer's decoder, as few and large operations as it takes.

While targets are written, a step has one position of each hypothesis. That is little to compute, so
what counts is how many operations there are, and that nothing is computed again that stays the
same: the weights are read once for all steps, with the scale of the queries in their projection and
the scale and shift of a normalisation in the product after it; and with one position no heads have
to be brought into another order.

Shapes: B sources, N hypotheses of each, R = B N rows, S source length, D width, H heads, K head
width, t positions before this one.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from keras import ops

from .attention import Memory
from .masks import masked_softmax, places, softmax_dtype
from .product import Product, as_type_of


class StepWeights(NamedTuple):
    """The weights of a block for its steps.

    Attributes:
        qkv: from a position to its query, key and value, (D, 3 D).
        attention_output: of the self-attention, (D, D).
        query: of the attention to the source, (D, D).
        cross_output: of the attention to the source, (D, D).
        expand: into the middle of the feed-forward layer.
        contract: out of it.
        norms: scale and shift (D,) after each of the three sublayers; empty if the inputs of the
            sublayers are normalised.
    """

    qkv: Product
    attention_output: Product
    query: Product
    cross_output: Product
    expand: Product
    contract: Product
    norms: tuple


def step_weights(block) -> StepWeights:
    """The weights of a `TransformerDecoderBlock`."""
    attention, cross = block.self_attention, block.cross_attention
    dtype = block.compute_dtype

    def product(layer, name=""):
        kernel, bias = (getattr(layer, f"{name}{part}") for part in ("kernel", "bias"))
        return Product(ops.cast(kernel, dtype), ops.cast(bias, dtype))

    width = attention.qkv_bias.shape[0] // 3
    scale = 1 / math.sqrt(attention.key_dim)
    columns = ops.concatenate([ops.full((width,), scale), ops.ones((2 * width,))])
    inputs = (
        product(attention, "qkv_").scaled(ops.cast(columns, dtype)),
        product(cross, "query_").scaled(ops.cast(scale, dtype)),
        product(block.expand),
    )
    norms = [block.attention_norm, block.cross_attention_norm, block.feed_forward_norm]
    if block.norm_first:
        inputs = tuple(p.after(norm) for p, norm in zip(inputs, norms, strict=True))
        norms = []
    qkv, query, expand = inputs
    return StepWeights(
        qkv,
        product(attention, "output_"),
        query,
        product(cross, "output_"),
        expand,
        product(block.contract),
        tuple(as_type_of(qkv.kernel, norm.gamma, norm.beta) for norm in norms),
    )


def step(block, weights: StepWeights, inputs, cache: Memory, memory: Memory):
    """One step; see `TransformerDecoderBlock.step`."""
    heads, hypotheses, width = block.num_heads, ops.shape(inputs)[1], inputs.shape[-1]
    size = width // heads
    epsilon = block.attention_norm.epsilon
    before = standardize if block.norm_first else lambda rows, epsilon: rows

    def after(rows, sublayer):
        if block.norm_first:
            return rows
        scale, shift = weights.norms[sublayer]
        return ops.add(ops.multiply(standardize(rows, epsilon), scale), shift)

    x = ops.reshape(inputs, (-1, width))
    new = ops.reshape(weights.qkv(before(x, epsilon)), (-1, 3, heads, 1, size))
    query, key, value = new[:, 0], new[:, 1], new[:, 2]  # (R, H, 1, K)
    positions, bias = block.positions, None
    if positions is not None:
        written = ops.shape(cache.keys)[2]
        here = places(1, written)
        query, key = positions.rotate(query, here), positions.rotate(key, here)
        bias = positions.bias(here, places(written + 1))  # (H, 1, t + 1)
    keys = ops.concatenate([cache.keys, key], axis=2)  # (R, H, t + 1, K)
    values = ops.concatenate([cache.values, value], axis=2)
    attended, _ = _attend(query, keys, values, bias=bias)
    x = after(x + weights.attention_output(ops.reshape(attended, (-1, width))), 0)

    query = ops.reshape(weights.query(before(x, epsilon)), (-1, hypotheses, heads, size))
    query = ops.transpose(query, (0, 2, 1, 3))  # (B, H, N, K)
    mask = None if memory.mask is None else memory.mask[:, None, None]  # (B, 1, 1, S)
    attended, over_source = _attend(query, memory.keys, memory.values, mask)
    attended = ops.reshape(ops.transpose(attended, (0, 2, 1, 3)), (-1, width))
    x = after(x + weights.cross_output(attended), 1)

    middle = block.expand.activation(weights.expand(before(x, epsilon)))
    x = after(x + weights.contract(middle), 2)
    return ops.reshape(x, (-1, hypotheses, width)), over_source, Memory(keys, values)


def _attend(query, keys, values, mask=None, bias=None):
    """Scaled queries (.., H, N, K) to what they found and where they looked, (.., H, N, S)."""
    scores = ops.matmul(query, ops.swapaxes(keys, -1, -2))
    if bias is not None:
        dtype = softmax_dtype(scores.dtype)
        scores = ops.add(ops.cast(scores, dtype), ops.cast(bias, dtype))
    weights = masked_softmax(scores, mask)
    return ops.matmul(ops.cast(weights, values.dtype), values), weights


def standardize(rows, epsilon):
    """Rows (R, D) of mean 0 and variance 1: a normalisation without its scale and shift."""
    exact = ops.cast(rows, "float32")
    centred = exact - ops.mean(exact, axis=-1, keepdims=True)
    variance = ops.mean(ops.square(centred), axis=-1, keepdims=True)
    return ops.cast(ops.multiply(centred, ops.rsqrt(variance + epsilon)), rows.dtype)
