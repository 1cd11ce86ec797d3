"""Products and softmax of a step, compared with NumPy and with those of all steps at once."""

import keras
import numpy as np
import pytest
from keras import ops
from numeric import array

from attention_zoo.layers.ops.low_latency import low_latency_matmul, low_latency_softmax
from attention_zoo.layers.ops.masks import masked_softmax

RANDOM = np.random.default_rng(0)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "float64"])
@pytest.mark.parametrize("transposed", [False, True])
def test_products_are_those_of_numpy(dtype, transposed):
    if dtype == "float64" and keras.backend.backend() != "tensorflow":
        pytest.skip("JAX has no float64 unless it is told to")
    # Five hypotheses of three sources, two heads: the keys of a source serve all of them.
    query, keys = RANDOM.normal(size=(3, 5, 2, 1, 4)), RANDOM.normal(size=(3, 1, 2, 4, 6))
    given = np.swapaxes(keys, -1, -2) if transposed else keys
    query_tensor, keys_tensor = (ops.convert_to_tensor(x, dtype=dtype) for x in (query, given))
    found = low_latency_matmul(query_tensor, keys_tensor, transposed)
    assert keras.backend.standardize_dtype(found.dtype) == dtype
    tolerance = {"bfloat16": 0.1, "float16": 0.02}.get(dtype, 1e-6)
    found = array(ops.cast(found, "float32"))
    np.testing.assert_allclose(found, np.matmul(query, keys), atol=tolerance)


@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_the_softmax_is_that_of_all_steps(dtype, masked, with_bias):
    scores = ops.convert_to_tensor(RANDOM.normal(size=(3, 2, 1, 6)) * 100, dtype=dtype)
    bias = RANDOM.normal(size=(2, 1, 6)).astype("float32") if with_bias else None
    mask = None
    if masked:
        mask = np.array([[1, 1, 0, 1, 0, 0], [0, 0, 0, 0, 0, 0], [1] * 6], bool)[:, None, None]
    whole = ops.cast(scores, "float32")
    expected = masked_softmax(whole if bias is None else whole + bias, mask)
    found = low_latency_softmax(scores, mask, bias)
    np.testing.assert_allclose(array(found), array(expected), atol=1e-6)
    if masked:
        assert not array(found)[1].any()  # where all is hidden
        assert not array(found)[0][..., [2, 4, 5]].any()


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="of TensorFlow's graphs")
def test_nothing_in_a_step_takes_long_to_begin():
    import tensorflow as tf

    @tf.function(autograph=False)
    def attend(query, keys, mask):
        weights = low_latency_softmax(low_latency_matmul(query, keys, transposed=True), mask)
        return low_latency_matmul(weights, keys)

    shape, keys = tf.TensorSpec((None, 2, 1, 4)), tf.TensorSpec((None, 2, 6, 4))
    graph = attend.get_concrete_function(shape, keys, tf.TensorSpec((None, 1, 1, 6), tf.bool)).graph
    kinds = {operation.type for operation in graph.get_operations()}
    assert not kinds & {"BatchMatMulV2", "BatchMatMul", "MatMul", "Softmax", "Transpose"}
