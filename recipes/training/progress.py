"""Progress of a training: counters that its callbacks share, and lines that tell of it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import keras

REPORT_SECONDS = 10.0
_PLANNED = ("planned_steps", "planned_minutes", "warmup_steps", "evaluate_every")


@dataclass
class Progress:
    """Counters of a model's training over all calls of `fit`, as its checkpoints keep them.

    The callbacks of a model share them; a step is counted by the first of them that it reaches.

    Attributes:
        step: Steps made.
        seconds: Time of steps and of evaluations.
        tokens: Target tokens that were learnt from, where the logs of a step count them.
        token_seconds: Time of steps alone.
        skipped: Steps that changed nothing, as their gradients were not finite.
        best_step: Step of the best evaluation; 0 before there is one.
        best_value: Its value of the metric that decides.
        evaluations_since_best: Evaluations after it.
        history: Step, minutes and scores of each evaluation.
        planned_steps: Steps that the budget allows at the speed of the first minutes; 0 before
            they are planned.
        planned_minutes: Minutes of the budget that they were planned for; 0 for one of steps alone.
        warmup_steps: Steps of the warm-up as planned; 0 if it is as the schedule was made.
        evaluate_every: Steps between two evaluations as planned; 0 before, or if it is set.
    """

    step: int = 0
    seconds: float = 0.0
    tokens: float = 0.0
    token_seconds: float = 0.0
    skipped: int = 0
    best_step: int = 0
    best_value: float | None = None
    evaluations_since_best: int = 0
    history: list[dict[str, float | None]] = field(default_factory=list)
    planned_steps: int = 0
    planned_minutes: float = 0.0
    warmup_steps: int = 0
    evaluate_every: int = 0

    def __post_init__(self) -> None:
        self.step_seconds = 0.0  # of the last step
        self._clock = time.perf_counter()
        self._made = 0  # steps between the last two calls of callbacks
        self._first: int | None = None

    def load(self, values: Mapping[str, Any]) -> None:
        """Takes over the counters of a checkpoint."""
        vars(self).update(asdict(Progress(**values)))

    def start_clock(self) -> None:
        """Starts to count time, at a moment from which all of it is training."""
        self._clock = time.perf_counter()

    def tick(self) -> float:
        """Counts the seconds since the last call, and returns them."""
        now = time.perf_counter()
        passed, self._clock = now - self._clock, now
        self.seconds += passed
        return passed

    def begin_step(self, batch: int) -> None:
        """Notes the first batch of what `fit` does before it calls callbacks again."""
        self._first = batch

    def end_step(self, batch: int, logs: Mapping[str, Any]) -> None:
        """Counts the steps up to a batch, unless another callback has done so."""
        if self._first is None:
            return
        self._made, self._first = batch - self._first + 1, None
        self.step += self._made
        self.step_seconds = self.tick()
        self.token_seconds += self.step_seconds
        if math.isfinite(logs.get("loss", 0.0)):
            self.tokens += logs.get("tokens", 0.0)

    def passed(self, every: int) -> bool:
        """Tells whether the last step was one of each so many."""
        return every > 0 and self.step // every > (self.step - self._made) // every

    @property
    def plan(self) -> list[Any]:
        """All that is planned, as JSON has it; where several workers train, they share it."""
        return [getattr(self, name) for name in _PLANNED]

    @plan.setter
    def plan(self, values: list[Any]) -> None:
        for name, value in zip(_PLANNED, values, strict=True):
            setattr(self, name, value)

    def ended_by(self, patience: int | None) -> str:
        """Names what ends the run here: `"patience"`, or else its `"budget"`."""
        ended = patience is not None and self.evaluations_since_best >= patience
        return "patience" if ended else "budget"


def progress_of(model: keras.Model) -> Progress:
    """Returns the counters of a model's training."""
    if not hasattr(model, "training_progress"):
        model.training_progress = Progress()
    return model.training_progress


class StepCallback(keras.callbacks.Callback):
    """Base of callbacks that count the steps of a training over all calls of `fit`.

    A subclass does its work in `after_step`, and in `resume` what a stop has left undone.

    Attributes:
        report: Takes each line that a callback tells; `print` unless it is set.
    """

    report: Callable[[str], None] = staticmethod(print)

    @property
    def progress(self) -> Progress:
        return progress_of(self.model)

    def on_train_begin(self, logs=None):
        self.progress.start_clock()

    def on_train_batch_begin(self, batch, logs=None):
        self.progress.begin_step(batch)

    def on_train_batch_end(self, batch, logs=None):
        self.progress.end_step(batch, logs or {})
        self.after_step(logs or {})

    def after_step(self, logs: Mapping[str, Any]) -> None:
        """Does what there is to do after a step, which `progress` counts already."""
        self.resume()

    def resume(self) -> None:
        """Does what there is to do between the counters of a checkpoint and the next step."""


class StepMeans(StepCallback):
    """Base of callbacks that show means over the steps of every few seconds.

    Logs of a step that count its `tokens`, as those of the zoo's models do, weigh as many. Steps
    whose loss is not finite are left out.

    Args:
        seconds: Time of the steps that one mean is over.
    """

    def __init__(self, seconds: float = REPORT_SECONDS):
        super().__init__()
        self.seconds = seconds
        self._clear()

    def _clear(self) -> None:
        self._sums: dict[str, float] = {}
        self._weight = self._seconds = 0.0

    def after_step(self, logs: Mapping[str, Any]) -> None:
        self._seconds += self.progress.step_seconds
        if math.isfinite(logs.get("loss", 0.0)):
            weight = logs.get("tokens", 1.0)
            self._weight += weight
            for name, value in logs.items():
                if name != "tokens" and isinstance(value, float):
                    self._sums[name] = self._sums.get(name, 0.0) + weight * value
        if self._weight and self._seconds >= self.seconds:
            values = {name: total / self._weight for name, total in self._sums.items()}
            rate = "tokens_per_second" if "tokens" in logs else "steps_per_second"
            values[rate] = self._weight / max(self._seconds, 1e-9)
            values["learning_rate"] = float(self.model.optimizer.learning_rate)
            self.show(values)
            self._clear()

    def show(self, values: dict[str, float]) -> None:
        """Shows means by the name of the measure."""
        raise NotImplementedError


class ProgressReport(StepMeans):
    """Reports a line every few seconds: loss, learning rate, tokens or steps a second, minutes.

    Args:
        seconds: Time of the steps between two lines.

    Example:

    >>> model.fit(x, y, verbose=0, callbacks=[ProgressReport()])
    """

    def show(self, values: dict[str, float]) -> None:
        self.report(self.line(values))

    def line(self, values: dict[str, float]) -> str:
        """The line of some means."""
        told = "  ".join(
            f"{name} {value}" if name else value for name, value in self.measures(values).items()
        )
        return f"step {self.progress.step:>7,}  {told}  {self.progress.seconds / 60:.1f} min"

    def measures(self, values: dict[str, float]) -> dict[str, str]:
        """The means as they are shown, by the words for them."""
        unit = "tokens" if "tokens_per_second" in values else "steps"
        others = {
            n: v for n, v in values.items() if n not in ("learning_rate", f"{unit}_per_second")
        }
        names = sorted(others, key=lambda name: name != "loss")  # that first
        found = {name.replace("_", " "): f"{others[name]:.3f}" for name in names}
        found["rate"] = f"{values['learning_rate']:.2e}"
        speed = values[f"{unit}_per_second"]
        return {**found, "": f"{speed:>6,.0f} {unit}/s"}
