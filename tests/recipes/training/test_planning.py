"""The plan of a training, and what is told of it, on a clock of the test's own."""

import io
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from rich.console import Console

from attention_zoo.recipes.metrics import Metric
from attention_zoo.recipes.training import Budget, PeriodicEvaluation, PlanSteps, StopAtBudget
from attention_zoo.recipes.training.callbacks import FollowBudget
from attention_zoo.recipes.training.display import TrainingLines, TrainingView, display_of
from attention_zoo.recipes.training.periodic_evaluation import Evaluation
from attention_zoo.recipes.training.planning import FIRST_EVALUATION_SECONDS, Outlook, span
from attention_zoo.recipes.training.progress import Progress
from attention_zoo.zoo.training.schedules import Cooldown, CosineToZero, InverseSquareRoot


class Course:
    """A training in which a step and an evaluation take as long as is said."""

    def __init__(self, budget, step_seconds, evaluation_seconds=2.0, progress=None, **options):
        self.budget, self.of_step = budget, step_seconds
        self.of_evaluation = evaluation_seconds
        self.model = SimpleNamespace(
            training_progress=progress or Progress(), stop_training=False, optimizer=None
        )
        self.model.training_progress.tick = lambda: 0.0  # what passes is said, not measured
        self.told = []
        self.plan, self.end = PlanSteps(budget, **options), StopAtBudget(budget)
        self.evaluation = PeriodicEvaluation(dict, lambda: None, every=None, metric=Metric("exact"))
        self.outlook = Outlook(budget, 100, self.evaluation)
        for callback in (self.plan, self.end, self.evaluation):
            callback.set_model(self.model)
            callback.report = self.told.append

    def run(self, until=10**6):
        progress = self.model.training_progress
        self.plan.resume()
        while not self.model.stop_training and progress.step < until:
            seconds = self.of_step(progress.step) if callable(self.of_step) else self.of_step
            progress.begin_step(progress.step)
            progress.end_step(progress.step, {})
            progress.step_seconds = seconds
            progress.seconds += seconds
            progress.token_seconds += seconds
            self.outlook.note(progress)
            self.plan.after_step({})
            self.end.after_step({})
            if self.model.stop_training or progress.passed(progress.evaluate_every):
                progress.seconds += self.of_evaluation
                progress.history.append({"step": progress.step})
        return progress


def test_minutes_become_steps_that_end_just_before_the_clock():
    course = Course(Budget(max_minutes=30), 0.5)
    progress = course.run()
    assert progress.step == progress.planned_steps
    assert 0.93 * 1800 < progress.seconds <= 1800
    told = [line for line in course.told if "plan: " in line]
    assert len(told) == 1 and "30 minutes have time for" in told[0] and "2.0 a second" in told[0]


def test_the_first_evaluation_comes_within_a_minute_and_the_others_take_little_time():
    for step, evaluation in ((0.01, 1.0), (0.5, 2.0), (0.5, 30.0), (5.0, 5.0)):
        progress = Course(Budget(max_minutes=60), step, evaluation).run()
        first = progress.history[0]["step"] * step
        assert FIRST_EVALUATION_SECONDS - 1 < first < 60
        assert 4 <= len(progress.history) <= 40
        assert len(progress.history) * evaluation < 0.15 * progress.seconds


def test_a_warm_up_is_a_share_of_the_steps_and_no_longer_than_it_was():
    short = Course(Budget(max_minutes=4), 0.5, warmup_steps=500).run()
    assert short.warmup_steps == int(0.1 * short.planned_steps) < 60
    assert Course(Budget(max_steps=40), 0.5, warmup_steps=500).run(5).warmup_steps == 4
    long = Course(Budget(max_minutes=600), 0.5, warmup_steps=500).run(1000)
    assert long.warmup_steps == 500
    # One that was set stays, and is told to be too long as soon as that is known.
    course = Course(Budget(max_minutes=4), 0.5, warmup_steps=500, adapt_warmup=False)
    assert course.run(until=150).warmup_steps == 0
    assert "rises until step 500 and the training ends at step" in course.told[-1]
    assert Course(Budget(max_minutes=4), 0.5).run().warmup_steps == 0  # it was set


def test_a_training_that_goes_on_has_the_same_plan():
    whole = Course(Budget(max_minutes=30), 0.5).run()
    part = Course(Budget(max_minutes=30), 0.5).run(until=700)
    plan = part.plan
    # On a machine of another speed.
    course = Course(Budget(max_minutes=30), 0.4, progress=part)
    assert course.run().plan == plan == whole.plan
    assert not course.told and part.step == whole.step
    # With more minutes there is another plan.
    more = Course(Budget(max_minutes=60), 0.5, progress=part)
    more.model.stop_training = False
    assert more.run().step > 1.8 * whole.step


