"""Lengths of sources, and how much is lost on long ones, against the same worked out by hand."""

import itertools

import numpy as np
import pytest

from attention_zoo.recipes.analysis.source_lengths import (
    length_degradation,
    length_sides,
    sort_by_length,
    source_lengths,
)
from attention_zoo.recipes.core.config import RunConfig
from attention_zoo.recipes.data.corpus import PairCorpus
from attention_zoo.recipes.metrics.row_statistics import row_statistics
from attention_zoo.recipes.metrics.significance import RowStatistics
from attention_zoo.zoo.errors import ConfigError


def means(values):
    values = np.asarray(values, np.float64)
    return RowStatistics(
        np.stack([values, np.ones_like(values)], 1), lambda sums: sums[0] / sums[1]
    )


@pytest.fixture
def lengths():
    return np.repeat([5, 19, 20, 39, 40, 70], 50)


def scores(short, long, noise=1.0):
    """A run with these means on sources below 20 and from 40 on; what is between is far off."""
    random = np.random.default_rng(0)
    rows = np.repeat([short, short, 999.0, 999.0, long, long], 50)
    change = random.normal(0, noise, 300)
    for side in (slice(0, 100), slice(200, 300)):
        change[side] -= change[side].mean()
    return means(rows + change)


def test_what_is_lost_is_a_share_of_the_score_on_short_sources(lengths):
    found = length_degradation([scores(40, 20), scores(50, 45)], lengths, (19, 40), 400, 1)
    assert (found.short, found.long, found.short_rows, found.long_rows) == (19, 40, 100, 100)
    first, second = found.runs
    assert (first.short.value, first.long.value) == pytest.approx((40, 20))
    assert first.percent.value == pytest.approx(50)
    assert second.percent.value == pytest.approx(10)
    assert first.share is None and second.share.value == pytest.approx(0.2)


def test_intervals_are_those_of_independent_sides(lengths):
    found = length_degradation([scores(40, 20, noise=5.0)], lengths, (19, 40), 4000, 1).runs[0]
    # Of 100 rows with a deviation of 5 a mean has one of 0.5; the fall is 1 - long / short.
    deviation = 100 * np.hypot(0.5 / 40, 20 * 0.5 / 40**2)
    assert found.percent.high - found.percent.low == pytest.approx(2 * 1.96 * deviation, rel=0.1)
    assert found.short.high - found.short.low == pytest.approx(2 * 1.96 * 0.5, rel=0.1)


def test_rows_of_either_side_are_drawn_apart():
    values = np.random.default_rng(0).normal(40, 5, 100)
    twice = means(np.concatenate([values, values]))
    percent = length_degradation([twice], np.repeat([5, 70], 100), (19, 40), 400, 1).runs[0].percent
    assert percent.value == 0 and percent.low < -1 and percent.high > 1


def test_a_perplexity_that_rises_is_lost_too(lengths):
    found = length_degradation([scores(10, 15)], lengths, (19, 40), 100, 1, lower_is_better=True)
    assert found.runs[0].percent.value == pytest.approx(50)


def test_no_share_of_what_may_be_nothing(lengths):
    found = length_degradation([scores(40, 40), scores(50, 45)], lengths, (19, 40), 400, 1)
    assert found.runs[1].share is None and found.runs[1].percent.value == pytest.approx(10)
    nothing = length_degradation([scores(0, 0, 0), scores(0, 0, 0)], lengths, (19, 40), 100, 1)
    assert nothing.runs[0].percent.value == 0


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ((20, 20), "below that of long ones"),
        ((0, 5), "below that of long ones"),
        ((4, 40), "up to 4;"),
        ((5, 71), "of 71"),
    ],
)
def test_impossible_limits(lengths, limits, words):
    with pytest.raises(ConfigError, match=words):
        length_sides(lengths, limits)


def test_buckets_by_length():
    lengths = np.array([3, 12, 1, 30, 12, 11, 2])
    buckets, numbers = sort_by_length(lengths, [5, 10, 12])
    assert [(bucket.low, bucket.high, bucket.rows) for bucket in buckets] == [
        (1, 3, 3), (11, 12, 3), (30, 30, 1),
    ]  # fmt: skip
    assert [rows.tolist() for rows in numbers] == [[0, 2, 6], [1, 4, 5], [3]]
    lengths = np.random.default_rng(0).integers(1, 60, 600)
    buckets, numbers = sort_by_length(lengths)
    assert sorted(np.concatenate(numbers).tolist()) == list(range(600))
    assert len(buckets) == 6 and all(80 <= bucket.rows <= 120 for bucket in buckets)
    assert all(a.high < b.low for a, b in itertools.pairwise(buckets))
    with pytest.raises(ConfigError, match="rise"):
        sort_by_length(lengths, [10, 5])


@pytest.mark.parametrize(
    ("task", "sources", "unit", "lengths"),
    [
        ("translation", ["a b  c", " two words "], "words", [3, 2]),
        ("translation", ["两只 dogs。", "狗"], "characters", [3, 1]),
        ("question-answering", [{"context": "a b c", "question": "d e?"}], "words", [5]),
        ("summarization", [{"text": "a b", "length": 9}], "words", [2]),
        ("dialogue", [{"history": "a b\nc", "text": "d"}, "e"], "words", [4, 1]),
    ],
)
def test_lengths_of_sources(task, sources, unit, lengths):
    corpus = PairCorpus(sources, [""] * len(sources), "test")
    found = source_lengths(corpus, RunConfig(task))
    assert (found[0], found[1].tolist()) == (unit, lengths)


def test_a_fall_from_or_to_nothing_that_is_counted_has_no_value():
    texts = ["a", "b", "a b c d", "e f g h i"]
    score = row_statistics("translation", "bleu", texts, [(text,) for text in texts], "none")
    lengths = np.array([1, 1, 4, 5])
    (found,) = length_degradation([score], lengths, (2, 3), 50, 1).runs
    assert found.short.value is found.percent.value is None and found.long.value > 99
