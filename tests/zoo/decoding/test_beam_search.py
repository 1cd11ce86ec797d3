"""Beam search against the enumeration of every target, and against a search over plain lists."""

import functools

import numpy as np
import pytest
import tensorflow as tf
from tiny_models import (
    KINDS,
    VARIANTS,
    TableModel,
    exhaustive_search,
    length_limit,
    plain_beam_search,
    random_source,
    tiny_model,
    trimmed,
)

from attention_zoo.zoo.decoding import BeamSearch, generate
from attention_zoo.zoo.decoding.options import NEG_INF, GenerationOptions
from attention_zoo.zoo.text.tokenizer import END_ID, START_ID, UNKNOWN_ID

A, B = 4, 5
beam_search = functools.partial(generate, strategy=BeamSearch)


def found(hypotheses, row):
    """Ids and scores of the hypotheses of a row that are there, and how many are not."""
    scores = hypotheses.scores.numpy()[row]
    there = scores > NEG_INF / 2
    ids = [trimmed(ids) for ids in hypotheses.ids.numpy()[row][there]]
    return ids, scores[there], int(np.sum(~there))


def assert_same(hypotheses, row, expected):
    ids, scores, missing = found(hypotheses, row)
    assert ids == [hypothesis.ids for hypothesis in expected]
    np.testing.assert_allclose(scores, [h.score for h in expected], atol=1e-5)
    assert missing == hypotheses.ids.shape[1] - len(expected)


# With as many beams as there are live hypotheses nothing is lost, and the search is exact

CASES = [
    {"vocab_size": 6, "max_length": 5},
    {"vocab_size": 6, "max_length": 5, "length_penalty": 0.0},
    {"vocab_size": 6, "max_length": 5, "length_penalty": 2.5, "min_length": 2},
    {"vocab_size": 6, "max_length": 4, "forbid_unknown": False},
    {"vocab_size": 6, "max_length": 4, "coverage_penalty": 0.7},
]
LIMITS = [  # of what may be written, whatever the model: of one family and the other
    {"vocab_size": 5, "max_length": 5, "min_length": 4},
    {"vocab_size": 6, "max_length": 1},
    {"vocab_size": 6, "max_length": 2, "forbid_unknown": False},
    {"vocab_size": 6, "max_length": 5, "no_repeat_ngram": 2},
    {"vocab_size": 6, "max_length": 4, "no_repeat_ngram": 1, "forbid_unknown": False},
    {"vocab_size": 6, "max_length": 4, "min_length_ratio": 0.4},
]


@pytest.mark.parametrize(
    ("kind", "case"),
    [
        # One case for every kind of model, every case for a few kinds.
        *((kind, CASES[4]) for kind in (*KINDS, *VARIANTS)),
        *((kind, case) for kind in ("pointer", "memory", "transformer") for case in CASES[:-1]),
        *((kind, case) for kind in ("luong", "transformer") for case in LIMITS),
    ],
    ids=str,
)
def test_equals_the_best_of_all_targets(kind, case):
    case = dict(case)
    vocab_size = case.pop("vocab_size")
    options = GenerationOptions(early_stopping=False, max_length_ratio=None, **case)
    free = vocab_size - 4 + (not options.forbid_unknown)
    beams = free ** (options.max_length - 1)
    options = GenerationOptions(**{**options.get_config(), "beam_size": beams})
    model = tiny_model(kind, vocab_size, seed=len(kind))
    source = random_source(3, [4, 1], vocab_size)
    hypotheses = beam_search(model, tf.constant(source), options)
    assert hypotheses.attention is None
    for row in range(2):
        everything = exhaustive_search(model, source[row], vocab_size, options)
        assert_same(hypotheses, row, everything[:beams])


@pytest.mark.parametrize("early_stopping", [True, False])
def test_more_beams_than_targets_find_all_of_them(early_stopping):
    options = GenerationOptions(
        beam_size=20, max_length=4, max_length_ratio=None, early_stopping=early_stopping
    )
    model = tiny_model("bahdanau", 6, seed=2)
    source = random_source(4, [3, 2], 6)
    hypotheses = beam_search(model, tf.constant(source), options)
    for row in range(2):
        everything = exhaustive_search(model, source[row], 6, options)
        assert len(everything) == 1 + 2 + 4 + 8
        assert_same(hypotheses, row, everything)


