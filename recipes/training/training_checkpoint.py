"""Checkpoints from which a training goes on exactly where it was."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import keras

from ...zoo.files import check_local
from ...zoo.training.averaging import Average
from ..core.checkpoint import Checkpoints, pack, unpack
from ..distribute.context import DistributionContext
from .progress import Progress, StepCallback

# Counters of another run that are gone on with; its evaluations were of its own model file.
STATE = ("step", "seconds", "tokens", "token_seconds", "skipped")


class TrainingCheckpoint(StepCallback):
    """Writes all that a training goes on from: weights, optimizer, average, seeds and counters.

    A checkpoint is written every few minutes, and when an earlier callback or `fit` ends the
    training, so this one is the last of the list. Steps wait only until its values are held.
    Where one cannot be written, mostly for a full disk, the one before stays, and the next is tried
    later; an error is raised only if it was the last, or if the folder has gone.

    Args:
        files: Folder of the checkpoints.
        minutes: Time between two of them.
        average: An average of the weights, if there is one.

    Example:

    >>> checkpoint = TrainingCheckpoint("run/checkpoints")
    >>> steps = checkpoint.restore(model)
    >>> model.fit(dataset.skip(steps), callbacks=[checkpoint])
    """

    def __init__(
        self, files: str | Path | Checkpoints, minutes: float = 5.0, average: Average | None = None
    ):
        super().__init__()
        if not isinstance(files, Checkpoints):
            check_local(files)
        self.files = files if isinstance(files, Checkpoints) else Checkpoints(Path(files))
        self.minutes, self.average = minutes, average
        self._saved = asdict(Progress())

    def restore(
        self,
        model: keras.Model,
        place: DistributionContext | None = None,
        start: Checkpoints | None = None,
    ) -> int:
        """Loads the newest checkpoint that is whole, if there is one, into a compiled model.

        Args:
            model: The model, which has its weights.
            place: Where several workers train: all of them get the state of the chief.
            start: The checkpoints of another run that are taken in place of the own: weights,
                optimizer, average and steps of it are the first of this one, its evaluations not.

        Returns:
            The number of steps that were made; 0 without a checkpoint.

        Raises:
            CheckpointError: The checkpoint is of another model, or all are damaged.
        """
        if not model.optimizer.built:
            model.optimizer.build(model.trainable_variables)
        self.set_model(model)
        variables = self._variables()

        def read() -> dict[str, Any] | None:
            found = (start or self.files).restore(variables, former=len(self._learned()))
            return {name: found[name] for name in STATE} if start and found else found

        saved = (place or DistributionContext()).broadcast_from_chief(
            read,
            lambda values: pack(variables, values),
            lambda state: unpack(variables, state),
        )
        if saved is not None:
            self.progress.load(saved)
            if (counter := self._skip_counter()) is not None:
                counter.assign(self.progress.skipped)
        if start is None:  # else it is saved here as soon as it can be
            self._saved = asdict(self.progress)
        return self.progress.step

    def after_step(self, logs):
        if not self.files.is_writing:
            self._end_writing()
        over = self.model.stop_training
        if over or self.progress.seconds - self._saved["seconds"] >= 60 * self.minutes:
            self.save(last=over)

    def on_train_end(self, logs=None):
        self._end_writing()
        self.resume()

    def resume(self):
        if self.progress.step and self._saved != asdict(self.progress):
            self.save()

    def save(self, last: bool = True) -> None:
        """Writes a checkpoint of this moment.

        Args:
            last: Whether to wait for it, and whether it is an error if it cannot be written.
        """
        self._end_writing()
        self._saved = asdict(self.progress)
        self.files.begin(self.progress.step, self._variables(), self._saved)
        if last:
            self.files.wait()

    def _end_writing(self) -> None:
        """Waits for the checkpoint that is being written, and reports if it could not be."""
        try:
            self.files.wait()
        except OSError as error:
            self.report(
                f"step {self._saved['step']:>7,}  no checkpoint could be written: "
                f"{error.strerror}; the one before stays, and the next is tried later"
            )
            self._saved = {**self._saved, "step": None}  # so that the end of `fit` tries again

    def _variables(self) -> list[Any]:
        average = self.average.variables if self.average else []
        return [*self._learned(), *average]

    def _learned(self) -> list[Any]:
        """The variables of model and optimizer that say what was learned.

        Earlier versions saved the count of skipped steps after them, where there was one.
        """
        model = self.model
        # A metric's state says nothing of it, and some appear only during `fit`. Skipped steps are
        # counted in the progress, so the state is the same whether they are skipped or not.
        others = {id(v) for metric in model.metrics for v in metric.variables}
        others.add(id(self._skip_counter()))
        others |= {id(v) for v in getattr(model.optimizer, "schedule_variables", ())}
        return [v for v in (*model.variables, *model.optimizer.variables) if id(v) not in others]

    def _skip_counter(self) -> Any:
        """The optimizer's own count of steps that it skipped, if it skips any."""
        optimizer = getattr(self.model.optimizer, "inner_optimizer", self.model.optimizer)
        return getattr(optimizer, "skipped", None)