def test_where_the_machine_becomes_slower_the_steps_are_planned_anew():
    course = Course(Budget(max_minutes=30), lambda step: 0.5 if step < 1000 else 0.8)
    progress = course.run()
    assert "planned anew, as the machine has become slower" in course.told[-1]
    assert progress.step == progress.planned_steps and progress.seconds <= 1800


def test_a_limit_of_steps_is_kept_too():
    progress = Course(Budget(max_steps=500, max_minutes=30), 0.5).run()
    assert progress.step == 500 < progress.planned_steps


@pytest.mark.parametrize("step", [0.02, 0.5, 3.0])
def test_the_time_that_is_left_is_right_within_a_third_from_the_second_minute_on(step):
    for budget in (Budget(max_minutes=20), Budget(max_steps=int(1200 / step))):
        total = Course(budget, step).run().seconds
        course, at = Course(budget, step), 120
        while at < 0.9 * total:
            progress = course.run(until=int(at / step))
            left = course.outlook.seconds_left(progress)
            assert abs(left - (total - progress.seconds)) < (total - progress.seconds) / 3
            at *= 2


def test_words_for_how_far_it_is():
    course = Course(Budget(max_steps=1000), 0.5)
    progress = course.run(until=200)
    share, epoch, left, soon = course.outlook.words(progress)
    assert (share, epoch, left) == ("20%", "epoch 2.0", "7 min left")
    assert soon.startswith("evaluation in ") and soon.endswith(" s")
    assert [span(s) for s in (5.2, 99, 150, 7000)] == ["5 s", "99 s", "2 min", "1 h 57 min"]
    endless = Course(Budget(), 0.5)
    assert endless.outlook.words(endless.run(until=20)) == ["epoch 0.2"]


@pytest.mark.parametrize("kind", [InverseSquareRoot, CosineToZero, Cooldown])
def test_a_planned_warm_up_reaches_the_schedule(kind):
    schedule = kind(0.1, 100)
    rise = [float(schedule(step)) for step in (4, 9)]
    follow = FollowBudget(Budget(max_steps=1000), [schedule])
    follow.set_model(SimpleNamespace(training_progress=Progress(warmup_steps=10)))
    follow.on_train_batch_begin(0)
    np.testing.assert_allclose(rise, [0.005, 0.01], rtol=1e-5)
    np.testing.assert_allclose([float(schedule(s)) for s in (4, 9)], [0.05, 0.1], rtol=1e-5)
    with pytest.raises(ValueError, match="warmup_steps at least 1"):
        schedule.set_warmup(0)


def test_a_plan_in_the_fit_of_any_model():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile("sgd", loss="mse")
    x = np.ones((400, 3), "float32")
    budget, scores = Budget(max_steps=100), []
    best = PeriodicEvaluation(
        lambda: scores.append(1) or {"exact": 1}, lambda: None, every=None, metric=Metric("exact")
    )
    callbacks = [PlanSteps(budget, warmup_steps=50), StopAtBudget(budget), best]
    model.fit(x, x[:, :1], batch_size=4, verbose=0, callbacks=callbacks)
    assert (best.progress.step, best.progress.warmup_steps, len(scores)) == (100, 10, 1)


# What is shown


def evaluated(course):
    samples = [("a source", "as expected", "an\noutput " + "word " * 99)] * 3
    course.evaluation.latest = Evaluation({"exact": 50.0, "perplexity": 3.0}, samples)
    return course


def test_lines_for_a_pipe():
    course = Course(Budget(max_steps=1000), 0.5)
    lines = TrainingLines(course.outlook)
    lines.set_model(course.model)
    course.run(until=200)
    values = {"loss": 1.5, "learning_rate": 0.002, "tokens_per_second": 8912.0}
    line = lines.line(values)
    assert line.startswith("step     200  loss 1.500  rate 2.00e-03   8,912 tokens/s  ")
    assert "20%, epoch 2.0, 7 min left, evaluation in " in line
    assert isinstance(display_of(print, course.outlook), TrainingLines)  # no terminal here


def test_a_view_for_a_terminal(monkeypatch):
    course = evaluated(Course(Budget(max_steps=1000), 0.5))
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    view = display_of(print, course.outlook)
    assert isinstance(view, TrainingView)
    assert not isinstance(display_of([].append, course.outlook), TrainingView)
    view.set_model(course.model)
    course.run(until=200)
    with view:
        view.show({"loss": 1.5, "learning_rate": 0.002, "tokens_per_second": 8912.0})
        console = Console(file=io.StringIO(), width=100)
        console.print(view.view())
    shown = console.file.getvalue()
    for part in (
        "20%",
        "step 200 of 1,000",
        "epoch 2.0",
        "7 min left",
        "loss 1.500",
        "exact 50.00",
    ):
        assert part in shown, part
    for part in ("next evaluation in", "a source", "as expected", "an output word", "…"):
        assert part in shown, part
    assert max(map(len, shown.splitlines())) <= 100
