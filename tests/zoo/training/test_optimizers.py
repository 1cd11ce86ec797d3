"""The fused optimizer against Keras's."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from attention_zoo.zoo.training.optimizers import FusedAdam
from attention_zoo.zoo.training.schedules import InverseSquareRoot

ROWS, WIDTH = 7, 3


def train(optimizer, sparse, steps=20):
    """Weights and state after some steps on a function with a dense and a sparse gradient."""
    random = np.random.default_rng(0)
    table = keras.Variable(random.normal(size=(ROWS, WIDTH)).astype("float32"))
    kernel = keras.Variable(random.normal(size=(WIDTH, 2)).astype("float32"))
    targets = random.normal(size=(4, 2)).astype("float32")
    optimizer.build([table, kernel])
    for step in range(steps):
        ids = np.array([step % ROWS, 2, 2, 5])  # some rows often, some never, one twice
        with tf.GradientTape() as tape:
            outputs = tf.tanh(tf.gather(table.value, ids)) @ kernel
            loss = 20.0 * tf.reduce_mean(tf.square(outputs - targets))
        gradients = tape.gradient(loss, [table.value, kernel.value])
        assert isinstance(gradients[0], tf.IndexedSlices)
        if not sparse:
            gradients[0] = tf.convert_to_tensor(gradients[0])
        optimizer.apply_gradients(zip(gradients, [table, kernel], strict=True))
    return [*(v.numpy() for v in (table, kernel)), *(np.array(v) for v in optimizer.variables)]


@pytest.mark.parametrize(
    "options",
    [
        {"learning_rate": 0.01},
        {"learning_rate": 0.01, "global_clipnorm": 0.5},
        {"learning_rate": 0.01, "clipnorm": 0.3, "beta_1": 0.8, "beta_2": 0.98, "epsilon": 1e-3},
        {"learning_rate": InverseSquareRoot(0.05, 6), "global_clipnorm": 1.0},
        {"learning_rate": 0.01, "weight_decay": 0.1, "use_ema": True},
    ],
    ids=["plain", "global clip", "clip", "schedule", "decay"],
)
def test_fused_adam_equals_keras_adam(options):
    # Keras squares the parts of a row's sparse gradient one by one, which is no longer Adam, so
    # where it is not clipped, which makes it whole, only ours gets it as it is.
    expected = train(keras.optimizers.Adam(**options), sparse="global_clipnorm" in options)
    actual = train(FusedAdam(**options), sparse="clipnorm" not in options)
    for one, other in zip(actual, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-5, atol=2e-6)


def test_fused_adam_has_no_amsgrad():
    with pytest.raises(ValueError, match="Received: amsgrad=True"):
        FusedAdam(amsgrad=True)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("options", [{}, {"global_clipnorm": 1.0}], ids=["plain", "clipped"])
def test_a_step_that_is_not_finite_changes_nothing(bad, options):
    weights = [keras.Variable(np.ones((3, 2), "float32")), keras.Variable(np.ones(4, "float32"))]
    optimizer = FusedAdam(0.1, skip_nonfinite=True, **options)
    optimizer.build(weights)
    random = np.random.default_rng(0)

    def step(factor=1.0):
        rows = tf.constant(random.normal(size=(2, 2)).astype("float32"))
        table = tf.IndexedSlices(rows, tf.constant([0, 2]), tf.constant([3, 2]))
        other = random.normal(size=4).astype("float32")
        other[1] *= factor
        optimizer.apply_gradients(zip([table, tf.constant(other)], weights, strict=True))
        return {v.path: np.array(v) for v in (*weights, *optimizer.variables)}

    before = step()
    after = step(bad)
    changed = {name for name, value in after.items() if not np.array_equal(value, before[name])}
    assert {name.rsplit("/", 1)[-1] for name in changed} == {"iteration", "skipped"}
    assert int(optimizer.skipped) == 1 and int(optimizer.iterations) == 2
    later = step()
    assert int(optimizer.skipped) == 1
    assert all(np.isfinite(value).all() for value in later.values())
    assert not np.array_equal(weights[1], after[weights[1].path])


def test_fused_adam_is_the_same_with_and_without_skipping_where_all_is_finite():
    options = {"learning_rate": 0.01, "global_clipnorm": 0.5}
    expected = train(FusedAdam(**options), sparse=True, steps=5)
    actual = train(FusedAdam(skip_nonfinite=True, **options), sparse=True, steps=5)
    assert actual.pop() == 0
    for one, other in zip(actual, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-7)


def test_fused_adam_config_round_trip():
    optimizer = FusedAdam(
        InverseSquareRoot(0.004, 1000), global_clipnorm=1.0, beta_2=0.98, skip_nonfinite=True
    )
    again = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert type(again) is FusedAdam
    config = optimizer.get_config()
    assert again.get_config() == config
    assert config["global_clipnorm"] == 1.0 and config["beta_2"] == 0.98
    assert config["skip_nonfinite"] is True
