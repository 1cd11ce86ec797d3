"""A loss or a gradient that is no number: which step, which rate, which lines of the corpus."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from ...zoo.errors import ConfigError
from ...zoo.files import write_json
from ..data.corpus import NOT_JSON, PairOrigin

LINES_TOLD = 10  # all of them are in a file


class TrainingError(ConfigError):
    """A training that cannot go on."""


class NonfiniteSteps:
    """Says of what a step was made whose loss or gradients are not finite.

    The steps are written to `nonfinite.json` in the folder of the run, with all their lines and
    texts, the last one last.

    Args:
        origins: gives file, line and texts of rows of the training corpus.
        rows_of_step: gives the rows of the corpus that a step reads, by its number from 0.
        folder: of the run.
    """

    def __init__(
        self,
        origins: Callable[[Sequence[int]], list[PairOrigin]],
        rows_of_step: Callable[[int], Iterable[int]],
        folder: Path,
    ):
        self.origins = origins
        self.rows_of_step = rows_of_step
        self.path = folder / "nonfinite.json"

    def note(self, step: int, learning_rate: float, loss: float) -> str:
        """Writes down the step of this number, from 1; names it in a line."""
        rows = self.origins([int(row) for row in self.rows_of_step(step - 1)])
        this = {
            "step": step,
            "learning_rate": learning_rate,
            "loss": str(loss),  # JSON has no NaN
            "rows": [row._asdict() for row in rows],
        }
        write_json(self.path, [*self._steps_before(step), this])
        files = dict.fromkeys(row.file for row in rows)
        told = "; ".join(
            _lines(file, [row.line for row in rows if row.file == file]) for file in files
        )
        return f"step {step:,}, loss {loss}, learning rate {learning_rate:.2e}, {told}"

    def _steps_before(self, step: int) -> list[dict]:
        """Those written down already, by this process or before a training was gone on with."""
        try:
            noted = json.loads(self.path.read_text(encoding="utf-8"))
            return [other for other in noted if other["step"] < step]
        except (FileNotFoundError, *NOT_JSON, KeyError, TypeError):
            return []

    def stop(self, step: int, learning_rate: float, loss: float) -> TrainingError:
        """The error that ends a training at such a step."""
        named = self.note(step, learning_rate, loss)
        return TrainingError(
            f"The loss is no finite number: {named}; all of them with their texts are in "
            f"{self.path}. Lower learning_rate or clip_norm, raise warmup_steps, mend those lines "
            "or leave such batches out with skip_nonfinite=true, and train into a new folder."
        )


def _lines(file: str, lines: list[int]) -> str:
    told = ", ".join(map(str, sorted(lines)[:LINES_TOLD]))
    more = f" and {len(lines) - LINES_TOLD} more" if len(lines) > LINES_TOLD else ""
    return f"{file} lines {told}{more}"
