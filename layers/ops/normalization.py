"""Normalizations of the last axis: that of layers in few passes, and that without a mean."""

import keras
from keras import ops

from .masks import softmax_dtype

_RMS = keras.layers.RMSNormalization


@keras.saving.register_keras_serializable(package="attention_zoo")
class LayerNormalization(keras.layers.LayerNormalization):
    """`keras.layers.LayerNormalization`, in two thirds of the time on TensorFlow.

    Numbers of the last axis get mean 0 and variance 1, then a learned scale and shift. TensorFlow
    takes the gradient operation by operation, of which each reads and writes the whole tensor; here
    it is the formula.

    Args:
        **kwargs: those of the Keras layer. Other axes than the last, and a layer without a scale or
            a shift, are left to it.

    Example:

    >>> x = LayerNormalization(epsilon=1e-6)(x)

    Reference: Ba et al. 2016, https://arxiv.org/abs/1607.06450
    """

    def call(self, inputs):
        rank = len(inputs.shape)
        ours = keras.backend.backend() == "tensorflow" and self.center and self.scale
        if not ours or self.rms_scaling or self.axis not in (-1, [-1], rank - 1, [rank - 1]):
            return super().call(inputs)
        exact = ops.cast(inputs, softmax_dtype(inputs.dtype))
        scale, shift = (ops.cast(weight, exact.dtype) for weight in (self.gamma, self.beta))
        return ops.cast(normalize(exact, scale, shift, self.epsilon), self.compute_dtype)


def normalize(inputs, scale, shift, epsilon):
    """Normalizes inputs (..., D) to mean 0 and variance 1, times a scale, plus a shift (D,)."""

    @ops.custom_gradient
    def standardize(inputs, scale, shift):
        centered = inputs - ops.mean(inputs, axis=-1, keepdims=True)
        variance = ops.mean(ops.square(centered), axis=-1, keepdims=True)
        factor = ops.rsqrt(variance + epsilon)
        standard = centered * factor

        def gradient(*arguments, upstream=None):
            upstream = arguments[0] if upstream is None else upstream
            width = inputs.shape[-1]
            rows, along = (ops.reshape(x, (-1, width)) for x in (upstream, upstream * standard))
            # Of upstream * scale, and of that times what came out, the mean of each row.
            column = ops.expand_dims(scale / width, 1)
            shape = (*ops.shape(inputs)[:-1], 1)
            mean, slope = (ops.reshape(ops.matmul(x, column), shape) for x in (rows, along))
            to_inputs = factor * (upstream * scale - mean - standard * slope)
            return to_inputs, ops.sum(along, axis=0), ops.sum(rows, axis=0)

        return standard * scale + shift, gradient

    return standardize(inputs, scale, shift)


def make_norm(kind: str, epsilon: float, **kwargs) -> keras.layers.Layer:
    """Makes a normalization of the last axis.

    Args:
        kind: `"layer"` for mean 0 and variance 1, or `"rms"` for a mean square of 1, whatever the
            mean (Zhang and Sennrich 2019), without a shift.
        epsilon: added to the variance or the mean square.
        **kwargs: `name` and `dtype`, as for every Keras layer.

    Returns:
        A layer.

    Raises:
        ValueError: for another kind.

    Reference: https://arxiv.org/abs/1910.07467
    """
    if kind not in ("layer", "rms"):
        raise ValueError(f"`norm` is 'layer' or 'rms'. Received: norm={kind!r}")
    norm = (_RMS if kind == "rms" else LayerNormalization)(epsilon=epsilon, **kwargs)
    norm.supports_masking = True  # of Keras's RMS normalization too, which does not say so
    return norm


def scale_and_shift(norm, dtype):
    """Reads scale and shift (D,) of a layer that `make_norm` made, in a type."""
    is_rms = isinstance(norm, _RMS)
    scale = ops.convert_to_tensor(norm.scale if is_rms else norm.gamma)
    shift = ops.zeros_like(scale) if is_rms else norm.beta
    return ops.cast(scale, dtype), ops.cast(shift, dtype)
