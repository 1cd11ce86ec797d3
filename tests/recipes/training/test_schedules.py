"""Schedules of the learning rate against their formulas, and in a run that is stopped."""

import itertools
import json
import math
import re
import types

import keras
import numpy as np
import pytest
from reverse_task import arguments, train

from attention_zoo.recipes.cli.main import app, run_command
from attention_zoo.recipes.core.config import Budget, RunConfig, check_budget
from attention_zoo.recipes.core.make_config import make_config
from attention_zoo.recipes.training import progress
from attention_zoo.recipes.training.callbacks import FollowBudget, StopOnSignal
from attention_zoo.recipes.training.training import make_schedule
from attention_zoo.zoo.errors import ConfigError
from attention_zoo.zoo.training import register_schedule
from attention_zoo.zoo.training.schedules import Cooldown, CosineToZero, InverseSquareRoot

SCHEDULES = (
    InverseSquareRoot(0.004, 1000),
    CosineToZero(0.004, 1000),
    Cooldown(0.004, 1000, 0.3, "linear"),
)


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (0, 0.004 / 1000),  # the first step, which makes some progress already
        (499, 0.002),
        (999, 0.004),
        (3999, 0.002),
        (15999, 0.001),
    ],
)
def test_inverse_square_root(step, expected):
    np.testing.assert_allclose(InverseSquareRoot(0.004, 1000)(step), expected, rtol=1e-5)


def test_inverse_square_root_without_warm_up_starts_at_its_peak():
    rates = [float(InverseSquareRoot(0.1, 1)(step)) for step in range(4)]
    np.testing.assert_allclose(rates, 0.1 / np.sqrt([1, 2, 3, 4]), rtol=1e-5)


def inverse_square_root(step, peak, warmup):
    return peak * min((step + 1) / warmup, math.sqrt(warmup / (step + 1)))


