"""Affine maps."""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
from keras import ops

from .dense import add_bias
from .normalization import scale_and_shift


class Affine(NamedTuple):
    """A matrix product with a bias added to it, whose weights are read once for many products.

    Attributes:
        kernel: (D, D').
        bias: (D',).
    """

    kernel: Any
    bias: Any

    @classmethod
    def from_layer(cls, layer: keras.layers.Layer, name: str = "") -> Affine:
        """Reads the weights `{name}kernel` and `{name}bias` of a layer, in its compute type.

        Those are what the layer multiplies by: with LoRA, and as numbers where they are quantized.
        """
        kernel, bias = (getattr(layer, f"{name}{part}") for part in ("kernel", "bias"))
        if name:  # of an attention layer
            return cls(layer._cast(kernel), layer._cast(bias))
        kernel, bias = (ops.cast(weight, layer.compute_dtype) for weight in (kernel, bias))
        if layer.quantization_mode == "int8":
            kernel = ops.divide(kernel, ops.cast(layer.kernel_scale, kernel.dtype))
        return cls(kernel, bias)

    def __call__(self, inputs):
        """Maps inputs (R, D) to (R, D'), or (B, N, D) to (B, N, D') as one product of all rows."""
        rows = inputs if len(inputs.shape) == 2 else ops.reshape(inputs, (-1, inputs.shape[-1]))
        # Written so that TensorFlow makes one operation of both: where it does without oneDNN, a
        # product of one row takes several times as long alone.
        outputs = ops.add(ops.matmul(rows, self.kernel), self.bias)
        if len(inputs.shape) == 2:
            return outputs
        return ops.reshape(outputs, (-1, ops.shape(inputs)[1], ops.shape(outputs)[-1]))

    def fold_norm(self, norm: keras.layers.Layer) -> Affine:
        """Puts scale and shift of a norm into the map, which then takes inputs without them."""
        scale, shift = scale_and_shift(norm, self.kernel.dtype)
        bias = ops.add(ops.matmul(ops.expand_dims(shift, 0), self.kernel)[0], self.bias)
        return Affine(ops.multiply(ops.expand_dims(scale, 1), self.kernel), bias)

    def zero_mean(self) -> Affine:
        """Returns the map less the mean of its outputs."""
        kernel_mean = ops.mean(self.kernel, axis=-1, keepdims=True)
        return Affine(self.kernel - kernel_mean, self.bias - ops.mean(self.bias))

    def scaled(self, factor) -> Affine:
        """Returns the map times a number, or times numbers (D',)."""
        return Affine(ops.multiply(self.kernel, factor), ops.multiply(self.bias, factor))


def linear(inputs, kernel, bias=None):
    """Computes `inputs @ kernel + bias` over the last axis, as one matrix product.

    Flattening the leading axes matters: the gradient of a batched product with a matrix would
    make one matrix for every row of the batch before it adds them up.

    Args:
        inputs: `(..., D)`.
        kernel: `(D, D')`.
        bias: `(D',)` or `None`.

    Returns:
        `(..., D')`.
    """
    width = kernel.shape[-1]
    outputs = ops.matmul(ops.reshape(inputs, (-1, kernel.shape[0])), kernel)
    if bias is not None:
        outputs = add_bias(outputs, bias)
    if len(inputs.shape) == 2:
        return outputs
    return ops.reshape(outputs, (*ops.shape(inputs)[:-1], width))
