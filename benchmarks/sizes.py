"""The sizes that every benchmark shares, their data, and how a time is taken. NumPy only.

| size | model | training | decoding |
|---|---|---|---|
| T | Transformer 128 wide, 4 + 4 layers, 4 heads, inner 256, 10,000 tokens | 128 x 32 | beam 5 |
| B | Transformer 512 wide, 6 + 6 layers, 8 heads, inner 2,048, 32,000 tokens | 32 x 32 | beam 4 |
| R | GRU of 256 a direction, attention of 256, GRU of 512, 10,000 tokens | 64 x 24 | beam 5 |

Weights are random. Decoding takes 256 sources of 5 to 35 tokens and writes 32 for each, the end
of a target being ruled out before.
"""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

THREADS = os.cpu_count() or 1
STEPS = 32  # tokens that are written
LABEL_SMOOTHING = 0.1
FIRST_ID = 4  # those below are special


@dataclass(frozen=True)
class Transformer:
    """Width D, layers a side, heads, width of the feedforward layers, vocabulary, batch."""

    width: int
    layers: int
    heads: int
    feedforward: int
    vocabulary: int
    dropout: float
    rows: int
    length: int
    beams: int

    def multiplications_forward(self) -> int:
        """Of one training batch."""
        d, f, n = self.width, self.feedforward, self.length
        source = self.layers * (4 * d * d + 2 * d * f) + self.layers * 2 * d * d
        target = self.layers * (6 * d * d + 2 * d * f) + d * self.vocabulary
        attention = self.layers * 3 * 2 * d * n
        return self.rows * n * (source + target + attention)

    def multiplications_step(self, source: int = 20, written: int = 16) -> int:
        """Of one hypothesis in one step of decoding."""
        d = self.width
        each = 6 * d * d + 2 * d * self.feedforward + 2 * d * (source + written)
        return self.layers * each + d * self.vocabulary

    def step_weights(self) -> int:
        """Numbers that a step of decoding has to read whatever the batch."""
        d = self.width
        return self.layers * (6 * d * d + 2 * d * self.feedforward) + d * self.vocabulary


@dataclass(frozen=True)
class Recurrent:
    """Widths of embedding, encoder (a direction), decoder and attention, vocabulary, batch."""

    embedding: int
    encoder: int
    decoder: int
    attention: int
    vocabulary: int
    dropout: float
    rows: int
    length: int
    beams: int

    def _step(self) -> int:
        e, h, d = self.embedding, 2 * self.encoder, self.decoder
        return 3 * d * (e + h + d) + d * self.attention + (d + h) * d + d * self.vocabulary

    def multiplications_forward(self) -> int:
        """Of one training batch, the context being fed to the decoder at every step."""
        e, h, n = self.embedding, self.encoder, self.length
        source = 2 * 3 * h * (e + h) + 2 * h * self.attention
        attention = n * (self.attention + 2 * h)
        return self.rows * n * (source + self._step() + attention)

    def multiplications_step(self, source: int = 20, written: int = 16) -> int:
        """Of one hypothesis in one step of decoding."""
        return self._step() + source * (self.attention + 2 * self.encoder)

    def step_weights(self) -> int:
        """Numbers that a step of decoding has to read whatever the batch."""
        return self._step()


SIZES: dict[str, Transformer | Recurrent] = {
    "T": Transformer(128, 4, 4, 256, 10_000, 0.3, rows=128, length=32, beams=5),
    "B": Transformer(512, 6, 8, 2048, 32_000, 0.1, rows=32, length=32, beams=4),
    "R": Recurrent(256, 256, 512, 256, 10_000, 0.0, rows=64, length=24, beams=5),
}


