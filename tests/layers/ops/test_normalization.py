"""Layer normalization: values and gradients are those of Keras's own layer."""

import keras
import numpy as np
import pytest
from keras import ops
from numeric import array, check_gradients, outputs_and_gradients, random_weights, require_close

from attention_zoo.layers.ops.normalization import LayerNormalization

RANDOM = np.random.default_rng(0)


def both(**options):
    layers = LayerNormalization(**options), keras.layers.LayerNormalization(**options)
    for layer in layers:
        layer.build((None, None, 6))
        random_weights(layer)
    return layers


@pytest.mark.parametrize("shape", [(4, 6), (3, 5, 6), (2, 3, 4, 6)])
@pytest.mark.parametrize(
    "options", [{}, {"epsilon": 0.5}, {"scale": False}, {"center": False}, {"axis": [-1]}]
)
def test_values_and_gradients_are_those_of_keras(shape, options):
    inputs = (RANDOM.normal(size=shape) * 3 + 1).astype("float32")
    ours, theirs = (outputs_and_gradients(layer, [inputs], {}) for layer in both(**options))
    require_close(ours, theirs)


def test_rows_of_equal_numbers_have_finite_gradients():
    inputs = np.full((2, 3, 6), 7.0, "float32")
    for values in outputs_and_gradients(both(epsilon=1e-6)[0], [inputs], {}):
        assert np.isfinite(array(values)).all()


@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "mixed_float16"])
def test_in_half_precision_it_is_computed_in_full(dtype):
    ours, theirs = both(dtype=dtype)
    inputs = ops.convert_to_tensor(RANDOM.normal(size=(3, 5, 6)) * 100 + 3, ours.compute_dtype)
    found = ours(inputs)
    assert keras.backend.standardize_dtype(found.dtype) == ours.compute_dtype
    expected = array(ops.cast(theirs(inputs), "float32"))
    np.testing.assert_allclose(array(ops.cast(found, "float32")), expected, atol=0.02)


def test_gradients_are_those_of_finite_differences():
    inputs = RANDOM.normal(size=(3, 4, 6)).astype("float32")
    check_gradients(both()[0], inputs)


def test_saved_and_made_again():
    layer = keras.saving.deserialize_keras_object(
        keras.saving.serialize_keras_object(LayerNormalization(epsilon=0.1, name="norm"))
    )
    assert type(layer) is LayerNormalization and layer.epsilon == 0.1 and layer.name == "norm"
