"""Self-attention: like attention to a sequence apart, and step by step."""

import keras
import numpy as np
import pytest
from keras import ops
from numeric import array, check_gradients, random_weights

from attention_zoo.layers import QKVAttention, RotaryPositions, SelfAttention

RANDOM = np.random.default_rng(0)
INPUTS = RANDOM.normal(size=(2, 5, 6)).astype("float32")
MASK = np.array([[1, 1, 1, 1, 0], [0, 1, 1, 0, 1]], bool)


def built(**options):
    layer = SelfAttention(**{"num_heads": 4, "key_dim": 3, **options})
    layer.build(INPUTS.shape)
    random_weights(layer)
    return layer


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("use_bias", [True, False])
def test_equals_attention_to_a_sequence_apart(causal, use_bias):
    layer = built(num_kv_heads=2, value_dim=5, output_dim=7, causal=causal, use_bias=use_bias)
    peer = QKVAttention(4, 3, num_kv_heads=2, value_dim=5, output_dim=7, use_bias=use_bias)
    peer.build(INPUTS.shape, INPUTS.shape)
    kernel, *others = layer.get_weights()
    edges = [12, 18]
    if use_bias:
        bias, *output = others
        pairs = zip(np.split(kernel, edges, 1), np.split(bias, edges), strict=True)
        peer.set_weights([weight for pair in pairs for weight in pair] + output)
    else:
        peer.set_weights([*np.split(kernel, edges, 1), *others])
    attention_mask = RANDOM.random((2, 5, 5)) > 0.3
    expected, expected_weights = peer(
        INPUTS,
        INPUTS,
        query_mask=MASK,
        value_mask=MASK,
        attention_mask=attention_mask,
        use_causal_mask=causal,
        return_attention_scores=True,
    )
    options = {"attention_mask": attention_mask, "return_attention_scores": True}
    for name in ("mask", "inputs_mask"):
        outputs, weights = layer(INPUTS, **{name: MASK}, **options)
        np.testing.assert_allclose(array(weights), array(expected_weights), atol=1e-6)
        np.testing.assert_allclose(array(outputs), array(expected), atol=1e-5)


@pytest.mark.parametrize("num_kv_heads", [4, 1])
def test_steps_of_any_length_equal_the_whole(num_kv_heads):
    layer = built(num_kv_heads=num_kv_heads, causal=True)
    expected, expected_weights = layer(INPUTS, mask=MASK, return_attention_scores=True)
    for lengths in ((1, 1, 1, 1, 1), (2, 3), (3, 1, 1), (5,)):
        cache, start = layer.initial_cache(2, 7), 0
        for length in lengths:
            part = slice(start, start + length)
            outputs, weights, cache = layer.step(INPUTS[:, part], cache, start, MASK[:, part])
            np.testing.assert_allclose(array(outputs), array(expected)[:, part], atol=1e-5)
            np.testing.assert_allclose(
                array(weights)[..., :5], array(expected_weights)[:, :, part], atol=1e-6
            )
            assert (array(weights)[..., 5:] == 0).all()
            start += length


@pytest.mark.parametrize("masked_from", [0, 2, 9])
@pytest.mark.parametrize("options", [{}, {"positions": RotaryPositions(), "sliding_window": 2}])
def test_a_cache_that_grows_equals_the_whole(options, masked_from):
    layer = built(causal=True, key_dim=4, **options)
    mask = np.where(np.arange(5) < masked_from, True, MASK)
    expected, expected_weights = layer(INPUTS, mask=mask, return_attention_scores=True)
    for lengths in ((1, 1, 1, 1, 1), (2, 3), (3, 1, 1)):
        cache, start = layer.initial_cache(2), 0
        for length in lengths:
            part = slice(start, start + length)
            given = {"mask": mask[:, part]} if start >= masked_from else {}
            outputs, weights, cache = layer.step(INPUTS[:, part], cache, **given)
            start += length
            np.testing.assert_allclose(array(outputs), array(expected)[:, part], atol=1e-5)
            np.testing.assert_allclose(
                array(weights), array(expected_weights)[:, :, part, :start], atol=1e-6
            )


def test_a_step_takes_its_place_as_a_tensor_and_leaves_the_old_cache_alone():
    layer = built(causal=True)
    cache = layer.initial_cache(2, 5)
    outputs, _, later = layer.step(INPUTS[:, :1], cache, ops.convert_to_tensor(0))
    expected, _, _ = layer.step(INPUTS[:, :1], cache, 0)
    np.testing.assert_array_equal(array(outputs), array(expected))
    assert (array(cache.keys) == 0).all()
    np.testing.assert_array_equal(array(later.mask), [[True] + [False] * 4] * 2)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="lengths are always known")
def test_steps_of_a_length_that_is_not_known_equal_the_whole():
    import tensorflow as tf

    layer = built(causal=True)

    @tf.function(input_signature=[tf.TensorSpec([2, None, 6])], autograph=False)
    def in_two_steps(inputs):
        outputs = []
        for cache, second in ((layer.initial_cache(2, 7), 2), (layer.initial_cache(2), None)):
            first = None if second is None else 0
            before, _, cache = layer.step(inputs[:, :2], cache, first)
            after, _, _ = layer.step(inputs[:, 2:], cache, second)
            outputs.append(tf.concat([before, after], axis=1))
        return outputs

    for outputs in in_two_steps(INPUTS):
        np.testing.assert_allclose(outputs, array(layer(INPUTS)), atol=1e-5)


def test_a_cache_is_reordered_by_its_first_axis():
    layer = built(causal=True)
    _, _, cache = layer.step(INPUTS[:, :1], layer.initial_cache(2, 5), 0)
    swapped = keras.tree.map_structure(lambda part: ops.take(part, [1, 0], axis=0), cache)
    outputs, _, _ = layer.step(INPUTS[:, 1:2], swapped, 1)
    mixed = np.stack([INPUTS[[1, 0], 0], INPUTS[:, 1]], axis=1)
    np.testing.assert_allclose(array(outputs), array(layer(mixed))[:, 1:], atol=1e-5)


def test_masks_of_embeddings_with_and_without_another_mask():
    ids, allowed = keras.Input((None,), dtype="int32"), keras.Input((None, None), dtype="bool")
    embedded = keras.layers.Embedding(9, 6, mask_zero=True)(ids)
    layer = SelfAttention(2, 3)
    alone = layer(embedded, return_attention_scores=True)[1]
    both = layer(embedded, attention_mask=allowed, return_attention_scores=True)[1]
    everything = np.ones((1, 3, 3), bool)
    results = keras.Model([ids, allowed], [alone, both])([np.array([[1, 2, 0]]), everything])
    for weights in map(array, results):
        assert (weights[..., 2, :] == 0).all()
        assert (weights[..., 2] == 0).all()
        np.testing.assert_allclose(weights[..., :2, :2].sum(axis=-1), 1, atol=1e-6)


@pytest.mark.parametrize("causal", [True, False])
def test_gradients_are_finite_differences(causal):
    check_gradients(SelfAttention(4, 3, num_kv_heads=2, causal=causal), INPUTS)


def test_refusals():
    with pytest.raises(ValueError, match=r"not causal.*Received: causal=False"):
        built().initial_cache(2, 5)
    layer = built(causal=True)
    with pytest.raises(ValueError, match="Received: index=3, steps=2, max_length=4"):
        layer.step(INPUTS[:, :2], layer.initial_cache(2, 4), 3)
    with pytest.raises(ValueError, match=r"inputs of shape|query of shape"):
        SelfAttention(4, 3)(INPUTS[0])
