"""Bounds of lengths, and sizes of batches that follow from them."""

import numpy as np

from attention_zoo.recipes.data.bucketing import (
    batch_sizes,
    bounds_of_counts,
    length_bounds,
    round_up,
)


def test_bounds_are_quantiles():
    lengths = np.array([1, 1, 1, 2, 2, 3, 3, 9, 9, 40])
    assert length_bounds(lengths, 2).tolist() == [3, 40]
    assert length_bounds(lengths, 1).tolist() == [40]
    assert length_bounds(lengths, 100).tolist() == [1, 2, 3, 9, 40]
    assert round_up(lengths, np.array([3, 40])).tolist() == [3] * 7 + [40] * 3


def naive_sizes(lengths, counts, tokens):
    """Rows one by one, as long as they fit."""
    sizes, rows, longest = [], 0, 0
    for length, count in zip(lengths, counts, strict=True):
        for _ in range(count):
            if rows and (rows + 1) * max(longest, length) > tokens:
                sizes.append(rows)
                rows, longest = 0, 0
            rows, longest = rows + 1, max(longest, length)
    return [*sizes, rows] if rows else sizes


def test_sizes_of_batches_follow_from_the_lengths_alone():
    random = np.random.default_rng(0)
    for _ in range(300):
        kinds = random.integers(1, 9)
        lengths = random.integers(1, 15, kinds).tolist()
        counts = random.integers(0, 40, kinds).tolist()
        tokens = int(random.integers(max(lengths), 120))
        assert batch_sizes(lengths, counts, tokens) == naive_sizes(lengths, counts, tokens)
    assert batch_sizes([3], [0], 9) == []


def test_bounds_of_counted_lengths_are_those_of_the_lengths():
    random = np.random.default_rng(1)
    for size in (1, 2, 13, 500):
        lengths = random.geometric(0.1, size)
        counted = np.unique(lengths, return_counts=True)
        for count in (1, 3, 12, 100):
            quantiles = np.linspace(0, 1, count + 1)[1:]
            expected = np.unique(np.quantile(lengths, quantiles, method="higher"))
            assert bounds_of_counts(*counted, count).tolist() == expected.tolist()
            assert length_bounds(lengths, count).tolist() == expected.tolist()
