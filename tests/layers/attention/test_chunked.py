"""Attention in chunks, compared with attention to everything at once."""

import keras
import numpy as np
import pytest
from keras import ops
from numeric import (
    DTYPE,
    array,
    check_gradients,
    gradients_of,
    outputs_and_gradients,
    random_weights,
    require_close,
)

from attention_zoo.layers import (
    AlibiPositions,
    QKVAttention,
    RelativePositions,
    RotaryPositions,
    SelfAttention,
)
from attention_zoo.layers.attention import chunked
from attention_zoo.layers.testing import check_attention

RANDOM = np.random.default_rng(0)
INPUTS = RANDOM.normal(size=(2, 7, 6)).astype("float32")
VALUE = RANDOM.normal(size=(2, 5, 8)).astype("float32")
MASK = np.array([[1, 1, 1, 1, 1, 0, 0], [0, 1, 1, 0, 1, 1, 1]], bool)


def pair(kind, chunk_size, **options):
    """The same layer in chunks and without."""
    layers = []
    for size in (chunk_size, None):
        layer = kind(**{"num_heads": 4, "key_dim": 2, "chunk_size": size, **options})
        shapes = [INPUTS.shape] if kind is SelfAttention else [INPUTS.shape, VALUE.shape]
        layer.build(*shapes)
        random_weights(layer)
        layers.append(layer)
    return layers


def require_same(layers, *inputs, **options):
    """Values, and gradients of all weights and inputs."""
    require_close(*(outputs_and_gradients(layer, inputs, options) for layer in layers))


@pytest.mark.parametrize("chunk_size", [1, 3, 7, 20])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"causal": True},
        {"causal": True, "sliding_window": 2},
        {"sliding_window": 4, "num_kv_heads": 2},
        {"causal": True, "sliding_window": 1},
    ],
    ids=str,
)
def test_self_attention_in_chunks(chunk_size, options):
    require_same(pair(SelfAttention, chunk_size, **options), INPUTS)
    require_same(pair(SelfAttention, chunk_size, **options), INPUTS, mask=MASK)


@pytest.mark.parametrize(
    "positions", [RotaryPositions, AlibiPositions, lambda: RelativePositions(8, 5)]
)
def test_positions_in_chunks(positions):
    layers = [
        SelfAttention(4, 2, causal=True, positions=positions(), chunk_size=size)
        for size in (3, None)
    ]
    for layer in layers:
        layer.build(INPUTS.shape)
        random_weights(layer)
    require_same(layers, INPUTS)


@pytest.mark.parametrize(
    "masks",
    [
        {},
        {"use_causal_mask": True},
        {"attention_mask": RANDOM.random((2, 7, 5)) > 0.4},
        {"attention_mask": RANDOM.random((2, 4, 7, 5)) > 0.4, "use_causal_mask": True},
        {"query_mask": MASK, "value_mask": np.array([[1, 1, 0, 0, 1], [0] * 5], bool)},
    ],
    ids=lambda masks: "+".join(masks) or "none",
)
def test_cross_attention_in_chunks(masks):
    masks = {
        name: ops.convert_to_tensor(mask) if isinstance(mask, np.ndarray) else mask
        for name, mask in masks.items()
    }
    layers = pair(QKVAttention, 3, num_kv_heads=2, value_dim=3)
    require_same(layers, INPUTS, VALUE, **masks)


@pytest.mark.parametrize("causal", [True, False])
def test_gradients_are_finite_differences(causal):
    layer = SelfAttention(4, 2, num_kv_heads=2, causal=causal, sliding_window=3, chunk_size=2)
    check_gradients(layer, INPUTS)
    positions = RelativePositions(8, 5, dtype=DTYPE)
    layer = SelfAttention(2, 2, causal=causal, positions=positions, chunk_size=3)
    check_gradients(layer, INPUTS)


def test_no_more_scores_than_a_chunk_can_see(monkeypatch):
    shapes = []

    def recorded(scores, mask=None):
        shapes.append(tuple(scores.shape)[-2:])
        return original(scores, mask)

    original = chunked.masked_softmax
    monkeypatch.setattr(chunked, "masked_softmax", recorded)
    inputs = RANDOM.normal(size=(1, 40, 6)).astype("float32")
    layer = SelfAttention(2, 2, causal=True, sliding_window=5, chunk_size=10)
    layer(inputs)
    assert shapes == [(10, 10), (10, 14), (10, 14), (10, 14)]
    shapes.clear()
    SelfAttention(2, 2, causal=True, chunk_size=10)(inputs)
    assert shapes == [(10, 10), (10, 20), (10, 30), (10, 40)]
    shapes.clear()
    SelfAttention(2, 2, sliding_window=5, chunk_size=10)(inputs)
    assert shapes == [(10, 14), (10, 18), (10, 18), (10, 14)]


