"""Each callback of a training in the `fit` of a model that is not the zoo's."""

import re
import shutil
import signal
import time
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator

from attention_zoo.recipes.core.checkpoint import CheckpointError
from attention_zoo.recipes.core.interruption import StopRequest
from attention_zoo.recipes.distribute.context import DistributionContext
from attention_zoo.recipes.metrics import Metric
from attention_zoo.recipes.training import (
    Budget,
    ChiefCallbacks,
    FollowBudget,
    NanGuard,
    PeriodicEvaluation,
    ProgressReport,
    RunLogger,
    StopAtBudget,
    StopOnSignal,
    TensorBoardLog,
    TrainingCheckpoint,
    WeightAveraging,
    progress_of,
)
from attention_zoo.recipes.training.nan_guard import TrainingError
from attention_zoo.recipes.training.progress import Progress
from attention_zoo.zoo.errors import ConfigError
from attention_zoo.zoo.training.averaging import LastAverage, WeightAverage
from attention_zoo.zoo.training.optimizers import FusedAdam
from attention_zoo.zoo.training.schedules import CosineToZero

STEPS = 8  # of an epoch
EXACT = Metric("exact")
X = np.random.default_rng(0).normal(size=(4 * STEPS, 3)).astype("float32")
Y = X.sum(axis=1, keepdims=True)


def make_model(optimizer="adam", **options):
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Dense(4), keras.layers.Dropout(0.5), keras.layers.Dense(1)]
    model = keras.Sequential([keras.Input((3,)), *layers])
    model.compile(optimizer, loss="mse", **options)
    return model


@pytest.fixture
def model():
    return make_model()


def dataset(x=X, y=Y):
    return tf.data.Dataset.from_tensor_slices((x, y)).batch(4)


def at_step(number, act):
    """A callback that acts in the middle of a step."""
    return keras.callbacks.LambdaCallback(
        on_train_batch_begin=lambda batch, logs: act() if batch == number - 1 else None
    )


def weights_after_steps(model, *callbacks):
    """The weights after each step of an epoch."""
    course = []
    note = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: course.append(model.get_weights()[:4])
    )
    model.fit(dataset(), verbose=0, callbacks=[*callbacks, note])
    return course


# Averages


def test_a_moving_average(model):
    expected, average = model.get_weights()[:4], WeightAverage(model, decay=0.1, every=1)
    for weights in weights_after_steps(model, WeightAveraging(average)):
        expected = [0.1 * e + 0.9 * w for e, w in zip(expected, weights, strict=True)]
    with average.applied():
        for one, other in zip(model.get_weights(), expected, strict=False):
            np.testing.assert_allclose(one, other, atol=1e-5)


def test_a_mean_of_the_last(model):
    average = LastAverage(model, count=2, every=3)
    course = weights_after_steps(model, WeightAveraging(average))
    with average.applied():
        for one, third, sixth in zip(model.get_weights(), course[2], course[5], strict=False):
            np.testing.assert_allclose(one, (third + sixth) / 2, atol=1e-6)


# Checkpoints


def test_a_training_goes_on_to_the_same_weights(tmp_path):
    for folder, parts in (("whole", (8,)), ("parts", (3, 5, 8))):
        for steps in parts:
            model, checkpoint = make_model(), TrainingCheckpoint(tmp_path / folder)
            rest = dataset().skip(checkpoint.restore(model))
            stop = StopAtBudget(Budget(max_steps=steps))
            model.fit(rest, verbose=0, callbacks=[stop, checkpoint])
    whole, parts = (np.load(tmp_path / name / "step-000000008.npz") for name in ("whole", "parts"))
    assert len(whole.files) > 3 * len(model.trainable_variables)  # the optimizer's too
    for name in set(whole.files) - {"progress.json"}:
        np.testing.assert_array_equal(whole[name], parts[name])


