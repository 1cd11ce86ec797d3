"""A sample of a stream: everything of a short one, and of a long one all with the same chance."""

from collections import Counter

import pytest

from attention_zoo.recipes.data.reservoir import Reservoir


def sample(stream, items, size=float("inf"), measure=lambda item: 1, seed=0):
    reservoir = Reservoir(items, size, measure, seed)
    for item in stream:
        reservoir.add(item)
    return reservoir


def test_a_short_stream_is_kept_whole_and_in_order():
    assert sample(range(10), 10).kept == list(range(10))
    assert sample([], 10).kept == []


@pytest.mark.parametrize("size", [float("inf"), 9])
def test_every_item_has_the_same_chance(size):
    """Of 12 items; with the limit of size, after which half are kept."""
    draws = 6000
    found = Counter()
    for seed in range(draws):
        kept = sample(range(12), 10 if size == 9 else 4, size, seed=seed).kept
        assert len(kept) == len(set(kept)) == (5 if size == 9 else 4)
        found.update(kept)
    share = (5 if size == 9 else 4) / 12
    # Four standard deviations.
    limit = 4 * (draws * share * (1 - share)) ** 0.5
    assert all(abs(found[item] - draws * share) < limit for item in range(12)), found


def test_no_more_is_kept_than_the_size_allows():
    reservoir = sample(range(1, 2000), 500, size=10_000, measure=lambda item: item)
    assert 0 < sum(reservoir.kept) <= 10_000
    assert len(reservoir.kept) > 5 and reservoir.seen == 1999


def test_one_item_above_the_size_stays():
    assert sample([50], 3, size=10, measure=lambda item: item).kept == [50]


def test_a_draw_is_a_part_in_order():
    reservoir = sample(range(100), 50)
    drawn = reservoir.draw(20)
    assert len(set(drawn)) == 20 and set(drawn) <= set(reservoir.kept)
    places = [reservoir.kept.index(item) for item in drawn]
    assert places == sorted(places)
    assert reservoir.draw(50) == reservoir.draw(99) == reservoir.kept
