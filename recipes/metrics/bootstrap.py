"""Significance by bootstrap: confidence intervals and paired tests on resampled rows.

A score of a corpus is often no mean of scores of its rows: BLEU divides sums of counts by sums of
counts. So what is drawn again are rows of statistics, which are added up before they are scored.

Shapes: N rows, K statistics of a row, R resamples, M systems.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

RESAMPLES = 1000
SEED = 12345  # sacreBLEU's own, so that the numbers are those of its command line


@dataclass(frozen=True)
class RowScore:
    """A score of a corpus as a function of sums over its rows.

    Args:
        rows: statistics of each row, float64 (N, K).
        score: the score of summed statistics (K,).
        signature: how it is counted, in the words of the tool that counts; may be empty.
        counted: boolean (N,), rows in which there is something that the score counts. Rows among
            which there is none have no value. All are, if left out.

    Example: the mean of values is `RowScore(np.stack([values, ones], 1), lambda s: s[0] / s[1])`.
    """

    rows: np.ndarray
    score: Callable[[np.ndarray], float]
    signature: str = ""
    counted: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def value(self) -> float | None:
        """The score of all rows."""
        found = self.drawn(np.ones(len(self)))
        return None if np.isnan(found) else found

    def drawn(self, times: np.ndarray) -> float:
        """The score of the rows, each so many times (N,); not a number if it has no value."""
        if self.counted is not None and not times @ self.counted:
            return np.nan
        return float(self.score(times @ self.rows))

    def of(self, chosen: np.ndarray) -> RowScore:
        """The same score of some of the rows, by number or by truth value."""
        counted = None if self.counted is None else self.counted[chosen]
        return RowScore(self.rows[chosen], self.score, self.signature, counted)


@dataclass(frozen=True)
class Interval:
    """A score, and where 95% of its resamples lie; `None` for a score that has no value."""

    value: float | None
    low: float | None
    high: float | None

    @classmethod
    def of(cls, value: float | None, resamples: np.ndarray) -> Interval:
        """The interval without a fortieth of the resamples (R,) on either side, as sacreBLEU's.

        Resamples that have no value are left out.
        """
        ordered = np.sort(resamples[~np.isnan(resamples)])
        if value is None or np.isnan(value) or not len(ordered):
            return cls(None, None, None)
        out = len(ordered) // 40
        return cls(value, float(ordered[out]), float(ordered[len(ordered) - out - 1]))


def resample(scores: list[RowScore], resamples: int = RESAMPLES, seed: int = SEED) -> np.ndarray:
    """Scores of corpora whose rows are drawn from the given ones, with replacement.

    Every system is scored on the same draws, so that they can be compared pair by pair.

    Args:
        scores: one for each of the M systems, all of the same N rows.
        resamples: how many corpora R are drawn, each of N rows.
        seed: of the draws. The same seed gives the same draws, whatever the systems.

    Returns:
        float64 (M, R); not a number for a corpus on which the score has no value.

    Raises:
        ValueError: there is no row, or the systems have different numbers of rows.

    References: Efron 1979; for translation Koehn 2004, https://aclanthology.org/W04-3250
    """
    lengths = {len(score) for score in scores}
    if len(lengths) != 1 or 0 in lengths:
        raise ValueError(
            "All systems are compared on the same rows, one at least. "
            f"Received: {', '.join(str(len(score)) for score in scores)} rows"
        )
    (count,) = lengths
    found = np.empty((len(scores), resamples))
    for number, times in enumerate(_draws(count, resamples, seed)):
        for system, score in enumerate(scores):
            found[system, number] = score.drawn(times)
    return found


def _draws(count: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Counts of each of `count` rows in each resample."""
    random = np.random.default_rng(seed)
    for _ in range(resamples):
        # One corpus at a time: all of them at once would be a thousand times the file.
        drawn = random.choice(count, size=count, replace=True)
        yield np.bincount(drawn, minlength=count).astype(np.float64)


def p_value(
    value: float, other: float, resamples: np.ndarray, other_resamples: np.ndarray
) -> float:
    """Two-sided p-value of a difference between two systems.

    The differences of the resamples are moved to their mean, and those larger than the real one
    counted, as by sacreBLEU's paired bootstrap test.

    Args:
        value: score of one system on all rows.
        other: score of the other.
        resamples: what `resample` gave for the one, (R,).
        other_resamples: what the same call gave for the other, (R,).

    References: Koehn 2004, https://aclanthology.org/W04-3250; Post 2018,
    https://aclanthology.org/W18-6319
    """
    if value == other:
        return 1.0  # the count below would call two equal systems different
    differences = np.abs(resamples - other_resamples)
    differences = differences[~np.isnan(differences)]
    larger = differences - differences.mean() > abs(value - other)
    # The real one counts too, so that no p value is zero.
    return float((larger.sum() + 1) / (len(differences) + 1))
