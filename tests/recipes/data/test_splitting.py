"""Rows that are held out: groups stay together, and a corpus is always split alike."""

import random

import pytest

from attention_zoo.recipes.core.task import TASKS
from attention_zoo.recipes.data.corpus import PairCorpus
from attention_zoo.recipes.data.splitting import HoldOut, overlap, share_of, split, usual_share
from attention_zoo.zoo.errors import ConfigError, DataError
from attention_zoo.zoo.text.source_format import PLAIN

QUESTIONS = TASKS["question-answering"].source_format
DIALOGUE = TASKS["dialogue"].source_format


def texts(count, copies=1):
    rows = [f"source {i}" for i in range(count)] * copies
    random.Random(1).shuffle(rows)
    return PairCorpus(rows, [f"target {i}" for i in range(len(rows))], "a.tsv")


def conversations(count):
    corpus = PairCorpus([], [], "a.jsonl")
    for i in range(count):
        turns = ["hi", *(f"turn {i} {j}" for j in range(3))]
        for j in range(1, 4):
            corpus.sources.append({"history": "\n".join(turns[: j - 1]), "text": turns[j - 1]})
            corpus.targets.append(turns[j])
    return corpus


def rows_of(corpus):
    return [(str(source), target) for source, target in corpus]


@pytest.mark.parametrize(("rows", "held"), [(20, 2), (400, 40), (5000, 250), (100_000, 2000)])
def test_the_share_follows_the_size(rows, held):
    assert round(usual_share(rows) * rows) == held
    train, valid = split(texts(min(rows, 5000)), PLAIN)
    if rows <= 5000:
        assert len(valid) == held and len(train) == rows - held


def test_the_parts_are_the_corpus_in_its_order_and_the_same_each_time():
    corpus = texts(300)
    train, valid = split(corpus, PLAIN, 0.2)
    assert len(valid) == 60
    assert sorted(rows_of(train) + rows_of(valid)) == sorted(rows_of(corpus))
    order = {row: i for i, row in enumerate(rows_of(corpus))}
    for part in (train, valid):
        numbers = [order[row] for row in rows_of(part)]
        assert numbers == sorted(numbers)
    again = split(texts(300), PLAIN, 0.2)
    assert (again[0].checksum, again[1].checksum) == (train.checksum, valid.checksum)
    # Whatever the order of the rows and whatever is added, a row stays where it is.
    shuffled = PairCorpus([*reversed(corpus.sources), "x"], [*reversed(corpus.targets), "y"], "b")
    assert len(set(rows_of(split(shuffled, PLAIN, 0.2)[1])) ^ set(rows_of(valid))) <= 1


def test_rows_with_one_source_stay_together():
    corpus = texts(50, copies=4)
    corpus.sources = [s.upper() if i % 3 else f"{s} " for i, s in enumerate(corpus.sources)]
    train, valid = split(corpus, PLAIN, 0.2)
    assert len(valid) == 40
    sides = ({source.strip().lower() for source in part.sources} for part in (train, valid))
    assert not set.intersection(*sides) and overlap(train, valid, PLAIN) == 0
    assert overlap(corpus, valid, PLAIN) == 40


def test_questions_of_one_context_and_replies_of_one_conversation_stay_together():
    sources = [{"context": f"story {i // 5}", "question": f"q{i}?"} for i in range(200)]
    train, valid = split(PairCorpus(sources, ["a"] * 200, "q"), QUESTIONS, 0.1)
    contexts = [{source["context"] for source in part.sources} for part in (train, valid)]
    assert len(valid) == 20 and not contexts[0] & contexts[1]

    train, valid = split(conversations(100), DIALOGUE, 0.1)
    assert len(valid) == 30
    openings = [source for source in valid.sources if not source["history"]]
    assert len(openings) == 10  # whole ones, though all begin with "hi"
    # Questions without a context are alike if they are the same question.
    alone = PairCorpus([{"context": "", "question": f"q{i % 2}"} for i in range(9)], ["a"] * 9, "q")
    assert {s["question"] for s in split(alone, QUESTIONS)[1].sources} != {"q0", "q1"}


def test_rows_as_they_come_are_split_by_their_groups():
    corpus = conversations(1000)
    learnt, held = [], []
    parted = HoldOut(DIALOGUE, 0.1, lambda *row: learnt.append(row), lambda *row: held.append(row))
    for number, (source, target) in enumerate(corpus):
        parted.add(number, source, target)
    parted.end()
    assert sorted(learnt + held, key=lambda row: row[0]) == [
        (i, *row) for i, row in enumerate(corpus)
    ]
    assert 210 < len(held) < 390 and len(held) % 3 == 0
    assert sum(not source["history"] for _, source, _ in held) * 3 == len(held)


def test_what_cannot_be_split_and_what_is_no_share():
    assert len(split(texts(2), PLAIN)[1]) == 1
    with pytest.raises(DataError, match="none can be held out: give --valid FILE"):
        split(PairCorpus(["a"] * 5, list("bcdef"), "a.tsv"), PLAIN)
    assert (share_of(None), share_of("valid.tsv"), share_of("0.05")) == (None, None, 0.05)
    for share in ("0", "1", "5", "-0.1", "nan"):
        with pytest.raises(ConfigError, match="a share such as"):
            share_of(share)
