"""Alignments and arrays of many explanations, read back by other means than they were written."""

import json

import numpy as np
import pytest

from attention_zoo.zoo.visualization.alignments import align, write_alignments
from attention_zoo.zoo.visualization.explanation import Explanation
from attention_zoo.zoo.visualization.layered_explanation import LayeredExplanation


def explained(weights, source=("▁a", "▁b", "</s>"), target=("▁x", "▁y", "</s>")):
    return Explanation("a b", "x y", list(source), list(target), np.array(weights), -1.5)


PLAIN = explained([[0.1, 0.2, 0.7], [0.6, 0.3, 0.1], [0, 0, 1]])
EMPTY = explained(np.zeros((0, 0)), (), ())
WITHOUT = explained(np.zeros((3, 3)))


def test_a_target_token_goes_with_what_it_attended_to_most_but_for_the_ends():
    # The first attended most to the end of the source, which is no token of the text.
    assert align(PLAIN) == [(1, 0), (0, 1)]
    assert align(EMPTY) == align(WITHOUT) == []
    # A text that was cut has no end: all of its tokens count.
    assert align(explained([[0.1, 0.2, 0.7]], "abc", "x")) == [(2, 0)]


def test_files_have_a_line_for_each_text(tmp_path):
    found = [PLAIN, EMPTY, WITHOUT]
    write_alignments(tmp_path / "a.pharaoh", found)
    assert (tmp_path / "a.pharaoh").read_text() == "1-0 0-1\n\n\n"
    write_alignments(tmp_path / "part", found, tmp_path / "a.jsonl")
    first, second, _ = map(json.loads, (tmp_path / "part").read_text(encoding="utf-8").splitlines())
    assert first == {
        "text": "a b",
        "target": "x y",
        "source_tokens": ["▁a", "▁b", "</s>"],
        "target_tokens": ["▁x", "▁y", "</s>"],
        "alignment": [[1, 0], [0, 1]],
        "score": -1.5,
    }
    assert second["alignment"] == second["source_tokens"] == []


@pytest.mark.parametrize("layered", [False, True])
def test_arrays_are_numbered_by_text(layered, tmp_path):
    cross = np.random.default_rng(0).dirichlet(np.ones(3), (2, 4, 3)).astype(np.float32)
    found = [LayeredExplanation(PLAIN, cross), LayeredExplanation(WITHOUT, cross)]
    found = found if layered else [PLAIN, WITHOUT]
    write_alignments(tmp_path / "a.npz", found)
    arrays = np.load(tmp_path / "a.npz", allow_pickle=False)
    np.testing.assert_array_equal(arrays["0/attention"], PLAIN.attention)
    assert arrays["1/target_tokens"].tolist() == ["▁x", "▁y", "</s>"]
    assert ("1/cross" in arrays) == layered
    if layered:
        np.testing.assert_array_equal(arrays["1/cross"], cross)