def test_checkpoints_are_written_every_few_minutes_and_where_fit_ends(model, tmp_path):
    model.fit(dataset(), verbose=0, callbacks=[TrainingCheckpoint(tmp_path / "end")])
    model.fit(dataset(), verbose=0, callbacks=[TrainingCheckpoint(tmp_path / "all", minutes=0)])
    assert [path.stem for path in (tmp_path / "end").iterdir()] == ["step-000000008"]
    assert len(list((tmp_path / "all").iterdir())) == 2  # the older ones are removed


def test_steps_go_on_while_a_checkpoint_is_written(tmp_path, monkeypatch):
    """Its values are those of its step all the same, and the end waits for it."""
    write, steps_meanwhile = np.savez, []

    def write_late(path, **arrays):
        until = time.monotonic() + 20
        while checkpoint.progress.step < 6 and time.monotonic() < until:
            time.sleep(0.01)
        steps_meanwhile.append(checkpoint.progress.step)
        write(path, **arrays)

    for folder in ("whole", "late"):
        model, checkpoint = make_model(), TrainingCheckpoint(tmp_path / folder)
        first = at_step(3, lambda c=checkpoint: c.save(last=False))
        model.fit(dataset(), verbose=0, callbacks=[first, checkpoint])
        monkeypatch.setattr(np, "savez", write_late)
    assert steps_meanwhile[0] >= 6
    for step in (2, 8):
        name = f"step-{step:09d}.npz"
        whole, late = (np.load(tmp_path / folder / name) for folder in ("whole", "late"))
        for array in set(whole.files) - {"progress.json"}:
            np.testing.assert_array_equal(whole[array], late[array])


def test_a_checkpoint_that_cannot_be_written_is_told_and_tried_again(model, tmp_path, capsys):
    checkpoint = TrainingCheckpoint(tmp_path / "file")
    (tmp_path / "file").touch()
    first = at_step(2, lambda: checkpoint.save(last=False))
    again = at_step(4, (tmp_path / "file").unlink)
    model.fit(dataset(), verbose=0, callbacks=[first, again, checkpoint])
    assert "step       1  no checkpoint could be written: File exists" in capsys.readouterr().out
    assert [path.stem for path in (tmp_path / "file").iterdir()] == ["step-000000008"]


def test_a_folder_that_is_removed_ends_the_training_at_once(model, tmp_path):
    checkpoint = TrainingCheckpoint(tmp_path / "run" / "checkpoints")
    written = [at_step(step, checkpoint.save) for step in (2, 5)]
    remove = at_step(4, lambda: shutil.rmtree(tmp_path / "run"))
    with pytest.raises(CheckpointError, match="has gone while a training"):
        model.fit(dataset(), verbose=0, callbacks=[*written, remove, checkpoint])
    assert checkpoint.progress.step == 4 and not (tmp_path / "run").exists()


@pytest.mark.parametrize("make", [TrainingCheckpoint, RunLogger])
def test_no_callback_takes_a_store_for_a_folder(make, tmp_path):
    with pytest.raises(ConfigError, match=r"written to, not gs://bucket/run\. Mount"):
        make("gs://bucket/run")
    assert list(tmp_path.iterdir()) == []


# Evaluations


def test_the_best_weights_are_kept_and_patience_ends(model):
    scores, kept = iter([1.0, 3.0, None, 2.0]), []
    best = PeriodicEvaluation(
        lambda: {"exact": next(scores)},
        keep=lambda: kept.append(best.progress.step),
        every=2,
        metric=EXACT,
        patience=2,
    )
    model.fit(dataset(), epochs=2, verbose=0, callbacks=[best])
    assert (kept, best.progress.best_value, best.progress.step) == ([2, 4], 3.0, 8)


def test_what_is_evaluated_is_what_the_context_puts_in(model):
    average = LastAverage(model, count=1, every=7)
    seen = []
    best = PeriodicEvaluation(
        lambda: seen.append(model.get_weights()[:4]) or {"loss": -len(seen)},
        keep=lambda: None,
        every=8,
        metric=Metric("loss", higher_is_better=False),
        weights=average.applied,
    )
    course = weights_after_steps(model, WeightAveraging(average), best)
    np.testing.assert_array_equal(seen[0][0], course[6][0])


