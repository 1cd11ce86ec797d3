"""Limits of length that follow from the source: what a corpus needs, and what cannot be written."""

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
import typer

from attention_zoo.recipes.cli.app import search_options
from attention_zoo.recipes.cli.main import app
from attention_zoo.recipes.core.config import RunConfig
from attention_zoo.recipes.core.run import Run
from attention_zoo.recipes.core.saved_model import text_to_text
from attention_zoo.recipes.data.batching import TokenBatches, TokenizedPairs
from attention_zoo.recipes.training.length_limits import (
    beyond_limit,
    beyond_line,
    fitting_ratio,
    limit_of_corpus,
    ngram_of_corpus,
    repeats_run,
)
from attention_zoo.zoo.decoding.options import GenerationOptions
from attention_zoo.zoo.text.tokenizer import Tokenizer

RANDOM = np.random.default_rng(1)
LENGTHS = RANDOM.integers(1, 60, (300, 2))


def limits(ratio, max_length=50):
    """The limit of each row as the search computes it."""
    options = GenerationOptions(max_length=max_length, max_length_ratio=ratio)
    sources = tf.sequence_mask(LENGTHS[:, 0], dtype=tf.int32) * 7
    return options, options.length_limits(sources).numpy()


@pytest.mark.parametrize("ratio", [None, 0.3, 1.1, 2.0, 3.3])
def test_targets_beyond_the_limit_are_those_that_the_search_cannot_end(ratio):
    options, expected = limits(ratio)
    found = beyond_limit(LENGTHS, options)
    assert found.tolist() == (LENGTHS[:, 1] > expected).tolist()
    assert 0 < found.sum() < len(found)


def test_the_ratio_of_a_corpus_lets_all_targets_be_written():
    ratio = fitting_ratio([LENGTHS[:100], LENGTHS[100:]], 2.0)
    assert (LENGTHS[:, 1] <= limits(ratio, max_length=100)[1]).all()
    assert (LENGTHS[:, 1] > limits(ratio - 0.2, max_length=100)[1]).any()
    # "1777" and its end by letters: "seventeen seventy-seven", a space before it, and an end.
    assert 3.0 <= fitting_ratio([np.array([[5, 25]])], 2.0) <= 3.1
    assert fitting_ratio([np.array([[5, 20], [9, 1]])], 2.0) == 2.0


def test_one_noisy_pair_in_a_thousand_raises_no_ratio_and_is_told():
    usual, noisy = np.array([[10, 20]] * 999), np.array([[2, 90]])
    told = []
    batches = SimpleNamespace(lengths=lambda: iter([usual, noisy]))
    assert limit_of_corpus(RunConfig(), 128, batches, told.append) == {"max_length_ratio": 2.0}
    assert told == [f"training: {beyond_line(1, 2.0)}"]
    # Of two, one more than that, the shorter one fits.
    assert 3 <= fitting_ratio([usual, noisy, np.array([[10, 40]])], 2.0) <= 3.1


def test_a_training_takes_the_ratio_of_its_corpus_and_says_so():
    told = []
    years = SimpleNamespace(lengths=lambda: iter([np.array([[5, 25], [5, 12]])]))
    found = limit_of_corpus(RunConfig(), 128, years, told.append)
    assert found == {"max_length_ratio": 3.1}
    assert told == [
        "training: max_length_ratio=3.1, as with 2 not all targets could be written to the end"
    ]
    short = SimpleNamespace(lengths=lambda: iter([np.array([[5, 12]])]))
    assert limit_of_corpus(RunConfig(), 128, short, told.append) == {"max_length_ratio": 2.0}
    # What the user says stays, and what it leaves out is told.
    for ratio, count in ((2.0, 1), (0.1, 2), (0.0, 0), (3.0, 0)):
        told.clear()
        assert limit_of_corpus(RunConfig(max_length_ratio=ratio), 128, years, told.append) == {}
        assert told == ([f"training: {beyond_line(count, ratio)}"] if count else [])


