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
class RowStatistics:
    """A score of a corpus as a function of sums over its rows.

    Example: the mean of values is
    `RowStatistics(np.stack([values, ones], 1), lambda sums: sums[0] / sums[1])`.

    Args:
        rows: Statistics of each row, float64 (N, K).
        score: Computes the score from summed statistics (K,).
        signature: How the score is counted, in the words of the tool that counts; may be empty.
        counted: Boolean (N,), the rows in which there is something that the score counts; all rows
            if `None`. Without any such row a score has no value.
    """

    rows: np.ndarray
    score: Callable[[np.ndarray], float]
    signature: str = ""
    counted: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def value(self) -> float | None:
        """The score of all rows; `None` if it has no value."""
        found = self.drawn(np.ones(len(self)))
        return None if np.isnan(found) else found

    def drawn(self, times: np.ndarray) -> float:
        """The score of a resample, given the counts of its rows (N,); NaN if it has no value."""
        if self.counted is not None and not times @ self.counted:
            return np.nan
        return float(self.score(times @ self.rows))

    def of(self, chosen: np.ndarray) -> RowStatistics:
        """The same score of some of the rows, chosen by their numbers or by a mask."""
        counted = None if self.counted is None else self.counted[chosen]
        return RowStatistics(self.rows[chosen], self.score, self.signature, counted)


@dataclass(frozen=True)
class Interval:
    """A score with its 95% confidence interval; `None` for a score that has no value."""

    value: float | None
    low: float | None
    high: float | None

    @classmethod
    def of(cls, value: float | None, resamples: np.ndarray) -> Interval:
        """The 95% percentile interval, computed as sacreBLEU does.

        Args:
            value: The score of all rows; `None` or NaN if it has no value.
            resamples: Scores of the resamples (R,), NaN for those that have no value.

        Returns:
            The interval without a fortieth of the resamples on either side.
        """
        ordered = np.sort(resamples[~np.isnan(resamples)])
        if value is None or np.isnan(value) or not len(ordered):
            return cls(None, None, None)
        out = len(ordered) // 40
        return cls(value, float(ordered[out]), float(ordered[len(ordered) - out - 1]))


def resample(
    scores: list[RowStatistics], resamples: int = RESAMPLES, seed: int = SEED
) -> np.ndarray:
    """Scores of corpora whose rows are drawn from the given ones, with replacement.

    Every system is scored on the same draws, so that they can be compared pair by pair.

    Args:
        scores: Row statistics of each of the M systems, all of the same N rows.
        resamples: Number of corpora R that are drawn, each of N rows.
        seed: Seed of the draws. The same seed gives the same draws, whatever the systems.

    Returns:
        float64 (M, R); NaN for a corpus on which the score has no value.

    Raises:
        ValueError: There are no rows, or the systems have different numbers of rows.

    Reference: Efron 1979; for translation Koehn 2004, https://aclanthology.org/W04-3250
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
    """Two-sided p-value of the difference between two systems, by the paired bootstrap test.

    The differences of the resamples are centered at their mean, and those larger than the observed
    one are counted, as in sacreBLEU's paired bootstrap test.

    Args:
        value: Score of one system on all rows.
        other: Score of the other system on all rows.
        resamples: Scores of the one system from `resample`, (R,).
        other_resamples: Scores of the other system from the same call, (R,).

    Returns:
        A probability above 0; 1 for equal scores.

    Reference: Koehn 2004, https://aclanthology.org/W04-3250; Post 2018,
    https://aclanthology.org/W18-6319
    """
    if value == other:
        return 1.0  # the count below would call two equal systems different
    differences = np.abs(resamples - other_resamples)
    differences = differences[~np.isnan(differences)]
    larger = differences - differences.mean() > abs(value - other)
    # The real one counts too, so that no p value is zero.
    return float((larger.sum() + 1) / (len(differences) + 1))


def p_values(scores: list[RowStatistics], resamples: np.ndarray) -> list[list[float | None]]:
    """p-value of the difference between each two systems.

    Args:
        scores: Row statistics of each of the M systems, all of which have a value.
        resamples: Scores of the systems from `resample`, (M, R).

    Returns:
        M rows of M values; `None` for a system and itself.
    """
    values = [score.value() or 0.0 for score in scores]
    systems = list(zip(values, resamples, strict=True))
    return [
        [None if one is other else p_value(one[0], other[0], one[1], other[1]) for other in systems]
        for one in systems
    ]


def intervals(scores: list[RowStatistics], resamples: int, seed: int) -> list[Interval]:
    """Each system's score with its interval.

    Args:
        scores: Row statistics of each system, all of the same rows.
        resamples: Number of resampled corpora.
        seed: Seed of the resamples.
    """
    drawn = resample(scores, resamples, seed)
    return [Interval.of(score.value(), d) for score, d in zip(scores, drawn, strict=True)]
