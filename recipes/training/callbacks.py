"""Callbacks for any Keras `fit`: averages, budgets, signals, logs; and the chief's decisions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras

from ...zoo.training.averaging import Average
from ..core.config import Budget
from ..core.interruption import StopRequest
from ..distribute.context import DistributionContext
from ..tensorboard.run_logger import RunLogger
from .periodic_evaluation import PeriodicEvaluation
from .progress import REPORT_SECONDS, StepCallback, StepMeans, progress_of


class WeightAveraging(StepCallback):
    """Updates an average of the weights after each step; `average.applied()` puts it in.

    Args:
        average: `WeightAverage`, a moving average, or `LastAverage`, the mean of the last few.

    Example:

    >>> average = WeightAverage(model, decay=0.99)
    >>> model.fit(x, y, callbacks=[WeightAveraging(average)])
    >>> with average.applied():
    ...     model.evaluate(x, y)
    """

    def __init__(self, average: Average):
        super().__init__()
        self.average = average

    def after_step(self, logs):
        self.average.update(self.progress.step)


class FollowBudget(StepCallback):
    """Tells which share of a budget is spent before each step, to schedules that follow it.

    Where `PlanSteps` has planned the steps of a budget of minutes, it is the share of these.

    Args:
        budget: Steps or minutes of the training.
        follow: Schedules, models and whatever else has a method `set_progress`, which takes the
            share in [0, 1], or `set_warmup`, which takes the steps of the warm-up once they are
            planned; others are passed over.

    Example:

    >>> schedule = CosineToZero(peak=0.01, warmup_steps=100)
    >>> model.compile(keras.optimizers.Adam(schedule), loss="mse")
    >>> budget = Budget(max_minutes=10)
    >>> follow = FollowBudget(budget, [schedule])
    >>> model.fit(x, y, epochs=100, callbacks=[follow, StopAtBudget(budget)])
    """

    def __init__(self, budget: Budget, follow: Sequence[Any]):
        super().__init__()
        self.budget = budget
        self._follow_share = [one for one in follow if hasattr(one, "set_progress")]
        self._follow_warmup = [one for one in follow if hasattr(one, "set_warmup")]
        self._warmup = 0

    def on_train_batch_begin(self, batch, logs=None):
        super().on_train_batch_begin(batch, logs)
        progress, planned = self.progress, self.progress.planned_steps
        for one in self._follow_share:
            one.set_progress(self.budget.share(progress.step, progress.seconds, planned))
        if progress.warmup_steps not in (0, self._warmup):
            self._warmup = progress.warmup_steps
            for one in self._follow_warmup:
                one.set_warmup(self._warmup)


class StopAtBudget(StepCallback):
    """Ends the training when its steps or minutes are spent.

    Args:
        budget: Steps or minutes of the training, over all calls of `fit`.
    """

    def __init__(self, budget: Budget):
        super().__init__()
        self.budget = budget

    def resume(self):
        progress = self.progress
        if self.budget.is_spent(progress.step, progress.seconds, progress.planned_steps):
            self.model.stop_training = True


class StopOnSignal(StepCallback):
    """Ends the training after a whole step when SIGINT or SIGTERM comes.

    A checkpoint callback after it in the list then saves that step.

    Args:
        request: What notes the signals, if that is to be done beyond `fit` too.
        evaluation: Keeps the weights of that step if it has kept none yet, so that there is a
            model to ask.
    """

    def __init__(
        self, request: StopRequest | None = None, evaluation: PeriodicEvaluation | None = None
    ):
        super().__init__()
        self.evaluation = evaluation
        self.request = StopRequest() if request is None else request
        self._during_fit = request is None

    def on_train_begin(self, logs=None):
        super().on_train_begin(logs)
        if self._during_fit:
            self.request.__enter__()

    def on_train_end(self, logs=None):
        if self._during_fit:
            self.request.__exit__()

    def resume(self):
        if self.request.signal_number is None:
            return
        self.model.stop_training = True
        if self.evaluation is not None:
            self.evaluation.keep_unscored()


class TensorBoardLog(StepMeans):
    """Logs means over the steps of every few seconds, and each evaluation.

    Args:
        logger: Writes the log. Resumed, it purges the steps that are made anew.
        evaluation: The callback that evaluates, before this one in the list, if there is one.
        graph: Gives the model as a serialized `GraphDef`, at the first evaluation.
        seconds: Time of the steps between two points of a curve.

    Example:

    >>> with RunLogger("logs") as logger:
    ...     model.fit(dataset, callbacks=[TensorBoardLog(logger)])
    """

    def __init__(
        self,
        logger: RunLogger,
        evaluation: PeriodicEvaluation | None = None,
        graph: Callable[[], bytes] | None = None,
        seconds: float = REPORT_SECONDS,
    ):
        super().__init__(seconds)
        self.logger, self.evaluation, self.graph = logger, evaluation, graph
        self._logged = None if evaluation is None else evaluation.latest

    def after_step(self, logs):
        super().after_step(logs)
        self.resume()

    def resume(self):
        latest = None if self.evaluation is None else self.evaluation.latest
        if latest is None or latest is self._logged:
            return
        self._logged = latest
        if self.graph is not None and len(self.progress.history) == 1:
            self.logger.log_graph(self.graph())
        values = {**latest.metrics, **latest.attention}
        self.logger.log_evaluation(self.progress.step, values, latest.samples, latest.explanations)
        self.progress.tick()  # pictures are not drawn in the time of steps

    def show(self, values):
        self.logger.log_training(self.progress.step, values)
        # Else a log could end before the next checkpoint, and have a gap once it is resumed.
        self.logger.flush()


class ChiefCallbacks(keras.callbacks.CallbackList):
    """Callbacks of the chief, whose decisions all workers follow.

    Where several workers train, the chief alone reports, evaluates, writes and stops. The others
    wait for it after each step, and take over whether it was the last, the time, which schedules
    may follow, and the signal to stop. A single process is its own chief.

    Args:
        callbacks: `StepCallback`s, called in this order.
        place: Where the training runs.
        request: What notes signals.
        report: Takes each line that the callbacks tell.
    """

    def __init__(
        self,
        callbacks: Sequence[StepCallback],
        place: DistributionContext,
        request: StopRequest,
        report: Callable[[str], None] = print,
    ):
        super().__init__(list(callbacks) if place.is_chief else [])
        self.place, self.request = place, request
        for callback in callbacks:
            callback.report = report
        if not place.is_chief:
            request.pass_on = place.ask_chief_to_stop

    def on_train_batch_end(self, batch, logs=None):
        end_step = super().on_train_batch_end
        self._decide(lambda: end_step(batch, logs))

    def resume(self, model: keras.Model) -> bool:
        """Prepares `fit`, once the counters are those of a checkpoint.

        Returns:
            Whether there is anything left to train.
        """
        self.set_model(model)
        model.stop_training = False
        progress_of(model).start_clock()
        self._decide(lambda: [callback.resume() for callback in self.callbacks])
        return not model.stop_training

    def _decide(self, act: Callable[[], Any]) -> None:
        """Acts at the chief alone; all workers stop, and count time, as it does."""
        progress = progress_of(self.model)

        def decision(received: list[int | None]) -> tuple[bool, float, int | None, list[Any]]:
            if self.request.signal_number is None:
                self.request.signal_number = next((s for s in received if s is not None), None)
            act()
            number = self.request.signal_number
            return self.model.stop_training, progress.seconds, number, progress.plan

        self.model.stop_training, progress.seconds, number, progress.plan = self.place.coordinate(
            self.request.signal_number, decision
        )
        if number is not None:
            self.request.signal_number = number
