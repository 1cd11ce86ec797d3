"""Additive attention, compared with its formula."""

import numpy as np
import pytest
from keras import ops
from numeric import array, check_gradients, random_weights, softmax

from attention_zoo.layers import BahdanauAttention
from attention_zoo.layers.attention import additive as bahdanau

RANDOM = np.random.default_rng(0)
QUERY = RANDOM.normal(size=(5, 3, 6)).astype("float32")
VALUE = RANDOM.normal(size=(5, 4, 8)).astype("float32")
MASK = RANDOM.random((5, 4)) > 0.4


@pytest.fixture(params=[1, 2, 5, 8], ids="in {} parts".format)
def parts(request, monkeypatch):
    """The batch of 5 as a whole, in parts, and in more parts than it has rows."""
    monkeypatch.setattr(bahdanau, "_parts", lambda query, keys: request.param)
    return request.param


def reference(weights, query, key):
    scores = np.zeros((len(query), query.shape[1], key.shape[1]))
    for b, t, s in np.ndindex(scores.shape):
        hidden = query[b, t] @ weights["query_kernel"] + key[b, s] @ weights["key_kernel"]
        scores[b, t, s] = weights["scale"] @ np.tanh(hidden)
    return scores


@pytest.mark.usefixtures("parts")
def test_values_follow_the_formula():
    layer = BahdanauAttention(7)
    layer.build(QUERY.shape, VALUE.shape)
    weights = random_weights(layer)
    context, scores = layer(QUERY, VALUE, value_mask=MASK, return_attention_scores=True)
    expected = softmax(reference(weights, QUERY, VALUE), MASK[:, None])
    np.testing.assert_allclose(array(scores), expected, atol=1e-6)
    np.testing.assert_allclose(array(context), expected @ VALUE, atol=1e-5)


@pytest.mark.usefixtures("parts")
def test_gradients_are_finite_differences():
    check_gradients(BahdanauAttention(7), QUERY, VALUE, value_mask=ops.convert_to_tensor(MASK))


def test_gradients_with_keys_of_their_own():
    key = RANDOM.normal(size=(5, 4, 3))
    check_gradients(BahdanauAttention(2), QUERY, VALUE, key)


@pytest.mark.parametrize(
    ("query", "keys", "expected"),
    [
        ((64, 1, 256), (64, 32, 256), 1),  # a step of a decoder
        ((None, 5, 256), (None, None, 256), 1),  # a step of a beam search
        ((64, 24, 256), (64, 32, 256), 8),
        ((3, 900, 256), (3, 900, 256), 3),
        ((2, 24, 8), (2, 32, 8), 1),  # small
        ((None, None, 256), (None, None, 256), 8),
    ],
)
def test_only_large_calculations_are_divided(query, keys, expected):
    class Shaped:
        def __init__(self, shape):
            self.shape = shape

    assert bahdanau._parts(Shaped(query), Shaped(keys)) == expected


def test_a_row_without_numbers_stays_alone(monkeypatch):
    # The parts wait for one another, and must not hand on more than that.
    monkeypatch.setattr(bahdanau, "_parts", lambda query, keys: 5)
    layer = BahdanauAttention(7)
    expected = array(layer(QUERY, VALUE))
    query = QUERY.copy()
    query[1] = np.nan
    query[2] = np.inf
    context = array(layer(query, VALUE))
    np.testing.assert_array_equal(context[[0, 3, 4]], expected[[0, 3, 4]])


@pytest.mark.parametrize("units", [0, -1, 2.0, None, True])
def test_impossible_units(units):
    with pytest.raises(ValueError, match=f"positive whole number. Received: units={units}"):
        BahdanauAttention(units)
