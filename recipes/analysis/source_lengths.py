"""Lengths of sources: buckets of rows, and the degradation of a score from short to long sources.

Shapes: N rows, M runs, R resamples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ...zoo.errors import ConfigError
from ..core.config import RunConfig
from ..core.task import source_format
from ..metrics.scores import mostly_unspaced
from ..metrics.significance import Interval, RowStatistics, resample
from ..metrics.text_scores import words

if TYPE_CHECKING:
    from ..data.corpus import PairCorpus

BUCKETS = 6  # of about as many rows each


@dataclass(frozen=True)
class Bucket:
    """The rows whose sources have a length within bounds.

    Attributes:
        low: Shortest source, in words or characters.
        high: Longest source.
        rows: Number of rows.
    """

    low: int
    high: int
    rows: int

    @property
    def label(self) -> str:
        return str(self.low) if self.low == self.high else f"{self.low}–{self.high}"


def source_lengths(corpus: PairCorpus, config: RunConfig) -> tuple[str, np.ndarray]:
    """Lengths of the sources of a corpus, the texts of all inputs of a source added up.

    Args:
        corpus: N rows.
        config: Config of a run, which names the task.

    Returns:
        The unit, "words" or "characters", and the lengths, int (N,).
    """
    inputs = source_format(config)
    columns = inputs.columns(corpus.sources)
    texts = [columns[item.name] for item in inputs.inputs if item.kind != "length"]
    rows = list(zip(*texts, strict=True))
    unit = "characters" if mostly_unspaced([" ".join(row) for row in rows]) else "words"
    return unit, np.array([sum(len(words(text)) for text in row) for row in rows])


def sort_by_length(
    lengths: np.ndarray, limits: Sequence[int] | None = None
) -> tuple[list[Bucket], list[np.ndarray]]:
    """Groups rows into buckets by length; no bucket is empty.

    Args:
        lengths: Lengths of all rows, (N,).
        limits: Longest length of each bucket but the last; quantiles if `None`.

    Returns:
        The buckets, and the row numbers of each.

    Raises:
        ConfigError: The limits do not rise.
    """
    if limits is None:
        shares = np.linspace(0, 1, BUCKETS + 1)[1:-1]
        limits = np.unique(np.quantile(lengths, shares, method="lower")).tolist()
    if list(limits) != sorted(set(limits)):
        raise ConfigError(f"Lengths of buckets must rise. Received: {', '.join(map(str, limits))}")
    buckets_of_rows = np.searchsorted(np.asarray(limits), lengths)
    buckets, numbers = [], []
    for bucket in np.unique(buckets_of_rows):
        rows = np.flatnonzero(buckets_of_rows == bucket)
        found = lengths[rows]
        buckets.append(Bucket(int(found.min()), int(found.max()), len(rows)))
        numbers.append(rows)
    return buckets, numbers


@dataclass(frozen=True)
class RunDegradation:
    """Degradation of one run from short sources to long ones.

    Attributes:
        short: The score on the short sources.
        long: The score on the long sources.
        percent: The loss on long sources, in percent of the score on short ones.
        share: The loss as a share of the loss of the first run; `None` for the first run itself.
    """

    short: Interval
    long: Interval
    percent: Interval
    share: Interval | None


@dataclass(frozen=True)
class LengthDegradation:
    """Degradation of all runs from short sources to long ones.

    Attributes:
        short: Longest length of the short sources.
        long: Shortest length of the long sources.
        short_rows: Number of short sources.
        long_rows: Number of long sources.
        runs: Degradation of each run.
    """

    short: int
    long: int
    short_rows: int
    long_rows: int
    runs: list[RunDegradation]


def length_sides(lengths: np.ndarray, limits: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Masks of the short sources and of the long ones.

    Args:
        lengths: Lengths of all sources, (N,).
        limits: Longest of the short sources and shortest of the long ones.

    Returns:
        Two boolean arrays (N,).

    Raises:
        ConfigError: The limits do not rise, or one side has no sources.
    """
    short, long = limits
    if not 1 <= short < long:
        raise ConfigError(
            f"The limit of short sources must be at least 1 and below that of long ones. "
            f"Received: {short},{long}"
        )
    sides = lengths <= short, lengths >= long
    for side, wanted in zip(sides, (f"up to {short}", f"of {long} and more"), strict=True):
        if not side.any():
            raise ConfigError(
                f"There is no source with a length {wanted}; those of this file have lengths from "
                f"{lengths.min()} to {lengths.max()}."
            )
    return sides


def length_degradation(
    scores: list[RowStatistics],
    lengths: np.ndarray,
    limits: tuple[int, int],
    resamples: int,
    seed: int,
    lower_is_better: bool = False,
) -> LengthDegradation:
    """Loss of each run from short sources to long ones, with intervals.

    Args:
        scores: Row statistics of M runs, N rows each.
        lengths: Lengths of the sources, (N,).
        limits: As in `length_sides`.
        resamples: Number of resampled corpora of either side.
        seed: Seed of the resamples.
        lower_is_better: Whether a lower score is the better one.

    Returns:
        The degradation of each run.

    Raises:
        ConfigError: As `length_sides`.
    """
    sides = length_sides(lengths, limits)
    chosen = [[score.of(side) for score in scores] for side in sides]
    # A missing value is NaN from here on, and `None` in an interval.
    values = [np.array([score.value() for score in side], float) for side in chosen]
    # Each side has its own seed, so that their rows are drawn independently.
    drawn = [resample(side, resamples, seed + number) for number, side in enumerate(chosen)]
    sign = -1.0 if lower_is_better else 1.0
    lost, lost_drawn = (_percent_lost(short, long, sign) for short, long in (values, drawn))
    runs = [
        RunDegradation(
            short=Interval.of(float(values[0][run]), drawn[0][run]),
            long=Interval.of(float(values[1][run]), drawn[1][run]),
            percent=Interval.of(float(lost[run]), lost_drawn[run]),
            share=_share(lost[run], lost[0], lost_drawn[run], lost_drawn[0]) if run else None,
        )
        for run in range(len(scores))
    ]
    return LengthDegradation(*limits, int(sides[0].sum()), int(sides[1].sum()), runs)


def _percent_lost(short: np.ndarray, long: np.ndarray, sign: float) -> np.ndarray:
    """The loss in percent of the score on short sources; 0 if that score is 0."""
    lost = sign * (short - long)
    return 100 * np.divide(lost, short, out=np.zeros_like(lost), where=~(short <= 0))


def _share(
    lost: float, first: float, drawn: np.ndarray, first_drawn: np.ndarray
) -> Interval | None:
    """A loss as a share of another one; `None` unless the other is a loss in every resample."""
    if not first > 0 or not (first_drawn > 0).all():
        return None
    return Interval.of(float(lost / first), drawn / first_drawn)
