"""A matrix product with weights that were read once for many of them."""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
from keras import ops


class Product(NamedTuple):
    """A matrix product with what is added to it: kernel (D, D'), bias (D',).

    What is kept is the negative of the bias, which is then subtracted. For a product with an added
    bias TensorFlow takes one operation of oneDNN, which takes longer than both where there are few
    rows, as in a step of a decoder.
    """

    kernel: Any
    negative_bias: Any

    @classmethod
    def plus(cls, kernel, bias) -> Product:
        """The product with `kernel`, plus `bias`."""
        return cls(kernel, ops.negative(bias))

    @classmethod
    def of(cls, layer: keras.layers.Layer, name: str = "") -> Product:
        """Of the weights `{name}kernel` and `{name}bias` of a layer, in the type it computes in."""
        weights = (getattr(layer, f"{name}{part}") for part in ("kernel", "bias"))
        return cls.plus(*(ops.cast(weight, layer.compute_dtype) for weight in weights))

    def __call__(self, rows):
        return ops.subtract(ops.matmul(rows, self.kernel), self.negative_bias)

    def of_rows(self, inputs):
        """Of inputs (B, N, D) as one product of all rows: (B, N, D')."""
        outputs = self(ops.reshape(inputs, (-1, inputs.shape[-1])))
        return ops.reshape(outputs, (-1, ops.shape(inputs)[1], outputs.shape[-1]))

    def after(self, norm: keras.layers.LayerNormalization) -> Product:
        """The product of what is normalised: scale and shift of the norm are put into it."""
        scale, shift = as_type_of(self.kernel, norm.gamma, norm.beta)
        of_shift = ops.matmul(ops.expand_dims(shift, 0), self.kernel)[0]
        negative_bias = ops.subtract(self.negative_bias, of_shift)
        return Product(ops.multiply(ops.expand_dims(scale, 1), self.kernel), negative_bias)

    def centred(self) -> Product:
        """The product less the mean of what it gives."""
        return Product(*(part - ops.mean(part, axis=-1, keepdims=True) for part in self))

    def scaled(self, factor) -> Product:
        return Product(*(ops.multiply(part, factor) for part in self))


def as_type_of(like, *variables):
    """The variables as tensors of the type of another tensor."""
    return tuple(ops.cast(variable, like.dtype) for variable in variables)
