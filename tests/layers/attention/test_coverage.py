"""Attention with coverage against its formula, on every Keras backend."""

import keras
import numpy as np
import pytest
from keras import ops
from keras.backend import backend
from numeric import array, check_gradients, random_weights, softmax

from attention_zoo.layers import (
    AttentionGRUCell,
    BahdanauAttention,
    CoverageAttention,
    coverage_loss,
)
from attention_zoo.layers.attention.coverage import coverage_before
from attention_zoo.layers.testing import check_attention

RANDOM = np.random.default_rng(0)
QUERY = RANDOM.normal(size=(3, 4, 6)).astype("float32")
VALUE = RANDOM.normal(size=(3, 5, 8)).astype("float32")
MASK = np.arange(5) < np.array([[5], [2], [3]])


def built(units=7, **options):
    layer = CoverageAttention(units, **options)
    layer.build(QUERY.shape, VALUE.shape)
    return layer, random_weights(layer)


def reference(weights, query, key, mask):
    """Step by step, pair by pair."""
    batch, steps, _ = query.shape
    attention = np.zeros((batch, steps, key.shape[1]))
    for t in range(steps):
        coverage = attention[:, :t].sum(1)
        for b in range(batch):
            hidden = query[b, t] @ weights["query_kernel"] + key[b] @ weights["key_kernel"]
            hidden = hidden + coverage[b, :, None] * weights["coverage_kernel"]
            if "location_kernel" in weights and t > 0:
                hidden = hidden + located(attention[b, t - 1], weights["location_kernel"])
            attention[b, t] = softmax(np.tanh(hidden) @ weights["scale"], mask[b])
    return attention


def located(last, kernel):
    """For each key, what the attention of the step before to it and to its neighbors adds."""
    added, window = np.zeros((len(last), kernel.shape[1])), len(kernel) // 2
    for key in range(len(last)):
        for distance in range(-window, window + 1):
            if 0 <= key + distance < len(last):
                added[key] += last[key + distance] * kernel[distance + window]
    return added


@pytest.mark.parametrize("location_window", [0, 1, 3])
def test_values_follow_the_formula(location_window):
    layer, weights = built(location_window=location_window)
    context, attention = layer(QUERY, VALUE, value_mask=MASK, return_attention_scores=True)
    expected = reference(weights, QUERY, VALUE, MASK)
    np.testing.assert_allclose(array(attention), expected, atol=1e-6)
    np.testing.assert_allclose(array(context), expected @ VALUE, atol=1e-5)


@pytest.mark.parametrize("location_window", [0, 2])
def test_steps_with_coverage_handed_in_equal_the_sequence(location_window):
    layer, _ = built(location_window=location_window)
    context, attention = layer(QUERY, VALUE, value_mask=MASK, return_attention_scores=True)
    memory = layer.project(VALUE, mask=MASK)
    coverage = weights = ops.zeros((3, 1, 5))
    for t in range(QUERY.shape[1]):
        np.testing.assert_allclose(
            array(coverage)[:, 0], array(coverage_before(attention))[:, t], atol=1e-6
        )
        paid = {"coverage": coverage, **({"last": weights} if location_window else {})}
        step, weights = layer.attend(QUERY[:, t : t + 1], memory, **paid)
        np.testing.assert_allclose(array(step)[:, 0], array(context)[:, t], atol=1e-5)
        np.testing.assert_allclose(array(weights)[:, 0], array(attention)[:, t], atol=1e-6)
        coverage = coverage + weights


def test_queries_with_a_coverage_of_their_own_are_independent():
    layer, _ = built()
    memory = layer.project(VALUE, mask=MASK)
    coverage = RANDOM.random((3, 4, 5)).astype("float32")
    together = array(layer.attend(QUERY, memory, coverage=coverage)[1])
    for t in range(4):
        part = slice(t, t + 1)
        alone = layer.attend(QUERY[:, part], memory, coverage=coverage[:, part])[1]
        np.testing.assert_allclose(array(alone), together[:, part], atol=1e-6)
    assert not np.allclose(together, array(layer.attend(QUERY, memory, coverage=0 * coverage)[1]))


def test_without_its_kernel_it_is_additive_attention():
    layer, weights = built()
    plain = BahdanauAttention(7)
    plain.build(QUERY.shape, VALUE.shape)
    plain.set_weights([weights[weight.name] for weight in plain.weights])
    layer.coverage_kernel.assign(np.zeros(7))
    np.testing.assert_allclose(array(layer(QUERY, VALUE)), array(plain(QUERY, VALUE)), atol=1e-6)