def training_batch(size: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Source, target and labels of random ids."""
    chosen = SIZES[size]
    random = np.random.default_rng(0)
    shape = (3, chosen.rows, chosen.length)
    source, target, labels = random.integers(FIRST_ID, chosen.vocabulary, shape).astype("int32")
    return source, target, labels


def sentences(size: str, count: int) -> list[np.ndarray]:
    """Some of 256 random sources, from the shortest to the longest."""
    random = np.random.default_rng(1)
    lengths = np.sort(random.integers(5, 36, 256))
    chosen = lengths[np.linspace(0, 255, count).astype(int)]
    return [random.integers(FIRST_ID, SIZES[size].vocabulary, n).astype("int32") for n in chosen]


def padded(rows: list[np.ndarray], length: int | None = None) -> np.ndarray:
    """A batch (B, S), padded with 0."""
    batch = np.zeros((len(rows), length or max(map(len, rows))), "int32")
    for target, row in zip(batch, rows, strict=True):
        target[: len(row)] = row
    return batch


def decoding_batches(size: str, batch: int) -> list[list[np.ndarray]]:
    """The sources of a benchmark of decoding; few where they go one by one."""
    count = 256 if batch > 1 else 64
    if size == "B":
        count = 128 if batch > 1 else 16
    rows = sentences(size, count)
    return [rows[start : start + batch] for start in range(0, count, batch)]


def median_seconds(step: Callable[[], object], repeats: int, most_seconds: float = 60.0) -> float:
    """The median time of a step, of three at least."""
    times: list[float] = []
    began = time.perf_counter()
    while len(times) < repeats and (len(times) < 3 or time.perf_counter() - began < most_seconds):
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def measure_training(name: str, size: str, step: Callable[[], object]) -> None:
    """Reports the seconds of the first step, in which all is prepared, and the median of others."""
    start = time.perf_counter()
    step()
    first = time.perf_counter() - start
    step()
    report(name, "training", size=size, seconds=median_seconds(step, 9), first=first)


def measure_decoding(
    name: str,
    size: str,
    write: Callable[[list[np.ndarray]], object],
    batch: int,
    beams: int,
    repeats: int = 3,
    most_seconds: float = 40.0,
) -> None:
    """Reports the median seconds of a batch, and the sentences a second of all batches."""
    batches = decoding_batches(size, batch)
    for rows in batches[:: max(1, len(batches) // 4)]:
        write(rows)
    each: list[float] = []
    totals: list[float] = []
    began = time.perf_counter()
    while len(totals) < repeats and (not totals or time.perf_counter() - began < most_seconds):
        for rows in batches:
            start = time.perf_counter()
            write(rows)
            each.append(time.perf_counter() - start)
        totals.append(sum(each[-len(batches) :]))
    report(
        name,
        "decoding",
        size=size,
        batch=batch,
        beams=beams,
        seconds=statistics.median(each),
        sentences_per_second=sum(map(len, batches)) / statistics.median(totals),
    )


def measure_rows(
    name: str,
    write: Callable[[list], list[list[int]]],
    rows: list,
    batch: int,
    beams: int,
    at_a_time: int = 1,
    repeats: int = 3,
) -> list[list[int]]:
    """What is written for each source, in batches; reports the sentences a second, the median."""
    batches = [rows[start : start + batch] for start in range(0, len(rows), batch)]
    written = [row for each in batches for row in write(each)]
    with ThreadPoolExecutor(at_a_time) as pool:
        # The longest begin first, whoever it is.
        seconds = median_seconds(lambda: list(pool.map(write, batches[::-1])), repeats)
    values = {"at_a_time": at_a_time, "sentences_per_second": len(rows) / seconds}
    report(name, "real text", batch=batch, beams=beams, **values)
    return written


def report(name: str, work: str, **values: object) -> None:
    """Prints one measurement; as a line of JSON if `BENCHMARK_JSON` is set, as `table.py` does."""
    if os.environ.get("BENCHMARK_JSON"):
        print(json.dumps({"name": name, "work": work, **values}), flush=True)
        return
    shown = [
        f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}"
        for key, value in values.items()
    ]
    print(f"{name:<18} {work:<9} {'  '.join(shown)}", flush=True)


def multiplication_rate(seconds: float = 1.0) -> float:
    """Multiply-adds a second of this machine in a large matrix product."""
    random = np.random.default_rng(0)
    a, b = random.normal(size=(2, 2048, 2048)).astype("float32")
    np.matmul(a, b)
    return 2048**3 / median_seconds(lambda: np.matmul(a, b), 20, seconds)


def memory_rate(seconds: float = 1.0) -> float:
    """Bytes a second that this machine reads from memory."""
    numbers = np.ones(64 * 2**20, "float32")
    return numbers.nbytes / median_seconds(numbers.sum, 20, seconds)


def rooflines(sizes: Iterable[str]) -> None:
    """Reports the least time of each work: its multiplications, or its weights read once a step."""
    products, reads = multiplication_rate(), memory_rate()
    report("roofline", "machine", gflops=2 * products / 1e9, gigabytes=reads / 1e9)
    for size in sizes:
        chosen = SIZES[size]
        seconds = 3 * chosen.multiplications_forward() / products
        report("roofline", "training", size=size, seconds=seconds)
        for batch in (1, 64):
            for beams in (1, chosen.beams):
                step = max(
                    batch * beams * chosen.multiplications_step() / products,
                    4 * chosen.step_weights() / reads,
                )
                report(
                    "roofline",
                    "decoding",
                    size=size,
                    batch=batch,
                    beams=beams,
                    seconds=STEPS * step,
                    sentences_per_second=batch / (STEPS * step),
                )