@pytest.mark.parametrize(
    ("step", "spent", "expected"),
    [
        (0, 0.0, 0.1 / 10),
        (4, 0.05, 0.1 * 5 / 10),
        (40, 0.25, 0.1 * (1 + math.sqrt(0.5)) / 2),
        (40, 0.5, 0.05),
        (3, 0.9, 0.1 * (1 + math.cos(0.9 * math.pi)) / 2),  # over before the warm-up is
        (99, 1.0, 0.0),
    ],
)
def test_cosine(step, spent, expected):
    schedule = CosineToZero(0.1, 10)
    schedule.set_progress(spent)
    np.testing.assert_allclose(schedule(step), expected, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize(
    ("shape", "spent", "factor"),
    [
        ("linear", 0.0, 1.0),
        ("linear", 0.75, 1.0),
        ("linear", 0.875, 0.5),
        ("linear", 1.0, 0.0),
        ("sqrt", 0.74, 1.0),
        ("sqrt", 0.8125, 0.5),  # a quarter of the way
        ("sqrt", 1.0, 0.0),
        ("sqrt", 1.5, 0.0),  # a step may end after the budget does
    ],
)
def test_cooldown(shape, spent, factor):
    schedule = Cooldown(0.1, 10, share=0.25, shape=shape)
    schedule.set_progress(spent)
    for step in (2, 9, 500):
        expected = factor * inverse_square_root(step, 0.1, 10)
        np.testing.assert_allclose(schedule(step), expected, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("kind", [InverseSquareRoot, CosineToZero, Cooldown])
@pytest.mark.parametrize(("peak", "warmup"), [(0.0, 10), (-1.0, 10), (0.1, 0), (float("nan"), 5)])
def test_impossible_schedules_are_refused(kind, peak, warmup):
    with pytest.raises(ValueError, match=f"Received: peak={peak}, warmup_steps={warmup}"):
        kind(peak, warmup)


@pytest.mark.parametrize(("share", "shape"), [(0.0, "sqrt"), (1.1, "sqrt"), (0.2, "cubic")])
def test_impossible_cooldowns_are_refused(share, shape):
    with pytest.raises(ValueError, match=f"Received: share={share}, shape='{shape}'"):
        Cooldown(0.1, 10, share, shape)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda schedule: type(schedule).__name__)
def test_config_round_trip(schedule):
    again = keras.optimizers.schedules.deserialize(keras.optimizers.schedules.serialize(schedule))
    assert type(again) is type(schedule)
    assert again.get_config() == schedule.get_config()
    assert float(again(123)) == float(schedule(123)) > 0


def test_a_config_chooses_its_schedule():
    settings = ["learning_rate=0.5", "warmup_steps=7", "cooldown_share=0.4"]
    config = RunConfig().with_settings(settings)
    rise = {"peak": 0.5, "warmup_steps": 7}
    assert make_schedule(config).get_config() == rise
    assert type(make_schedule(config)) is InverseSquareRoot
    cosine = make_schedule(config.with_settings(["schedule=cosine"]))
    assert type(cosine) is CosineToZero and cosine.get_config() == rise
    cooldown = make_schedule(config.with_settings(["schedule=cooldown", "cooldown_shape=linear"]))
    assert cooldown.get_config() == {**rise, "share": 0.4, "shape": "linear"}


@pytest.mark.parametrize(
    ("budget", "step", "seconds", "share"),
    [
        (Budget(), 10**6, 1e9, 0.0),
        (Budget(max_steps=8), 2, 1e9, 0.25),
        (Budget(max_steps=8), 9, 0.0, 1.0),
        (Budget(max_minutes=2), 10**6, 30.0, 0.25),
        (Budget(max_steps=8, max_minutes=2), 2, 90.0, 0.75),
        (Budget(max_steps=8, max_minutes=2), 6, 30.0, 0.75),
    ],
)
def test_share_of_a_budget(budget, step, seconds, share):
    assert budget.share(step, seconds) == share


# In a run


def rates_of(monkeypatch):
    """Collects the rate of every step, as the optimizer has it."""
    rates = []
    begin = FollowBudget.on_train_batch_begin

    def on_train_batch_begin(self, batch, logs=None):
        begin(self, batch, logs)
        rates.append(float(self.model.optimizer.learning_rate))

    monkeypatch.setattr(FollowBudget, "on_train_batch_begin", on_train_batch_begin)
    return rates


@pytest.mark.usefixtures("eager", "fake_evaluator")
def test_a_cosine_over_the_steps_goes_on_where_it_was(reverse_files, tmp_path, monkeypatch):
    rates = rates_of(monkeypatch)
    output, steps = tmp_path / "run", 8
    options = {"model": "rnn", "settings": ("schedule=cosine", "evaluate_every=8")}

    def stop(self, logs):
        if self.progress.step == 3:
            self.request.signal_number = 2
        after_step(self, logs)

    after_step = StopOnSignal.after_step
    with monkeypatch.context() as context:
        context.setattr(StopOnSignal, "after_step", stop)
        assert train(reverse_files, output, steps=steps, **options) == 130
    assert len(rates) == 3
    assert train(reverse_files, output, steps=steps, **options) == 0
    cosine = [(1 + math.cos(math.pi * step / steps)) / 2 for step in range(steps)]
    expected = [0.05 * min((step + 1) / 5, cosine[step]) for step in range(steps)]
    np.testing.assert_allclose(rates, expected, rtol=1e-5)


@pytest.mark.usefixtures("eager", "fake_evaluator")
def test_a_cooldown_over_minutes_follows_the_clock(reverse_files, tmp_path, monkeypatch):
    # It goes on by half a second whenever it is looked at.
    ticks = itertools.count()
    clock = types.SimpleNamespace(perf_counter=lambda: next(ticks) / 2)
    monkeypatch.setattr(progress, "time", clock)
    rates = rates_of(monkeypatch)
    cooldown = ("schedule=cooldown", "cooldown_share=0.5", "cooldown_shape=linear")
    settings = (*cooldown, "evaluate_every=100")  # as an evaluation would take time too
    command = arguments(reverse_files, tmp_path / "run", model="rnn", settings=settings)
    command[command.index("--max-steps") : command.index("--max-steps") + 2] = [
        "--max-minutes",
        "0.05",
    ]
    assert run_command(app, command) == 0
    steps = json.loads((tmp_path / "run/metrics.json").read_text())["steps"]
    assert steps == len(rates) == 6  # of half a second each
    factors = [min(1.0, 2 - 2 * step / steps) for step in range(steps)]
    expected = [f * inverse_square_root(step, 0.05, 5) for step, f in enumerate(factors)]
    np.testing.assert_allclose(rates, expected, rtol=1e-5)


@pytest.mark.parametrize("name", ["cosine", "cooldown"])
def test_a_schedule_that_ends_needs_an_end(name, reverse_files, tmp_path, capsys):
    command = arguments(reverse_files, tmp_path / "run", settings=(f"schedule={name}",))
    at = command.index("--max-steps")
    command[at : at + 2] = ["--max-minutes", "none"]
    assert run_command(app, command) == 2
    error = capsys.readouterr().err
    assert re.fullmatch(rf"error: schedule={name} .* give --max-steps or --max-minutes\.\n", error)
    assert not (tmp_path / "run").exists()


def test_a_registered_schedule_is_chosen_by_its_name():
    class Constant(keras.optimizers.schedules.LearningRateSchedule):
        def __init__(self, peak, warmup_steps):
            self.peak = peak

        def __call__(self, step):
            return self.peak

    name = "constant of a test"
    with pytest.raises(ConfigError, match=r"no schedule '.*'\. Known: inverse_sqrt"):
        make_config("translation", "rnn", settings=[f"schedule={name}"])
    register_schedule(name, Constant)
    config = RunConfig().with_settings([f"schedule={name}", "learning_rate=0.25"])
    assert make_schedule(config)(3) == 0.25
    check_budget(config, Budget())  # it has no end to know of
    with pytest.raises(ConfigError, match="schedule=cosine reaches zero"):
        check_budget(RunConfig().with_settings(["schedule=cosine"]), Budget())