def test_weights_that_are_asked_for_are_whole():
    in_chunks, whole = pair(SelfAttention, 3, causal=True)
    context, weights = in_chunks(INPUTS, return_attention_scores=True)
    expected, expected_weights = whole(INPUTS, return_attention_scores=True)
    np.testing.assert_array_equal(array(context), array(expected))
    np.testing.assert_array_equal(array(weights), array(expected_weights))


def test_the_checks_pass_in_chunks():
    # Asking for weights would go round the chunks, so the checks do not ask for them.
    class WithoutWeights(SelfAttention):
        def call(self, inputs, mask=None, inputs_mask=None, training=None):
            return super().call(inputs, mask=mask, inputs_mask=inputs_mask, training=training)

    layer = WithoutWeights(4, 2, num_kv_heads=2, causal=True, chunk_size=2)
    checked = check_attention(layer, skip=("save and load", "symbolic shapes"))
    assert {"padding", "empty rows", "batch", "no future", "precision"} <= set(checked)


@pytest.mark.parametrize("dtype", ["mixed_float16", "mixed_bfloat16"])
def test_gradients_in_half_precision(dtype):
    kernels = []
    for given in (dtype, "float32"):
        positions = RelativePositions(8, 5)
        layer = SelfAttention(2, 4, positions=positions, chunk_size=3, dtype=given)
        inputs = keras.Input((7, 6))
        model = keras.Model(inputs, layer(inputs))
        random_weights(layer)
        model.compile(keras.optimizers.SGD(0.1), "mse")
        model.train_on_batch(INPUTS, np.zeros_like(INPUTS))
        kernels.append([array(weight) for weight in layer.weights])
    for one, other in zip(*kernels, strict=True):
        np.testing.assert_allclose(one, other, atol=0.02)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="lengths are always known")
def test_masks_whose_sizes_are_not_known(monkeypatch):
    import tensorflow as tf

    monkeypatch.setattr(chunked, "PARTS", 3)
    in_chunks, whole = pair(QKVAttention, 3)

    @tf.function(
        input_signature=[tf.TensorSpec([None, None, 6]), tf.TensorSpec([None] * 3, tf.bool)]
    )
    def attend(query, mask):
        return in_chunks(query, VALUE, attention_mask=mask)

    for shape in ((2, 7, 5), (1, 7, 1), (2, 1, 5)):
        mask = RANDOM.random(shape) > 0.4
        expected = whole(INPUTS, VALUE, attention_mask=mask)
        np.testing.assert_allclose(attend(INPUTS, mask), array(expected), atol=1e-5)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="lengths are always known")
@pytest.mark.parametrize("jit_compile", [False, True])
def test_lengths_that_are_not_known(jit_compile, monkeypatch):
    import tensorflow as tf

    # More chunks than a short sequence has places, so that some of them are empty.
    monkeypatch.setattr(chunked, "PARTS", 8)
    for options in ({"num_kv_heads": 2}, {"causal": True, "sliding_window": 3}):
        in_chunks, whole = pair(SelfAttention, 3, **options)

        @tf.function(input_signature=[tf.TensorSpec([None, None, 6])], jit_compile=jit_compile)
        def step(inputs, layer=in_chunks):
            with tf.GradientTape() as tape:
                tape.watch(inputs)
                value = tf.reduce_sum(tf.square(layer(inputs)))
            return value, tape.gradient(value, [inputs, layer.qkv_kernel])

        for inputs in (INPUTS, RANDOM.normal(size=(3, 40, 6)).astype("float32")):
            value, gradients = step(tf.constant(inputs))
            kernel, rest = array(whole.qkv_kernel), [array(w) for w in whole.weights[1:]]

            def function(inputs, kernel, whole=whole, rest=rest):
                outputs, _ = whole.stateless_call([kernel, *rest], [], inputs)
                return tf.reduce_sum(tf.square(outputs))

            expected = gradients_of(function, [inputs, kernel])
            np.testing.assert_allclose(value, function(inputs, kernel), rtol=1e-5)
            for one, other in zip(gradients, expected, strict=True):
                np.testing.assert_allclose(one, other, atol=1e-4 * abs(other).max())
