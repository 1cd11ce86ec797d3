"""What the gates found, in a form that one process can pass to another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

import numpy as np

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Finding:
    """What one gate found.

    Attributes:
        gate: its name.
        passed: whether the export may be published as far as this gate is concerned.
        found: one line for a person.
        numbers: what was measured.
    """

    gate: str
    passed: bool
    found: str
    numbers: Mapping[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{'ok  ' if self.passed else 'FAIL'} {self.gate}: {self.found}"


@dataclass
class Report:
    """All findings on one SavedModel, with the requests made and the replies received."""

    findings: list[Finding]
    requests: dict[str, Arrays]
    replies: dict[str, Arrays]

    @property
    def passed(self) -> bool:
        return all(finding.passed for finding in self.findings)


def _encode(array: np.ndarray) -> dict:
    values = [
        value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value
        for value in array.ravel().tolist()
    ]
    return {"dtype": array.dtype.str, "shape": array.shape, "values": values}


def _decode(entry: Mapping) -> np.ndarray:
    dtype = np.dtype(entry["dtype"])
    values = entry["values"]
    if dtype.kind == "O":
        values = [value.encode("utf-8", "surrogateescape") for value in values]
    flat = np.empty(len(values), dtype)
    flat[:] = values
    return flat.reshape(entry["shape"])


def _convert(results: Mapping[str, Mapping], convert) -> dict[str, dict]:
    return {
        name: {alias: convert(array) for alias, array in arrays.items()}
        for name, arrays in results.items()
    }


def write_report(report: Report) -> dict:
    """A report as a value that JSON can hold."""
    return {
        "findings": [asdict(finding) for finding in report.findings],
        "requests": _convert(report.requests, _encode),
        "replies": _convert(report.replies, _encode),
    }


def read_report(entry: Mapping) -> Report:
    """The report of which `write_report` made this value."""
    return Report(
        [Finding(**finding) for finding in entry["findings"]],
        _convert(entry["requests"], _decode),
        _convert(entry["replies"], _decode),
    )
