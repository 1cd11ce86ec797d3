"""Sources by their length: buckets of rows, and how far a score falls from short to long ones.

Shapes: N rows, M runs, R resamples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ...zoo.errors import ConfigError
from ..core.config import RunConfig
from ..core.task import task
from ..metrics.bootstrap import Interval, RowScore, resample
from ..metrics.scores import mostly_unspaced
from ..metrics.text_scores import words

if TYPE_CHECKING:
    from ..data.corpus import PairCorpus

BUCKETS = 6  # of about as many rows each


@dataclass(frozen=True)
class Bucket:
    """The rows with sources of some lengths.

    Attributes:
        low: the shortest source in it, in words or characters.
        high: the longest source in it.
        rows: how many rows there are.
    """

    low: int
    high: int
    rows: int

    @property
    def label(self) -> str:
        return str(self.low) if self.low == self.high else f"{self.low}–{self.high}"


def source_lengths(corpus: PairCorpus, config: RunConfig) -> tuple[str, np.ndarray]:
    """Unit of the lengths of sources, and the lengths of all rows, int (N,).

    Of a source with several inputs, such as a context and a question, all texts count.
    """
    inputs = task(config.task).source_format
    columns = inputs.columns(corpus.sources)
    texts = [columns[item.name] for item in inputs.inputs if item.kind != "length"]
    rows = list(zip(*texts, strict=True))
    unit = "characters" if mostly_unspaced([" ".join(row) for row in rows]) else "words"
    return unit, np.array([sum(len(words(text)) for text in row) for row in rows])


def sort_by_length(
    lengths: np.ndarray, limits: Sequence[int] | None = None
) -> tuple[list[Bucket], list[np.ndarray]]:
    """Buckets of rows by length, and the numbers of the rows in each; none is empty.

    Args:
        lengths: of all rows, (N,).
        limits: the longest of each bucket but the last; quantiles if left out.

    Raises:
        ConfigError: the limits do not rise.
    """
    if limits is None:
        shares = np.linspace(0, 1, BUCKETS + 1)[1:-1]
        limits = np.unique(np.quantile(lengths, shares, method="lower")).tolist()
    if list(limits) != sorted(set(limits)):
        raise ConfigError(f"Lengths of buckets rise. Received: {', '.join(map(str, limits))}")
    places = np.searchsorted(np.asarray(limits), lengths)
    buckets, numbers = [], []
    for place in np.unique(places):
        rows = np.flatnonzero(places == place)
        found = lengths[rows]
        buckets.append(Bucket(int(found.min()), int(found.max()), len(rows)))
        numbers.append(rows)
    return buckets, numbers


@dataclass(frozen=True)
class RunFall:
    """Degradation of one run from short sources to long ones.

    Attributes:
        short: the score on the short sources.
        long: the score on the long ones.
        percent: of the score on short sources, what is lost on long ones.
        share: that loss as a share of the loss of the first run; of the first one itself unknown.
    """

    short: Interval
    long: Interval
    percent: Interval
    share: Interval | None


@dataclass(frozen=True)
class LengthFall:
    """Degradation of runs from short sources to long ones.

    Attributes:
        short: the longest of the short sources.
        long: the shortest of the long ones.
        short_rows: how many are short.
        long_rows: how many are long.
        runs: what each run loses.
    """

    short: int
    long: int
    short_rows: int
    long_rows: int
    runs: list[RunFall]


def length_sides(lengths: np.ndarray, limits: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Masks (N,) of the short sources and of the long ones.

    Args:
        lengths: of all sources, (N,).
        limits: the longest of the short sources, the shortest of the long ones.

    Raises:
        ConfigError: the limits do not rise, or there is no source on one side.
    """
    short, long = limits
    if not 1 <= short < long:
        raise ConfigError(
            f"The short sources of a fall end before the long ones begin. Received: {short},{long}"
        )
    sides = lengths <= short, lengths >= long
    for side, told in zip(sides, (f"up to {short}", f"of {long} and more"), strict=True):
        if not side.any():
            raise ConfigError(
                f"There is no source with a length {told}; those of this file have lengths from "
                f"{lengths.min()} to {lengths.max()}."
            )
    return sides


def length_fall(
    scores: list[RowScore],
    lengths: np.ndarray,
    limits: tuple[int, int],
    resamples: int,
    seed: int,
    lower_is_better: bool = False,
) -> LengthFall:
    """Loss of each run from short sources to long ones, with intervals.

    Args:
        scores: of the M runs, N rows each.
        lengths: of the sources, (N,).
        limits: as in `length_sides`.
        resamples: corpora drawn of either.
        seed: of the draws.
        lower_is_better: of the score.

    Raises:
        ConfigError: as `length_sides`.
    """
    sides = length_sides(lengths, limits)
    chosen = [[score.of(side) for score in scores] for side in sides]
    # What has no value is not a number from here on, and `None` in an interval.
    values = [np.array([score.value() for score in side], float) for side in chosen]
    # Each side with a seed of its own: the rows of one are drawn independently of the other's.
    drawn = [resample(side, resamples, seed + number) for number, side in enumerate(chosen)]
    sign = -1.0 if lower_is_better else 1.0
    lost, lost_drawn = (_percent_lost(short, long, sign) for short, long in (values, drawn))
    runs = [
        RunFall(
            short=Interval.of(float(values[0][run]), drawn[0][run]),
            long=Interval.of(float(values[1][run]), drawn[1][run]),
            percent=Interval.of(float(lost[run]), lost_drawn[run]),
            share=_share(lost[run], lost[0], lost_drawn[run], lost_drawn[0]) if run else None,
        )
        for run in range(len(scores))
    ]
    return LengthFall(*limits, int(sides[0].sum()), int(sides[1].sum()), runs)


def _percent_lost(short: np.ndarray, long: np.ndarray, sign: float) -> np.ndarray:
    """Loss in percent of the score on short sources; 0 where that is 0."""
    lost = sign * (short - long)
    return 100 * np.divide(lost, short, out=np.zeros_like(lost), where=~(short <= 0))


def _share(
    lost: float, first: float, drawn: np.ndarray, first_drawn: np.ndarray
) -> Interval | None:
    """A loss as a share of another one; `None` unless that is a loss in every resample."""
    if not first > 0 or not (first_drawn > 0).all():
        return None
    return Interval.of(float(lost / first), drawn / first_drawn)
