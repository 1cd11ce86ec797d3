"""The check of alignments with `alignment_pairs`: how it counts, and on a run if one is given.

`ALIGNMENT_RUN=runs/zh-en ALIGNMENT_DATA=dev.tsv` before pytest with `-m slow -s` gives one.
"""

from __future__ import annotations

import os

import alignment_pairs
import numpy as np
import pytest
from alignment_pairs import (
    PAIRS,
    character_spans,
    check_run,
    is_largest,
    judge,
    report,
    subwords_between,
    word_numbers,
)

SHARE = 0.8


def test_places_of_subwords():
    pieces = ["\u2581", "ab", "c", "\u2581d"]
    assert character_spans(pieces, "abc d") == [(0, 0), (0, 2), (2, 3), (3, 4)]
    assert word_numbers(["\u2581ab", "c", "\u2581d"]).tolist() == [0, 0, 1]
    # A mark is no part of the word it stands at, and no word with another mark.
    assert word_numbers(["\u2581ab", ".", "\u2581d", "'", "s"]).tolist() == [0, 6, 1, 8, 1]
    assert subwords_between(pieces, "abc d", 1, 3).tolist() == [False, True, True, False]
    assert subwords_between(pieces, "abc d", 0, 1).tolist() == [False, True, False, False]
    unknown = ["\u2581", "他", "<unk>", "好", "<unk>"]
    assert character_spans(unknown, "他向那好。") == [(0, 0), (0, 1), (1, 3), (3, 4), (4, 5)]
    assert len(PAIRS) == 50 and len(set(PAIRS)) == 50


def test_the_subwords_of_a_word_count_together():
    groups = np.array([0, 0, 1, 1, 2])
    weights = np.array([0.3, 0.25, 0.0, 0.05, 0.4])
    right = groups == 0
    assert is_largest(weights, right, groups)
    # Against 0.4 of the other word alone; together the other words would have more.
    assert not is_largest(weights - [0.1, 0.1, 0, 0, 0], right, groups)
    assert not is_largest(weights, groups == 1, groups)
    assert is_largest(weights, right, np.arange(5)) and not is_largest(
        np.array([0.2, 0.2, 0.0, 0.0, 0.6]), right, np.arange(5)
    )


@pytest.mark.parametrize("reverse", [False, True])
def test_a_model_is_judged_by_where_it_looks(monkeypatch, reverse):
    """Two words swap their places; the second one is looked up at the wrong one."""
    monkeypatch.setattr(alignment_pairs, "PAIRS", [(2, 1, 0, 2), (2, 0, 2, 4)])
    rows = [["x", "y"], ["red house", "房子红的"]]
    english, chinese = ["\u2581red", "\u2581hou", "se"], ["\u2581", "房子", "红", "的"]
    looks = np.array([[0, 0.9, 0.1, 0], [0, 0.9, 0, 0.1], [0, 0.7, 0.1, 0.2]])  # English by Chinese

    def given(model, sources, targets):
        assert sources == (rows[1][reverse],) * 2 and targets == (rows[1][not reverse],) * 2
        two = (chinese, english, looks) if reverse else (english, chinese, looks.T)
        yield from [two] * 2

    monkeypatch.setattr(alignment_pairs, "attention_to_targets", given)
    house, red = judge(None, rows, reverse)
    assert (house.english, house.chinese, house.right, house.strict) == (
        "house",
        "房子",
        True,
        reverse,
    )
    assert (red.english, red.chinese, red.right) == ("red", "红的", False)
    assert "1 of 2 right, 50%" in report([house, red]) and "line 2: red and 红的" in report(
        [house, red]
    )


@pytest.mark.slow
def test_the_right_word_gets_the_largest_weight():
    run, data = os.environ.get("ALIGNMENT_RUN"), os.environ.get("ALIGNMENT_DATA")
    if not run or not data:
        pytest.skip("needs ALIGNMENT_RUN and ALIGNMENT_DATA, see the head of this file")
    verdicts = check_run(run, data)
    print(report(verdicts))
    assert sum(verdict.right for verdict in verdicts) >= SHARE * len(PAIRS)
