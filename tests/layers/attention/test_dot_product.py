"""Scaled dot-product attention, compared with NumPy and with Keras's own layers."""

import keras
import numpy as np
import pytest
from keras import ops
from numeric import array, check_gradients, random_weights, softmax

from attention_zoo.layers import QKVAttention, RotaryPositions

RANDOM = np.random.default_rng(0)
QUERY = RANDOM.normal(size=(2, 4, 6)).astype("float32")
VALUE = RANDOM.normal(size=(2, 5, 8)).astype("float32")
KEY = RANDOM.normal(size=(2, 5, 7)).astype("float32")
MASK = np.array([[1, 1, 1, 0, 0], [0, 1, 1, 1, 1]], bool)


def reference(layer, weights, query, value, mask=None):
    """Head by head, with loops. `mask` is (B, T, S)."""
    batch, length, _ = query.shape
    group = layer.num_heads // layer.num_kv_heads
    contexts, all_weights = [], []
    for head in range(layer.num_heads):

        def columns(name, place, width):
            part = slice(place * width, (place + 1) * width)
            return weights[f"{name}_kernel"][:, part], weights[f"{name}_bias"][part]

        kernel, bias = columns("query", head, layer.key_dim)
        q = query @ kernel + bias
        kernel, bias = columns("key", head // group, layer.key_dim)
        k = value @ kernel + bias
        kernel, bias = columns("value", head // group, layer.value_dim)
        v = value @ kernel + bias
        scores = q @ k.transpose(0, 2, 1) / np.sqrt(layer.key_dim)
        all_weights.append(softmax(scores, mask))
        contexts.append(all_weights[-1] @ v)
    context = np.concatenate(contexts, axis=-1).reshape(batch, length, -1)
    context = context @ weights["output_kernel"] + weights["output_bias"]
    return context, np.stack(all_weights, axis=1)


@pytest.mark.parametrize("num_kv_heads", [4, 2, 1])
def test_values_follow_the_formula(num_kv_heads):
    layer = QKVAttention(4, 3, value_dim=5, num_kv_heads=num_kv_heads, output_dim=9)
    layer.build(QUERY.shape, VALUE.shape)
    weights = random_weights(layer)
    context, scores = layer(QUERY, VALUE, value_mask=MASK, return_attention_scores=True)
    expected, expected_scores = reference(layer, weights, QUERY, VALUE, MASK[:, None])
    np.testing.assert_allclose(array(scores), expected_scores, atol=1e-5)
    np.testing.assert_allclose(array(context), expected, atol=1e-4)
    assert context.shape == (2, 4, 9)


def with_weights_of(peer, layer):
    """Gives our layer the weights of a Keras layer, which lie in the same order but by heads."""
    layer.build(QUERY.shape, VALUE.shape, KEY.shape)
    ordered = [peer.query_dense, peer.key_dense, peer.value_dense, peer.output_dense]
    values = [weight for dense in ordered for weight in dense.get_weights()]
    layer.set_weights([v.reshape(w.shape) for v, w in zip(values, layer.weights, strict=True)])
    return layer


@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize(
    "masks",
    [
        {},
        {"value_mask": MASK},
        {"key_mask": MASK, "value_mask": MASK[:, ::-1]},
        {"use_causal_mask": True},
        {"attention_mask": RANDOM.random((2, 4, 5)) > 0.3},
        {"attention_mask": RANDOM.random((2, 2, 4, 5)) > 0.3},
        {"attention_mask": RANDOM.random((2, 4, 5)) > 0.3, "value_mask": MASK},
    ],
    ids=lambda masks: "+".join(masks) or "none",
)
def test_equals_keras_multi_head_attention(masks, use_bias):
    peer = keras.layers.MultiHeadAttention(2, 3, value_dim=5, use_bias=use_bias, output_shape=9)
    peer.build(QUERY.shape, VALUE.shape, KEY.shape)
    generator = np.random.default_rng(1)
    peer.set_weights([generator.normal(0, 0.5, w.shape) for w in peer.weights])
    layer = with_weights_of(peer, QKVAttention(2, 3, value_dim=5, use_bias=use_bias, output_dim=9))
    options = {"return_attention_scores": True, **masks}
    expected, expected_scores = peer(QUERY, VALUE, KEY, **options)
    actual, scores = layer(QUERY, VALUE, KEY, **options)
    np.testing.assert_allclose(array(scores), array(expected_scores), atol=1e-6)
    np.testing.assert_allclose(array(actual), array(expected), atol=1e-5)


@pytest.mark.parametrize("num_kv_heads", [1, 2])
def test_equals_keras_grouped_query_attention(num_kv_heads):
    peer = keras.layers.GroupQueryAttention(3, 4, num_kv_heads)
    peer.build(QUERY.shape, VALUE.shape)
    ours = QKVAttention(4, 3, num_kv_heads=num_kv_heads)
    ours.build(QUERY.shape, VALUE.shape)
    ours.set_weights(
        [v.reshape(w.shape) for v, w in zip(peer.get_weights(), ours.weights, strict=True)]
    )
    options = {"value_mask": MASK, "use_causal_mask": True, "return_attention_scores": True}
    expected, expected_scores = peer(QUERY, VALUE, **options)
    actual, scores = ours(QUERY, VALUE, **options)
    seen = array(expected_scores).sum(axis=-1, keepdims=True) > 0.5
    seen &= (MASK[:, None] & np.tril(np.ones((4, 5), bool))).any(axis=-1)[:, None, :, None]
    np.testing.assert_allclose(array(scores) * seen, array(expected_scores) * seen, atol=1e-6)
    rows = seen.all(axis=1)
    np.testing.assert_allclose(array(actual) * rows, array(expected) * rows, atol=1e-5)


@pytest.mark.parametrize("num_kv_heads", [4, 2])
def test_gradients_are_finite_differences(num_kv_heads):
    layer = QKVAttention(4, 3, value_dim=2, num_kv_heads=num_kv_heads)
    check_gradients(layer, QUERY, VALUE, value_mask=ops.convert_to_tensor(MASK))


def test_an_empty_row_gives_the_bias_of_the_output():
    layer = QKVAttention(2, 3)
    layer.build(QUERY.shape, VALUE.shape)
    weights = random_weights(layer)
    nothing = np.zeros_like(MASK)
    context, scores = layer(QUERY, VALUE, value_mask=nothing, return_attention_scores=True)
    np.testing.assert_array_equal(array(scores), np.zeros((2, 2, 4, 5)))
    expected = np.broadcast_to(weights["output_bias"], context.shape)
    np.testing.assert_allclose(array(context), expected, atol=1e-6)


def test_grouped_heads_keep_a_small_memory():
    layer = QKVAttention(8, 4, value_dim=3, num_kv_heads=2)
    layer.build(QUERY.shape, VALUE.shape)
    memory = layer.project(VALUE)
    assert tuple(memory.keys.shape) == (2, 2, 5, 4)
    assert tuple(memory.values.shape) == (2, 2, 5, 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_heads": 0}, "Received: num_heads=0"),
        ({"key_dim": -2}, "Received: key_dim=-2"),
        ({"value_dim": 0}, "Received: value_dim=0"),
        ({"output_dim": 1.5}, "Received: output_dim=1.5"),
        ({"num_kv_heads": 3}, "divide.* Received: num_heads=4, num_kv_heads=3"),
        ({"num_kv_heads": 8}, "divide.* Received: num_heads=4, num_kv_heads=8"),
        ({"num_kv_heads": 0}, "Received: num_kv_heads=0"),
        ({"positions": "rotary"}, "Received: positions='rotary'"),
        ({"positions": RotaryPositions()}, "even.* Received: key_dim=3"),
        ({"sliding_window": 0}, "Received: sliding_window=0"),
        ({"chunk_size": 8, "dropout": 0.1}, "Received: chunk_size=8, dropout=0.1"),
    ],
)
def test_impossible_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        QKVAttention(**{"num_heads": 4, "key_dim": 3, **arguments})
