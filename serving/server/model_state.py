"""One version of a model on its way from the disk to clients and away again."""

from __future__ import annotations

import enum
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..runtime.errors import ServingError
from .loading import LoadedSession

MAX_LOAD_RETRIES = 5
RETRY_SECONDS = 60.0


class State(enum.IntEnum):
    """The states of a version, numbered as in `ModelVersionStatus`."""

    UNKNOWN = 0
    START = 10
    LOADING = 20
    AVAILABLE = 30
    UNLOADING = 40
    END = 50


@dataclass
class Version:
    """One version of a model and what became of it."""

    model: str
    number: int
    path: Path
    state: State = State.START
    error: ServingError | None = None
    session: LoadedSession | None = None
    users: int = 0
    failed_loads: int = 0
    failed_at: float = 0.0

    def may_be_loaded(self) -> bool:
        """Whether it was freed, or could not be loaded and may be tried again by now."""
        if self.state != State.END:
            return False
        waited = time.monotonic() - self.failed_at >= RETRY_SECONDS
        return self.error is None or (self.failed_loads <= MAX_LOAD_RETRIES and waited)


@dataclass(frozen=True)
class VersionStatus:
    """What a client is told about a version."""

    version: int
    state: State
    error: ServingError | None


class Handle:
    """A version in use: it stays loaded until `release`.

    Args:
        version: which is available.
        release: is told when this use is over.
    """

    def __init__(self, version: Version, release: Callable[[Version], None]):
        assert version.session is not None
        self._version = version
        self._release = release
        self.name = version.model
        self.version = version.number
        self.session: LoadedSession = version.session

    def release(self) -> None:
        """Says that this use is over."""
        self._release(self._version)

    def __enter__(self) -> Handle:
        return self

    def __exit__(self, *exception: object) -> None:
        self.release()
