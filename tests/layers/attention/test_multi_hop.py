"""Attention in several hops against its formula, on every Keras backend."""

import numpy as np
import pytest
from numeric import array, check_gradients, random_weights, softmax

from attention_zoo.layers import AttentionGRUCell, MultiHopAttention
from attention_zoo.layers.testing import check_attention

RANDOM = np.random.default_rng(0)
QUERY = RANDOM.normal(size=(3, 4, 6)).astype("float32")
VALUE = RANDOM.normal(size=(3, 5, 8)).astype("float32")
MASK = np.arange(5) < np.array([[5], [2], [3]])


def built(hops=3, units=7):
    layer = MultiHopAttention(units, hops)
    layer.build(QUERY.shape, VALUE.shape)
    return layer, random_weights(layer)


def look(weights, hop, query, episode, values, mask):
    """The weights of one hop of one query, value by value."""
    hidden = [
        np.concatenate([v * query, abs(v - query)]) @ weights["compare_kernel"]
        + weights[f"bias_{hop}"]
        for v in values
    ]
    if hop:
        kernel = weights[f"compare_kernel_{hop}"]
        hidden = [
            h + np.concatenate([v * episode, abs(v - episode)]) @ kernel
            for h, v in zip(hidden, values, strict=True)
        ]
    return softmax(np.tanh(hidden) @ weights[f"scale_{hop}"][:, 0], mask)


NO_QUESTION = np.zeros((3, 8))


def reference(weights, hops, question=NO_QUESTION):
    """Episodes (B, T, D) and weights (B, H, T, S), query by query."""
    batch, steps, _ = QUERY.shape
    episodes = np.zeros((batch, steps, 8))
    attention = np.zeros((batch, hops, steps, 5))
    for b, t in np.ndindex(batch, steps):
        query = question[b] + QUERY[b, t] @ weights["query_kernel"]
        episode = query
        for hop in range(hops):
            paid = attention[b, hop, t] = look(weights, hop, query, episode, VALUE[b], MASK[b])
            told = np.concatenate([episode, paid @ VALUE[b], query])
            told = told @ weights[f"episode_kernel_{hop}"] + weights[f"episode_bias_{hop}"]
            episode = np.maximum(told, 0)
        episodes[b, t] = episode
    return episodes, attention


@pytest.mark.parametrize("hops", [1, 2, 3])
def test_values_follow_the_formula(hops):
    layer, weights = built(hops)
    episodes, attention = layer(QUERY, VALUE, value_mask=MASK, return_attention_scores=True)
    expected_episodes, expected_attention = reference(weights, hops)
    np.testing.assert_allclose(array(attention), expected_attention, atol=1e-6)
    np.testing.assert_allclose(array(episodes), expected_episodes, atol=1e-5)
    assert expected_episodes.std() > 0.1


def test_a_question_is_added_to_all_queries():
    layer, weights = built(2)
    question = RANDOM.normal(size=(3, 8)).astype("float32")
    episodes, attention = layer.attend(QUERY, layer.project(VALUE, mask=MASK, question=question))
    expected_episodes, expected_attention = reference(weights, 2, question)
    np.testing.assert_allclose(array(attention), expected_attention, atol=1e-6)
    np.testing.assert_allclose(array(episodes), expected_episodes, atol=1e-5)


def test_gradients_are_those_of_finite_differences():
    check_gradients(MultiHopAttention(5, hops=2), QUERY, VALUE)


def test_the_checks_pass():
    checked = check_attention(MultiHopAttention(6, hops=2), query_width=5, value_width=4)
    assert {"padding", "batch", "empty rows", "precision", "project and attend"} <= set(checked)


def test_a_mask_of_each_hop():
    layer, _ = built(hops=2)
    mask = np.ones((3, 2, 4, 5), bool)
    mask[:, 0, :, 0] = mask[:, 1, :, 4] = False
    _, paid = layer(QUERY, VALUE, attention_mask=mask, return_attention_scores=True)
    np.testing.assert_array_equal(array(paid) > 0, mask)


def test_in_a_cell_the_weights_are_the_mean_of_the_hops():
    layer, _ = built(hops=2)
    cell = AttentionGRUCell(6, 8, layer, attention_query="current_state")
    cell.build()
    memory = layer.project(VALUE, mask=MASK)
    inputs = RANDOM.normal(size=(3, 1, 18)).astype("float32")
    output, states, paid = cell(inputs, cell.initial_states(QUERY[:, :1]), memory)
    episode, looks = layer.attend(states[0], memory)
    np.testing.assert_allclose(array(paid), array(looks).mean(axis=1), atol=1e-6)
    np.testing.assert_allclose(array(output)[..., 6:], array(episode), atol=1e-6)


@pytest.mark.parametrize(
    ("options", "received"), [({"units": 0}, "units=0"), ({"units": 4, "hops": 1.5}, "hops=1.5")]
)
def test_impossible_arguments_are_refused(options, received):
    with pytest.raises(ValueError, match=f"Received: {received}"):
        MultiHopAttention(**options)


def test_keys_of_their_own_are_refused():
    layer, _ = built()
    with pytest.raises(ValueError, match="leave the keys out"):
        layer.project(VALUE, key=VALUE)


def test_without_values_the_query_alone_is_told():
    layer = MultiHopAttention(4)
    layer.build((2, 3, 6), (2, 5, 8))
    query = np.ones((2, 3, 6), "float32")
    expected = layer(query, np.ones((2, 5, 8), "float32"), value_mask=np.zeros((2, 5), bool))
    episode = layer(query, np.zeros((2, 0, 8), "float32"))
    np.testing.assert_allclose(array(episode), array(expected), atol=1e-6)
