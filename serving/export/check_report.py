"""Results of the checks, in a form that one process can pass to another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

import numpy as np

from ..runtime.errors import Code, ServingError

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class CheckResult:
    """Result of one check.

    Attributes:
        name: Name of the check.
        passed: `True` if nothing speaks against publishing the export.
        found: One line for a person.
        numbers: Measurements by name.
    """

    name: str
    passed: bool
    found: str
    numbers: Mapping[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{'ok  ' if self.passed else 'FAIL'} {self.name}: {self.found}"


@dataclass
class CheckReport:
    """All results on one SavedModel, with the requests made and the replies received."""

    results: list[CheckResult]
    requests: dict[str, Arrays] = field(default_factory=dict)
    replies: dict[str, Arrays] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        return all(result.passed for result in self.results)


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


def write_report(report: CheckReport) -> dict:
    """A report as a value that JSON can hold."""
    return {
        "results": [asdict(result) for result in report.results],
        "requests": _convert(report.requests, _encode),
        "replies": _convert(report.replies, _encode),
    }


def read_report(entry: Mapping) -> CheckReport:
    """The report of which `write_report` made this value."""
    return CheckReport(
        [CheckResult(**result) for result in entry["results"]],
        _convert(entry["requests"], _decode),
        _convert(entry["replies"], _decode),
    )


class ExportError(ServingError):
    """An export that was not published. The message is one line: what was found and where.

    Attributes:
        results: what each check found, if the checks were reached.
    """

    def __init__(self, message: str, results: Sequence[CheckResult] = ()):
        super().__init__(Code.FAILED_PRECONDITION, message)
        self.results = list(results)
