"""Configuration of a server: its models and the choice of their versions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from .errors import Code, ServingError, invalid_argument

_NUMBERS = re.compile(r"[0-9]+(,[0-9]+)*")


@dataclass(frozen=True)
class VersionPolicy:
    """Choice among the versions on disk.

    Args:
        latest: that many of the highest.
        specific: these, whatever else there is; takes precedence over `latest`.
        all: every version; takes precedence over both.
    """

    latest: int = 1
    specific: tuple[int, ...] = ()
    all: bool = False

    @classmethod
    def parse(cls, text: str) -> VersionPolicy:
        """The policy written as `latest:2`, `all` or `specific:3,5`.

        Raises:
            ServingError: if it is none of these.
        """
        kind, _, numbers = text.partition(":")
        if text == "all":
            return cls(all=True)
        if _NUMBERS.fullmatch(numbers):
            values = sorted({_version(number) for number in numbers.split(",")})
            if kind == "latest" and len(values) == 1 and 0 < values[0] < 2**32:
                return cls(latest=values[0])
            if kind == "specific" and values[0] >= 0:
                return cls(specific=tuple(values))
        raise invalid_argument(
            f"A version policy is latest:N, all or specific:N,N... Received: {text!r}"
        )

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


def _version(digits: str) -> int:
    """The number of a version, which has 63 bits; -1 of a larger one."""
    number = int(digits) if len(digits) < 20 else 2**63
    return number if number < 2**63 else -1


def with_labels(configs: Iterable[ModelConfig], labels: Iterable[str]) -> list[ModelConfig]:
    """The models with labels for their versions.

    Args:
        configs: the models.
        labels: each as `stable=3`, or `en-de:stable=3` where there are several models.

    Raises:
        ServingError: if a label is written otherwise or names two versions, or its model is not
            there.
    """
    found = {config.name: config for config in configs}
    given: dict[tuple[str, str], int] = {}
    for text in labels:
        target, _, number = text.partition("=")
        name, _, label = target.rpartition(":")
        version = _version(number) if number.isascii() and number.isdigit() else -1
        if not label or version < 0:
            raise invalid_argument(f"A label is NAME=VERSION, such as stable=3. Received: {text!r}")
        if not name and len(found) != 1:
            raise invalid_argument(
                f"Of {len(found)} models, say which one is meant: MODEL:{text}. Received: {text!r}"
            )
        name = name or next(iter(found))
        if name not in found:
            raise invalid_argument(
                f"There is no model {name} for the label {text!r}. Known: {', '.join(found)}"
            )
        config = found[name]
        before = given.setdefault((name, label), version)
        if before != version:
            raise invalid_argument(
                f"A label names one version. Received: {text!r}, and version {before} for it before"
            )
        found[name] = replace(config, labels={**config.labels, label: version})
    return list(found.values())


def folders_of(configs: Iterable[ModelConfig]) -> list[Path]:
    """The folders in which some models lie, where others may be added beside them.

    A model at the root of the disk, such as `/model` in a container, does not open the whole disk:
    it stands for its own folder.
    """
    paths = [config.base_path.resolve() for config in configs]
    return [path if path.parent == path.parent.parent else path.parent for path in paths]


def check_inside(configs: Iterable[ModelConfig], folders: Iterable[Path]) -> None:
    """Refuses models that lie outside of some folders.

    Whoever can reach a port can send a configuration; it must not open the rest of the disk.

    Args:
        configs: the models that a client wants to be served.
        folders: where models may lie, at any depth.

    Raises:
        ServingError: PERMISSION_DENIED, naming the model and the folders.
    """
    allowed = [folder.resolve() for folder in folders]
    for config in configs:
        path = config.base_path.resolve()
        if not any(path.is_relative_to(folder) for folder in allowed):
            shown = ", ".join(sorted(map(str, set(allowed)))) or "no folder"
            raise ServingError(
                Code.PERMISSION_DENIED,
                f"The base path {config.base_path} of model {config.name} is not in a folder that "
                f"models may be loaded from ({shown}); start the server with --reload-from to "
                "allow another one",
            )
