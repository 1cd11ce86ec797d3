"""One version of a model on its way from the disk to clients and away again."""

from __future__ import annotations

import enum
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ..runtime.errors import Code, ServingError
from ..runtime.model_config import ModelConfig
from .loading import LoadedSession

_LOG = logging.getLogger("attention_zoo.serving")
MAX_LOAD_RETRIES = 5
RETRY_SECONDS = 60.0
_KEPT = 0.99  # of what was measured, with each further row


class State(enum.IntEnum):
    """The states of a version, numbered as in `ModelVersionStatus`."""

    UNKNOWN = 0
    START = 10
    LOADING = 20
    AVAILABLE = 30
    UNLOADING = 40
    END = 50


class Workload:
    """Rows of a version that are under way, and the time that one takes while there are others.

    That is the time between two answers, averaged over the last hundred rows or so: it holds for
    requests that run alone, side by side or in batches. Counted in one thread.
    """

    def __init__(self) -> None:
        self._rows = 0
        self._since = 0.0  # the last answer, or the first request after a rest
        self._seconds = 0.0  # and the rows that took them; both fade
        self._done = 0.0

    def expected_wait(self) -> float:
        """Seconds until what is under way is likely to be answered."""
        return self._rows * self._seconds / self._done if self._done else 0.0

    @contextmanager
    def rows_under_way(self, rows: int) -> Iterator[None]:
        """Counts rows for as long as the block lasts, and measures it unless it fails."""
        if not self._rows:
            self._since = time.monotonic()
        self._rows += rows
        try:
            yield
        finally:
            self._rows -= rows
        now, kept = time.monotonic(), _KEPT**rows
        self._seconds = kept * self._seconds + now - self._since
        self._done = kept * self._done + rows
        self._since = now


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
    workload: Workload = field(default_factory=Workload)
    failed_loads: int = 0
    failed_at: float = 0.0

    def may_be_loaded(self) -> bool:
        """Tells if it was freed, or could not be loaded and may be tried again by now."""
        if self.state != State.END:
            return False
        waited = time.monotonic() - self.failed_at >= RETRY_SECONDS
        return self.error is None or (self.failed_loads <= MAX_LOAD_RETRIES and waited)


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
        self.workload = version.workload
        self.session: LoadedSession = version.session

    def release(self) -> None:
        """Says that this use is over."""
        self._release(self._version)

    def __enter__(self) -> Handle:
        return self

    def __exit__(self, *exception: object) -> None:
        self.release()


Versions = Mapping[str, Mapping[int, Version]]


def model_fault(config: ModelConfig, versions: Versions) -> str | None:
    """Why a model cannot be served, if it cannot."""
    # Versions from elsewhere, of a model that was moved, are on their way out.
    known = [
        version
        for version in versions.get(config.name, {}).values()
        if version.path.parent == config.base_path
    ]
    if any(version.state == State.AVAILABLE for version in known):
        return None
    errors = [f"version {version.number}: {version.error}" for version in known]
    if errors:
        joined = " ".join("; ".join(errors).split())
        return f"No version of model {config.name} can be served: {joined}"
    return (
        f"No versions of model {config.name} found under base path {config.base_path}. "
        "Did you forget to name its folder as a number (such as '1')?"
    )


def label_faults(configs: Iterable[ModelConfig], versions: Versions) -> list[str]:
    """Faults of the labels of some models: those that name versions which are not served."""
    return [
        f"Request to assign label to version {number} of model {config.name}, which is not "
        "currently available for inference"
        for config in configs
        for number in config.labels.values()
        if (found := versions.get(config.name, {}).get(number)) is None
        or found.state != State.AVAILABLE
    ]


def say_faults(configs: Iterable[ModelConfig], versions: Versions) -> bool:
    """Logs what cannot be served; tells if that is everything, of which nothing is logged."""
    configs = list(configs)
    faults = [model_fault(config, versions) for config in configs]
    if all(faults):
        return True
    for fault in filter(None, faults):
        _LOG.error("%s. The others are served", fault)
    for fault in label_faults(configs, versions):
        _LOG.error("%s", fault)
    return False


def check_readiness(configs: Iterable[ModelConfig], versions: Versions, labels: bool) -> None:
    """Raises an error unless every model can be served.

    Args:
        configs: the models.
        versions: what became of their versions.
        labels: whether every label must name a version that can be used.

    Raises:
        ServingError: UNAVAILABLE for a model, FAILED_PRECONDITION for a label.
    """
    configs = list(configs)
    faults = [fault for config in configs if (fault := model_fault(config, versions))]
    if faults:
        raise ServingError(Code.UNAVAILABLE, "; ".join(faults))
    if labels and (wrong := label_faults(configs, versions)):
        raise ServingError(Code.FAILED_PRECONDITION, wrong[0])
