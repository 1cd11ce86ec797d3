"""The curves, samples and attention of a training for TensorBoard."""

from __future__ import annotations

from collections.abc import Callable

from ..tensorboard.run_logger import RunLogger
from .periodic_evaluation import PeriodicEvaluation
from .progress import REPORT_SECONDS, Progress, StepMeans


class TensorBoardLog(StepMeans):
    """Logs means over the steps of every few seconds, and each evaluation.

    Args:
        logger: Writes the log. Resumed, it purges the steps that are made anew.
        evaluation: The callback that evaluates, before this one in the list, if there is one.
        graph: Gives the model as a serialized `GraphDef`, at the first evaluation.
        seconds: Time of the steps between two points of a curve.
        progress: As of `StepCallback`.

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
        progress: Progress | None = None,
    ):
        super().__init__(seconds, progress)
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
