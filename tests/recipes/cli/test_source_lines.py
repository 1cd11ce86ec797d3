"""The source in a line that a command is given: what is read, and what is refused."""

import re

import pytest

from attention_zoo.recipes.core.task import task
from attention_zoo.zoo.errors import DataError


@pytest.mark.parametrize(
    ("name", "line", "words"),
    [
        ("question-answering", '{"context": "a"}', 'needs "question". Received: context'),
        ("question-answering", "{}", 'needs "question". Received: nothing'),
        ("dialogue", '{"history": ["a"]}', 'needs "text"'),
        ("summarization", '{"length": 3}', 'needs "text"'),
        ("summarization", '{"text": "a", "length": "3"}', "length is a number of words"),
        ("dialogue", '{"history": ["\\ud800"], "text": "a"}', "not UTF-8"),
        ("translation", "a \udcff", "not UTF-8"),
        ("translation", "a\0 \0b", "a null character"),
        ("translation", "a house\tein Haus", "a source from its target, which is not to be read"),
        ("summarization", "a long text\ta text", "a source from its target"),
        ("summarization", '{"text": null}', 'needs "text"'),
        ("question-answering", "It is here.\tWhere?\there", "the answer is not to be read"),
        ("question-answering", "It is here.\t \u200b", "The question after the tab is empty"),
        ("question-answering", '{"context": "a", "question": null}', 'needs "question"'),
        ("question-answering", '{"context": "a", "question": 3}', "question is a text"),
        ("question-answering", '{"context": ["a"], "question": "b"}', "context is a text"),
        ("question-answering", '{"question": "a", "answer": "b"}', "Received: answer"),
        ("question-answering", '{"question": "a\\u0000"}', "a null character"),
        ("dialogue", '{"history": ["hi", null], "text": "a"}', "Received as turn 2: None"),
        ("dialogue", '{"history": [3, "hi"], "text": "a"}', "Received as turn 1: 3"),
        ("dialogue", '{"history": [["hi"]], "text": "a"}', "Received as turn 1: ['hi']"),
        ("dialogue", '{"history": 3, "text": "a"}', "history is a text"),
        ("dialogue", '{"history": ["hi\\u0000"], "text": "a"}', "a null character"),
    ],
)
def test_lines_that_are_no_sources(name, line, words):
    with pytest.raises(DataError, match=re.escape(words)) as caught:
        task(name).parse_source(line)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "line", "expected"),
    [
        ("translation", '{"temp": 3}', '{"temp": 3}'),
        ("translation", "a house\t", "a house\t"),  # white space, as at the end of any text
        ("summarization", '{"temp": 3}', '{"temp": 3}'),
        ("summarization", "{}", "{}"),
        ("summarization", '{"text": "{}", "length": 3}', {"text": "{}", "length": 3}),
        ("question-answering", "a\tb\t", {"context": "a", "question": "b"}),
        ("question-answering", "\tb\t \t", {"context": "", "question": "b"}),
        ("question-answering", "\t", {"context": "", "question": ""}),
        ("dialogue", "a\tb\t", {"history": "a", "text": "b"}),
        ("dialogue", "a\t\t b\t \t\u200b", {"history": "a", "text": "b"}),
        ("dialogue", "", {"history": "", "text": ""}),
        ("dialogue", '{"history": ["", "a", " "], "text": "b"}', {"history": "a", "text": "b"}),
        ("dialogue", '{"history": null, "text": "b"}', {"history": None, "text": "b"}),
    ],
)
def test_lines_that_are_sources(name, line, expected):
    found = task(name).parse_source(line)
    assert found == expected
    task(name).source_format.columns([found])


def test_turns_of_an_object_are_a_line_each():
    found = task("dialogue").parse_source('{"history": ["a\\nb", " c "], "text": "d"}')
    assert found == {"history": "a b\nc", "text": "d"}
