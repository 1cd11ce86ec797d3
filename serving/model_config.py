"""Which models a server is told to serve, and which of their versions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class VersionPolicy:
    """Which of the versions on disk are served.

    Args:
        latest: that many of the highest.
        specific: these, whatever else there is; takes precedence over `latest`.
        all: every version; takes precedence over both.
    """

    latest: int = 1
    specific: tuple[int, ...] = ()
    all: bool = False

    def wanted(self, versions: Iterable[int]) -> set[int]:
        """Those of `versions` that are to be served."""
        ordered = sorted(versions)
        if self.all:
            return set(ordered)
        if self.specific:
            return set(ordered) & set(self.specific)
        return set(ordered[-self.latest :])


@dataclass(frozen=True)
class ModelConfig:
    """A model to serve.

    Args:
        name: its name in addresses.
        base_path: folder whose numbered folders are its versions.
        policy: which of them are served.
        labels: names for versions, such as `{"stable": 3}`.
    """

    name: str
    base_path: Path
    policy: VersionPolicy = VersionPolicy()
    labels: Mapping[str, int] = field(default_factory=dict)
