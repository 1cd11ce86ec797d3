"""A loss or a gradient that is not finite: which step, which rate, which rows."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path

from ...zoo.errors import ConfigError
from ...zoo.files import write_json
from ..data.corpus import NOT_JSON, PairOrigin
from .progress import StepCallback

LINES_TOLD = 10  # all of them are in a file


class TrainingError(ConfigError):
    """A training that cannot go on."""


class NanGuard(StepCallback):
    """Ends a training whose loss is NaN or infinite, or counts the steps that are left out.

    Names the step, its learning rate, its loss and, where they are known, its rows. Those are also
    written to a file with all their texts, the last step last.

    Args:
        skip: Goes on. The optimizer leaves such steps out, as `FusedAdam(skip_nonfinite=True)`
            and Keras's `LossScaleOptimizer` do.
        rows: Gives file, line and texts of the rows that a step reads, by its number from 1.
        path: The file; none is written if left out.

    Raises:
        TrainingError: From `fit`, if `skip` is false: the loss is not finite.

    Example:

    >>> model.fit(dataset, callbacks=[NanGuard()])
    """

    def __init__(
        self,
        skip: bool = False,
        rows: Callable[[int], Sequence[PairOrigin]] = lambda step: (),
        path: Path | None = None,
    ):
        super().__init__()
        self.skip, self.rows, self.path = skip, rows, path

    def after_step(self, logs):
        progress, loss = self.progress, float(logs["loss"])
        # Keras puts the scaling of the loss that float16 needs around the optimizer.
        optimizer = getattr(self.model.optimizer, "inner_optimizer", self.model.optimizer)
        counter = getattr(optimizer, "skipped", None) if self.skip else None
        skipped = 0 if counter is None else int(counter.numpy())
        if math.isfinite(loss) and skipped <= progress.skipped:
            return
        note = self.note(progress.step, float(optimizer.learning_rate), loss)
        if self.skip:
            progress.skipped = max(skipped, progress.skipped + 1)  # Keras does not count its own
            self.report(f"left out: {note}")
            return
        where = "" if self.path is None else f"; all of them with their texts are in {self.path}"
        raise TrainingError(
            f"The loss is no finite number: {note}{where}. Go on from the last checkpoint with "
            "--set skip_nonfinite=true, which leaves such batches out; or lower learning_rate or "
            "clip_norm, raise warmup_steps or mend those lines, and train into a new folder."
        )

    def note(self, step: int, learning_rate: float, loss: float) -> str:
        """Writes down the step of this number, from 1; returns a line that names it."""
        rows = self.rows(step)
        this = {
            "step": step,
            "learning_rate": learning_rate,
            "loss": str(loss),  # JSON has no NaN
            "rows": [row._asdict() for row in rows],
        }
        if self.path is not None:
            write_json(self.path, [*self._steps_before(self.path, step), this])
        files = dict.fromkeys(row.file for row in rows)
        told = [_lines(file, [row.line for row in rows if row.file == file]) for file in files]
        line = f"step {step:,}, loss {loss}, learning rate {learning_rate:.2e}"
        return ", ".join([line, "; ".join(told)]) if told else line

    @staticmethod
    def _steps_before(path: Path, step: int) -> list[dict]:
        """Reads those of this process, and of the training before it was resumed."""
        try:
            noted = json.loads(path.read_text(encoding="utf-8"))
            return [other for other in noted if other["step"] < step]
        except (FileNotFoundError, *NOT_JSON, KeyError, TypeError):
            return []


def _lines(file: str, lines: list[int]) -> str:
    told = ", ".join(map(str, sorted(lines)[:LINES_TOLD]))
    more = f" and {len(lines) - LINES_TOLD} more" if len(lines) > LINES_TOLD else ""
    return f"{file} lines {told}{more}"
