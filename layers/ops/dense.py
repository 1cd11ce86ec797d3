"""Biases whose gradients are summed in float32, whatever the type of computation."""

import keras
from keras import ops
from keras.backend import standardize_dtype

HALF = ("bfloat16", "float16")


@keras.saving.register_keras_serializable(package="attention_zoo")
class Dense(keras.layers.Dense):
    """`keras.layers.Dense` with the gradient of `add_bias` in half precision.

    In float32 the two are the same.

    Args:
        units: width of the outputs.
        activation: function applied to the outputs, or its name.
        **kwargs: those of the Keras layer.

    Example:

    >>> x = Dense(256, "relu", dtype="mixed_bfloat16")(x)
    """

    def quantize(self, mode=None, type_check=True, **kwargs):
        # Keras quantizes no subclasses of its layer unless they say so.
        return super().quantize(mode, type_check=False, **kwargs)

    def call(self, inputs, training=None):
        if self.bias is None or not _sums_in_half(inputs):
            return super().call(inputs, training=training)
        outputs = ops.matmul(inputs, self.kernel)
        outputs = add_bias(outputs, ops.cast(self.bias, outputs.dtype))
        return outputs if self.activation is None else self.activation(outputs)


def add_bias(inputs, bias):
    """Adds a bias to many rows; its gradient is summed over the rows in float32.

    Left to themselves, TensorFlow and JAX add up the gradient of a bias in the type of computation,
    TensorFlow row by row: a sum of equal terms stops growing at 256 times the term in bfloat16, at
    2,048 in float16. A product with ones is as fast, and products are summed in float32.

    Args:
        inputs: `(..., D)`, or `(..., N, D)` where the bias has rows of its own.
        bias: a tensor of the type of the inputs: their last axes, such as `(D,)`, or as many axes
            with a single row, `(..., 1, D)`.

    Returns:
        A tensor of the shape of the inputs.
    """
    if not _sums_in_half(inputs):
        return ops.add(inputs, bias)

    @ops.custom_gradient
    def add(inputs, bias):
        def gradient(*arguments, upstream=None):
            # Backends differ in how they hand in the gradient of the sum.
            upstream = rows = arguments[0] if upstream is None else upstream
            if len(bias.shape) < len(inputs.shape):
                rows = ops.reshape(upstream, (-1, ops.size(bias)))
            ones = ops.ones((1, ops.shape(rows)[-2]), dtype=rows.dtype)
            return upstream, ops.reshape(ops.matmul(ones, rows), ops.shape(bias))

        return ops.add(inputs, bias), gradient

    return add(inputs, bias)


def _sums_in_half(inputs):
    """True where gradients of these inputs would be summed in half precision."""
    half = standardize_dtype(inputs.dtype) in HALF
    return half and keras.backend.backend() != "torch"  # which sums in float32
