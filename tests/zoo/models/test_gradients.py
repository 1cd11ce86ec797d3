"""Gradients of every model by finite differences in float64; rows that know nothing of others."""

import numpy as np
import pytest
import tensorflow as tf
from tiny_models import KINDS, VARIANTS, random_source, random_target, tiny_model

from attention_zoo.zoo.decoding import generate
from attention_zoo.zoo.decoding.options import GenerationOptions

V = 12
MORE = {  # what the variants do not have
    "previous-state-qkv": ("qkv", {"attention_query": "previous_state"}),
    "fed-bahdanau": ("bahdanau", {"input_feeding": True}),
    "luong-concat": ("luong-concat", {}),
    "untied-pointer": ("pointer", {"tie_embeddings": False}),
    "rotary-copying": ("copying-transformer", {"positions": "rotary", "norm_first": False}),
    "relative-post-norm": ("transformer", {"positions": "relative", "norm_first": False}),
    "alibi-post-norm": ("transformer", {"positions": "alibi", "norm_first": False}),
}
ALL = (*KINDS, *VARIANTS, *MORE)


def make(kind, **options):
    kind, own = MORE.get(kind, (kind, {}))
    return tiny_model(kind, V, seed=5, **own, **options)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["transformer", "copying-transformer", *VARIANTS, *MORE])
def test_gradients_are_finite_differences(kind):
    model = make(kind, dtype="float64")
    source = random_source(1, [5, 1, 3], V, padding=1)
    target, labels = random_target(2, [3, 4, 1], V)
    if model.copies:
        source[0, [0, 2]], source[0, 3], labels[0, 0], target[0, 1] = -1, -2, -1, -1
    inputs = {"source": tf.constant(source), "target": tf.constant(target)}

    @tf.function
    def loss():
        # In float64 to the end, which the loss of a training is not.
        logits = model({**inputs, "num_unknown": tf.constant(2)} if model.copies else inputs)
        columns = tf.where(labels < 0, V - 1 - labels, labels)
        log_p = tf.nn.log_softmax(tf.cast(logits, tf.float64))
        chosen = tf.gather(log_p, columns, batch_dims=2)
        return -tf.reduce_sum(tf.where(labels == 0, tf.zeros_like(chosen), chosen))

    @tf.function
    def gradients():
        with tf.GradientTape() as tape:
            value = loss()
        return tape.gradient(value, [w.value for w in model.trainable_variables])

    random = np.random.default_rng(0)
    step, tolerance = 1e-5, 1e-5
    for weight, found in zip(model.trainable_variables, gradients(), strict=True):
        direction = random.normal(size=weight.shape)
        before = weight.numpy()
        values = []
        for sign in (1, -1):
            weight.assign(before + sign * step * direction)
            values.append(float(loss()))
        weight.assign(before)
        expected = (values[0] - values[1]) / (2 * step)
        actual = float(np.sum(tf.convert_to_tensor(found).numpy() * direction))
        assert actual == pytest.approx(expected, rel=tolerance, abs=tolerance), weight.path


@pytest.mark.slow
@pytest.mark.parametrize("kind", [k for k in ALL if k != "learned"])
def test_a_row_is_the_same_alone_and_among_others(kind):
    model = make(kind)
    random = np.random.default_rng(3)
    lengths = random.integers(1, 40, 64).tolist()
    source = random_source(4, lengths, V)
    if kind != "own-source":
        source[np.arange(64), random.integers(0, lengths)] = -1
    options = GenerationOptions(
        beam_size=3, max_length=9, coverage_penalty=0.2, replace_unknown=True
    )
    together = generate(model, source, options, return_attention=True)
    for row in (int(np.argmin(lengths)), int(np.argmax(lengths)), 7, 30):
        length = lengths[row] + 1
        alone = generate(model, source[row : row + 1, :length], options, return_attention=True)
        steps = alone.ids.shape[2]
        np.testing.assert_array_equal(together.ids[row, :, :steps], alone.ids[0])
        np.testing.assert_allclose(together.scores[row], alone.scores[0], atol=1e-4)
        attention = together.attention.numpy()[row]
        np.testing.assert_allclose(attention[:, :steps, :length], alone.attention[0], atol=1e-4)
        assert not attention[:, steps:].any() and not attention[:, :, length:].any()