def test_every_row_has_the_limit_of_its_own_length():
    # One subword to write, so that long targets are few: the limits are 11, 12 and 13.
    options = GenerationOptions(
        beam_size=13, max_length=13, max_length_ratio=0.5, early_stopping=False
    )
    model = tiny_model("luong", 5, seed=5)
    source = random_source(6, [2, 3, 6], 5)
    limits = options.length_limits(tf.constant(source)).numpy().tolist()
    assert limits == [length_limit(row, options) for row in source] == [11, 12, 13]
    hypotheses = beam_search(model, tf.constant(source), options)
    for row, limit in enumerate(limits):
        everything = exhaustive_search(model, source[row], 5, options)
        assert len(everything) == limit
        assert_same(hypotheses, row, everything)


@pytest.mark.parametrize("kind", ["luong", "transformer"])
def test_a_target_begins_with_its_prefix(kind):
    prefixes = [(4, 5, 4), (), (5,)]
    options = GenerationOptions(
        beam_size=16, max_length=5, max_length_ratio=None, early_stopping=False
    )
    model = tiny_model(kind, 6, seed=8)
    source = random_source(9, [3, 1, 2], 6)
    prefix = tf.constant([[*ids, *[0] * (3 - len(ids))] for ids in prefixes])
    hypotheses = beam_search(model, tf.constant(source), options, prefix=prefix)
    for row, ids in enumerate(prefixes):
        everything = exhaustive_search(model, source[row], 6, options, ids)
        assert_same(hypotheses, row, everything[:16])


def test_a_prefix_as_long_as_the_limit_gets_its_end():
    options = GenerationOptions(beam_size=2, max_length=3, max_length_ratio=None)
    model = tiny_model("none", 6)
    prefix = tf.constant([[4, 4, 5, 5], [0, 0, 0, 0]])
    hypotheses = beam_search(
        model, tf.constant(random_source(1, [2, 2], 6)), options, prefix=prefix
    )
    ids, _, missing = found(hypotheses, 0)
    assert (ids, missing) == ([(4, 4, 5, 5, END_ID)], 1)
    assert all(len(ids) <= 3 for ids in found(hypotheses, 1)[0])


# With fewer beams, against the same algorithm over lists


