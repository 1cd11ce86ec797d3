"""Bucketing: lengths to pad to, and batches of rows of similar length within a token budget."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ...zoo.errors import DataError


def check_budget_of_batch(longest: int, tokens: int) -> None:
    """Checks that the longest row fits into a batch.

    Args:
        longest: Length of the longest row in tokens.
        tokens: Budget of a batch.

    Raises:
        DataError: The row does not fit.
    """
    if longest > tokens:
        raise DataError(
            f"The longest row has {longest} tokens and a batch only {tokens}; raise "
            "batch_tokens or lower max_source_length and max_target_length."
        )


def plan_batches(
    padded_source: np.ndarray, padded_target: np.ndarray, tokens: int, random: np.random.Generator
) -> list[np.ndarray]:
    """Puts rows of similar length together in batches, in a random order.

    Args:
        padded_source: Length to which each source is padded at least.
        padded_target: Length to which each target is padded at least.
        tokens: Budget of a batch.
        random: Draws the order.

    Returns:
        Row numbers of each batch. The number of batches and their sizes follow from the number of
        rows with each pair of lengths.
    """
    rows = random.permutation(len(padded_source))
    order = np.lexsort((padded_source[rows], padded_target[rows]))
    rows = rows[order]  # the sort is stable, so rows of one shape stay shuffled
    longer = np.maximum(padded_source, padded_target)[rows]
    changes = np.flatnonzero(np.diff(longer)) + 1
    starts = np.concatenate([[0], changes])
    sizes = batch_sizes(longer[starts], np.diff([*starts, len(rows)]), tokens)
    batches = np.split(rows, np.cumsum(sizes)[:-1])
    return [batches[i] for i in random.permutation(len(batches))]


def batch_sizes(lengths: Iterable[int], counts: Iterable[int], tokens: int) -> list[int]:
    """Numbers of rows of the batches that are filled with rows in a given order.

    Args:
        lengths: Padded length of the longer side of consecutive rows.
        counts: Number of rows with each of the lengths.
        tokens: Budget of a batch in padded tokens; no length is above it.

    Returns:
        The number of rows of each batch.
    """
    sizes, rows, longest = [], 0, 0  # of the batch that is being filled
    for length, count in zip(map(int, lengths), map(int, counts), strict=True):
        if not count:
            continue
        more = min(count, max(0, tokens // max(longest, length) - rows))
        rows, longest = rows + more, max(longest, length) if more else longest
        if more == count:
            continue
        sizes.append(rows)
        whole, rows = divmod(count - more, tokens // length)
        sizes += [tokens // length] * whole
        if not rows:  # the last one is full, but it is ended by the row after it
            rows = sizes.pop()
        longest = length
    return [*sizes, rows] if rows else sizes


def length_bounds(lengths: np.ndarray, count: int) -> np.ndarray:
    """Rising lengths to round up to, so that each interval has about the same number of rows.

    Args:
        lengths: Lengths of all rows.
        count: Largest number of bounds.

    Returns:
        At most `count` of the lengths, the largest included.
    """
    return bounds_of_counts(*np.unique(lengths, return_counts=True), count)


def bounds_of_counts(lengths: np.ndarray, counts: np.ndarray, count: int) -> np.ndarray:
    """As `length_bounds`, from a histogram.

    Args:
        lengths: Rising lengths.
        counts: Number of rows with each of them.
        count: Largest number of bounds.

    Returns:
        At most `count` of the lengths, the largest included.
    """
    ends = np.cumsum(counts)
    # Of all rows by their length, the first at or after each quantile.
    positions = np.ceil((ends[-1] - 1) * np.linspace(0, 1, count + 1)[1:]).astype(np.int64)
    return np.unique(lengths[np.searchsorted(ends, positions, side="right")])


def round_up(lengths: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """Rounds each length up to the next bound.

    Args:
        lengths: Lengths, none above the last bound.
        bounds: Rising bounds.

    Returns:
        The smallest bound that is no shorter than each length.
    """
    return bounds[np.searchsorted(bounds, lengths)]
