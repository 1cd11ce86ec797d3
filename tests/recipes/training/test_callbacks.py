"""Each callback of a training in the `fit` of a model that is not the zoo's."""

import re
import signal
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from plain_fit import STEPS, X, Y, at_step, dataset, make_model
from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator

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
from attention_zoo.zoo.training.averaging import LastAverage, WeightAverage
from attention_zoo.zoo.training.optimizers import FusedAdam
from attention_zoo.zoo.training.schedules import CosineToZero

EXACT = Metric("exact")


@pytest.fixture
def model():
    return make_model()


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
