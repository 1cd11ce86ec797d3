"""Stopping between two steps: Ctrl-C and SIGTERM save the run and end it."""

from __future__ import annotations

import signal
import threading
from types import FrameType


class Interrupted(Exception):
    """A run that was stopped by a signal, after it was saved.

    Args:
        signal_number: the signal.
        message: what to tell the user.
    """

    def __init__(self, signal_number: int, message: str):
        super().__init__(message)
        self.signal_number = signal_number


class StopRequest:
    """Notes SIGINT and SIGTERM inside a `with` block, so that a run can end after a whole step.

    A second Ctrl-C interrupts at once, as usual. Outside of the main thread, where Python has no
    signal handlers, nothing is noted.
    """

    def __init__(self) -> None:
        self.signal_number: int | None = None
        self._before: dict[int, object] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.signal_number is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal_number = number
