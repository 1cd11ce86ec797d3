"""Gradients: of the kernels that are taken out of loops by hand, and of all the other weights."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tiny_models import ATTENTIONS, random_source, random_target, tiny_model

from attention_zoo.layers import (
    AttentionGRUCell,
    BahdanauAttention,
    LuongAttention,
    QKVAttention,
)
from attention_zoo.zoo.models import backend, unroll
from attention_zoo.zoo.models.unroll import BidirectionalGRU, unroll_cell

KINDS = (*ATTENTIONS, "pointer", "copying-luong", "deep-encoder", "looks-before", "heads", "memory")
STEP = 1e-5  # of finite differences, in float64


@pytest.fixture(autouse=True)
def _double_precision():
    keras.config.set_dtype_policy("float64")
    yield
    keras.config.set_dtype_policy("float32")


class Problem:
    """A scalar function of all weights of a model: random sums of log probabilities."""

    def __init__(self, attention, dropout=0.0, **options):
        keras.utils.set_random_seed(3)  # of what is dropped, in which some draws have kinks
        self.model = tiny_model(attention, dropout=dropout, seed=3, **options)
        self.inputs = {"source": random_source(1, [8, 2, 1])}
        self.inputs["target"], labels = random_target(2, [2, 4, 1])
        random = np.random.default_rng(5)
        self.factors = random.normal(size=(*labels.shape, 12)) * (labels != 0)[..., None]
        self.weights = [weight.value for weight in self.model.trainable_variables]
        states = [v for v in self.model.non_trainable_variables if "seed" in v.path]
        self.seeds = [(state, state.numpy()) for state in states]
        self.training = dropout > 0

    def value(self):
        logits = self.model(self.inputs, training=self.training)
        assert logits.dtype == tf.float64
        return tf.reduce_sum(self.factors * tf.nn.log_softmax(logits))

    def value_by_steps(self):
        model, target = self.model, self.inputs["target"]
        memory = model.encode(self.inputs["source"])
        state, total = model.initial_state(memory), 0.0
        for t in range(target.shape[1]):
            logits, state, _ = model.step(target[:, t : t + 1], state, memory)
            total += tf.reduce_sum(self.factors[:, t] * tf.nn.log_softmax(logits[:, 0]))
        return total

    def gradients(self, value):
        self.restore_seeds()
        with tf.GradientTape() as tape:
            result = value()
        # A tensor also where the gradient is of some rows only, as that of an embedding.
        return [tf.convert_to_tensor(g) for g in tape.gradient(result, self.weights)]

    def restore_seeds(self):
        for state, value in self.seeds:
            state.assign(value)


# Where what is dropped is dropped as in others, the gradients of single steps say enough.
AS_OTHERS = ("qkv", "copying-luong", "deep-encoder", "heads")


@pytest.mark.parametrize(
    ("attention", "dropout"),
    [
        ("bahdanau", 0.0),
        *(
            pytest.param(kind, 0.3, marks=pytest.mark.slow if kind in AS_OTHERS else ())
            for kind in KINDS
        ),
    ],
)
def test_gradients_equal_finite_differences(attention, dropout):
    problem = Problem(attention, dropout)
    assert bool(problem.seeds) == (dropout > 0)
    value = tf.function(problem.value, autograph=False)
    gradients = tf.function(lambda: problem.gradients(problem.value), autograph=False)()
    random = np.random.default_rng(6)

    def value_at(weight, point):
        weight.assign(point)
        problem.restore_seeds()
        return float(value())

    for weight, gradient in zip(problem.weights, gradients, strict=True):
        point = weight.numpy()
        direction = random.normal(size=point.shape)
        ahead = value_at(weight, point + STEP * direction)
        behind = value_at(weight, point - STEP * direction)
        weight.assign(point)
        slope = np.sum(gradient * direction)
        # What is added to all keys alike adds the same to all scores of a query.
        assert ("key_bias" in weight.name) == (abs(slope) < 1e-6), weight.name
        np.testing.assert_allclose(
            (ahead - behind) / (2 * STEP), slope, rtol=1e-5, atol=1e-7, err_msg=weight.name
        )


@pytest.mark.parametrize("attention", KINDS)
def test_gradients_equal_those_of_single_steps(attention):
    problem = Problem(attention, readout_units=9, tie_embeddings=False)
    if attention.endswith("luong"):
        assert problem.model.decoder.cell.output_width == 9
    expected = problem.gradients(problem.value_by_steps)
    # Eagerly; as a graph they are compared with finite differences.
    found = problem.gradients(problem.value)
    for weight, one, other in zip(problem.weights, found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-10, err_msg=weight.name)


def test_one_step_of_target_and_source():
    problem = Problem("luong")
    problem.inputs = {name: ids[:, :1] for name, ids in problem.inputs.items()}
    problem.factors = problem.factors[:, :1]
    expected = problem.gradients(problem.value_by_steps)
    for one, other in zip(problem.gradients(problem.value), expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-10)


@pytest.mark.parametrize("kind", ["luong", "none", "pointer-location", "memory"])
def test_the_loops_of_other_backends_have_the_same_values(kind, monkeypatch):
    problem = Problem(kind)
    expected, gradients = problem.model(problem.inputs), problem.gradients(problem.value)
    for module in (unroll, backend):
        monkeypatch.setattr(module, "tensorflow", lambda: None)
    problem.model.static_shapes = kind == "memory"
    np.testing.assert_allclose(problem.model(problem.inputs), expected, atol=1e-10)
    for one, other in zip(problem.gradients(problem.value), gradients, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-10)


# The encoder alone, against Keras's layers under a mask

B, S, E, D = 4, 6, 5, 3


@pytest.fixture
def encoders():
    """Ours and Keras's with the same weights."""
    random = np.random.default_rng(0)
    ours = BidirectionalGRU(D)
    ours.build((None, None, E))
    for weight in ours.weights:
        weight.assign(random.normal(0, 0.7, weight.shape))
    theirs = keras.layers.Bidirectional(
        keras.layers.GRU(D, return_sequences=True, return_state=True, reset_after=True)
    )
    theirs.build((None, S, E))
    values = []
    for direction in range(2):
        recurrent_bias = np.concatenate([np.zeros(2 * D), ours.candidate_bias.numpy()[direction]])
        bias = np.stack([ours.bias.numpy()[direction], recurrent_bias])
        values += [ours.kernel.numpy()[direction], ours.recurrent_kernel.numpy()[direction], bias]
    theirs.set_weights(values)
    return ours, theirs


