"""Conversations from JSON lines and pair files, and what is refused."""

import functools
import itertools
import json

import pytest

from attention_zoo.recipes.data.conversation_files import (
    MAX_TURNS,
    JoinedPairs,
    parse_turns,
    read_conversation_rows,
)
from attention_zoo.recipes.data.corpus import Rows
from attention_zoo.recipes.data.pair_files import read_pairs
from attention_zoo.zoo.errors import DataError

read_conversations = functools.partial(read_pairs, read=read_conversation_rows)

TURNS = ["Hello", "Hi, how are you?", "Fine", "Good"]
SOURCES = [
    {"history": "", "text": "Hello"},
    {"history": "Hello", "text": "Hi, how are you?"},
    {"history": "Hello\nHi, how are you?", "text": "Fine"},
]


def write(path, rows):
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return str(path)


MESSAGES = [
    {"role": "system", "content": "Be kind."},
    *({"role": ("user", "assistant")[i % 2], "content": turn} for i, turn in enumerate(TURNS)),
]


@pytest.mark.parametrize(
    "row",
    [
        TURNS,
        {"turns": TURNS, "id": 3},
        {"messages": MESSAGES},
        {"conversations": [{"from": "human", "value": turn} for turn in TURNS]},
        {"messages": [{"content": [{"type": "text", "text": turn}]} for turn in TURNS]},
    ],
)
def test_every_turn_but_the_first_is_a_reply(row, tmp_path):
    corpus = read_conversations(write(tmp_path / "a.jsonl", [row]))
    assert corpus.sources == SOURCES
    assert corpus.targets == TURNS[1:]


def test_pairs_that_go_on_are_one_conversation(tmp_path):
    path = tmp_path / "a.tsv"
    rows = [*itertools.pairwise(TURNS), ("Well?", "Well."), ("Well.", "So.")]
    path.write_text("".join(f"{text}\t{reply}\n" for text, reply in rows))
    corpus = read_conversations(str(path))
    assert corpus.sources == [
        *SOURCES,
        {"history": "", "text": "Well?"},
        {"history": "Well?", "text": "Well."},
    ]
    assert corpus.targets == [reply for _, reply in rows]


@pytest.mark.parametrize("form", ["turns", "pairs"])
def test_a_history_has_a_limit_and_keeps_the_newest(form, tmp_path):
    turns = [f"turn {i}" for i in range(MAX_TURNS + 5)]
    if form == "turns":
        spec = write(tmp_path / "a.jsonl", [turns])
    else:
        spec = str(tmp_path / "a.tsv")
        pairs = itertools.pairwise(turns)
        (tmp_path / "a.tsv").write_text("".join(f"{a}\t{b}\n" for a, b in pairs))
    last = read_conversations(spec).sources[-1]
    assert last["text"] == turns[-2]
    assert last["history"].split("\n") == turns[-2 - MAX_TURNS : -2]


def test_white_space_within_a_turn_is_one_space(tmp_path):
    corpus = read_conversations(write(tmp_path / "a.jsonl", [["a\nb", " c ", "d"]]))
    assert corpus.sources[1] == {"history": "a b", "text": "c"}


def test_a_line_break_in_a_pair_makes_no_turn():
    rows = Rows("data")  # as those of a dataset by name
    pairs = JoinedPairs(rows)
    for number, pair in enumerate([("hello\nthere", "hi\nyou"), ("hi\nyou", "bye")], start=1):
        pairs.add("data", number, *pair)
    corpus = rows.finish(2)
    assert corpus.sources[1] == {"history": "hello there", "text": "hi you"}
    assert corpus.targets == ["hi you", "bye"]


def test_turns_of_a_line():
    assert parse_turns("Hello\tHi\t How? ") == {"history": "Hello\nHi", "text": "How?"}
    assert parse_turns("Hello") == {"history": "", "text": "Hello"}


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (["alone"], ["a.jsonl:1", "two turns at least, this one 1"]),
        ([], ["two turns at least, this one 0"]),
        (["a", " ", "b"], ["a turn is empty"]),
        ({"lines": ["a", "b"]}, ['under "turns"', "found lines"]),
        ({"messages": [{"role": "user", "content": 3}]}, ['under "turns"', "found messages"]),
        (["a", 3], ['under "turns"']),
        (["a", "\u200b", "b"], ["a turn is empty"]),
        (["a", "\0", "b"], ["a null character"]),
        ("a", ['under "turns"']),
    ],
)
def test_what_is_refused(row, words, tmp_path):
    with pytest.raises(DataError) as caught:
        read_conversations(write(tmp_path / "a.jsonl", [row]))
    message = str(caught.value)
    assert "\n" not in message
    assert all(word in message for word in words), message


def test_a_few_conversations_of_one_turn_are_left_out(tmp_path):
    corpus = read_conversations(write(tmp_path / "a.jsonl", [TURNS] * 60 + [["alone"]]))
    assert (len(corpus), corpus.num_skipped) == (180, 1)
    for row in ("{\n", "[" * 100_000):
        (tmp_path / "b.jsonl").write_text(row)
        with pytest.raises(DataError, match="not JSON"):
            read_conversations(str(tmp_path / "b.jsonl"))
