"""Callbacks for any Keras `fit`: weight averages, budgets, signals; and who decides of several."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import keras

from ..core.config import Budget
from ..core.interruption import StopRequest
from ..distribute.strategies import Placement
from .averaging import Average
from .progress import Progress, StepCallback


class WeightAveraging(StepCallback):
    """Updates an average of the weights after each step; `average.applied()` puts it in.

    Args:
        average: `WeightAverage`, a moving average, or `LastAverage`, the mean of the last few.
        progress: As of `StepCallback`.

    Example:

    >>> average = WeightAverage(model, decay=0.99)
    >>> model.fit(x, y, callbacks=[WeightAveraging(average)])
    >>> with average.applied():
    ...     model.evaluate(x, y)
    """

    def __init__(self, average: Average, progress: Progress | None = None):
        super().__init__(progress)
        self.average = average

    def after_step(self, logs):
        self.average.update(self.progress.step)


class FollowBudget(StepCallback):
    """Tells which share of a budget is spent before each step, to schedules that follow it.

    Args:
        budget: Steps or minutes of the training.
        follow: Functions that take the share, in [0, 1].
        progress: As of `StepCallback`.

    Example:

    >>> schedule = CosineToZero(peak=0.01, warmup_steps=100)
    >>> model.compile(keras.optimizers.Adam(schedule), loss="mse")
    >>> budget = Budget(max_minutes=10)
    >>> follow = FollowBudget(budget, [schedule.set_spent])
    >>> model.fit(x, y, epochs=1000, callbacks=[follow, StopAtBudget(budget)])
    """

    def __init__(
        self,
        budget: Budget,
        follow: Iterable[Callable[[float], None]],
        progress: Progress | None = None,
    ):
        super().__init__(progress)
        self.budget, self.follow = budget, list(follow)

    def on_train_batch_begin(self, batch, logs=None):
        super().on_train_batch_begin(batch, logs)
        for tell in self.follow:
            tell(self.budget.share(self.progress.step, self.progress.seconds))


class StopAtBudget(StepCallback):
    """Ends the training when its steps or minutes are spent.

    Args:
        budget: Steps or minutes of the training, over all calls of `fit`.
        progress: As of `StepCallback`.
    """

    def __init__(self, budget: Budget, progress: Progress | None = None):
        super().__init__(progress)
        self.budget = budget

    def after_step(self, logs):
        self.resume()

    def resume(self):
        if self.budget.is_spent(self.progress.step, self.progress.seconds):
            self.model.stop_training = True


class StopOnSignal(StepCallback):
    """Ends the training after a whole step when SIGINT or SIGTERM comes.

    A checkpoint callback after it in the list then saves that step.

    Args:
        request: What notes the signals, if that is to be done beyond `fit` too.
        progress: As of `StepCallback`.
    """

    def __init__(self, request: StopRequest | None = None, progress: Progress | None = None):
        super().__init__(progress)
        self._own = StopRequest() if request is None else None
        self.request: StopRequest = request or self._own  # type: ignore[assignment]

    def on_train_begin(self, logs=None):
        super().on_train_begin(logs)
        if self._own is not None:
            self._own.__enter__()

    def on_train_end(self, logs=None):
        if self._own is not None:
            self._own.__exit__()

    def after_step(self, logs):
        self.resume()

    def resume(self):
        if self.request.signal_number is not None:
            self.model.stop_training = True


class ChiefCallbacks(keras.callbacks.CallbackList):
    """Callbacks of the chief, whose decisions all workers follow.

    Where several workers train, the chief alone reports, evaluates, writes and stops. The others
    wait for it after each step, and take over whether it was the last, the time, which schedules
    may follow, and the signal to stop. A single process is its own chief.

    Args:
        callbacks: `StepCallback`s, called in this order.
        place: Where the training runs.
        progress: Counters, those of the callbacks.
        request: What notes signals.
    """

    def __init__(
        self,
        callbacks: Sequence[StepCallback],
        place: Placement,
        progress: Progress,
        request: StopRequest,
    ):
        super().__init__(list(callbacks) if place.is_chief else [])
        self.place, self.progress, self.request = place, progress, request
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
        self.progress.start_clock()
        self._decide(lambda: [callback.resume() for callback in self.callbacks])
        return not model.stop_training

    def _decide(self, act: Callable[[], Any]) -> None:
        """Acts at the chief alone; all workers stop, and count time, as it does."""

        def decision(received: list[int | None]) -> tuple[bool, float, int | None]:
            if self.request.signal_number is None:
                self.request.signal_number = next((s for s in received if s is not None), None)
            act()
            return self.model.stop_training, self.progress.seconds, self.request.signal_number

        self.model.stop_training, self.progress.seconds, number = self.place.decide(
            self.request.signal_number, decision
        )
        if number is not None:
            self.request.signal_number = number