def test_a_signal_breaks_an_evaluation_off(model):
    def evaluate():
        signal.raise_signal(signal.SIGTERM)
        return {"exact": 1.0}

    with StopRequest() as request:
        best = PeriodicEvaluation(
            evaluate, keep=lambda: None, every=3, metric=EXACT, request=request
        )
        callbacks = [best, StopOnSignal(request)]
        model.fit(dataset(), verbose=0, callbacks=callbacks)
    assert (best.progress.step, best.progress.history, best.latest) == (3, [], None)


# Reports


def test_lines_of_progress(model):
    lines, report = [], ProgressReport(seconds=0)
    report.report = lines.append
    model.fit(dataset(), verbose=0, callbacks=[report])
    assert len(lines) == STEPS
    line = r"step       8  loss \d+\.\d{3}  rate 1\.00e-03  +[\d,]+ steps/s  \d+\.\d min"
    assert re.fullmatch(line, lines[-1])


def test_a_log_for_tensorboard(model, tmp_path):
    best = PeriodicEvaluation(lambda: {"exact": 1.0}, keep=lambda: None, every=4, metric=EXACT)
    with RunLogger(tmp_path) as logger:
        log = TensorBoardLog(logger, best, seconds=0)
        model.fit(dataset(), verbose=0, callbacks=[best, log])
    for name, tag, steps in (("train", "loss", list(range(1, 9))), ("valid", "exact", [4, 8])):
        events = EventAccumulator(str(tmp_path / name)).Reload().Tensors(tag)
        assert [event.step for event in events] == steps


# Ends


def test_a_schedule_follows_the_budget_that_ends_the_training():
    schedule, budget = CosineToZero(0.1, 1), Budget(max_steps=6)
    model, rates = make_model(keras.optimizers.SGD(schedule)), []
    note = keras.callbacks.LambdaCallback(
        on_train_batch_begin=lambda batch, logs: rates.append(float(model.optimizer.learning_rate))
    )
    follow = FollowBudget(budget, [schedule])
    model.fit(dataset(), verbose=0, callbacks=[follow, note, StopAtBudget(budget)])
    np.testing.assert_allclose(rates, 0.05 * (1 + np.cos(np.pi * np.arange(6) / 6)), rtol=1e-5)


def test_minutes_are_a_budget_too(model):
    end = StopAtBudget(Budget(max_minutes=0))
    model.fit(dataset(), verbose=0, callbacks=[end])
    assert end.progress.step == 1 and end.progress.seconds > 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_training_after_a_whole_step_that_is_saved(model, tmp_path, number):
    before, stop = signal.getsignal(number), StopOnSignal()
    sent = at_step(3, lambda: signal.raise_signal(number))
    checkpoint = TrainingCheckpoint(tmp_path)
    model.fit(dataset(), verbose=0, callbacks=[sent, stop, checkpoint])
    assert [path.stem for path in tmp_path.iterdir()] == ["step-000000003"]
    assert (stop.request.signal_number, signal.getsignal(number)) == (number, before)


# NaN

SPOILT = np.where(np.arange(len(Y))[:, None] == 9, np.nan, Y)  # in the third step


def test_a_loss_that_is_nan_ends_the_training(model):
    with pytest.raises(TrainingError, match=r"step 3, loss nan, learning rate 1.00e-03\. Go on"):
        model.fit(dataset(X, SPOILT), verbose=0, callbacks=[NanGuard()])


def test_a_step_that_is_nan_is_left_out():
    model, lines = make_model(FusedAdam(skip_nonfinite=True)), []
    guard = NanGuard(skip=True)
    guard.report = lines.append
    each = keras.callbacks.LambdaCallback(
        on_train_batch_begin=lambda batch, logs: model.reset_metrics()  # whose means would be NaN
    )
    model.fit(dataset(X, SPOILT), verbose=0, callbacks=[each, guard])
    assert lines == ["left out: step 3, loss nan, learning rate 1.00e-03"]
    assert guard.progress.skipped == 1
    assert all(np.isfinite(weight).all() for weight in model.get_weights())


