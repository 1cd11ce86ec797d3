"""What is left out of a training file, by kind, and what is kept."""

import pytest

from attention_zoo.recipes.core.corpora import overlap_line, read_corpora, read_training_texts
from attention_zoo.recipes.core.make_config import make_config
from attention_zoo.recipes.data.files.filters import FILTERS, noisy_rows

GOOD = [(f"the house number {i} is large", f"дом номер {i} очень большой") for i in range(100)]
NOISE = [
    ("the house number 3 is large", "дом номер 3 очень большой"),
    ("copied text", "copied text"),
    ("a", "длинный " * 20),
    ("и это по-русски", "и это тоже"),
]


def noisy(rows, kinds=tuple(FILTERS)):
    sources, targets = zip(*rows, strict=True)
    return noisy_rows(sources, targets, kinds)


def write(name, rows):
    with open(name, "w", encoding="utf-8") as file:
        file.writelines(f"{source}\t{target}\n" for source, target in rows)
    return name


def test_each_row_has_the_first_kind_that_fits():
    assert noisy([*GOOD, *NOISE]) == {
        "duplicates": [100],
        "copies of the source": [101],
        "extreme length ratios": [102],
        "wrong script": [103],
    }
    assert noisy(GOOD) == {}
    assert noisy([*GOOD, *NOISE], ["wrong script"]) == {"wrong script": [101, 103]}


@pytest.mark.parametrize(
    "rows",
    [
        [(f"b e r g {i}", f"{i}") for i in range(50)],
        [("Tom is " + "very " * i + "big", "汤姆" + "很" * i + "大") for i in range(1, 50)],
        [(f"years {i}", "カタカナと漢字とひらがな" + "漢" * (i % 4)) for i in range(50)],
        [("OK", "好"), ("Tom", "汤姆"), ("USB", "USB 设备"), ("I", "我"), ("a b", "U")],
        [(f"{i}!", f"{i}?") for i in range(50)],
    ],
)
def test_usual_pairs_are_kept(rows):
    assert noisy(rows) == {}


def config(train, valid=None, **settings):
    return make_config("translation", "rnn", train, valid, settings=settings)


def test_a_training_file_is_filtered_and_says_so():
    path = write("a.tsv", [*GOOD, *NOISE])
    learnt = read_training_texts(config(path, path))
    assert list(learnt) == GOOD
    assert "duplicates: 1, copies of the source: 1" in learnt.note
    assert "--no-filter" in learnt.report() and "\n" not in learnt.report()
    everything = read_training_texts(config(path, path, filter_rows=False))
    assert len(everything) == 104 and "left out" not in everything.note
    assert len(read_corpora(config(path, path))[1]) == 104  # a file to validate with stays


def test_what_most_rows_are_is_no_noise():
    path = write("a.tsv", [(text, text) for text, _ in GOOD] * 3)
    learnt = read_training_texts(config(path, path))
    assert len(learnt) == 300
    assert "duplicates: 200, copies of the source: 100 kept" in learnt.note


@pytest.mark.parametrize("reverse", [False, True])
def test_a_file_alone_is_split_the_same_way_in_both_directions(reverse):
    path = write("a.tsv", GOOD)
    train, valid = read_corpora(make_config("translation", "rnn", path, None, reverse))
    pairs = [set(part.reversed() if reverse else part) for part in (train, valid)]
    assert len(valid) == 10 and pairs[0] | pairs[1] == set(GOOD)
    again = read_corpora(make_config("translation", "rnn", path, "0.1", not reverse))[1]
    assert list(again.reversed()) == list(valid)
    assert valid.report() == "a.tsv, held out: 10 pairs"


def test_rows_that_are_in_both_files_are_counted():
    train, valid = write("a.tsv", GOOD[:60]), write("b.tsv", GOOD[50:])
    both = config(train, valid)
    line = overlap_line(both, *read_corpora(both))
    assert line.startswith("10 of the 50 rows of b.tsv have a source that is in a.tsv too")
    both = config(train, write("c.tsv", GOOD[60:]))
    assert overlap_line(both, *read_corpora(both)) is None
