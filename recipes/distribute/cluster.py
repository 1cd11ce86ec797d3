"""The addresses of all workers of a training, and the index of this one."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...zoo.errors import ConfigError

EXAMPLE = "--workers 10.0.0.1:9000,10.0.0.2:9000 --index 0"


@dataclass(frozen=True)
class Cluster:
    """The workers that train one model, and the index of this one.

    Worker 0 is the chief: it writes the run, evaluates, and decides when to stop.

    Args:
        addresses: `host:port` of each worker, the same list in the same order everywhere.
        index: Index of this process in the list, from 0.

    Raises:
        ConfigError: An address has no port or is there twice, or the index is out of range.

    Example:

    >>> Cluster(("10.0.0.1:9000", "10.0.0.2:9000"), index=1).is_chief
    False
    """

    addresses: tuple[str, ...]
    index: int

    def __post_init__(self) -> None:
        for address in self.addresses:
            split_address(address)
        twice = sorted({a for a in self.addresses if self.addresses.count(a) > 1})
        if twice:
            raise ConfigError(f"Each worker has an address of its own; {twice[0]} is there twice.")
        if not 0 <= self.index < len(self.addresses):
            raise ConfigError(
                f"There are {len(self.addresses)} workers, numbered from 0 to "
                f"{len(self.addresses) - 1}. Received: index {self.index}"
            )

    @property
    def is_chief(self) -> bool:
        return self.index == 0

    def __len__(self) -> int:
        return len(self.addresses)

    def name(self, index: int) -> str:
        """Name of a worker in messages."""
        known = 0 <= index < len(self.addresses)
        return f"worker {index} ({self.addresses[index]})" if known else f"worker {index}"

    @classmethod
    def from_options(cls, workers: str, index: int | None) -> Cluster:
        """The cluster of `--workers` and `--index`.

        Args:
            workers: `host:port` of all workers, separated by commas.
            index: Index of this worker, from 0.

        Raises:
            ConfigError: The index is missing, or an address is wrong.
        """
        if index is None:
            raise ConfigError(f"--workers needs --index, the number of this worker: {EXAMPLE}")
        return cls(tuple(part.strip() for part in workers.split(",") if part.strip()), index)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Cluster | None:
        """The cluster of `TF_CONFIG`; `None` if it is not set or names no other process.

        A `chief` beside the workers is worker 0, as Vertex AI and Kubeflow write it.

        Raises:
            ConfigError: `TF_CONFIG` is not JSON, or is for another kind of training.
        """
        text = environment.get("TF_CONFIG", "").strip()
        if not text:
            return None
        try:
            config = json.loads(text)
            jobs: dict[str, Any] = config.get("cluster") or {}
            task: dict[str, Any] = config.get("task") or {}
            addresses = [*jobs.get("chief", []), *jobs.get("worker", [])]
            kind, number = str(task.get("type", "worker")), int(task.get("index", 0))
        except (AttributeError, TypeError, ValueError) as error:
            raise ConfigError(
                'TF_CONFIG is {"cluster": {"worker": ["host:port", ...]}, "task": {"type": '
                f'"worker", "index": 0}}}}. Received: {text} ({error})'
            ) from error
        other = sorted(name for name in jobs if name not in ("chief", "worker") and jobs[name])
        if other or kind not in ("chief", "worker"):
            raise ConfigError(
                f"TF_CONFIG has {', '.join(other) or kind}; here all processes are workers, and "
                "the chief evaluates. Leave out ps and evaluator."
            )
        if len(addresses) < 2:
            return None
        return cls(tuple(addresses), number + len(jobs.get("chief", [])) * (kind == "worker"))


def split_address(address: str) -> tuple[str, int]:
    """Host and port of `host:port`; a host in brackets is an IPv6 address."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise ConfigError(f"The address of a worker is host:port. Received: {address!r}")
    return host.strip("[]"), int(port)