@pytest.mark.parametrize("location_window", [0, 1])
def test_gradients_are_finite_differences(location_window):
    layer = CoverageAttention(7, location_window)
    check_gradients(layer, QUERY, VALUE, value_mask=ops.convert_to_tensor(MASK))


@pytest.mark.parametrize("window", [-1, 1.0, True])
def test_refuses_a_window_that_is_no_number_of_keys(window):
    with pytest.raises(ValueError, match=f"Received: location_window={window}"):
        CoverageAttention(7, window)


def test_a_coverage_and_the_last_weights_come_together():
    layer, _ = built(location_window=1)
    memory, paid = layer.project(VALUE), ops.zeros((3, 4, 5))
    for known in ({"coverage": paid}, {"last": paid}):
        with pytest.raises(ValueError, match="Received: location_window=1"):
            layer.attend(QUERY, memory, **known)


@pytest.mark.parametrize("location_window", [0, 1])
def test_the_checks_pass(location_window):
    # JAX compiles the loop over the queries again at every call: there, fewer checks.
    checks = ("padding", "no future", "project and attend") if backend() == "jax" else None
    layer = CoverageAttention(6, location_window)
    checked = check_attention(layer, query_width=5, value_width=4, checks=checks)
    assert {"padding", "no future", "project and attend"} <= set(checked)


@pytest.mark.parametrize("causal", [False, True])
def test_lengths_may_change_from_batch_to_batch(causal):
    layer, _ = built()
    shapes = [((None, 6), "float32"), ((None, 8), "float32"), ((None,), "bool")]
    query, value, mask = (keras.Input(shape, dtype=dtype) for shape, dtype in shapes)
    outputs = layer(query, value, value_mask=mask, use_causal_mask=causal)
    model = keras.Model([query, value, mask], outputs)
    for length in (4, 2, 3):
        inputs = (QUERY[:, :length], VALUE[:, : length + 1], MASK[:, : length + 1])
        expected = layer(*inputs[:2], value_mask=inputs[2], use_causal_mask=causal)
        np.testing.assert_allclose(
            model.predict_on_batch(list(inputs)), array(expected), rtol=1e-4, atol=1e-5
        )


def test_loss_is_the_attention_to_what_was_attended_to():
    attention = np.array([[[1.0, 0, 0], [0, 0.5, 0.5], [0.25, 0.75, 0], [0.5, 0, 0.5]]], "float32")
    coverage = np.array([[[0.0, 0, 0], [1, 0, 0], [1, 0.5, 0.5], [1.25, 1.25, 0.5]]])
    np.testing.assert_allclose(array(coverage_before(attention)), coverage, atol=1e-6)
    np.testing.assert_allclose(array(coverage_loss(attention)), [[0, 0, 0.75, 1]], atol=1e-6)
    halves = array(coverage_loss(attention, coverage / 2))
    np.testing.assert_allclose(halves, [[0, 0, 0.5, 0.75]], atol=1e-6)


@pytest.mark.parametrize("location_window", [0, 1])
@pytest.mark.parametrize(
    ("attention_query", "input_feeding"),
    [("previous_state", False), ("current_state", False), ("current_state", True)],
)
def test_cell_passes_the_coverage_on(attention_query, input_feeding, location_window):
    cell = AttentionGRUCell(
        6,
        8,
        CoverageAttention(7, location_window),
        attention_query=attention_query,
        input_feeding=input_feeding,
    )
    cell.build()
    memory = cell.attention.project(VALUE, mask=MASK)
    states = cell.initial_states(ops.convert_to_tensor(QUERY[:, :2]), memory)
    assert tuple(states[-1].shape) == (3, 2, 5)
    given = RANDOM.normal(size=(3, 2, 18)).astype("float32")
    total = np.zeros((3, 2, 5))
    for _ in range(3):
        previous = states
        _, states, weights = cell(given, states, memory)
        total += array(weights)
    np.testing.assert_allclose(array(states[-1]), total, atol=1e-6)
    for paid in range(1, 3 if location_window else 2):
        forgetful = list(previous)
        forgetful[-paid] = ops.zeros_like(forgetful[-paid])
        again = array(cell(given, tuple(forgetful), memory)[2])
        assert not np.allclose(again, array(weights), atol=1e-4)
