"""Evaluations during a training: which weights are the best, and when they get no better."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..core.interruption import StopNow, StopRequest
from ..metrics.metric import Metric
from ..metrics.scores import shown
from .progress import StepCallback

if TYPE_CHECKING:
    from ...zoo.visualization.explanation import Explanation

Values = Mapping[str, float | None]


@dataclass(frozen=True)
class Evaluation:
    """Result of an evaluation during training.

    Attributes:
        metrics: Scores by name; `None` where one has no value.
        samples: Source, reference and output of some rows.
        explanations: Attention of some sources, the same ones at every evaluation.
        attention: Measures of the attention in these.
    """

    metrics: Values
    samples: Sequence[tuple[str, str, str]] = ()
    explanations: Sequence[Explanation] = ()
    attention: Mapping[str, float] = field(default_factory=dict)


class PeriodicEvaluation(StepCallback):
    """Evaluates every few steps and at the end, keeps the best weights, and stops by patience.

    Where an earlier callback ends the training, as `StopAtBudget` does, that is its end.

    Args:
        evaluate: Returns scores by name, or an `Evaluation`: by decoding, say.
        keep: Saves the weights, as they are the best so far.
        every: Steps between two evaluations; as `PlanSteps` says, before this callback in the list,
            if `None`.
        metric: The score that decides, and which way it is better.
        patience: Evaluations without a better one after which the training ends; never if `None`.
        weights: Makes a context in which the model has the weights to be evaluated and kept, such
            as `average.applied`.
        request: Notes signals, of which one breaks an evaluation off; it is made when the training
            is resumed.

    Example:

    >>> best = PeriodicEvaluation(
    ...     lambda: {"exact": share_of_exact_outputs(model)},
    ...     keep=lambda: model.save("best.keras"),
    ...     every=500,
    ...     metric=Metric("exact"),
    ...     patience=5,
    ... )
    >>> model.fit(dataset, callbacks=[best])
    """

    def __init__(
        self,
        evaluate: Callable[[], Values | Evaluation],
        keep: Callable[[], None],
        every: int | None,
        metric: Metric,
        patience: int | None = None,
        weights: Callable[[], AbstractContextManager] = nullcontext,
        request: StopRequest | None = None,
    ):
        super().__init__()
        self.evaluate, self._keep, self._every = evaluate, keep, every
        self.metric, self.patience = metric, patience
        self.weights, self.request = weights, request
        self.latest: Evaluation | None = None

    @property
    def every(self) -> int:
        """Steps between two evaluations; 0 before that is known."""
        return self.progress.evaluate_every if self._every is None else self._every

    def after_step(self, logs):
        if self.model.stop_training or self.progress.passed(self.every):
            self._run()
        self._stop_by_patience()

    def resume(self):
        """Makes the evaluation of the last step, if a signal broke it off or it left no model."""
        self._stop_by_patience()
        progress = self.progress
        last = progress.history[-1]["step"] if progress.history else 0
        made = progress.step == last and progress.best_step > 0
        due = self.model.stop_training or (self.every and progress.step % self.every == 0)
        if progress.step and due and not made:
            self._run()
            self._stop_by_patience()

    def keep(self, value: float | None) -> bool:
        """Saves the weights, if it can; where that fails, those from before stay the best."""
        progress = self.progress
        try:
            self._keep()
        except OSError as error:
            self.report(
                f"step {progress.step:>7,}  the best model could not be written: "
                f"{error.strerror or error}; what was written before stays"
            )
            return False
        progress.best_value, progress.best_step = value, progress.step
        return True

    def keep_unscored(self) -> None:
        """Saves the weights where none are kept yet, as a training that stops here leaves a model.

        They do not count as the best: the next evaluation replaces them.
        """
        if self.progress.best_step:
            return
        try:
            with self.weights():
                self._keep()
        except OSError as error:
            self.report(f"the model could not be written: {error.strerror or error}")

    def _stop_by_patience(self) -> None:
        if self.progress.ended_by(self.patience) == "patience":
            self.model.stop_training = True

    def _run(self) -> None:
        progress = self.progress
        try:
            with self.weights():
                with self.request.at_once() if self.request else nullcontext():
                    found = self.evaluate()
                self.latest = found if isinstance(found, Evaluation) else Evaluation(dict(found))
                metrics = self.latest.metrics
                value = metrics[self.metric.name]
                progress.history.append(
                    {"step": progress.step, "minutes": progress.seconds / 60, **metrics}
                )
                better = not progress.best_step or self.metric.is_better(value, progress.best_value)
                kept = better and self.keep(value)
        except StopNow:
            return
        progress.evaluations_since_best = 0 if better else progress.evaluations_since_best + 1
        names = dict.fromkeys(name for name in (self.metric.name, "perplexity") if name in metrics)
        told = "  ".join(f"{name} {shown(metrics[name])}" for name in names)
        best = "  (best so far)" if kept else ""
        self.report(f"step {progress.step:>7,}  validation: {told}{best}")
        progress.tick()  # counted as training, but not as time of steps
