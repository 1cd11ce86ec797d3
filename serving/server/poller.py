"""Polling of folders and configuration files in a thread, each at its own interval."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ..runtime.config_files import read_models
from ..runtime.errors import ServingError
from ..runtime.model_config import ModelConfig

_LOG = logging.getLogger("attention_zoo.serving")


class Poller:
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


class SideBySide:
    """Calls a function for several models at a time, each in a thread, and for each once at a time.

    Args:
        function: called with the configuration of a model.
    """

    def __init__(self, function: Callable[[ModelConfig], None]):
        self._function = function
        self._locks: dict[str, threading.Lock] = {}
        self.threads: list[threading.Thread] = []  # those that have not ended

    def __call__(self, configs: Sequence[ModelConfig], patience: float | None = None) -> None:
        """Calls the function for each model.

        Args:
            configs: the models.
            patience: seconds after which a model is left to itself, such as one on a disk that does
                not answer; it is then left out until it is done. `None` waits for all.

        Raises:
            Exception: the first one that came up.
        """
        faults: list[Exception] = []
        threads = [
            threading.Thread(
                target=self._call,
                args=(config, patience is None, faults),
                name="attention-zoo-load",
                daemon=True,
            )
            for config in configs
        ]
        for thread in threads:
            thread.start()
        self.threads = [*(t for t in self.threads if t.is_alive()), *threads]
        end = None if patience is None else time.monotonic() + patience
        for thread in threads:
            thread.join(None if end is None else max(0.0, end - time.monotonic()))
        if faults:
            raise faults[0]

    def _call(self, config: ModelConfig, wait: bool, faults: list[Exception]) -> None:
        lock = self._locks.setdefault(config.name, threading.Lock())
        if lock.acquire(blocking=wait):
            try:
                self._function(config)
            except Exception as fault:
                faults.append(fault)
            finally:
                lock.release()


class ChangedFile:
    """Reads a `models.config` again whenever it was written.

    Args:
        path: the file.
        configs: what was read in it. As it may have changed since, the first call reads it again.
    """

    def __init__(self, path: str | os.PathLike, configs: Sequence[ModelConfig]):
        self._path = Path(path)
        self._configs = list(configs)
        self._seen: tuple[int, int] | None = None

    def _stamp(self) -> tuple[int, int]:
        status = self._path.stat()
        return status.st_mtime_ns, status.st_ino

    def __call__(self) -> list[ModelConfig] | None:
        """The models, if the file has changed."""
        stamp = self._stamp()
        if stamp == self._seen:
            return None
        first, self._seen = self._seen is None, stamp
        configs = read_models(self._path)
        return None if first and configs == self._configs else configs
