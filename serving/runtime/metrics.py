"""Metrics of a server, as TensorFlow Serving shows them to Prometheus."""

from __future__ import annotations

import bisect
import threading
from collections.abc import Sequence

from .batching import BatchObserver
from .errors import Code

_PREFIX = ":tensorflow:serving:"
_MICROSECONDS = tuple(10 * 1.8**index for index in range(33))
_SIZES = tuple(float(2**index) for index in range(14))


def _labels(names: Sequence[str], values: Sequence[str]) -> str:
    escaped = [value.replace("\\", "\\\\").replace('"', '\\"') for value in values]
    escaped = [value.replace("\n", "\\n") for value in escaped]
    return ",".join(f'{name}="{value}"' for name, value in zip(names, escaped, strict=True))


class Counter:
    """Counts events by the values of some labels."""

    def __init__(self, name: str, labels: Sequence[str]):
        self.name = _PREFIX + name
        self._label_names = tuple(labels)
        self._lock = threading.Lock()
        self._counts: dict[tuple[str, ...], int] = {}

    def add(self, *labels: str, amount: int = 1) -> None:
        """Counts `amount` events more."""
        with self._lock:
            self._counts[labels] = self._counts.get(labels, 0) + amount

    def lines(self) -> list[str]:
        """The lines for Prometheus."""
        with self._lock:
            counts = sorted(self._counts.items())
        return [f"# TYPE {self.name} counter"] + [
            f"{self.name}{{{_labels(self._label_names, labels)}}} {count}"
            for labels, count in counts
        ]


class Histogram:
    """Counts values by size, by the values of some labels."""

    def __init__(self, name: str, labels: Sequence[str], limits: Sequence[float]):
        self.name = _PREFIX + name
        self._label_names = tuple(labels)
        self._limits = tuple(limits)
        self._lock = threading.Lock()
        self._buckets: dict[tuple[str, ...], list[int]] = {}
        self._sums: dict[tuple[str, ...], float] = {}

    def add(self, value: float, *labels: str) -> None:
        """Counts a value; one at a limit belongs to the bucket above, as in TensorFlow."""
        index = bisect.bisect_right(self._limits, value)
        with self._lock:
            buckets = self._buckets.setdefault(labels, [0] * (len(self._limits) + 1))
            buckets[index] += 1
            self._sums[labels] = self._sums.get(labels, 0.0) + value

    def lines(self) -> list[str]:
        """The lines for Prometheus."""
        with self._lock:
            points = [(k, list(v), self._sums[k]) for k, v in sorted(self._buckets.items())]
        lines = [f"# TYPE {self.name} histogram"]
        for values, buckets, total in points:
            labels = _labels(self._label_names, values)
            prefix = f"{labels}," if labels else ""
            count = 0
            for limit, number in zip((*self._limits, None), buckets, strict=True):
                count += number
                edge = "+Inf" if limit is None else f"{limit:g}"
                lines.append(f'{self.name}_bucket{{{prefix}le="{edge}"}} {count}')
            # All digits: from two of these sums Prometheus takes what came in between.
            lines.append(f"{self.name}_sum{{{labels}}} {total!r}")
            lines.append(f"{self.name}_count{{{labels}}} {count}")
        return lines


class Metrics:
    """All metrics of a server."""

    def __init__(self) -> None:
        self._requests = Counter("request_count", ("model_name", "status"))
        self._latency = Histogram(
            "request_latency", ("model_name", "API", "entrypoint"), _MICROSECONDS
        )
        self._runtime = Histogram(
            "runtime_latency", ("model_name", "API", "runtime"), _MICROSECONDS
        )
        self._warmup = Histogram("model_warmup_latency", ("model_path", "status"), _MICROSECONDS)
        self._queuing = Histogram("batching_session:queuing_latency", (), _MICROSECONDS)
        self._input_size = Histogram("batching_session:input_batch_size", (), _SIZES)
        self._batch_size = Histogram("batching_session:processed_batch_size", (), _SIZES)
        self._runs = Counter("batching_session:wrapped_run_count", ())

    def request(
        self, model: str, api: str, entrypoint: str, seconds: float, code: Code = Code.OK
    ) -> None:
        """Counts an answered request; only good answers have a latency."""
        self._requests.add(model, code.name)
        if code == Code.OK:
            self._latency.add(seconds * 1e6, model, api, entrypoint)

    def runtime(self, model: str, seconds: float) -> None:
        """Measures a run of a model."""
        self._runtime.add(seconds * 1e6, model, "Predict", "TF1")

    def warmup(self, path: str, seconds: float, code: Code = Code.OK) -> None:
        """Measures the warm-up of a version."""
        self._warmup.add(seconds * 1e6, path, code.name)

    def batch_observer(self) -> BatchObserver:
        """Makes an observer that measures batches."""

        def queued(seconds: float, rows: int) -> None:
            self._queuing.add(seconds * 1e6)
            self._input_size.add(rows)

        def processed(rows: int) -> None:
            self._runs.add()
            self._batch_size.add(rows)

        return BatchObserver(queued, processed)

    def page(self) -> str:
        """The page for Prometheus."""
        lines = [line for metric in vars(self).values() for line in metric.lines()]
        return "\n".join(lines) + "\n"