def test_encoder_equals_keras_bidirectional_with_its_gradients(encoders):
    ours, theirs = encoders
    random = np.random.default_rng(1)
    inputs = tf.Variable(random.normal(size=(B, S, E)))
    lengths = np.array([S, 1, 3, 2], np.int32)
    mask = np.arange(S) < lengths[:, None]
    on_states = random.normal(size=(B, S, 2 * D)) * mask[..., None]
    on_last = random.normal(size=(B, 2 * D))

    with tf.GradientTape(persistent=True) as tape:
        states, last = ours(inputs, lengths)
        value = tf.reduce_sum(states * on_states) + tf.reduce_sum(last * on_last)
        expected_states, *expected_last = theirs(inputs, mask=tf.constant(mask))
        expected_last = tf.concat(expected_last, axis=-1)
        expected_value = tf.reduce_sum(expected_states * on_states)
        expected_value += tf.reduce_sum(expected_last * on_last)
    np.testing.assert_allclose(states.numpy()[mask], expected_states.numpy()[mask], atol=1e-12)
    np.testing.assert_allclose(last, expected_last, atol=1e-12)

    weights = [ours.kernel, ours.recurrent_kernel, ours.bias, ours.candidate_bias]
    ours_for = [inputs, *(weight.value for weight in weights)]
    by_input, kernel, recurrent, bias, candidate_bias = tape.gradient(value, ours_for)
    theirs_for = [inputs, *(v.value for v in theirs.trainable_variables)]
    expected_input, *expected = tape.gradient(expected_value, theirs_for)
    np.testing.assert_allclose(by_input, expected_input, atol=1e-12)
    for direction in range(2):
        expected_kernel, expected_recurrent, biases = expected[3 * direction : 3 * direction + 3]
        np.testing.assert_allclose(kernel[direction], expected_kernel, atol=1e-12)
        np.testing.assert_allclose(recurrent[direction], expected_recurrent, atol=1e-12)
        np.testing.assert_allclose(bias[direction], biases[0], atol=1e-12)
        np.testing.assert_allclose(candidate_bias[direction], biases[1, 2 * D :], atol=1e-12)


def test_encoder_refuses_no_units_and_keeps_its_config():
    with pytest.raises(ValueError, match="Received: units=0"):
        BidirectionalGRU(0)
    layer = BidirectionalGRU(4, name="both")
    assert BidirectionalGRU.from_config(layer.get_config()).get_config() == layer.get_config()


@pytest.mark.parametrize("kind", ["bahdanau", "general", "qkv"])
def test_a_memory_has_its_whole_gradient_of_many_steps_in_half_precision(kind):
    kinds = {
        "bahdanau": lambda dtype: BahdanauAttention(4, dtype=dtype),
        "general": lambda dtype: LuongAttention("general", dtype=dtype),
        "qkv": lambda dtype: QKVAttention(1, 4, output_dim=8, dtype=dtype),
    }

    def gradients(dtype):
        attention = kinds[kind](dtype)
        cell = AttentionGRUCell(6, 8, attention, attention_query="current_state", dtype=dtype)
        cell.build()
        random = np.random.default_rng(1)
        for weight in (*cell.weights, *attention.weights):
            weight.assign(random.normal(0, 0.5, weight.shape))
        value = tf.cast(random.normal(size=(1, 5, 8)), cell.compute_dtype)
        memory = attention.project(value, mask=tf.ones((1, 5), tf.bool))
        # The same at each step, so that all steps soon give the same term.
        given = tf.cast(tf.tile(random.normal(size=(1, 1, 18)), [1, 900, 1]), value.dtype)

        @tf.function(autograph=False)
        def found():
            parts = [memory.keys, memory.values]
            with tf.GradientTape() as tape:
                tape.watch(parts)
                states = cell.initial_states(tf.zeros((1, 1, 6), value.dtype))
                outputs, *_ = unroll_cell(cell, given, states, memory)
                loss = tf.reduce_sum(tf.cast(outputs, tf.float32))
            return [tf.cast(x, tf.float32) for x in tape.gradient(loss, parts)]

        return [x.numpy() for x in found()]

    for half, exact in zip(gradients("mixed_bfloat16"), gradients("float32"), strict=True):
        assert np.linalg.norm(half - exact) < 0.1 * np.linalg.norm(exact)
