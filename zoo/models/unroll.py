"""Gated recurrent units over time, with the gradients of their kernels taken out of the loop.

Left to itself, the gradient of a loop makes the whole gradient of every weight at every step and
adds it to a sum. But what a kernel gets is x^T dy summed over the steps: one product, once the x
and the dy of all steps are known. So the loops here run on kernels that have no gradient, and the
dy come back as the gradients of two terms of the gates of which every step has its own.

Shapes: T steps, B batch, D units, E embedding width.
"""

from __future__ import annotations

import keras
import tensorflow as tf

from ...layers.attention_gru_cell import gated_update
from ...layers.ops.dense import add_bias


class StepInputs:
    """What a gated recurrent unit adds to its products at each step, and the way back from it.

    Args:
        given: the part of the gates that depends on inputs alone, (T, ..., B, 3 D).
        candidate_bias: what the reset gate lets through beside the state's product, (..., D).
        recurrent_kernel: (..., D, 3 D).
        fed_kernel: of a further vector that is fed at each step, (..., C, 3 D), or `None`.
    """

    def __init__(self, given, candidate_bias, recurrent_kernel, fed_kernel=None):
        self._states: tf.Tensor | None = None
        self._fed: tf.Tensor | None = None
        kernels = [recurrent_kernel] if fed_kernel is None else [recurrent_kernel, fed_kernel]

        @tf.custom_gradient
        def separate(given, bias, *kernels):
            units = bias.shape[-1]
            shape = tf.concat([tf.shape(given)[:-1], [units]], axis=0)
            tiled = tf.broadcast_to(tf.expand_dims(bias, -2), shape)

            def gradient(d_given, d_bias):
                # Into the candidate the state's product goes through the reset gate, as the bias.
                d_recurrent = tf.concat([d_given[..., : 2 * units], d_bias], axis=-1)
                d_kernels = [_kernel_gradient(self._states, d_recurrent)]
                if len(kernels) == 2:
                    d_kernels.append(_kernel_gradient(self._fed, d_given))
                axes = [0, len(given.shape) - 2]
                to_bias = tf.reduce_sum(tf.cast(d_bias, tf.float32), axis=axes)
                return d_given, tf.cast(to_bias, bias.dtype), *d_kernels

            return (tf.identity(given), tiled), gradient

        given, biases = separate(given, candidate_bias, *kernels)
        steps = tf.shape(given)[0]
        self._given = tf.TensorArray(given.dtype, size=steps).unstack(given)
        self._biases = tf.TensorArray(given.dtype, size=steps).unstack(biases)

    def at(self, t: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The terms of step t: (..., B, 3 D) and (..., B, D)."""
        return self._given.read(t), self._biases.read(t)

    def tell(self, states: tf.Tensor, fed: tf.Tensor | None = None) -> None:
        """Says what the kernels were multiplied with at each step; known only after the loop."""
        self._states = tf.stop_gradient(states)
        self._fed = None if fed is None else tf.stop_gradient(fed)


def _kernel_gradient(inputs: tf.Tensor, dy: tf.Tensor) -> tf.Tensor:
    """x^T dy summed over steps and rows: (T, ..., B, I) and (T, ..., B, O) to (..., I, O)."""
    return tf.einsum("t...bi,t...bo->...io", inputs, dy)


@keras.saving.register_keras_serializable(package="attention_zoo")
class BidirectionalGRU(keras.layers.Layer):
    """Reads a batch of sequences in both directions at once.

    Both directions are one loop over a product of two pairs of matrices: half the steps, and on a
    processor of several cores each direction has its own. Padding comes last, so a reading from
    the left never meets it before the text ends, nor does one of the reversed text: no mask is
    needed at any step. The gates are those of `keras.layers.GRU` with `reset_after=True`; values
    equal those of `keras.layers.Bidirectional` under a mask.

    Args:
        units: width D of the state in each direction.

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
        dtype = self.compute_dtype
        shape = tf.shape(inputs)
        both = tf.stack([inputs, tf.reverse_sequence(inputs, lengths, seq_axis=1)])
        flat = tf.reshape(both, (2, -1, inputs.shape[-1]))
        given = tf.matmul(flat, tf.cast(self.kernel, dtype))
        given = add_bias(given, tf.cast(self.bias, dtype)[:, None])
        given = tf.reshape(given, (2, shape[0], shape[1], 3 * self.units))
        states = self._unroll(tf.transpose(given, (2, 0, 1, 3)))  # (S, 2, B, D)
        forward, backward = tf.unstack(tf.transpose(states, (1, 2, 0, 3)), axis=0)
        last = tf.concat(
            [tf.gather(x, lengths - 1, batch_dims=1) for x in (forward, backward)], axis=-1
        )
        backward = tf.reverse_sequence(backward, lengths, seq_axis=1)
        return tf.concat([forward, backward], axis=-1), last

    def _unroll(self, given):
        kernel = tf.cast(self.recurrent_kernel, given.dtype)
        inputs = StepInputs(given, tf.cast(self.candidate_bias, given.dtype), kernel)
        frozen = tf.stop_gradient(kernel)
        steps = tf.shape(given)[0]
        states = tf.TensorArray(given.dtype, size=steps)
        start = tf.zeros_like(given[0, ..., : self.units])

        def body(t, state, states):
            given, bias = inputs.at(t)
            state = gated_update(given, tf.matmul(state, frozen), bias, state)
            return t + 1, state, states.write(t, state)

        _, _, states = tf.while_loop(
            lambda t, *_: t < steps, body, (0, start, states), maximum_iterations=steps
        )
        states = states.stack()
        inputs.tell(tf.concat([start[None], states[:-1]], axis=0))
        return states

    def get_config(self):
        return {**super().get_config(), "units": self.units}


class _Pairwise(keras.initializers.Initializer):
    """Initializes each of a stack of matrices by itself, as if it were a weight of its own."""

    def __init__(self, name: str):
        self.name = name

    def __call__(self, shape, dtype=None):
        draw = keras.initializers.get(self.name)
        return keras.ops.stack([draw.clone()(shape[1:], dtype=dtype) for _ in range(shape[0])])
