"""A step of a Transformer's decoder in few and large operations.

A step of decoding has one position of each hypothesis. That is little to compute, so its time is
that of starting operations: the weights are read once for all steps, with the scale of the queries
in their projection and the scale and shift of a normalization in the product after it; where all
that is added to the states has mean 0, normalizations need not subtract the mean; and each
hypothesis attends to the source by itself, so that no heads have to be brought into another order.

Shapes: B sources, N hypotheses of each, R = B N rows, S source length, D width, H heads, K head
width, t positions before this one.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from keras import ops

from ..attention.memory import Memory
from ..ops.affine import Affine
from ..ops.low_latency import low_latency_matmul, low_latency_softmax, penalty_of
from ..ops.masks import position_ids, softmax_dtype
from ..ops.normalization import scale_and_shift


class StepWeights(NamedTuple):
    """The weights of a block for its steps.

    Attributes:
        qkv: from a position to its query, key and value, (D, 3 H K).
        attention_output: of the self-attention, (H K, D).
        query: of the attention to the source, (D, H K).
        cross_output: of the attention to the source, (H K, D).
        expand: into the middle of the feed-forward layer, (D, F); (D, 2 F) with a gate.
        contract: out of it.
        norms: scale and shift (D,) after each of the three sublayers; empty for a pre-norm block.
        zero_mean: whether the states have mean 0 before and after the block.
    """

    qkv: Affine
    attention_output: Affine
    query: Affine
    cross_output: Affine
    expand: Affine
    contract: Affine
    norms: tuple
    zero_mean: bool


class GenericStepWeights(NamedTuple):
    """The weights of a block with attention layers of another kind: none is read beforehand.

    Attributes:
        zero_mean: whether the states have mean 0 before and after the block.
    """

    zero_mean: bool


class StepMemory(NamedTuple):
    """A source as the steps of a block attend to it: what they have in common is there already.

    Attributes:
        keys: (B, 1, H, S, K).
        values: the same, zero where they are masked.
        penalty: added to the scores, (B, 1, 1, 1, S): 0 or the lowest number; `None` where nothing
            is masked.
    """

    keys: Any
    values: Any
    penalty: Any


def step_memory(memory: Memory) -> StepMemory:
    """Prepares keys and values (B, H, S, K) of a source for all steps of a loop."""
    keys, values = (ops.expand_dims(x, 1) for x in (memory.keys, memory.values))
    if memory.mask is None:
        return StepMemory(keys, values, None)
    dtype = softmax_dtype(keys.dtype)
    visible = ops.cast(memory.mask[:, None, None, None], dtype)
    # So that a source without anything to attend to gives zeros.
    values = values * ops.cast(ops.swapaxes(visible, 3, 4), values.dtype)
    return StepMemory(keys, values, penalty_of(visible))


def step_weights(block, zero_mean=False) -> StepWeights:
    """Reads the weights of a `TransformerDecoderBlock`; see its `step_weights`."""
    attention, cross = block.self_attention, block.cross_attention
    dtype = block.compute_dtype
    inner = attention.qkv_bias.shape[0] // 3
    scale = 1 / math.sqrt(attention.key_dim)
    columns = [ops.full((inner,), scale, dtype), ops.ones((2 * inner,), dtype)]
    expand = Affine.from_layer(block.expand)
    if block.gated:
        gate = Affine.from_layer(block.gate)
        expand = Affine(
            *(ops.concatenate(pair, axis=-1) for pair in zip(expand, gate, strict=True))
        )
    inputs = [
        Affine.from_layer(attention, "qkv_").scaled(ops.concatenate(columns)),
        Affine.from_layer(cross, "query_").scaled(ops.cast(scale, dtype)),
        expand,
    ]
    outputs = [Affine.from_layer(attention, "output_"), Affine.from_layer(cross, "output_")]
    outputs += [Affine.from_layer(block.contract)]
    norms = [block.attention_norm, block.cross_attention_norm, block.feed_forward_norm]
    if block.norm_first:
        inputs = [p.fold_norm(norm) for p, norm in zip(inputs, norms, strict=True)]
        norms = []
    if zero_mean:
        outputs = [p.zero_mean() for p in outputs]
    qkv, query, expand = inputs
    attention_output, cross_output, contract = outputs
    scales = tuple(scale_and_shift(norm, dtype) for norm in norms)
    return StepWeights(
        qkv, attention_output, query, cross_output, expand, contract, scales, zero_mean
    )


def step(
    block,
    weights: StepWeights,
    inputs,
    cache: Memory,
    memory: Memory | StepMemory,
    index=None,
):
    """Makes one step; see `TransformerDecoderBlock.step`."""
    source = memory if isinstance(memory, StepMemory) else step_memory(memory)
    heads, hypotheses, width = block.num_heads, ops.shape(inputs)[1], inputs.shape[-1]
    size = block.self_attention.key_dim
    has_no_mean = weights.zero_mean or block.norm == "rms"

    def before(rows):
        return standardized(rows, block.norm_epsilon, has_no_mean) if block.norm_first else rows

    def after(rows, sublayer):
        if block.norm_first:
            return rows
        scale, shift = weights.norms[sublayer]
        rows = standardized(rows, block.norm_epsilon, has_no_mean)
        return ops.add(ops.multiply(rows, scale), shift)

    x = ops.reshape(inputs, (-1, width))
    new = ops.reshape(weights.qkv(before(x)), (-1, 3, heads, 1, size))
    query, key, value = ops.unstack(new, axis=1)  # (R, H, 1, K)
    positions, bias = block.positions, None
    if positions is not None:
        written = ops.shape(cache.keys)[2]
        here = position_ids(1, written if index is None else index)
        query, key = positions.rotate(query, here), positions.rotate(key, here)
        bias = positions.bias(here, position_ids(written + (index is None)))  # (H, 1, t + 1)
    if index is None:
        keys = ops.concatenate([cache.keys, key], axis=2)  # (R, H, t + 1, K)
        cache = Memory(keys, ops.concatenate([cache.values, value], axis=2))
    else:
        cache = block.self_attention.write(cache, Memory(key, value), index)
        visible = ops.cast(cache.mask[:, None, None], softmax_dtype(cache.keys.dtype))
        bias = penalty_of(visible) if bias is None else bias + penalty_of(visible)
    attended, _ = _attend(query, cache.keys, cache.values, bias=bias)
    x = after(x + weights.attention_output(ops.reshape(attended, (-1, heads * size))), 0)

    query = ops.reshape(weights.query(before(x)), (-1, hypotheses, heads, 1, size))
    attended, over_source = _attend(query, source.keys, source.values, bias=source.penalty)
    x = after(x + weights.cross_output(ops.reshape(attended, (-1, heads * size))), 1)
    if source.penalty is not None:
        over_source = over_source * ops.cast(ops.equal(source.penalty, 0), over_source.dtype)
    over_source = ops.swapaxes(ops.squeeze(over_source, axis=3), 1, 2)  # (B, H, N, S)

    middle = weights.expand(before(x))
    if block.gated:
        middle, gate = ops.split(middle, 2, axis=-1)
        middle = block.expand.activation(middle) * gate
    else:
        middle = block.expand.activation(middle)
    x = after(x + weights.contract(middle), 2)
    return ops.reshape(x, (-1, hypotheses, width)), over_source, cache


def generic_step(block, weights: GenericStepWeights, inputs, cache: Memory, memory, index=None):
    """Makes one step with attention layers of any kind; see `TransformerDecoderBlock.step`."""
    hypotheses, width = ops.shape(inputs)[1], inputs.shape[-1]

    def attend_to_itself(x):
        where = {} if index is None else {"index": index}
        return block.self_attention.step(x, cache, training=False, **where)

    x = ops.reshape(inputs, (-1, 1, width))
    x, _, cache = block.residual(x, block.attention_norm, attend_to_itself, training=False)
    x, over_source = block.attend_and_feed(
        ops.reshape(x, (-1, hypotheses, width)), memory, training=False
    )
    return subtract_mean(x) if weights.zero_mean else x, over_source, cache


def _attend(query, keys, values, bias=None):
    """Returns contexts (.., 1, K) and weights (.., 1, S) of scaled queries (.., 1, K)."""
    scores = low_latency_matmul(query, keys, transposed=True)
    weights = low_latency_softmax(scores, bias=bias)
    return low_latency_matmul(ops.cast(weights, values.dtype), values), weights


def standardized(rows, epsilon, has_no_mean=False):
    """Normalizes rows (.., D) without scale and shift; `has_no_mean` if their mean stays."""
    return unit_mean_square(rows if has_no_mean else subtract_mean(rows), epsilon)


def subtract_mean(rows):
    """Subtracts the mean of each row (.., D)."""
    exact = ops.cast(rows, softmax_dtype(rows.dtype))
    return ops.cast(exact - ops.mean(exact, axis=-1, keepdims=True), rows.dtype)


def unit_mean_square(rows, epsilon):
    """Scales rows (.., D) to a mean square of 1, which of mean 0 is their variance."""
    exact = ops.cast(rows, softmax_dtype(rows.dtype))
    square = ops.mean(ops.square(exact), axis=-1, keepdims=True)
    return ops.cast(ops.multiply(exact, ops.rsqrt(square + epsilon)), rows.dtype)
