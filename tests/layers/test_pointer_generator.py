"""Copying against its formula, on every Keras backend."""

import keras
import numpy as np
import pytest
from keras import ops
from numeric import array, check_gradients, gradients_of, random_weights

from attention_zoo.layers import BahdanauAttention, PointerGenerator
from attention_zoo.layers.pointer_generator import first_positions, log_mixture, pool_attention

B, T, S, V, F = 3, 4, 6, 9, 5
RANDOM = np.random.default_rng(0)
LOGITS = RANDOM.normal(0, 2, (B, T, V)).astype("float32")
FEATURES = RANDOM.normal(size=(B, T, F)).astype("float32")
# A word at three positions, a word at two, and padding.
SOURCE = np.array([[4, 5, 4, 7, 4, 3], [8, 3, 0, 0, 0, 0], [5, 5, 6, 7, 3, 0]], "int32")


def attention_over(source, steps=T):
    weights = RANDOM.random((len(source), steps, source.shape[1])) * (source != 0)[:, None]
    return (weights / weights.sum(-1, keepdims=True)).astype("float32")


ATTENTION = attention_over(SOURCE)


def reference(logits, p_gen, attention, source, copyable=None):
    """The mixture written word by word."""
    copyable = np.ones_like(source) if copyable is None else copyable
    copyable = copyable & (source >= 0) & (source < logits.shape[-1])
    exponentials = np.exp(logits.astype("float64") - logits.max(-1, keepdims=True))
    softmax = exponentials / exponentials.sum(-1, keepdims=True)
    mixture = p_gen[..., None] * softmax
    for b, t, s in np.ndindex(attention.shape):
        share = (1 - p_gen[b, t]) * attention[b, t, s]
        if copyable[b, s]:
            mixture[b, t, source[b, s]] += share
        else:
            mixture[b, t] += share * softmax[b, t]
    return np.log(mixture)


def built(**options):
    layer = PointerGenerator(**options)
    layer.build(LOGITS.shape, ATTENTION.shape, SOURCE.shape, FEATURES.shape)
    return layer, random_weights(layer)


def test_values_follow_the_formula():
    layer, weights = built()
    log_p, p_gen = layer(LOGITS, ATTENTION, SOURCE, FEATURES, return_p_gen=True)
    expected = 1 / (1 + np.exp(-(FEATURES @ weights["kernel"] + weights["bias"])[..., 0]))
    np.testing.assert_allclose(array(p_gen), expected, atol=1e-6)
    np.testing.assert_allclose(
        array(log_p), reference(LOGITS, expected, ATTENTION, SOURCE), atol=1e-5
    )
    np.testing.assert_allclose(np.exp(array(log_p)).sum(-1), 1.0, atol=1e-5)


def test_places_that_are_not_copied_leave_their_share_to_the_vocabulary():
    layer, _ = built()
    copyable = SOURCE > 4  # not the word at three positions, nor 3 at the end
    copyable[1] = False
    log_p, p_gen = layer(LOGITS, ATTENTION, SOURCE, FEATURES, copyable, return_p_gen=True)
    expected = reference(LOGITS, array(p_gen), ATTENTION, SOURCE, copyable)
    np.testing.assert_allclose(array(log_p), expected, atol=1e-5)
    log_softmax = LOGITS - np.log(np.exp(LOGITS).sum(-1, keepdims=True))
    np.testing.assert_allclose(array(log_p)[1], log_softmax[1], atol=1e-5)
    # Words that the vocabulary has not, beside the first and the last that it has.
    others = np.where(SOURCE == 5, V, np.where(SOURCE == 7, -1, SOURCE))
    others[0, 5], others[2, 4] = V - 1, 0
    for mask in (None, copyable):
        log_p = layer(LOGITS, ATTENTION, others, FEATURES, mask)
        expected = reference(LOGITS, array(p_gen), ATTENTION, others, mask)
        np.testing.assert_allclose(array(log_p), expected, atol=1e-5)


