"""Display of a running training: lines in a pipe, a live view on a terminal."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

from ..metrics.scores import shown
from .planning import Outlook, span
from .progress import ProgressReport

if TYPE_CHECKING:
    from rich.console import RenderableType

REFRESH_SECONDS = 0.25
LINE_SECONDS = 20.0  # between two lines in a pipe


class TrainingLines(ProgressReport):
    """Reports lines of progress, with the share of the budget and the time that is left.

    Args:
        outlook: Knows both.
        seconds: Time of the steps between two lines.
    """

    def __init__(self, outlook: Outlook, seconds: float = LINE_SECONDS):
        super().__init__(seconds)
        self.outlook = outlook

    def __enter__(self) -> TrainingLines:
        return self

    def __exit__(self, *error: object) -> None:
        """Ends the display."""

    def after_step(self, logs):
        self.outlook.note(self.progress)
        super().after_step(logs)

    def line(self, values):
        return "  ".join([super().line(values), ", ".join(self.outlook.words(self.progress))])


class TrainingView(TrainingLines):
    """Shows on a terminal, in place, how far a training is: bar, measures, scores and a sample.

    All that is printed meanwhile stands above it.

    Args:
        outlook: Knows the share of the budget and the time that is left.
        seconds: Time of the steps that the measures are means of.
    """

    def __init__(self, outlook: Outlook, seconds: float = 2.0):
        super().__init__(outlook, seconds)
        self._measures: dict[str, str] = {}
        self._drawn = 0.0

    def __enter__(self) -> TrainingView:
        from rich.console import Console
        from rich.live import Live

        self._live = Live(console=Console(), auto_refresh=False, transient=True)
        self._live.start()
        self.draw()
        return self

    def __exit__(self, *error: object) -> None:
        self._live.stop()

    def after_step(self, logs):
        super().after_step(logs)
        if time.perf_counter() - self._drawn >= REFRESH_SECONDS:
            self.draw()

    def show(self, values):
        self._measures = dict(self.measures(values))

    def draw(self) -> None:
        """Draws the view anew."""
        self._live.update(self.view(), refresh=True)
        self._drawn = time.perf_counter()

    def view(self) -> RenderableType:
        """The view of this moment."""
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        progress, outlook = self.progress, self.outlook
        share, left = outlook.share(progress), outlook.seconds_left(progress)
        soon = outlook.seconds_to_evaluation(progress)
        steps = outlook.budget.total_steps(progress.planned_steps)
        of = f" of {steps:,}" if steps else ""
        head = [f"step {progress.step:,}{of}", f"epoch {progress.step / outlook.epoch_steps:.1f}"]
        head += [f"{span(progress.seconds)} so far"]
        head += [] if left is None else [f"{span(left)} left"]
        bar = Table.grid(padding=(0, 2))
        cells: list[Any] = [Text("   ".join(head))]
        if share is not None:
            cells = [ProgressBar(1.0, share, width=24), Text(f"{share:4.0%}", "bold"), *cells]
        bar.add_row(*cells)
        measures = [f"{name} {value}".strip() for name, value in self._measures.items()]
        measures += [] if soon is None else [f"next evaluation in {span(soon)}"]
        lines = [Text("   ".join(measures) or "the first steps take longer than others", "dim")]
        return Group(Text(""), bar, *lines, *self._evaluated())

    def _evaluated(self) -> list[Any]:
        """The scores of the last evaluation, and one of its samples."""
        from rich.table import Table
        from rich.text import Text

        latest = self.outlook.evaluation.latest
        if latest is None:
            return []
        names = dict.fromkeys((self.outlook.evaluation.metric.name, "perplexity"))
        scores = [f"{name} {shown(latest.metrics.get(name))}" for name in names]
        best = f"best at step {self.progress.best_step:,}"
        found: list[Any] = [Text("   ".join([*scores, best]), "green")]
        if latest.samples:
            texts = latest.samples[len(latest.samples) // 2]
            grid = Table.grid(padding=(0, 2))
            for label, text in zip(("source", "expected", "output"), texts, strict=True):
                cell = Text(" ".join(text.split()), "bold" if label == "output" else "")
                cell.truncate(max(self._live.console.width - 14, 20), overflow="ellipsis")
                grid.add_row(Text(label, "dim"), cell)
            found.append(grid)
        return found


def display_of(report: Any, outlook: Outlook) -> TrainingLines:
    """The view where lines are printed on a terminal, else lines."""
    if report is print and sys.stdout.isatty():
        return TrainingView(outlook)
    return TrainingLines(outlook)
