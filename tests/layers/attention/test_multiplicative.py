"""Multiplicative attention, compared with its formulas."""

import numpy as np
import pytest
from numeric import array, check_gradients, random_weights, softmax

from attention_zoo.layers import LuongAttention

RANDOM = np.random.default_rng(0)
QUERY = RANDOM.normal(size=(2, 3, 6)).astype("float32")
MASK = np.array([[1, 1, 0, 1], [0, 1, 1, 0]], bool)


def dot(weights, query, key):
    return query @ key


def general(weights, query, key):
    return query @ (key @ weights["kernel"])


def concat(weights, query, key):
    return weights["scale"] @ np.tanh(np.concatenate([query, key]) @ weights["kernel"])


@pytest.mark.parametrize(
    ("layer", "formula", "width"),
    [
        (LuongAttention("dot"), dot, 6),
        (LuongAttention("general"), general, 8),
        (LuongAttention("concat", units=5), concat, 8),
    ],
    ids=["dot", "general", "concat"],
)
def test_values_and_gradients(layer, formula, width):
    value = RANDOM.normal(size=(2, 4, width)).astype("float32")
    layer = LuongAttention.from_config(layer.get_config())
    layer.build(QUERY.shape, value.shape)
    weights = random_weights(layer)
    scores = np.zeros((2, 3, 4))
    for b, t, s in np.ndindex(2, 3, 4):
        scores[b, t, s] = formula(weights, QUERY[b, t], value[b, s])
    expected = softmax(scores, MASK[:, None])
    context, actual = layer(QUERY, value, value_mask=MASK, return_attention_scores=True)
    np.testing.assert_allclose(array(actual), expected, atol=1e-5)
    np.testing.assert_allclose(array(context), expected @ value, atol=1e-5)
    check_gradients(layer, QUERY, value)


def test_the_general_score_is_the_default():
    layer = LuongAttention()
    layer.build((None, None, 6), (None, None, 8))
    assert {weight.name: weight.shape for weight in layer.weights} == {"kernel": (8, 6)}


def test_unequal_widths_have_no_dot_product():
    value = np.zeros((2, 4, 8), "float32")
    with pytest.raises(ValueError, match=r"'general'.*Received: query.*\(2, 3, 6\).*\(2, 4, 8\)"):
        LuongAttention("dot")(QUERY, value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"score": "cosine"}, "dot, general, concat. Received: score='cosine'"),
        ({"score": "concat"}, "required there.* Received: score='concat', units=None"),
        ({"units": 4}, "meaningless.* Received: score='general', units=4"),
        ({"score": "concat", "units": 0}, "Received: units=0"),
    ],
)
def test_impossible_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        LuongAttention(**arguments)