def test_words_that_the_vocabulary_has_not_have_columns_of_their_own():
    layer, _ = built()
    source = SOURCE.copy()
    source[0, [0, 3]], source[1, 0], source[2, 1], source[2, 2] = V, V + 1, V, -1
    copyable = np.ones_like(source, bool)
    copyable[0, 0] = False
    for mask in (None, copyable):
        log_p, p_gen = layer(
            LOGITS, ATTENTION, source, FEATURES, mask, return_p_gen=True, num_unknown=2
        )
        assert log_p.shape == (B, T, V + 2)
        # As in the paper: a vocabulary with two more words, which are never written.
        longer = np.pad(LOGITS, [(0, 0), (0, 0), (0, 2)], constant_values=-200)
        expected = reference(longer, array(p_gen), ATTENTION, source, mask)
        there = expected > -100
        np.testing.assert_allclose(array(log_p)[there], expected[there], atol=1e-5)
        assert (array(log_p)[~there] < -60).all() and not there[1, :, V].any()
        np.testing.assert_allclose(np.exp(array(log_p)).sum(-1), 1.0, atol=1e-5)


def test_places_of_a_word_are_pooled_at_the_first():
    first = array(first_positions(SOURCE))
    np.testing.assert_array_equal(first[0], [0, 1, 0, 3, 0, 5])
    np.testing.assert_array_equal(first[2], [0, 0, 2, 3, 4, 5])
    pooled = array(pool_attention(ops.convert_to_tensor(ATTENTION), first))
    expected = np.zeros_like(ATTENTION)
    for b, t, s in np.ndindex(ATTENTION.shape):
        expected[b, t, first[b, s]] += ATTENTION[b, t, s]
    np.testing.assert_allclose(pooled, expected, atol=1e-6)


def test_gradients_are_finite_differences():
    check_gradients(
        Differentiable(), LOGITS.astype("float64"), ATTENTION + (SOURCE == 0)[:, None], FEATURES
    )


@keras.saving.register_keras_serializable(package="tests")
class Differentiable(PointerGenerator):
    """The same with the source set, so that all inputs have a gradient."""

    def build(self, logits_shape, attention_shape, features_shape):
        super().build(logits_shape, attention_shape, SOURCE.shape, features_shape)

    def call(self, logits, attention, features):
        return super().call(logits, attention, SOURCE, features)


@pytest.mark.parametrize("gate", [-1e4, -60.0, 60.0, 1e4])
def test_neither_share_vanishes_nor_is_a_gradient_nan(gate):
    gates = np.full((B, T), gate, "float32")
    log_p = array(log_mixture(LOGITS, gates, ATTENTION, SOURCE))
    assert np.isfinite(log_p).all()
    if gate < 0:  # copied: what is not in the source has e to the gate of the probability
        log_softmax = LOGITS - np.log(np.exp(LOGITS).sum(-1, keepdims=True))
        np.testing.assert_allclose(log_p[0, :, 1], log_softmax[0, :, 1] + gate, rtol=1e-5)
        copied = np.log(ATTENTION[1, :, 0])
        np.testing.assert_allclose(log_p[1, :, 8], copied, atol=max(1e-5, -1e-7 * gate))

    def value(logits, gates, attention):
        return ops.sum(log_mixture(logits, gates, attention, SOURCE))

    for gradient in gradients_of(value, [LOGITS, gates, ATTENTION]):
        assert np.isfinite(gradient).all()


def test_a_source_without_anything_to_copy_leaves_the_vocabulary():
    nothing = np.zeros((B, T, 2), "float32")
    log_p = array(log_mixture(LOGITS, np.zeros((B, T), "float32"), nothing, SOURCE[:, :2]))
    np.testing.assert_allclose(
        log_p, LOGITS - np.log(np.exp(LOGITS).sum(-1, keepdims=True)), atol=1e-5
    )


