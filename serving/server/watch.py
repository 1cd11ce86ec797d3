"""Things that are done again and again in a thread, each at its own interval."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping

from ..runtime.errors import ServingError

_LOG = logging.getLogger("attention_zoo.serving")


class Watch:
    """Calls some functions at their intervals until it is stopped.

    What one of them raises is logged, once for as long as it stays the same, and ends nothing.

    Args:
        intervals: seconds between two calls of each function; of those at 0 there are none.
    """

    def __init__(self, intervals: Mapping[Callable[[], None], float]):
        self._intervals = {look: seconds for look, seconds in intervals.items() if seconds > 0}
        self._said: dict[Callable[[], None], str] = {}
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="attention-zoo-watch", daemon=True)

    def start(self) -> None:
        """Begins, if there is anything to do."""
        if self._intervals:
            self._thread.start()

    def stop(self, seconds: float) -> None:
        """Ends it, waiting so long at most for a call that is under way."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(seconds)

    def _run(self) -> None:
        due = {look: time.monotonic() + seconds for look, seconds in self._intervals.items()}
        while not self._stopped.wait(max(0.0, min(due.values()) - time.monotonic())):
            for look, moment in due.items():
                if moment <= time.monotonic() and not self._stopped.is_set():
                    self._call(look)
                    due[look] = time.monotonic() + self._intervals[look]

    def _call(self, look: Callable[[], None]) -> None:
        try:
            look()
        except Exception as error:
            text = str(error)
            if text != self._said.get(look):
                unforeseen = not isinstance(error, (OSError, ServingError))
                _LOG.error("The models stay as they were: %s", text, exc_info=unforeseen)
            self._said[look] = text
        else:
            self._said.pop(look, None)
