"""Stopping a training: Ctrl-C and SIGTERM save the run and end it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

TRY_AGAIN = 75  # EX_TEMPFAIL of sysexits.h: the same command goes on


class Interrupted(Exception):
    """A run that was stopped by a signal, after it was saved.

    Args:
        signal_number: the signal.
        message: what to tell the user.
    """

    def __init__(self, signal_number: int, message: str):
        super().__init__(message)
        self.signal_number = signal_number

    @property
    def exit_status(self) -> int:
        """75 after SIGTERM: there is more to do, and what starts commands again is to do so.

        Ctrl-C ends with 130, as it does in any command, so that a script that it was meant for
        ends too.
        """
        return TRY_AGAIN if self.signal_number == signal.SIGTERM else 128 + self.signal_number


class StopNow(BaseException):
    """A signal came in the middle of work that can be thrown away.

    No `Exception`, as `KeyboardInterrupt` is none: what handles errors is not to take it for one.
    """


class StopRequest:
    """Notes SIGINT and SIGTERM inside a `with` block, so that a run can end after a whole step.

    Inside `at_once` a signal raises `StopNow`: an evaluation may take minutes, and whoever sends
    SIGTERM often sends SIGKILL seconds later. A second Ctrl-C interrupts at once, as usual. Outside
    of the main thread, where Python has no signal handlers, nothing is noted.

    Args:
        signals: those that are noted.

    Attributes:
        signal_number: the signal that came, or `None`.
        pass_on: is called when SIGTERM comes, if there is somebody else to be told.
    """

    def __init__(self, signals: Sequence[int] = (signal.SIGINT, signal.SIGTERM)) -> None:
        self.signals = signals
        self.signal_number: int | None = None
        self.pass_on: Callable[[], None] | None = None
        self._at_once = False
        self._before: dict[int, object] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            for number in self.signals:
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """For long work of which nothing is lost when it is done anew at the next start.

        Raises:
            StopNow: a signal came before or comes now.
        """
        self._at_once = True
        try:
            if self.signal_number is not None:
                raise StopNow
            yield
        finally:
            self._at_once = False

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.signal_number is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal_number = number
        if number == signal.SIGTERM and self.pass_on is not None:
            self.pass_on()
        if self._at_once:
            self._at_once = False  # one is enough
            raise StopNow(f"stopped by {signal.Signals(number).name}")
