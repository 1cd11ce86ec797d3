"""What an output has to carry over, and what is told where it does not."""

from collections import Counter

import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from attention_zoo.zoo.text.source_format import SourceFormat, SourceInput
from attention_zoo.zoo.text.spans import missing_spans, telling

SPANS = [
    "https://example.org", "http://a.b:80/c_(d)/e?f=g%20h&i=[1]#j", "www.x.net/y", "ftp://u@h/z.gz",
    "https://de.wikipedia.org/wiki/Übung", "a.b+c@mail.example.co.uk", "jürgen@straße.de",
    "{name}", "{}", "{0:>3}", "${home}", "{{ user.name }}", "{% if x %}", "%s", "%d", "%1$s",
    "%.2f", "%-5ld", "%(total)d", "%@", "<b>", "</b>", "<br/>", '<a href="x. Y" id=1>',
    "<!-- A. B -->", "&nbsp;", "&#169;",
]  # fmt: skip
WORDS = ["see", "Dr.", "100%", "a < b", "3 > 2", "AT&T", "50% off", "@home", "{", "x}", "è", "。"]
BREAKS = st.sampled_from([" ", "\n", "，", " (", ") ", "\x1e", "。", '" '])
PARTS = st.lists(st.tuples(st.sampled_from(SPANS + WORDS), BREAKS), max_size=8)


TEXTS = tf.TensorSpec((None,), tf.string)
in_graph = tf.function(missing_spans, input_signature=[TEXTS, TEXTS])  # one trace for all


def missing(sources, outputs):
    found = in_graph(tf.constant(sources), tf.constant(outputs)).numpy()
    return [text.decode() for text in found]


@pytest.mark.parametrize("span", SPANS)
def test_each_is_found_between_other_text(span):
    sources = [f"我{span}。", f"See {span}.", f"({span})", f"“{span}”, {span}!", span, f"{span}\nx"]
    assert missing(sources, ["x"] * len(sources)) == [span] * len(sources)
    assert missing(sources, sources[::-1]) == ["", "", "", span, "", ""]
    assert missing([f"a {span} b"], [f"a {span[:-1]} b"]) == [span]


def test_what_looks_like_a_span_is_none():
    words = " ".join(WORDS) + " 5 %, 100%important a<b {two words} http:// me@ @you % s"
    assert missing([words, "%dx%d: %.2fMB"], [words[1:], "%d"]) == ["", "%d\n%.2f"]


@settings(max_examples=25, deadline=None)
@given(rows=st.lists(st.tuples(PARTS, st.data()), min_size=1, max_size=3))
def test_spans_are_carried_over_or_told(rows):
    sources, outputs, expected = [], [], []
    for parts, data in rows:
        kept = [data.draw(st.booleans()) for _ in parts]
        chosen = [part for part, keep in zip(parts, kept, strict=True) if keep]
        chosen = data.draw(st.permutations(chosen))
        sources.append("".join(map("".join, parts)))
        outputs.append("".join(map("".join, chosen)))
        wanted = Counter(text for text, _ in parts if text in SPANS)
        lost = wanted - Counter(text for text, _ in chosen)
        expected.append("\n".join(span for span in wanted if span in lost))
    assert missing(sources, outputs) == expected


def test_language_tags_are_no_spans():
    source, output = tf.constant(["<de> <b> x"]), tf.constant(["x"])
    assert missing_spans(source, output, ("<de>", "<fr>")).numpy().tolist() == [b"<b>"]


def test_each_of_several_outputs_is_looked_at_and_other_tasks_are_not():
    texts = tf.constant([["{x} y", "y"], ["", "z"]])
    method = telling(lambda text: {"text": texts}, SourceFormat(leave_out_long=True))
    found = method(text=tf.constant(["{x}", "a"]))["missing"].numpy().tolist()
    assert found == [[b"", b"{x}"], [b"", b""]]
    summary = (SourceInput("text"), SourceInput("length", "length", optional=True))
    for inputs in ((SourceInput("a"), SourceInput("b")), (SourceInput("text", "turns"),), summary):
        method = telling(lambda **columns: {"text": columns}, SourceFormat(inputs))
        assert method(text=1) == {"text": {"text": 1}}
