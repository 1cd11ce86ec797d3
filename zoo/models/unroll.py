"""Gated recurrent units over time.

On TensorFlow the gradients of kernels are taken out of the loop. Left to itself, the gradient of a
loop makes the whole gradient of every weight at every step and adds it to a sum. But what a kernel
gets is x^T dy summed over the steps: one product, once the x and the dy of all steps are known. So
the loops here run on kernels that have no gradient, and the dy come back as the gradients of two
terms of the gates of which every step has its own.

Shapes: T steps, B batch, D units, E embedding width, S what is attended to.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from ...layers.attention_gru_cell import AttentionGRUCell, gated_update
from ...layers.ops.dense import HALF, add_bias
from ...layers.ops.masks import softmax_dtype
from .backend import reverse_sequences, take_beams, tensorflow


class StepInputs:
    """Terms that a gated recurrent unit adds to its products at each step, with their gradients.

    Args:
        tf: TensorFlow.
        given: The part of the gates that depends on inputs alone, (T, ..., B, 3 D).
        candidate_bias: What the reset gate lets through beside the state's product, (..., D).
        recurrent_kernel: (..., D, 3 D).
        fed_kernel: Of a further vector that is fed at each step, (..., C, 3 D), or `None`.
    """

    def __init__(self, tf, given, candidate_bias, recurrent_kernel, fed_kernel=None):
        self._states: Any = None
        self._fed: Any = None
        kernels = [recurrent_kernel] if fed_kernel is None else [recurrent_kernel, fed_kernel]

        def kernel_gradient(inputs, dy):
            # x^T dy summed over steps and rows: (T, ..., B, I) and (T, ..., B, O) to (..., I, O).
            # In float32, as some processors round to half precision in the middle of the sum.
            inputs, wide = (tf.cast(x, softmax_dtype(x.dtype)) for x in (inputs, dy))
            summed = tf.einsum("t...bi,t...bo->...io", tf.stop_gradient(inputs), wide)
            return tf.cast(summed, dy.dtype)

        @tf.custom_gradient
        def separate(given, bias, *kernels):
            units = bias.shape[-1]
            shape = tf.concat([tf.shape(given)[:-1], [units]], axis=0)
            tiled = tf.broadcast_to(tf.expand_dims(bias, -2), shape)

            def gradient(d_given, d_bias):
                # Into the candidate the state's product goes through the reset gate, as the bias.
                d_recurrent = tf.concat([d_given[..., : 2 * units], d_bias], axis=-1)
                d_kernels = [kernel_gradient(self._states, d_recurrent)]
                if len(kernels) == 2:
                    d_kernels.append(kernel_gradient(self._fed, d_given))
                axes = [0, len(given.shape) - 2]
                to_bias = tf.reduce_sum(tf.cast(d_bias, softmax_dtype(d_bias.dtype)), axis=axes)
                return d_given, tf.cast(to_bias, bias.dtype), *d_kernels

            return (tf.identity(given), tiled), gradient

        given, biases = separate(given, candidate_bias, *kernels)
        steps = tf.shape(given)[0]
        self._given = tf.TensorArray(given.dtype, size=steps).unstack(given)
        self._biases = tf.TensorArray(given.dtype, size=steps).unstack(biases)

    def at(self, t) -> tuple[Any, Any]:
        """The terms of step t: (..., B, 3 D) and (..., B, D)."""
        return self._given.read(t), self._biases.read(t)

    def multiplied_with(self, states, fed=None) -> None:
        """Says what the kernels were multiplied with at each step; known only after the loop."""
        self._states, self._fed = states, fed


def float32_sums(memory):
    """Prepares a memory that every step of a loop reads, with gradients summed in float32.

    A sum of equal terms of many steps stops growing in half precision: in bfloat16 at 256 of them.

    Returns:
        What is to be closed over by the loop, and a function that makes the memory of it in a step.
    """

    def is_half(x):
        return x is not None and keras.backend.standardize_dtype(x.dtype) in HALF

    wide = keras.tree.map_structure(lambda x: ops.cast(x, "float32") if is_half(x) else x, memory)
    if (tf := tensorflow()) is None:
        return wide, lambda wide: keras.tree.map_structure(
            lambda x, like: ops.cast(x, like.dtype) if is_half(like) else x, wide, memory
        )
    narrow = tf.nest.map_structure(lambda x: tf.stop_gradient(x) if is_half(x) else x, memory)

    @tf.custom_gradient
    def as_wide(narrow, wide):
        return tf.identity(narrow), lambda upstream: (None, tf.cast(upstream, wide.dtype))

    # In a step nothing is cast: the wide one is read by no operation but the gradient's.
    return wide, lambda wide: tf.nest.map_structure(
        lambda x, half: as_wide(half, x) if is_half(half) else x, wide, narrow
    )


def unroll_gru(given, recurrent_kernel, candidate_bias):
    """The states of a gated recurrent unit that starts from zeros.

    Args:
        given: The part of the gates from inputs, (T, ..., B, 3 D).
        recurrent_kernel: (..., D, 3 D).
        candidate_bias: (..., D).

    Returns:
        (T, ..., B, D).
    """
    start = ops.zeros_like(given[0, ..., : candidate_bias.shape[-1]])
    if (tf := tensorflow()) is None:
        bias = ops.expand_dims(candidate_bias, -2)

        def step(state, given):
            state = gated_update(given, ops.matmul(state, recurrent_kernel), bias, state)
            return state, state

        return ops.scan(step, start, given)[1]
    inputs = StepInputs(tf, given, candidate_bias, recurrent_kernel)
    frozen = tf.stop_gradient(recurrent_kernel)
    steps = tf.shape(given)[0]

    def body(t, state, states):
        given, bias = inputs.at(t)
        state = gated_update(given, tf.matmul(state, frozen), bias, state)
        return t + 1, state, states.write(t, state)

    _, _, states = tf.while_loop(
        lambda t, *_: t < steps,
        body,
        (0, start, tf.TensorArray(given.dtype, size=steps)),
        maximum_iterations=steps,
    )
    states = states.stack()
    inputs.multiplied_with(tf.concat([start[None], states[:-1]], axis=0))
    return states


def unroll_cell(cell: AttentionGRUCell, given, states, memory, with_scores: bool = False):
    """A cell over all steps.

    Args:
        cell: The cell.
        given: What its `input_projection` returned, (B, T, 3 D).
        states: Before the first step, (B, 1, ...) each.
        memory: What is attended to.
        with_scores: Whether the attention weights are asked for.

    Returns:
        Outputs (B, T, output width), states (B, T, D), and attention weights (B, T, S) or ().
    """
    weights, given = cell.step_weights(), ops.transpose(given, (1, 0, 2))
    with_scores = with_scores and cell.attention is not None
    if (tf := tensorflow()) is None:
        wide, in_step = float32_sums(memory)

        def step(carry, given):
            output, states, scores = cell(given[:, None], carry[0], in_step(wide), weights)
            carry = (states, output, scores if with_scores else ())
            return carry, carry

        # Some backends want what is collected to be like what is carried, so the first step begins.
        first, _ = step((states,), given[0])
        _, rest = ops.scan(step, first, given[1:])
        states, outputs, scores = keras.tree.map_structure(
            lambda x, more: ops.concatenate([x[None], more])[:, :, 0], first, rest
        )
        hidden = states[0]
    else:
        outputs, hidden, scores = _unroll_in_graph(tf, cell, given, states, memory, with_scores)
    outputs, hidden = (ops.transpose(x, (1, 0, 2)) for x in (outputs, hidden))
    return outputs, hidden, ops.transpose(scores, (1, 0, 2)) if with_scores else ()


def _unroll_in_graph(tf, cell, given, states, memory, with_scores):
    """The same with time first, and one gradient of each kernel for all steps."""
    weights, steps = cell.step_weights(), tf.shape(given)[0]
    inputs = StepInputs(
        tf, given, weights.candidate_bias, weights.recurrent_kernel, weights.context_kernel
    )
    wide, in_step = float32_sums(memory)
    frozen = tf.nest.map_structure(tf.stop_gradient, weights)
    dtypes = [given.dtype, given.dtype, *([softmax_dtype(given.dtype)] if with_scores else [])]

    def body(t, states, arrays):
        given, bias = inputs.at(t)
        step_weights = frozen._replace(candidate_bias=tf.expand_dims(bias, 1))
        read = in_step(wide)
        output, states, scores = cell(tf.expand_dims(given, 1), states, read, step_weights)
        values = (output, states[0], scores)[: len(arrays)]
        arrays = [array.write(t, tf.squeeze(x, 1)) for array, x in zip(arrays, values, strict=True)]
        return t + 1, states, arrays

    _, _, arrays = tf.while_loop(
        lambda t, *_: t < steps,
        body,
        (0, states, [tf.TensorArray(dtype, size=steps) for dtype in dtypes]),
        maximum_iterations=steps,
    )
    outputs, hidden, *scores = (array.stack() for array in arrays)
    before = tf.concat([tf.transpose(states[0], (1, 0, 2)), hidden[:-1]], axis=0)
    fed = outputs if cell.input_feeding else outputs[..., cell.units :]
    if cell.attention_query == "current_state":  # at the step after
        fed = tf.concat([tf.zeros_like(fed[:1]), fed[:-1]], axis=0)
    inputs.multiplied_with(before, fed)
    outputs = tf.ensure_shape(outputs, (None, None, cell.output_width))
    return outputs, hidden, scores[0] if scores else ()


@keras.saving.register_keras_serializable(package="attention_zoo")
class BidirectionalGRU(keras.layers.Layer):
    """Reads a batch of sequences in both directions at once.

    Both directions are one loop over a product of two pairs of matrices: half the steps, and on a
    processor of several cores each direction has its own. Padding comes last, so a reading from
    the left never meets it before the text ends, nor does one of the reversed text: no mask is
    needed at any step. The gates are those of `keras.layers.GRU` with `reset_after=True`; values
    equal those of `keras.layers.Bidirectional` under a mask.

    Args:
        units: Width D of the state in each direction.

    Call arguments:
        inputs: (B, S, E).
        lengths: int32 (B,), at least 1; the rest of a row is padding.

    Returns:
        The states (B, S, 2 D), meaningless on padding, and the last of each direction (B, 2 D).

    Example:

    >>> states, last = BidirectionalGRU(64)(embedded, lengths)

    References: https://arxiv.org/abs/1406.1078; Schuster and Paliwal 1997,
    https://doi.org/10.1109/78.650093
    """

    def __init__(self, units: int, **kwargs):
        super().__init__(**kwargs)
        if units < 1:
            raise ValueError(f"units must be positive. Received: units={units}")
        self.units = units

    def build(self, input_shape, lengths_shape=None):
        width, gates = input_shape[-1], 3 * self.units
        self.kernel = self.add_weight((2, width, gates), _Pairwise("glorot_uniform"), name="kernel")
        self.recurrent_kernel = self.add_weight(
            (2, self.units, gates), _Pairwise("orthogonal"), name="recurrent_kernel"
        )
        self.bias = self.add_weight((2, gates), "zeros", name="bias")
        self.candidate_bias = self.add_weight((2, self.units), "zeros", name="candidate_bias")

    def call(self, inputs, lengths):
        kernel, recurrent_kernel, bias, candidate_bias = (
            ops.cast(weight, self.compute_dtype)
            for weight in (self.kernel, self.recurrent_kernel, self.bias, self.candidate_bias)
        )
        batch, length = ops.shape(inputs)[:2]
        both = ops.stack([inputs, reverse_sequences(inputs, lengths)])
        flat = ops.reshape(both, (2, -1, inputs.shape[-1]))
        given = add_bias(ops.matmul(flat, kernel), ops.expand_dims(bias, 1))
        given = ops.reshape(given, (2, batch, length, 3 * self.units))
        states = unroll_gru(  # (S, 2, B, D)
            ops.transpose(given, (2, 0, 1, 3)), recurrent_kernel, candidate_bias
        )
        forward, backward = ops.unstack(ops.transpose(states, (1, 2, 0, 3)), 2, axis=0)
        ends = ops.expand_dims(lengths - 1, 1)
        last = ops.concatenate([take_beams(x, ends)[:, 0] for x in (forward, backward)], axis=-1)
        backward = reverse_sequences(backward, lengths)
        return ops.concatenate([forward, backward], axis=-1), last


class _Pairwise(keras.initializers.Initializer):
    """Initializes each of a stack of matrices by itself, as if it were a weight of its own."""

    def __init__(self, name: str):
        self.name = name

    def __call__(self, shape, dtype=None):
        draw = keras.initializers.get(self.name)
        return ops.stack([draw.clone()(shape[1:], dtype=dtype) for _ in range(shape[0])])
