"""A matrix product with weights that were read once for many of them."""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
from keras import ops


class Product(NamedTuple):
    """A matrix product with what is added to it: kernel (D, D'), bias (D',)."""

    kernel: Any
    bias: Any

    @classmethod
    def of(cls, layer: keras.layers.Layer, name: str = "") -> Product:
        """Of the weights `{name}kernel` and `{name}bias` of a layer, in the type it computes in."""
        weights = (getattr(layer, f"{name}{part}") for part in ("kernel", "bias"))
        return cls(*(ops.cast(weight, layer.compute_dtype) for weight in weights))

    def __call__(self, rows):
        # Written so that TensorFlow makes one operation of both: where it does without oneDNN, a
        # product of one row takes several times as long alone.
        return ops.add(ops.matmul(rows, self.kernel), self.bias)

    def of_rows(self, inputs):
        """Of inputs (B, N, D) as one product of all rows: (B, N, D')."""
        outputs = self(ops.reshape(inputs, (-1, inputs.shape[-1])))
        return ops.reshape(outputs, (-1, ops.shape(inputs)[1], outputs.shape[-1]))

    def after(self, norm: keras.layers.LayerNormalization) -> Product:
        """The product of what is normalised: scale and shift of the norm are put into it."""
        scale, shift = as_type_of(self.kernel, norm.gamma, norm.beta)
        bias = ops.add(ops.matmul(ops.expand_dims(shift, 0), self.kernel)[0], self.bias)
        return Product(ops.multiply(ops.expand_dims(scale, 1), self.kernel), bias)

    def centred(self) -> Product:
        """The product less the mean of what it gives."""
        kernel_mean = ops.mean(self.kernel, axis=-1, keepdims=True)
        return Product(self.kernel - kernel_mean, self.bias - ops.mean(self.bias))

    def scaled(self, factor) -> Product:
        return Product(ops.multiply(self.kernel, factor), ops.multiply(self.bias, factor))


def as_type_of(like, *variables):
    """The variables as tensors of the type of another tensor."""
    return tuple(ops.cast(variable, like.dtype) for variable in variables)