def test_the_ratio_is_kept_with_the_run_and_is_no_other_run(tmp_path):
    run, config = Run(tmp_path / "run"), RunConfig()
    assert run.open(config, max_length_ratio=3.1) is False
    assert run.generation() == {"max_length_ratio": 3.1}
    assert run.read_config() == config and run.check(config) is True
    model = SimpleNamespace(check_lengths=lambda *_: None)
    made = [
        text_to_text(model, None, replaced, **options).generation.max_length_ratio
        for replaced, options in (
            (config, run.generation()),
            (config, {}),
            (RunConfig(max_length_ratio=0.0), {}),
            (RunConfig(max_length_ratio=1.5), {}),
            (config, {**run.generation(), "max_length_ratio": None}),
        )
    ]
    assert made == [3.1, 2.0, None, 1.5, None]


def test_lengths_of_batches_have_their_ends():
    sides = [[np.arange(4, 4 + n, dtype=np.int32) for n in lengths] for lengths in ((1, 3), (2, 5))]
    batches = TokenBatches(TokenizedPairs(*sides), tokens=20)
    assert np.concatenate(list(batches.lengths())).tolist() == [[2, 3], [4, 6]]


def test_all_commands_that_write_take_the_same_options_of_the_search():
    commands = typer.main.get_command(app).commands
    names = {"beam_size", "length_penalty", "max_length", "max_length_ratio"}
    for name in ("evaluate", "predict", "explain", "export"):
        assert names <= {parameter.name for parameter in commands[name].params}
    assert search_options(None, None, None, None) == {}
    assert search_options(2, 0.0, 9, 1.5) == {
        "beam_size": 2, "length_penalty": 0.0, "max_length": 9, "max_length_ratio": 1.5,
    }  # fmt: skip
    assert search_options(None, None, None, 0.0) == {"max_length_ratio": None}
    assert search_options(None, None, None, None, 0) == {"shortlist": 0}


ONCE = [f"the cat number {i} and the dog number {i} are here" for i in range(1000)]
TWICE = [f"a package for library a package for {i}" for i in range(1000)]


@pytest.mark.parametrize(
    ("texts", "given", "found", "said"),
    [
        (ONCE, None, {"no_repeat_ngram": 3}, None),
        (ONCE + TWICE[:2], None, {"no_repeat_ngram": 4}, "=4, as 0.20% of the targets have 3"),
        ([*ONCE, "x y " * 20, "a b " * 20], None, {"no_repeat_ngram": 0}, "=0, as 0.20%"),
        ([*ONCE, TWICE[0]], None, {"no_repeat_ngram": 3}, None),  # one in a thousand
        (TWICE, 3, {}, "no_repeat_ngram=3 cannot write 100.00% of the targets"),
        (TWICE, 4, {}, None),
        (TWICE, 0, {}, None),
    ],
)
@pytest.mark.parametrize("kind", ["char", "bpe"])
def test_runs_of_words_may_be_written_twice_where_the_corpus_has_them(
    kind, texts, given, found, said
):
    tokenizer = Tokenizer.train(ONCE[:50] + TWICE[:50] + ["x y a b"] * 50, 80, kind)
    lines = []
    search = RunConfig(no_repeat_ngram=given)
    assert ngram_of_corpus(search, tokenizer, texts, lines.append) == found
    assert lines == [] if said is None else said in lines[0]
    expected = {} if given is None else {"no_repeat_ngram": given}
    assert {k: v for k, v in search.generation(9).items() if k == "no_repeat_ngram"} == expected


def test_repetitions_are_found_by_their_definition():
    random = np.random.default_rng(2)
    for _ in range(100):
        words = random.choice(list("abc"), 7).tolist()
        for size in (1, 2, 3):
            pairs = [(i, j) for j in range(8 - size) for i in range(j)]
            equal = any(words[i : i + size] == words[j : j + size] for i, j in pairs)
            assert repeats_run(words, size) == equal
