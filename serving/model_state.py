"""One version of a model on its way from the disk to clients and away again."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .errors import ServingError
from .loading import LoadedSession


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