# Together


def test_callbacks_that_share_their_counters_count_each_step_once(tmp_path):
    model = make_model(steps_per_execution=4)
    best = PeriodicEvaluation(lambda: {"exact": 1}, keep=lambda: None, every=3, metric=EXACT)
    callbacks = [NanGuard(), best, TrainingCheckpoint(tmp_path)]
    for _ in range(2):
        model.fit(dataset(), verbose=0, callbacks=callbacks)
    assert progress_of(model).step == 2 * STEPS
    assert [entry["step"] for entry in best.progress.history] == [4, 8, 12, 16]
    again = make_model()
    assert TrainingCheckpoint(tmp_path).restore(again) == 2 * STEPS
    assert progress_of(again) == progress_of(model)


def test_the_counters_are_no_part_of_a_saved_model(model, tmp_path):
    model.fit(dataset(), verbose=0, callbacks=[ProgressReport()])
    model.save(tmp_path / "model.keras")
    assert progress_of(keras.models.load_model(tmp_path / "model.keras")).step == 0


class TwoWorkers(DistributionContext):
    """One of two workers; says what the other one sends."""

    def __init__(self, is_chief, sent):
        super().__init__()
        self.chief, self.sent = is_chief, sent

    is_chief = property(lambda self: self.chief)

    def coordinate(self, value, decision):
        return decision([value, next(self.sent)]) if self.chief else next(self.sent)

    def ask_chief_to_stop(self):
        raise InterruptedError


def test_the_chief_stops_for_a_signal_of_another_worker(model):
    request = StopRequest()
    place = TwoWorkers(True, iter([None, None, 15]))  # before the first step, and after two
    chief = ChiefCallbacks([StopOnSignal(request)], place, request)
    assert chief.resume(model)
    model.fit(dataset(), verbose=0, callbacks=[chief])
    assert (progress_of(model).step, request.signal_number) == (2, 15)


def test_another_worker_does_what_the_chief_decides(model):
    request, plan = StopRequest(), [*progress_of(model).plan]
    plan[0] = 40
    sent = [(False, 1.0, None, plan), (False, 2.0, None, plan), (True, 3.0, 15, plan)]
    place = TwoWorkers(False, iter(sent))
    chief = ChiefCallbacks([StopAtBudget(Budget(max_steps=1))], place, request)
    assert chief.resume(model)
    model.fit(dataset(), verbose=0, callbacks=[FollowBudget(Budget(), []), chief])
    assert (progress_of(model).step, progress_of(model).seconds) == (2, 3.0)
    assert progress_of(model).plan == plan
    assert request.signal_number == 15
    with pytest.raises(InterruptedError):
        request.pass_on()


@pytest.mark.parametrize(("max_steps", "since_best"), [(5, 0), (9, 2)])
def test_nothing_is_left_to_train_where_a_training_has_ended(model, max_steps, since_best):
    progress_of(model).load({"step": 5, "best_step": 4, "evaluations_since_best": since_best})
    progress_of(model).history.append({"step": 5})
    best = PeriodicEvaluation(pytest.fail, pytest.fail, every=5, metric=EXACT, patience=2)
    callbacks = [StopAtBudget(Budget(max_steps=max_steps)), best]
    assert not ChiefCallbacks(callbacks, DistributionContext(), StopRequest()).resume(model)


def test_a_model_is_told_how_much_of_its_budget_is_spent():
    told = []
    model = SimpleNamespace(
        training_progress=Progress(step=3, seconds=90.0), set_progress=told.append
    )
    follow = FollowBudget(Budget(max_steps=10, max_minutes=2.0), [model])
    follow.set_model(model)
    follow.on_train_batch_begin(0)
    assert told == [0.75]
