"""Gradients of biases over thousands of rows, in all precisions."""

import keras
import numpy as np
import pytest
from keras import ops
from numeric import array, gradients_of

from attention_zoo.layers.ops.dense import Dense, add_bias

ROWS = 5000
PRECISIONS = [("float32", 1e-6), ("bfloat16", 0.005), ("float16", 0.001)]


@pytest.mark.parametrize(("dtype", "tolerance"), PRECISIONS)
@pytest.mark.parametrize(
    ("shape", "bias_shape", "axes"),
    [
        ((ROWS, 3), (3,), (0,)),
        ((10, ROWS // 10, 3), (3,), (0, 1)),
        ((ROWS, 2, 3), (2, 3), (0,)),  # positions
        ((2, ROWS, 3), (2, 1, 3), (1,)),  # a bias of each direction
    ],
)
def test_a_bias_has_the_gradient_of_all_rows(shape, bias_shape, axes, dtype, tolerance):
    random = np.random.default_rng(0)
    inputs, bias = (random.normal(size=s).astype("float32") for s in (shape, bias_shape))

    def added(inputs, bias):
        outputs = add_bias(ops.cast(inputs, dtype), ops.cast(bias, dtype))
        return ops.cast(outputs, "float32")

    np.testing.assert_allclose(array(added(inputs, bias)), inputs + bias, atol=10 * tolerance)
    # Equal terms, as those of one frequent target are.
    to_inputs, to_bias = gradients_of(lambda *x: ops.sum(added(*x)), [inputs, bias])
    np.testing.assert_array_equal(to_inputs, np.ones(shape))
    expected = np.ones(shape).sum(axes, keepdims=bias_shape[-2:-1] == (1,))
    np.testing.assert_allclose(to_bias, expected, rtol=tolerance)


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("use_bias", [True, False])
def test_a_dense_layer_gives_what_that_of_keras_gives(precision, use_bias):
    options = {"activation": "tanh", "use_bias": use_bias, "dtype": precision}
    ours, theirs = Dense(4, **options), keras.layers.Dense(4, **options)
    inputs = np.random.default_rng(0).normal(size=(3, 5, 6)).astype("float32")
    ours.build(inputs.shape)
    theirs.build(inputs.shape)
    weights = [np.random.default_rng(1).normal(size=w.shape) for w in ours.weights]
    ours.set_weights(weights)
    theirs.set_weights(weights)
    actual, expected = ours(inputs), theirs(inputs)
    assert actual.dtype == expected.dtype
    np.testing.assert_array_equal(*(array(ops.cast(x, "float32")) for x in (actual, expected)))
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(ours))
    assert type(again) is Dense and again.get_config() == ours.get_config()


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_the_gradient_of_a_dense_layer_does_not_stop_at_256_rows(precision):
    if keras.backend.backend() != "tensorflow":
        pytest.skip("other backends sum in float32 themselves")
    import tensorflow as tf

    layer = Dense(2, dtype=precision)
    layer.build((None, 3))
    # Through the variables of the layer, which Keras casts; weights that are handed in it does not.
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(tf.cast(layer(np.ones((ROWS, 3), "float32")), tf.float32))
    for gradient in tape.gradient(total, layer.trainable_variables):
        np.testing.assert_allclose(gradient, np.full(gradient.shape, ROWS), rtol=0.005)
