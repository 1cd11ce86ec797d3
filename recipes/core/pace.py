"""Progress of long work over rows: a line now and then."""

from __future__ import annotations

import time
from collections.abc import Callable

SECONDS = 5.0  # between two lines
LOOK_EVERY = 256  # rows between two looks at the clock


class Pace:
    """Counts rows and reports them.

    Args:
        report: takes each line.
        done: what was done with the rows, as in "read".
        total: how many there are, if that is known.
    """

    def __init__(self, report: Callable[[str], None], done: str, total: int | None = None):
        self._report = report
        self._done = done
        self._total = total
        self._rows = self._skipped = 0
        self._begin = self._last = time.perf_counter()
        self._look_at = 0

    def add(self, rows: int) -> None:
        """So many more rows are done."""
        self._rows += rows
        if self._rows < self._look_at:
            return
        self._look_at = self._rows + LOOK_EVERY
        now = time.perf_counter()
        if now - self._last >= SECONDS:
            self._last = now
            self._report(self._line(now))

    def skip(self, rows: int) -> None:
        """So many rows were done before, and count for nothing in the rate."""
        self._rows += rows
        self._skipped += rows

    def end(self) -> None:
        """All is done."""
        self._report(self._line(time.perf_counter()))

    def _line(self, now: float) -> str:
        rate = (self._rows - self._skipped) / max(now - self._begin, 1e-9)
        line = f"{self._done} {self._rows:,} rows"
        if self._total:
            line += f" of {self._total:,} ({self._rows / self._total:.0%})"
        line += f", {rate:,.0f} rows/s"
        if self._total and rate and self._rows < self._total:
            line += f", {(self._total - self._rows) / rate / 60:.1f} min left"
        return line
