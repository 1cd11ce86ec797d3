"""Pairs joined to longer ones: nothing lost, lengths as drawn, the same each time."""

import json

import numpy as np
import pytest

from attention_zoo.recipes.analysis.concatenation import concatenate_pairs, write_concatenated
from attention_zoo.recipes.data.corpus import PairCorpus
from attention_zoo.recipes.data.pair_files import read_pairs
from attention_zoo.zoo.errors import DataError


def numbered(count):
    """Pairs whose words say where they were: row i has 1 to 9 words."""
    sizes = np.random.default_rng(3).integers(1, 10, count)
    sources = [
        " ".join(f"s{row}.{place}" for place in range(size)) for row, size in enumerate(sizes)
    ]
    return PairCorpus(sources, [f"t{row}" for row in range(count)], "numbered")


def test_every_pair_is_there_once_in_its_order_and_with_its_own_target():
    corpus = numbered(500)
    joined = concatenate_pairs(corpus, longest=60)
    assert " ".join(joined.sources).split() == " ".join(corpus.sources).split()
    assert " ".join(joined.targets).split() == corpus.targets
    for source, target in joined:
        rows = list(dict.fromkeys(word.split(".")[0][1:] for word in source.split()))
        assert target.split() == [f"t{row}" for row in rows]


def test_all_lengths_are_drawn_and_a_row_ends_as_soon_as_it_has_its_length():
    corpus = numbered(20_000)
    lengths = np.array(
        [len(source.split()) for source in concatenate_pairs(corpus, longest=60).sources]
    )
    # A pair has nine words at most, so a row has at most eight more than was drawn.
    assert lengths.min() == 1 and 60 < lengths.max() <= 68
    drawn = np.histogram(lengths[:-1], [1, 11, 21, 31, 41, 51, 61])[0] / len(lengths)
    assert (drawn[1:] > 0.14).all() and drawn[0] > 0.08
    single = np.array([len(source.split()) for source in corpus.sources])
    shortest = concatenate_pairs(corpus, longest=1)
    assert shortest.sources == corpus.sources and single.max() == 9


def test_the_seed_decides():
    corpus = numbered(100)
    assert concatenate_pairs(corpus, 30, seed=2) == concatenate_pairs(corpus, 30, seed=2)
    assert concatenate_pairs(corpus, 30, seed=2) != concatenate_pairs(corpus, 30, seed=3)


def test_of_chinese_the_characters_count():
    corpus = PairCorpus(["今天天气很好。"] * 300, ["x"] * 300, "zh")
    rows = [source.count("今") for source in concatenate_pairs(corpus, longest=14).sources]
    # Seven characters a pair: half of the lengths to 14 need one, the others two.
    assert set(rows[:-1]) == {1, 2} and 0.35 < np.mean(np.array(rows) == 1) < 0.65


def test_sources_of_several_inputs_are_refused():
    with pytest.raises(DataError, match="several inputs"):
        concatenate_pairs(PairCorpus([{"context": "a", "question": "b"}], ["c"], "x"), 5)


def test_the_file_reads_back_and_its_name_changes_with_the_pairs(tmp_path):
    corpus = PairCorpus(['a\tb "c"', "d\u2028e"], ["你好", "<b>"], "x")
    path = write_concatenated(corpus, tmp_path / "new", "train-60")
    found = read_pairs(str(path))
    assert (found.sources, found.targets) == (corpus.sources, corpus.targets)
    assert json.loads(path.read_text().split("\n")[0])["target"] == "你好"
    assert write_concatenated(corpus, tmp_path / "new", "train-60") == path
    other = PairCorpus(corpus.sources, ["你好", "<i>"], "x")
    assert write_concatenated(other, tmp_path / "new", "train-60") != path
    assert len(list((tmp_path / "new").iterdir())) == 2
