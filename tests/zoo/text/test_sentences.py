"""Sentences: one list of rules, in Python and in the graph."""

import re

import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from split_texts import WITH_SPACES, WITHOUT_SPACES, sentences_of

from attention_zoo.zoo.text.sentences import split_sentences, split_sentences_tensor

TEXTS = [
    (sentences_of(text), separator)
    for languages, separator in ((WITH_SPACES, " "), (WITHOUT_SPACES, ""))
    for texts in languages.values()
    for text in texts
]


def split_in_graph(texts):
    rows = split_sentences_tensor(tf.constant(texts, tf.string))
    return [[sentence.decode() for sentence in row] for row in rows.numpy().tolist()]


def test_sentences_of_many_languages_are_those_that_people_see():
    wrong, total = [], 0
    for sentences, separator in TEXTS:
        found = [sentence.strip() for sentence in split_sentences(separator.join(sentences))]
        total += len(sentences)
        wrong += [sentence for sentence in sentences if sentence not in found]
    assert total >= 200
    assert len(wrong) <= 0.01 * total, wrong


QUESTIONS = [
    "He was born in the U.S. Where was he born?",
    "She lives in Washington D.C. Which city is it?",
    "He met J. Did he meet J.?",
    "I was no. 1. Who was no. 2?",
    "No. I do not. Is it No. 5?",
    "She said no. I did too. Whose is it?",
]


@pytest.mark.parametrize("text", QUESTIONS)
def test_the_question_at_the_end_is_found(text):
    question = re.search(r"(?:Where|Which|Did|Who|Is|Whose) .*", text)[0]
    assert split_sentences(text)[-1] == question
    assert split_in_graph([text]) == [split_sentences(text)]


def test_the_graph_splits_as_python_does():
    texts = [separator.join(sentences) for sentences, separator in TEXTS]
    texts += [
        "",
        " ",
        "\n\n",
        "a\n\n  b. C\r\nd",
        "One.\u00a0Two.\u3000Three.",
        "...",
        "a\x1e. B\x1f",
    ]
    assert split_in_graph(texts) == [split_sentences(text) for text in texts]
    assert split_in_graph([]) == []


PIECES = [
    *" .!?\u2026\n\r\t\"'()[]«»“”„‘’,;:-*_0129aIXz",
    *"。！？．」”）、 \u00a0\u3000\x1e\x1f\x1fe",
    *("Mr.", "z. B.", "U.S.", "e.g. ", "J. ", "am 3. Mai", "The ", "Он ", "т. е. ", "Ctrl+C. "),
    *(
        "他说",
        "と",
        "house",
        "Haus",
        "é",
        "ß",
        "Ä",
        "🙂",
        "e\u0301",
        "\u202f",
        "...",
        "? !",
        "(a) ",
    ),
]
texts = st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=4)), max_size=40).map("".join)
readable = texts.map(lambda text: re.sub("[\ud800-\udfff]", "", text))


@given(st.lists(readable, min_size=1, max_size=4))
@settings(max_examples=200, deadline=None)
def test_joined_the_sentences_are_the_text(rows):
    for text, found in zip(rows, split_in_graph(rows), strict=True):
        assert "".join(found) == text
        assert split_sentences(text) == found
        assert all(found)
        # A line is never more than one, and a sentence takes the white space after it.
        assert all("\n" not in sentence.rstrip() for sentence in found)
        assert all(sentence[0] not in " \t\r\n\u00a0\u202f\u3000" for sentence in found[1:])


def test_bytes_that_are_no_text_come_back():
    texts = tf.constant([b"\xff\xfe. A. \x80B", b"a\xc3. Mr. \xe3\x80 C.\n\x00."])
    joined = tf.strings.reduce_join(split_sentences_tensor(texts), axis=1)
    assert joined.numpy().tolist() == texts.numpy().tolist()


@pytest.mark.parametrize(
    "text", [". ", ".", " ", "\n", "a. B", '."', "!) ", "Mr. ", "。", "z. B. ", "1. "]
)
def test_any_text_takes_time_in_proportion(text):
    """Steps of Python's engine that grow with the square would take minutes here."""
    long = text * (100_000 // len(text))
    assert "".join(split_sentences(long)) == long
    assert split_in_graph([long]) == [split_sentences(long)]
