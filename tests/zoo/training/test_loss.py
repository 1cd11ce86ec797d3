"""Smoothed cross entropy against smoothed one-hot targets, in NumPy and in Keras."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tiny_models import random_source, random_target, tiny_model

from attention_zoo.zoo.training.loss import SmoothedCrossEntropy, mean_logits, symmetric_divergence

B, T, V, D = 3, 5, 11, 4


def reference(labels, logits, smoothing):
    """Loss of each token with the smoothed target distribution written out, (B, T)."""
    logits = logits.astype("float64")
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    targets = (1 - smoothing) * np.eye(logits.shape[-1])[labels] + smoothing / logits.shape[-1]
    return -(targets * log_p).sum(-1)


@pytest.fixture
def logits():
    return np.random.default_rng(0).normal(0, 3, (B, T, V)).astype("float32")


@pytest.fixture
def labels():
    ids = np.random.default_rng(1).integers(1, V, (B, T)).astype("int32")
    ids[0, 3:] = 0
    ids[2, 1:] = 0
    return ids


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.6])
def test_equals_one_hot_targets_averaged_over_the_tokens_that_count(logits, labels, smoothing):
    counts = labels != 0
    expected = (reference(labels, logits, smoothing) * counts).sum() / counts.sum()
    loss = SmoothedCrossEntropy(smoothing)
    np.testing.assert_allclose(loss(labels, logits), expected, rtol=1e-5)
    # What does not count may be marked by what no vocabulary has.
    marked = SmoothedCrossEntropy(smoothing, ignore_class=-100)
    np.testing.assert_allclose(marked(np.where(counts, labels, -100), logits), expected, rtol=1e-5)
    # All tokens count if no class is left out.
    everything = SmoothedCrossEntropy(smoothing, ignore_class=None)
    expected = reference(labels, logits, smoothing).mean()
    np.testing.assert_allclose(everything(labels, logits), expected, rtol=1e-5)


def test_sample_weights_broadcast(logits, labels):
    counts, each = labels != 0, reference(labels, logits, 0.1)
    weights = np.array([[2.0], [0.0], [0.5]], "float32")
    expected = (each * counts * weights).sum() / (counts * weights).sum()
    for given in (weights, weights[:, 0]):  # of rows, as Keras's fit has them
        actual = SmoothedCrossEntropy(0.1)(labels, logits, sample_weight=given)
        np.testing.assert_allclose(actual, expected, rtol=1e-5)


def test_the_mean_of_a_large_vocabulary_is_one_in_half_precision():
    random = np.random.default_rng(0)
    kernel = random.normal(0.05, 0.06, (32_000, 16)).astype("float16")
    hidden, bias = random.normal(size=(3, 16)).astype("float16"), np.full(32_000, 0.05, "float16")
    expected = hidden.astype("float64") @ kernel.astype("float64").mean(0) + bias[0]
    actual = mean_logits(*map(tf.constant, (hidden, kernel, bias)))
    np.testing.assert_allclose(actual, expected, atol=2e-3)


def test_more_padding_changes_nothing(logits, labels):
    loss = SmoothedCrossEntropy(0.2)
    padded_labels = np.pad(labels, [(0, 2), (0, 3)])
    padded_logits = np.pad(logits, [(0, 2), (0, 3), (0, 0)], constant_values=7.0)
    np.testing.assert_allclose(loss(padded_labels, padded_logits), loss(labels, logits), rtol=1e-6)


def test_a_batch_of_padding_alone_has_no_loss():
    loss = SmoothedCrossEntropy(0.1)(np.zeros((2, 3), "int32"), np.ones((2, 3, V), "float32"))
    assert float(loss) == 0.0


def test_large_logits_in_half_precision_stay_finite():
    logits = tf.constant([[[60000.0, -60000.0, 0.0]]], tf.float16)
    loss = SmoothedCrossEntropy(0.1, ignore_class=None)(np.array([[0]]), logits)
    # The wrong tokens have 0.1 / 3 each, and lie 120000 and 60000 below the right one.
    np.testing.assert_allclose(loss, 0.1 / 3 * (120000 + 60000), rtol=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_from_hidden_equals_the_loss_of_the_logits(smoothing):
    random = np.random.default_rng(3)
    hidden, kernel, bias = (
        random.normal(size=shape).astype("float32") for shape in ((9, D), (V, D), (V,))
    )
    labels = random.integers(0, V, 9).astype("int32")
    logits = hidden @ kernel.T + bias
    smoothed, plain = SmoothedCrossEntropy(smoothing).from_hidden(labels, hidden, kernel, bias)
    np.testing.assert_allclose(smoothed, reference(labels, logits, smoothing), rtol=1e-4)
    np.testing.assert_allclose(plain, reference(labels, logits, 0.0), rtol=1e-4)


def written_out(labels, hidden, kernel, bias, smoothing):
    """The loss of each row from a distribution over the vocabulary, float32 (N,)."""
    logits = tf.cast(tf.matmul(hidden, kernel, transpose_b=True) + bias, tf.float32)
    targets = (1 - smoothing) * tf.one_hot(labels, V) + smoothing / V
    return -tf.reduce_sum(targets * tf.nn.log_softmax(logits), axis=-1)


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("bfloat16", 0.03)])
@pytest.mark.parametrize("rows", [9, 0])
def test_from_hidden_has_the_gradients_of_the_loss_written_out(smoothing, dtype, tolerance, rows):
    random = np.random.default_rng(3)
    shapes = (rows, D), (V, D), (V,)
    tensors = [tf.cast(random.normal(size=shape), dtype) for shape in shapes]
    labels = tf.constant(random.integers(0, 3, rows), tf.int32)  # the same target several times
    weights = tf.constant(random.uniform(0.1, 2, rows), tf.float32)

    def gradients(losses):
        with tf.GradientTape() as tape:
            tape.watch(tensors)
            value = tf.reduce_sum(losses(labels, *tensors) * weights)
        found = tape.gradient(value, tensors)
        return [tf.cast(tf.convert_to_tensor(gradient), tf.float32) for gradient in found]

    found = gradients(lambda *given: SmoothedCrossEntropy(smoothing).from_hidden(*given)[0])
    expected = gradients(lambda *given: written_out(*given, smoothing))
    for one, other in zip(found, expected, strict=True):
        size = np.abs(other).max(initial=1.0)
        np.testing.assert_allclose(one, other, atol=tolerance * size)


# Half precision, where the sums of a frequent target are long

MANY = 4000
PRECISIONS = [("float32", 1e-4), ("bfloat16", 0.02), ("float16", 0.005)]


def with_a_frequent_target(dtype, seed=3):
    """4,000 targets, nine in ten the same as after some training, on rows that are alike."""
    random = np.random.default_rng(seed)
    hidden = random.normal(0.5, 0.3, (MANY, D))
    kernel, bias = random.normal(0, 0.3, (V, D)), random.normal(0, 0.1, V)
    bias[3] += 2.0
    labels = np.where(random.uniform(size=MANY) < 0.9, 3, random.integers(0, V, MANY))
    # Values that every type has, so that the gradients differ by their own rounding alone.
    tensors = [tf.cast(tf.cast(x, "bfloat16"), dtype) for x in (hidden, kernel, bias)]
    return tf.constant(labels, tf.int32), tensors


def gradients_of_mean(losses, tensors):
    """Gradients of the mean of losses, which is scaled up for float16 as its optimizer does."""
    scale = 2.0**10
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        mean = scale * tf.reduce_mean(losses(*tensors))
    return [np.array(tf.cast(x, tf.float64)) / scale for x in tape.gradient(mean, tensors)]


def assert_close_by_norm(actual, expected, tolerance):
    for one, other in zip(actual, expected, strict=True):
        assert np.linalg.norm(one - other) <= tolerance * np.linalg.norm(other)


@pytest.mark.parametrize(("dtype", "tolerance"), PRECISIONS)
def test_a_frequent_target_has_its_whole_gradient(dtype, tolerance):
    labels, tensors = with_a_frequent_target(dtype)

    def exact(hidden, kernel, bias):
        logits = tf.matmul(hidden, kernel, transpose_b=True) + bias
        targets = 0.9 * tf.one_hot(labels, V, dtype=tf.float64) + 0.1 / V
        return -tf.reduce_sum(targets * tf.nn.log_softmax(logits), axis=-1)

    loss = SmoothedCrossEntropy(0.1)
    actual = gradients_of_mean(lambda *given: loss.from_hidden(labels, *given)[0], tensors)
    expected = gradients_of_mean(exact, [tf.cast(x, tf.float64) for x in tensors])
    assert_close_by_norm(actual, expected, tolerance)


@pytest.mark.parametrize(("dtype", "tolerance"), PRECISIONS)
def test_a_frequent_target_has_its_whole_gradient_in_two_readings(dtype, tolerance):
    labels, tensors = with_a_frequent_target(dtype)
    labels = labels[: MANY // 2]

    def exact(hidden, kernel, bias):
        logits = tf.matmul(hidden, kernel, transpose_b=True) + bias
        targets = 0.1 * tf.one_hot(tf.tile(labels, [2]), V, dtype=tf.float64) + 0.9 / V
        each = -tf.reduce_sum(targets * tf.nn.log_softmax(logits), axis=-1)
        p, q = tf.split(tf.nn.softmax(logits), 2)
        divergence = tf.reduce_sum((p - q) * (tf.math.log(p) - tf.math.log(q)), axis=-1) / 2
        return tf.add_n(tf.split(each, 2)) / 2 + 0.5 * divergence

    loss = SmoothedCrossEntropy(0.9, r_drop=1.0)  # the smoothed part has a sum of its own
    actual = gradients_of_mean(lambda *given: loss.from_two_readings(labels, *given)[0], tensors)
    expected = gradients_of_mean(exact, [tf.cast(x, tf.float64) for x in tensors])
    assert_close_by_norm(actual, expected, tolerance)


def test_from_hidden_bears_large_logits():
    hidden, kernel = tf.constant([[300.0]]), tf.constant([[1.0], [-1.0]])
    smoothed, plain = SmoothedCrossEntropy(0.0).from_hidden([1], hidden, kernel, tf.zeros(2))
    assert smoothed.numpy() == plain.numpy() == 600


@pytest.mark.parametrize("smoothing", [-0.1, 1.0, float("nan")])
def test_impossible_smoothing_is_refused(smoothing):
    with pytest.raises(ValueError, match=f"Received: smoothing={smoothing}"):
        SmoothedCrossEntropy(smoothing)


# R-Drop


def softmax(logits):
    powers = np.exp(logits.astype("float64"))
    return powers / powers.sum(-1, keepdims=True)


def divergence(first, second):
    """The mean of both Kullback-Leibler divergences, written out."""
    p, q = softmax(first), softmax(second)
    return ((p * np.log(p / q)).sum(-1) + (q * np.log(q / p)).sum(-1)) / 2


def test_symmetric_divergence_equals_its_definition():
    first, second = np.random.default_rng(0).normal(0, 3, (2, 6, V)).astype("float32")
    actual = symmetric_divergence(first, second)
    np.testing.assert_allclose(actual, divergence(first, second), rtol=1e-4)
    # Logits that are shifted as a whole are the same distribution.
    np.testing.assert_allclose(symmetric_divergence(first, first + 5.0), np.zeros(6), atol=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_two_readings_equal_their_losses_and_the_divergence(smoothing):
    random = np.random.default_rng(3)
    hidden, kernel, bias = (
        random.normal(size=shape).astype("float32") for shape in ((8, D), (V, D), (V,))
    )
    labels = random.integers(0, V, 4).astype("int32")
    first, second = np.split(hidden @ kernel.T + bias, 2)
    loss = SmoothedCrossEntropy(smoothing, r_drop=5.0)
    smoothed, plain = loss.from_two_readings(labels, hidden, kernel, bias)

    def mean(smoothing):
        return (reference(labels, first, smoothing) + reference(labels, second, smoothing)) / 2

    np.testing.assert_allclose(plain, mean(0.0), rtol=1e-4)
    expected = mean(smoothing) + 5.0 / 2 * divergence(first, second)
    np.testing.assert_allclose(smoothed, expected, rtol=1e-4)


@pytest.mark.parametrize("static_shapes", [False, True])
@pytest.mark.parametrize("kind", ["luong", "transformer"])
def test_a_model_trained_with_r_drop_reads_twice(kind, static_shapes):
    target, labels = random_target(5, [4, 1], V)
    inputs = {"source": random_source(6, [3, 2], V), "target": target}
    model = tiny_model(kind, vocab_size=V, dropout=0.5)
    model.static_shapes = static_shapes
    model.loss = SmoothedCrossEntropy(0.1, r_drop=3.0)

    # Other dropouts in both halves, none of which is left out of the reference.
    before = [seed.numpy() for seed in model.non_trainable_variables]
    smoothed, plain = model.token_losses(inputs, labels, training=True)
    for seed, value in zip(model.non_trainable_variables, before, strict=True):
        seed.assign(value)
    doubled = {name: np.concatenate([ids, ids]) for name, ids in inputs.items()}
    first, second = np.split(model(doubled, training=True).numpy(), 2)
    assert not np.allclose(first, second, atol=0.1)

    counts = labels != 0
    each = (reference(labels, first, 0.1) + reference(labels, second, 0.1)) / 2
    expected = each + 3.0 / 2 * divergence(first, second)
    likelihood = (reference(labels, first, 0.0) + reference(labels, second, 0.0)) / 2
    for actual, value in ((smoothed, expected), (plain, likelihood)):
        if static_shapes:
            np.testing.assert_allclose(actual, (value * counts).ravel(), rtol=1e-4, atol=1e-6)
        else:
            np.testing.assert_allclose(actual, value[counts], rtol=1e-4)

    # Outside of training it reads once, without dropout.
    smoothed, _ = model.token_losses(inputs, labels, training=False)
    expected = reference(labels, model(inputs).numpy(), 0.1)
    expected = (expected * counts).ravel() if static_shapes else expected[counts]
    np.testing.assert_allclose(smoothed, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("r_drop", [-1.0, float("nan"), float("inf")])
def test_impossible_r_drop_is_refused(r_drop):
    with pytest.raises(ValueError, match=f"Received: r_drop={r_drop}"):
        SmoothedCrossEntropy(0.1, r_drop=r_drop)


def test_config_round_trip():
    loss = SmoothedCrossEntropy(0.3, ignore_class=2, r_drop=2.5, name="mine")
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    assert type(again) is SmoothedCrossEntropy
    assert again.get_config() == loss.get_config()