@pytest.mark.parametrize("early_stopping", [True, pytest.param(False, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "case",
    [
        {"beam_size": 2},
        {"beam_size": 3, "length_penalty": 0.0, "min_length": 2},
        {"beam_size": 5, "length_penalty": 1.5},
        {"beam_size": 7, "forbid_unknown": False},  # more beams than subwords
    ],
    ids=str,
)
def test_few_beams_equal_a_search_over_lists(case, early_stopping):
    options = GenerationOptions(
        max_length=6, max_length_ratio=None, early_stopping=early_stopping, **case
    )
    lengths: set[int] = set()
    for seed in range(3):
        model = tiny_model(("none", "bahdanau", "transformer")[seed], 7, seed=seed)
        source = random_source(seed, [4, 2, 1], 7)
        hypotheses = beam_search(model, tf.constant(source), options)
        for row in range(3):
            expected = plain_beam_search(model, source[row], 7, options)
            assert_same(hypotheses, row, expected)
            lengths.update(len(hypothesis.ids) for hypothesis in expected)
    assert len(lengths) > 1


# Probabilities written down by hand


def table(steps, rows):
    """Probabilities (T, V, V) from `{last: {next: p}}`, the same at every step."""
    probabilities = np.zeros((steps, 6, 6))
    for last, nexts in rows.items():
        for following, p in nexts.items():
            probabilities[:, last, following] = p
    return probabilities


@pytest.fixture
def one_source():
    return np.array([[A, END_ID]], np.int32)


def test_a_finished_hypothesis_is_neither_extended_nor_scored_again(one_source):
    # The best target is `a`. A search that went on with it after its end, or that counted
    # what the model says after an end, would find it worse than seven times `b`.
    model = TableModel(
        table(
            9,
            {
                START_ID: {A: 0.55, B: 0.44, END_ID: 0.01},
                A: {END_ID: 0.98, A: 0.02},
                B: {B: 0.94, END_ID: 0.06},
                END_ID: {A: 0.5, B: 0.5},
            },
        )
    )
    for early_stopping in (True, False):
        options = GenerationOptions(
            beam_size=2,
            length_penalty=0.0,
            max_length=9,
            max_length_ratio=None,
            early_stopping=early_stopping,
        )
        hypotheses = beam_search(model, tf.constant(one_source), options)
        ids, scores, _ = found(hypotheses, 0)
        assert ids[0] == (A, END_ID)
        np.testing.assert_allclose(scores[0], np.log(0.55 * 0.98), atol=1e-6)
        assert_same(hypotheses, 0, exhaustive_search(model, one_source[0], 6, options)[:2])


def test_a_hypothesis_that_ends_late_can_beat_one_that_ended_early(one_source):
    model = TableModel(
        table(
            6,
            {
                START_ID: {A: 0.6, END_ID: 0.4},
                A: {B: 0.9, END_ID: 0.1},
                B: {END_ID: 0.95, A: 0.05},
            },
        )
    )
    options = GenerationOptions(
        beam_size=1, length_penalty=0.0, max_length=6, max_length_ratio=None
    )
    ids, scores, _ = found(beam_search(model, tf.constant(one_source), options), 0)
    assert ids == [(A, B, END_ID)]
    np.testing.assert_allclose(scores, np.log([0.6 * 0.9 * 0.95]), atol=1e-6)


def test_the_length_penalty_decides_between_short_and_long(one_source):
    # log p of the end alone is -0.7 and that of three subwords -1.0, or -0.6 over (8 / 6)^2.
    model = TableModel(
        table(
            4,
            {
                START_ID: {END_ID: 0.5, A: 0.5},
                A: {B: 0.8, END_ID: 0.2},
                B: {END_ID: 0.9, A: 0.1},
            },
        )
    )
    best = {}
    for penalty in (0.0, 2.0):
        options = GenerationOptions(
            beam_size=3, length_penalty=penalty, max_length=4, early_stopping=False
        )
        hypotheses = beam_search(model, tf.constant(one_source), options)
        assert_same(hypotheses, 0, exhaustive_search(model, one_source[0], 6, options)[:3])
        best[penalty] = found(hypotheses, 0)[0][0]
    assert best == {0.0: (END_ID,), 2.0: (A, B, END_ID)}


def test_unknown_is_written_only_where_allowed(one_source):
    rows = {START_ID: {UNKNOWN_ID: 0.9, A: 0.1}, UNKNOWN_ID: {END_ID: 1.0}, A: {END_ID: 1.0}}
    model = TableModel(table(4, rows))
    for forbid, expected in ((True, A), (False, UNKNOWN_ID)):
        options = GenerationOptions(beam_size=1, max_length=4, forbid_unknown=forbid)
        ids = found(beam_search(model, tf.constant(one_source), options), 0)[0]
        assert ids[0] == (expected, END_ID)


def test_what_cannot_be_filled_is_empty(one_source):
    # Three targets there are, and eight places for them.
    options = GenerationOptions(beam_size=8, max_length=3, max_length_ratio=None)
    rows = {START_ID: {A: 0.7, END_ID: 0.3}, A: {A: 0.5, END_ID: 0.5}}
    model = TableModel(table(3, rows)[:, :5, :5])
    hypotheses = beam_search(model, tf.constant(one_source), options)
    ids, _, missing = found(hypotheses, 0)
    assert sorted(ids) == [(END_ID,), (A, END_ID), (A, A, END_ID)]
    assert missing == 5
    assert (hypotheses.scores.numpy()[0, 3:] == NEG_INF).all()