def test_padding_and_neighbors_change_nothing():
    gates = RANDOM.normal(size=(B, T)).astype("float32")
    expected = array(log_mixture(LOGITS, gates, ATTENTION, SOURCE))
    padded = np.pad(SOURCE, [(0, 0), (0, 3)]), np.pad(ATTENTION, [(0, 0), (0, 0), (0, 3)])
    actual = array(log_mixture(LOGITS, gates, padded[1], padded[0]))
    np.testing.assert_allclose(actual, expected, atol=1e-6)
    for row in range(B):
        part = slice(row, row + 1)
        alone = array(log_mixture(LOGITS[part], gates[part], ATTENTION[part], SOURCE[part]))
        np.testing.assert_allclose(alone[0], expected[row], atol=1e-6)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float16", 2e-2), ("bfloat16", 1e-1)])
def test_half_precision_agrees(dtype, tolerance):
    layer, weights = built()
    half, _ = built(dtype=dtype)
    half.set_weights(list(weights.values()))
    expected = array(layer(LOGITS, ATTENTION, SOURCE, FEATURES))
    actual = half(ops.cast(LOGITS, dtype), ATTENTION, SOURCE, ops.cast(FEATURES, dtype))
    assert keras.backend.standardize_dtype(actual.dtype) == "float32"
    np.testing.assert_allclose(array(actual), expected, atol=tolerance)


def test_in_a_model_that_is_saved_and_trained(tmp_path):
    source = keras.Input((S,), dtype="int32")
    target = keras.Input((None,), dtype="int32")
    embedding = keras.layers.Embedding(V, 8)
    states = embedding(target)
    context, attention = BahdanauAttention(4)(
        states, embedding(source), value_mask=source != 0, return_attention_scores=True
    )
    features = keras.layers.Concatenate()([states, context])
    logits = keras.layers.Dense(V)(features)
    log_p = PointerGenerator()(logits, attention, source, features)
    assert log_p.shape == (None, None, V)
    model = keras.Model([source, target], log_p)
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    labels = np.array([[4, 5, 3], [8, 3, 3], [6, 7, 3]], "int32")
    inputs = [SOURCE, np.roll(labels, 1, axis=1)]
    before = model.get_weights()
    model.train_on_batch(inputs, labels)
    assert any(not np.allclose(*pair) for pair in zip(before, model.get_weights(), strict=True))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(array(loaded(inputs)), array(model(inputs)), atol=1e-6)


def test_attention_with_heads_is_refused():
    with pytest.raises(ValueError, match=r"choose a head.*Received: attention.shape=\(3, 2, 4, 6"):
        PointerGenerator()(LOGITS, np.stack([ATTENTION] * 2, 1), SOURCE, FEATURES)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "int64"])
def test_words_may_be_numbers_of_any_width(dtype):
    layer, _ = built()
    # Of so many words that their number is 4 in all narrow types.
    logits = np.pad(LOGITS, [(0, 0), (0, 0), (0, 2**16 + 4 - V)])
    expected = layer(logits, ATTENTION, SOURCE, FEATURES)
    np.testing.assert_array_equal(
        array(layer(logits, ATTENTION, SOURCE.astype(dtype), FEATURES)), array(expected)
    )


def test_the_mask_of_the_logits_goes_on():
    ids = keras.Input((None,), dtype="int32")
    embedded = keras.layers.Embedding(V, F, mask_zero=True)(ids)
    context, weights = BahdanauAttention(4)(embedded, embedded, return_attention_scores=True)
    logits = keras.layers.Dense(V, bias_initializer="random_normal")(context)
    model = keras.Model(ids, PointerGenerator()(logits, weights, ids, context))
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    losses = [
        model.evaluate(SOURCE[1:2], np.array([[1, 2, *[padding] * 4]]), verbose=0)
        for padding in (0, 7)
    ]
    assert losses[0] == losses[1]
