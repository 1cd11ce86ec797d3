"""Averages of weights against NumPy."""

import keras
import numpy as np
import pytest

from attention_zoo.recipes.core.config import RunConfig
from attention_zoo.recipes.training.planning import make_average
from attention_zoo.zoo.training.averaging import LastAverage, WeightAverage


@pytest.fixture
def model():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2), keras.layers.Dense(1)])
    random = np.random.default_rng(0)
    for weight in model.weights:
        weight.assign(random.normal(size=weight.shape))
    return model


def walk(model, average, steps):
    """Changes the weights at random; what they were after each step."""
    random = np.random.default_rng(1)
    course = []
    for step in range(1, steps + 1):
        for weight in model.trainable_variables:
            weight.assign_add(random.normal(size=weight.shape))
        average.update(step)
        course.append([weight.numpy() for weight in model.trainable_variables])
    return course


@pytest.mark.parametrize("steps", [3, 40])
@pytest.mark.parametrize(("decay", "every"), [(0.9, 1), (0.5, 4), (0.998, 8)])
def test_equals_numpy(model, decay, every, steps):
    expected = [weight.numpy().astype("float64") for weight in model.trainable_variables]
    average = WeightAverage(model, decay, every)
    for step, weights in enumerate(walk(model, average, steps), start=1):
        if step % every == 0 or step < every:
            # So many steps at once, on which the weights are taken to be what they are now.
            kept = min(decay, (1 + step) / (10 + step)) ** (every if step > every else 1)
            expected = [kept * e + (1 - kept) * w for e, w in zip(expected, weights, strict=True)]
    for variable, value in zip(average.variables, expected, strict=True):
        np.testing.assert_allclose(variable, value, atol=1e-4)


def test_nothing_is_averaged_between_two_turns(model):
    average = WeightAverage(model, 0.5, every=8)
    walk(model, average, 8)
    before = [variable.numpy() for variable in average.variables]
    for step in range(9, 16):
        model.trainable_variables[0].assign_add(model.trainable_variables[0] + 1)
        average.update(step)
    for variable, value in zip(average.variables, before, strict=True):
        np.testing.assert_array_equal(variable, value)


def test_applied_puts_the_average_in_and_takes_it_out_again(model):
    average = WeightAverage(model, 0.9, every=1)
    own = walk(model, average, 5)[-1]
    x = np.ones((1, 3), "float32")
    before = model(x).numpy()
    with average.applied():
        for weight, variable in zip(model.trainable_variables, average.variables, strict=True):
            np.testing.assert_array_equal(weight, variable)
        assert not np.allclose(model(x), before)
    for weight, value in zip(model.trainable_variables, own, strict=True):
        np.testing.assert_array_equal(weight, value)
    np.testing.assert_array_equal(model(x), before)


def test_applied_restores_the_weights_after_an_error(model):
    average = WeightAverage(model, 0.9, every=1)
    own = walk(model, average, 5)[-1]
    averaged = [variable.numpy() for variable in average.variables]
    with pytest.raises(KeyError), average.applied():
        raise KeyError("evaluation")
    for weight, value in zip(model.trainable_variables, own, strict=True):
        np.testing.assert_array_equal(weight, value)
    for variable, value in zip(average.variables, averaged, strict=True):
        np.testing.assert_array_equal(variable, value)


@pytest.mark.parametrize(
    ("steps", "averaged"),
    [(3, None), (4, [4]), (11, [4, 8]), (12, [4, 8, 12]), (26, [16, 20, 24])],
)
def test_the_last_weights_are_averaged(model, steps, averaged):
    average = LastAverage(model, count=3, every=4)
    course = walk(model, average, steps)
    with average.applied():
        found = [weight.numpy() for weight in model.trainable_variables]
    expected = [course[step - 1] for step in averaged or [steps]]
    for one, values in zip(found, zip(*expected, strict=True), strict=True):
        np.testing.assert_allclose(one, np.mean(values, axis=0), rtol=1e-5, atol=1e-6)


def test_the_last_weights_go_on_from_what_was_saved(model):
    first, again = (LastAverage(model, count=3, every=2) for _ in range(2))
    walk(model, first, 8)
    for variable, saved in zip(again.variables, first.variables, strict=True):
        variable.assign(saved.numpy())
    for average in (first, again):  # the fifth takes the place of the second
        average.update(10)
    for one, other in zip(first.values(), again.values(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(("count", "every"), [(0, 5), (3, 0)])
def test_impossible_averages_are_refused(model, count, every):
    with pytest.raises(ValueError, match=f"Received: count={count}, every={every}"):
        LastAverage(model, count, every)


def test_a_config_chooses_its_average(model):
    def chosen(*settings):
        config = RunConfig().with_settings(settings)
        return make_average(model, config, config.evaluate_every)

    assert type(chosen("average_decay=0.9")) is WeightAverage
    assert chosen("average_decay=0.9").decay == 0.9
    assert type(chosen("average_last=3", "evaluate_every=7")) is LastAverage
    assert chosen("average_last=3", "evaluate_every=7").every == 7
    assert chosen("average_decay=0") is None
