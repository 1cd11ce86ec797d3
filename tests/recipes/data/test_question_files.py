"""Questions from TSV, JSON lines and SQuAD's form, and what is refused."""

import functools
import gzip
import json

import pytest

from attention_zoo.recipes.data.pair_files import read_pairs
from attention_zoo.recipes.data.question_files import (
    parse_question,
    read_question_rows,
    split_question,
)
from attention_zoo.zoo.errors import DataError

read_questions = functools.partial(read_pairs, read=read_question_rows)

STORY = "Anna went home. Tom did not."
ROWS = [(STORY, "Where is Anna?", "home"), ("", "Who?", "Tom")]


def expected(rows=ROWS):
    return [{"context": context, "question": question} for context, question, _ in rows]


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.tsv", f"{STORY}\tWhere is Anna?\thome\n\tWho?\tTom\n"),
        ("a.tsv", f"{STORY} Where is Anna?\thome\r\nWho?\tTom\r\n"),
        ("a.tsv", f"answer\tquestion\tcontext\nhome\tWhere is Anna?\t{STORY}\nTom\tWho?\t\n"),
        ("a.tsv", f"Story\tQuestion\tAnswers\n{STORY}\tWhere is Anna?\thome\n\tWho?\tTom\n"),
        ("a.csv", f'query,answer,passage\nWhere is Anna?,home,"{STORY}"\nWho?,Tom,\n'),
        (
            "a.jsonl",
            json.dumps({"context": STORY, "question": "Where is Anna?", "answer": "home", "id": 1})
            + '\n{"question": "Who?", "answer": "Tom"}\n',
        ),
    ],
)
def test_forms_of_a_file(name, text, tmp_path):
    corpus = read_questions(write(tmp_path / name, text))
    assert corpus.sources == expected()
    assert corpus.targets == ["home", "Tom"]
    assert corpus.alternatives == []


def squad(questions):
    return {"data": [{"title": "t", "paragraphs": [{"context": STORY, "qas": questions}]}]}


def test_squad_with_several_answers(tmp_path):
    content = squad(
        [
            {"id": "1", "question": "Who?", "answers": [{"text": "Tom", "answer_start": 1}]},
            {
                "id": "2",
                "question": "Where is Anna?",
                "answers": [{"text": "home"}, {"text": "at home"}, {"text": "at home"}],
            },
        ]
    )
    path = tmp_path / "dev.json.gz"
    path.write_bytes(gzip.compress(json.dumps(content, indent=1).encode()))
    corpus = read_questions(str(path))
    assert corpus.references() == [("Tom",), ("home", "at home")]
    assert corpus.sources[1] == {"context": STORY, "question": "Where is Anna?"}


def test_the_last_sentence_is_the_question():
    assert split_question(f"{STORY} Where is Anna?") == expected()[0]
    assert split_question("小明回家了。小明在哪里？") == {
        "context": "小明回家了。",
        "question": "小明在哪里？",
    }
    assert split_question("Mr. Ford paid 3.5 dollars at 2 p.m. Who is Mr. Ford?") == {
        "context": "Mr. Ford paid 3.5 dollars at 2 p.m.",
        "question": "Who is Mr. Ford?",
    }
    assert split_question(" ") == {"context": "", "question": ""}
    assert parse_question(f"{STORY}\tWho?") == {"context": STORY, "question": "Who?"}
    assert parse_question("Who?") == {"context": "", "question": "Who?"}


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.tsv", "c\tq\ta\nc\tq\t\n", ["a.tsv:2", "the answer is empty"]),
        ("a.tsv", "c\tq\ta\nc\t\ta\n", ["a.tsv:2", "the question is empty"]),
        ("a.tsv", "c\tq\ta\nq\ta\n", ["a.tsv:2", "2 columns, expected 3"]),
        ("a.tsv", "a\tb\tc\td\n", ["a.tsv:1", "4 columns"]),
        ("a.tsv", "alone\n", ["a.tsv:1", "1 columns"]),
        ("a.tsv", "context\tanswer\nc\ta\n", ["a.tsv:1", "2 columns, context, answer", "#1,2,3"]),
        ("a.tsv", "wat\tquestion\treply\tid\nc\tq\ta\t1\n", ["4 columns, wat, question"]),
        ("a.jsonl", '{"why": "q", "answer": "a"}\n', ["a.jsonl:1", "found why, answer", "#con"]),
        ("a.jsonl", '{"question": "q", "answer": ["a", 3]}\n', ["a.jsonl:1", "no text"]),
        ("a.jsonl", '{"question": "q", "answer": [""]}\n', ["the answer is empty"]),
        ("a.jsonl", "[1]\n", ["a.jsonl:1", "the answer is no text"]),
        ("a.jsonl", "{\n", ["a.jsonl:1", "not JSON"]),
        ("a.jsonl", "[" * 100_000, ["a.jsonl:1", "not JSON"]),
        ("a.json", "[" * 100_000, ["a.json is not JSON"]),
        ("a.json", '{"rows": []}', ["a.json is no SQuAD file", "'data'"]),
        ("a.tsv", "", ["a.tsv is empty"]),
        ("a.tsv", "c\tq\t\u200b\n", ["a.tsv:1", "the answer is empty"]),
        ("a.tsv", "c\0\tq\ta\n", ["a.tsv:1", "a null character", "UTF-8"]),
        ("a.jsonl", '{"question": "q\\u0000", "answer": "a"}\n', ["a.jsonl:1", "a null character"]),
        ("a.jsonl", '{"question": "\u2060", "answer": "a"}\n', ["the question is empty"]),
        ("a.json", "{\0\0\0}", ["a.json: a null character", "UTF-8"]),
    ],
)
def test_what_is_refused(name, text, words, tmp_path):
    with pytest.raises(DataError) as caught:
        read_questions(write(tmp_path / name, text))
    message = str(caught.value)
    assert "\n" not in message
    assert all(word in message for word in words), message


def test_a_missing_file_is_told_as_missing(tmp_path):
    with pytest.raises(DataError, match=r"^no\.json does not exist"):
        read_questions("no.json")


def test_a_blank_line_at_the_end_is_no_row(tmp_path):
    assert len(read_questions(write(tmp_path / "a.tsv", "c\tq\ta\nc\tq\tb\n\n"))) == 2


def test_a_few_bad_rows_are_counted_and_left_out(tmp_path):
    rows = ["c\tq\ta"] * 150
    rows[6] = "c\tq\t"
    corpus = read_questions(write(tmp_path / "a.tsv", "\n".join(rows)))
    assert (len(corpus), corpus.num_skipped) == (149, 1)
    assert str(corpus.skipped[0]).endswith("a.tsv:7: the answer is empty")


def test_questions_without_an_answer_have_an_empty_one(tmp_path):
    questions = [
        {"question": "q", "answers": [], "is_impossible": True},
        {"question": "r", "answers": [{"text": "a"}], "is_impossible": False},
    ]
    (tmp_path / "a.json").write_text(json.dumps(squad(questions)))
    rows = '{"question": "q", "answer": []}\n{"question": "r", "answer": ["a", "b"]}\n'
    (tmp_path / "a.jsonl").write_text(rows)
    for name, right in (("a.json", ("a",)), ("a.jsonl", ("a", "b"))):
        corpus = read_pairs(str(tmp_path / name), read=read_question_rows)
        assert corpus.targets == ["", "a"] and corpus.num_skipped == 0
        assert corpus.references() == [("",), right]
