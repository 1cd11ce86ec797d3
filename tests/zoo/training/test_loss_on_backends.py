"""The loss and its gradients on every Keras backend, against NumPy."""

import numpy as np
import pytest
from keras import ops
from numeric import array, gradients_of

from attention_zoo.zoo.training.loss import SmoothedCrossEntropy, mean_logits, rows_of

N, V, D = 40, 11, 4


def softmax(logits):
    exponentials = np.exp(logits - logits.max(-1, keepdims=True))
    return exponentials / exponentials.sum(-1, keepdims=True)


def smoothed_loss(labels, logits, smoothing):
    """The smoothed loss of each row, and its gradient for the logits."""
    targets = (1 - smoothing) * np.eye(V)[labels] + smoothing / V
    p = softmax(logits)
    return -(targets * np.log(p)).sum(-1), p - targets


@pytest.fixture
def given():
    random = np.random.default_rng(0)
    labels = np.where(random.uniform(size=N) < 0.5, 3, random.integers(0, V, N)).astype("int32")
    shapes = (N, D), (V, D), (V,)
    return labels, [random.normal(size=shape).astype("float32") for shape in shapes]


def test_the_mean_of_logits_leaves_padding_out(given):
    labels, (hidden, kernel, bias) = given
    logits = (hidden @ kernel.T + bias).reshape(8, 5, V)
    labels = labels.reshape(8, 5).copy()
    labels[2, 3:] = 0
    weights = np.linspace(0.5, 2, 8).astype("float32")
    each, _ = smoothed_loss(labels, logits, 0.2)
    counts = (labels != 0) * weights[:, None]
    expected = (each * counts).sum() / counts.sum()
    loss = SmoothedCrossEntropy(0.2)
    np.testing.assert_allclose(loss(labels, logits, sample_weight=weights), expected, rtol=1e-5)
    assert float(loss(np.zeros_like(labels), logits)) == 0.0


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_from_hidden_has_values_and_gradients_of_the_formula(given, smoothing):
    labels, (hidden, kernel, bias) = given
    weights = np.linspace(0.5, 2, N).astype("float32")
    each, to_logits = smoothed_loss(labels, hidden @ kernel.T + bias, smoothing)
    plain, _ = smoothed_loss(labels, hidden @ kernel.T + bias, 0.0)
    loss = SmoothedCrossEntropy(smoothing)
    found = loss.from_hidden(labels, hidden, kernel, bias)
    for actual, expected in zip(found, (each, plain), strict=True):
        np.testing.assert_allclose(array(actual), expected, rtol=1e-4)

    def total(*tensors):
        losses, _ = loss.from_hidden(labels, *tensors)
        return ops.sum(losses * ops.convert_to_tensor(weights))

    to_logits *= weights[:, None]
    expected = to_logits @ kernel, to_logits.T @ hidden, to_logits.sum(0)
    for actual, other in zip(gradients_of(total, [hidden, kernel, bias]), expected, strict=True):
        np.testing.assert_allclose(actual, other, atol=2e-5)


def test_two_readings_are_the_mean_of_both_and_their_divergence(given):
    labels, (hidden, kernel, bias) = given
    labels = labels[: N // 2]
    logits = hidden @ kernel.T + bias
    first, second = np.split(logits, 2)
    p, q = softmax(first), softmax(second)
    divergence = ((p * np.log(p / q)).sum(-1) + (q * np.log(q / p)).sum(-1)) / 2
    halves = [smoothed_loss(labels, half, 0.1)[0] for half in (first, second)]
    smoothed, _ = SmoothedCrossEntropy(0.1, r_drop=5.0).from_two_readings(
        labels, hidden, kernel, bias
    )
    np.testing.assert_allclose(array(smoothed), sum(halves) / 2 + 2.5 * divergence, rtol=1e-4)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_rows_of_a_frequent_id_have_their_whole_gradient(dtype):
    ids = np.full(5000, 2, "int32")

    def total(table):
        rows = rows_of(ops.cast(table, dtype), ops.convert_to_tensor(ids))
        return ops.sum(ops.cast(rows, "float32"))

    (gradient,) = gradients_of(total, [np.ones((4, 3), "float32")])
    np.testing.assert_allclose(gradient, 5000 * np.eye(4)[2][:, None] * np.ones(3), rtol=0.005)


def test_the_mean_logit(given):
    _, (hidden, kernel, bias) = given
    tensors = map(ops.convert_to_tensor, (hidden, kernel, bias))
    actual = mean_logits(*tensors)
    np.testing.assert_allclose(array(actual), (hidden @ kernel.T + bias).mean(-1), atol=1e-5)
