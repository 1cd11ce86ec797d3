"""The plan of a training: how many steps its minutes allow, and what follows from that."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import keras

from ...zoo.training import SCHEDULES
from ...zoo.training.averaging import Average, LastAverage, WeightAverage
from ..core.config import Budget, RunConfig
from ..core.options import OptimizerOptions
from .periodic_evaluation import PeriodicEvaluation
from .progress import Progress, StepCallback

# The first evaluation shows within a minute of the start that something is learnt.
FIRST_EVALUATION_SECONDS, FIRST_EVALUATION_SHARE = 25.0, 0.1
# The plan is made when so much of the budget is spent: the first steps are slower than others.
PLAN_SHARE, PLAN_SECONDS, PLAN_AFTER_STEPS = 0.05, 180.0, 10
# Of the steps that fit into the time, so that the schedule comes to its end before the clock does.
PLANNED_SHARE = 0.97
SLOWER = 1.1  # a machine that needs so much more time than planned for is planned for anew
EVALUATIONS, FEWEST_EVALUATIONS, EVALUATION_SHARE = 30, 4, 0.1  # of a budget, and of its time
WARMUP_SHARE = 0.1  # of the planned steps, at most
IDLE_SECONDS = 60.0  # between evaluations of a training without a budget


class PlanSteps(StepCallback):
    """Plans the steps of a training from the speed of its first minutes.

    Minutes of a clock depend on the machine. Once they are steps, which the checkpoints keep,
    schedules and a training that is resumed depend on steps alone; the minutes stay the limit.
    Where the machine gets slower, so that the steps would not be made in time, they are planned
    anew before the last part of the training.

    `FollowBudget` and `StopAtBudget` follow the plan. It is before both `StopAtBudget` and
    `PeriodicEvaluation` in the list.

    Args:
        budget: Steps or minutes of the training.
        warmup_steps: Steps of the warm-up, if they are known.
        adapt_warmup: Whether the warm-up is to be no more than a tenth of the steps.
        evaluations: Whether the interval of the evaluations is planned too, for a
            `PeriodicEvaluation` with `every=None`. The first comes in the first minute.
        replan_until: Share of the steps after which they are not planned anew, such as that at
            which a schedule begins to fall to zero.
        epoch_steps: Steps of an epoch, if they are known.

    Example:

    >>> budget = Budget(max_minutes=60)
    >>> best = PeriodicEvaluation(scores, save, every=None, metric=Metric("accuracy"))
    >>> callbacks = [PlanSteps(budget), StopAtBudget(budget), best]
    """

    def __init__(
        self,
        budget: Budget,
        warmup_steps: int = 0,
        adapt_warmup: bool = True,
        evaluations: bool = True,
        replan_until: float = 0.5,
        epoch_steps: float | None = None,
    ):
        super().__init__()
        self.budget, self.warmup_steps, self.adapt_warmup = budget, warmup_steps, adapt_warmup
        self.evaluations, self.replan_until = evaluations, replan_until
        self.epoch_steps, self._warned = epoch_steps, False
        self._from: tuple[int, float] | None = None  # step and seconds that speed is measured from
        self._spaced_for: int | None = None
        self._recent = 0.0  # seconds of a step, of about the last hundred

    def after_step(self, logs):
        progress = self.progress
        self._from = self._from or (progress.step, progress.token_seconds)
        known = self.seconds_per_step
        if known is not None:
            self._recent = 0.99 * (self._recent or known) + 0.01 * progress.step_seconds
        self.resume()

    def resume(self):
        progress, minutes = self.progress, self.budget.max_minutes
        if progress.planned_steps and progress.planned_minutes != minutes:
            progress.planned_steps = 0  # for another budget
        if minutes is not None and self._is_due(60 * minutes):
            self._plan(60 * minutes)
        steps = self.budget.total_steps(progress.planned_steps)
        is_planned = minutes is None or progress.planned_steps > 0
        if steps and is_planned:
            self._fit_warmup(steps)
        if self.evaluations:
            self._space_evaluations(steps if is_planned else 0)

    @property
    def seconds_per_step(self) -> float | None:
        """Seconds of a step, evaluations aside; `None` before enough steps are made."""
        progress = self.progress
        if self._from is None or progress.step - self._from[0] < PLAN_AFTER_STEPS:
            return None
        steps, seconds = progress.step - self._from[0], progress.token_seconds - self._from[1]
        return max(seconds, 1e-6) / steps

    @property
    def evaluation_seconds(self) -> float:
        """Seconds that an evaluation takes, with all else that is no step."""
        progress = self.progress
        return (progress.seconds - progress.token_seconds) / max(len(progress.history), 1)

    def _is_late_enough(self) -> bool:
        limit = FIRST_EVALUATION_SECONDS
        if self.budget.max_minutes is not None:
            limit = min(limit, FIRST_EVALUATION_SHARE * 60 * self.budget.max_minutes)
        if self.budget.max_steps is not None:
            share = math.ceil(FIRST_EVALUATION_SHARE * self.budget.max_steps)
            return self.progress.seconds >= limit and self.progress.step >= min(share, 10)
        return self.progress.seconds >= limit

    def _is_due(self, limit: float) -> bool:
        """Tells whether a plan within so many seconds is to be made, or made anew."""
        progress, seconds = self.progress, self.seconds_per_step
        if seconds is None or (self.evaluations and not progress.history):
            return False
        if not progress.planned_steps:
            return progress.seconds >= min(PLAN_SHARE * limit, PLAN_SECONDS)
        steps = self.budget.total_steps(progress.planned_steps)
        if progress.step != int(self.replan_until * steps):
            return False
        return (steps - progress.step) * self._recent > SLOWER * (limit - progress.seconds)

    def _plan(self, limit: float) -> None:
        """Fixes the number of steps that fit into so many seconds."""
        progress, left = self.progress, max(limit - self.progress.seconds, 0.0)
        again = progress.planned_steps > 0
        seconds = (self._recent if again else self.seconds_per_step) or 1e-6
        if self.evaluations:
            count = EVALUATION_SHARE * left / max(self.evaluation_seconds, 1e-6)
            count = min(max(count, FEWEST_EVALUATIONS), EVALUATIONS)
            left -= min(count * self.evaluation_seconds, 0.5 * left)
        progress.planned_steps = progress.step + max(1, int(PLANNED_SHARE * left / seconds))
        progress.planned_minutes = limit / 60
        steps = self.budget.total_steps(progress.planned_steps)
        told = f"{limit / 60:g} minutes have time for {progress.planned_steps:,} steps"
        told += f", of which {steps:,} are made" if steps < progress.planned_steps else ""
        told += f" ({steps / self.epoch_steps:.1f} epochs)" if self.epoch_steps else ""
        speed = f"{1 / seconds:.1f} a second" if seconds < 1 else f"{seconds:.1f} seconds each"
        why = "; planned anew, as the machine has become slower" if again else ""
        self.report(f"step {progress.step:>7,}  plan: {told}, {speed}{why}")
        if self.epoch_steps and steps < self.epoch_steps and not again:
            self.report("  so not all of the corpus is read once: give it more --max-minutes")

    def _fit_warmup(self, steps: int) -> None:
        """Shortens the warm-up to its share of the steps, or says that it is too long for them."""
        progress = self.progress
        if self.warmup_steps and self.adapt_warmup and not progress.warmup_steps:
            progress.warmup_steps = min(self.warmup_steps, max(1, int(WARMUP_SHARE * steps)))
        if not self._warned and not self.adapt_warmup and 2 * self.warmup_steps > steps:
            self.report(
                f"step {progress.step:>7,}  the learning rate rises until step "
                f"{self.warmup_steps:,} and the training ends at step {steps:,}: train for longer, "
                "or with fewer warmup_steps"
            )
        self._warned = True

    def _space_evaluations(self, steps: int) -> None:
        """Makes the first evaluation soon, then as many as take little of the time.

        Args:
            steps: Steps of the training; 0 while they are not known.
        """
        progress, seconds = self.progress, self.seconds_per_step
        if not progress.history:
            if not progress.evaluate_every and self._is_late_enough():
                progress.evaluate_every = max(progress.step, 1)  # this step is one of each so many
            return
        is_first = progress.evaluate_every in (0, progress.history[0]["step"])
        if self._spaced_for is None and not is_first:
            self._spaced_for = steps  # a training that goes on has its interval
        if seconds is None or not (is_first or steps != self._spaced_for):
            return
        self._spaced_for = steps
        apart = max(self.evaluation_seconds / EVALUATION_SHARE, 0 if steps else IDLE_SECONDS)
        apart /= seconds
        if steps:
            apart = max(min(apart, steps / FEWEST_EVALUATIONS), steps / EVALUATIONS)
        progress.evaluate_every = max(math.ceil(apart), 1)


def plan_of(config: RunConfig, budget: Budget, epoch_steps: float) -> PlanSteps:
    """The plan of a run: of its warm-up and its evaluations too, where nobody has set them."""
    return PlanSteps(
        budget,
        config.warmup_steps,
        adapt_warmup=not config.is_stated("warmup_steps"),
        evaluations=not config.is_stated("evaluate_every"),
        replan_until=1 - config.cooldown_share if config.schedule == "cooldown" else 0.5,
        epoch_steps=epoch_steps,
    )


def make_schedule(
    options: OptimizerOptions, schedule: Callable[..., Any] | None = None
) -> keras.optimizers.schedules.LearningRateSchedule:
    """Makes the schedule of a run, a registered one of its peak and warm-up steps."""
    rise = options.learning_rate, options.warmup_steps
    schedule = schedule or SCHEDULES[options.schedule]
    if options.schedule == "cooldown":
        return schedule(*rise, options.cooldown_share, options.cooldown_shape)
    return schedule(*rise)


def make_average(
    model: keras.Model, options: OptimizerOptions, evaluate_every: int
) -> Average | None:
    """Makes the average of the weights of a run, if it asks for one."""
    if options.average_last:
        return LastAverage(model, options.average_last, evaluate_every)
    if options.average_decay:
        return WeightAverage(model, options.average_decay)
    return None


class Outlook:
    """Tells how far a training is, and how much time is left.

    Args:
        budget: Steps or minutes of the training.
        epoch_steps: Steps of an epoch.
        evaluation: The callback that evaluates.
    """

    def __init__(self, budget: Budget, epoch_steps: float, evaluation: PeriodicEvaluation):
        self.budget, self.epoch_steps, self.evaluation = budget, epoch_steps, evaluation
        self._from: tuple[int, float] | None = None

    def note(self, progress: Progress) -> None:
        """Takes note of a step; the speed is measured from the second on."""
        self._from = self._from or (progress.step, progress.seconds)

    def share(self, progress: Progress) -> float | None:
        """The share of the budget that is spent; `None` without one."""
        if not self.budget.is_limited:
            return None
        return self.budget.share(progress.step, progress.seconds, progress.planned_steps)

    def seconds_left(self, progress: Progress) -> float | None:
        """Seconds to the end as it stands; `None` where patience alone ends the training."""
        found = []
        if self.budget.max_minutes is not None:
            found.append(60 * self.budget.max_minutes - progress.seconds)
        steps, pace = self.budget.total_steps(progress.planned_steps), self._pace(progress)
        if steps and pace is not None:
            found.append((steps - progress.step) * pace)
        return max(min(found), 0.0) if found else None

    def seconds_to_evaluation(self, progress: Progress) -> float | None:
        """Seconds to the next evaluation; `None` if that is not known yet."""
        every, pace = self.evaluation.every, self._pace(progress)
        if not every or pace is None:
            return None
        return (every - progress.step % every) * pace

    def words(self, progress: Progress) -> list[str]:
        """Share, epoch, time left and the next evaluation, as far as they are known."""
        share, left = self.share(progress), self.seconds_left(progress)
        soon = self.seconds_to_evaluation(progress)
        epoch = f"epoch {progress.step / self.epoch_steps:.1f}"
        found = [epoch] if share is None else [f"{share:.0%}", epoch]
        found += [] if left is None else [f"{span(left)} left"]
        return found + ([] if soon is None else [f"evaluation in {span(soon)}"])

    def _pace(self, progress: Progress) -> float | None:
        """Seconds of a step with its share of evaluations; `None` after the first few steps."""
        if self._from is None or progress.step - self._from[0] < PLAN_AFTER_STEPS:
            return None
        steps, seconds = progress.step - self._from[0], progress.seconds - self._from[1]
        return seconds / steps


def span(seconds: float) -> str:
    """A time as people say it: `40 s`, `25 min`, `1 h 5 min`."""
    if seconds < 99.5:
        return f"{max(seconds, 0):.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"
