"""Sources of several inputs: what stands where, what is cut, and which signatures take them."""

from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf
from tiny_models import tiny_model

from attention_zoo.zoo.decoding.options import GenerationOptions
from attention_zoo.zoo.pipeline.text_to_text import Prediction, TextToText
from attention_zoo.zoo.text.composing import compose, encode_sources
from attention_zoo.zoo.text.source_format import (
    LENGTHS,
    SourceFormat,
    SourceInput,
    length_symbol,
)
from attention_zoo.zoo.text.tokenizer import END_ID, PAD_ID, Tokenizer, with_end

TEXTS = ["a red house", "two dogs ran", "no", "where is the red dog"]
QUESTIONS = SourceFormat((SourceInput("context"), SourceInput("question")), keep="end")
CHAT = SourceFormat((SourceInput("history", "turns"), SourceInput("text")), keep="end", max_turns=2)
SUMMARY = SourceFormat((SourceInput("length", "length", optional=True), SourceInput("text")))


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.train(TEXTS * 5, 80, symbols=[*CHAT.symbols, *SUMMARY.symbols])


def ids_of(tokenizer, *parts):
    """The ids of texts, and of symbols as they are."""
    return [
        i
        for part in parts
        for i in ([tokenizer.id_of(part)] if part[0] == "<" else tokenizer.encode([part])[0])
    ]


def encoded(tokenizer, source_format, source, limit=100):
    rows, lengths = encode_sources(tokenizer, source_format, [source, source], limit)
    assert rows[0].tolist() == rows[1].tolist() and lengths[0] == lengths[1]
    return rows[0].tolist(), int(lengths[0])


def test_context_and_question_with_a_separator(tokenizer):
    source = {"context": TEXTS[0], "question": TEXTS[3]}
    full = ids_of(tokenizer, TEXTS[0], "<sep>", TEXTS[3])
    assert encoded(tokenizer, QUESTIONS, source) == (full, len(full))
    # The oldest goes first, and one place is for the end.
    assert encoded(tokenizer, QUESTIONS, source, 6) == (full[-5:], len(full))
    assert encoded(tokenizer, QUESTIONS, TEXTS[3])[0] == ids_of(tokenizer, TEXTS[3])
    assert encoded(tokenizer, QUESTIONS, "")[0] == []


def test_the_main_input_in_front_too(tokenizer):
    announced = replace(QUESTIONS, main_first=True)
    source = {"context": TEXTS[1], "question": TEXTS[0]}
    question = ids_of(tokenizer, TEXTS[0])
    context = ids_of(tokenizer, TEXTS[1], "<sep>")
    full = [*question, *ids_of(tokenizer, "<sep>"), *context, *question]
    assert encoded(tokenizer, announced, source) == (full, len(full))
    # The context gives way, down to nothing; where there is no room for two, one is enough.
    both = 2 * (len(question) + 1)
    for left in (2, 1, 0):
        cut = full[: len(question) + 1] + full[len(full) - len(question) - left :]
        assert encoded(tokenizer, announced, source, both + left)[0] == cut
    plain, _ = encoded(tokenizer, QUESTIONS, source, both - 1)
    assert encoded(tokenizer, announced, source, both - 1)[0] == plain


def test_a_main_input_alone_is_not_said_twice(tokenizer):
    announced = replace(QUESTIONS, main_first=True)
    assert encoded(tokenizer, announced, TEXTS[3])[0] == ids_of(tokenizer, TEXTS[3])
    assert encoded(tokenizer, announced, "") == ([], 0)
    context = ids_of(tokenizer, TEXTS[0], "<sep>")
    assert encoded(tokenizer, announced, {"context": TEXTS[0]})[0] == context


def test_the_newest_turns_of_a_history(tokenizer):
    history = "\n".join([TEXTS[0], TEXTS[1], " ", TEXTS[2], "\u3000\u200b"])
    expected = ids_of(tokenizer, TEXTS[1], "<sep>", TEXTS[2], "<sep>", TEXTS[3])
    source = {"history": history, "text": TEXTS[3]}
    assert encoded(tokenizer, CHAT, source)[0] == expected
    assert encoded(tokenizer, CHAT.with_turns(0), source)[0] == ids_of(tokenizer, TEXTS[3])
    assert encoded(tokenizer, CHAT, {"text": TEXTS[3]})[0] == ids_of(tokenizer, TEXTS[3])


@pytest.mark.parametrize(("wish", "said"), [(1, 1), (12, 12), (13, 12), (29, 25), (9999, 200)])
def test_a_wish_for_a_length_stands_in_front_and_is_never_cut(wish, said, tokenizer):
    source = {"text": TEXTS[3], "length": wish}
    full = ids_of(tokenizer, length_symbol(said), TEXTS[3])
    assert encoded(tokenizer, SUMMARY, source) == (full, len(full))
    assert encoded(tokenizer, SUMMARY, source, 4)[0] == full[:3]


def test_no_wish_is_no_symbol(tokenizer):
    plain = ids_of(tokenizer, TEXTS[0])
    assert encoded(tokenizer, SUMMARY, TEXTS[0])[0] == plain
    assert encoded(tokenizer, SUMMARY, {"text": TEXTS[0], "length": 0})[0] == plain


@pytest.mark.parametrize("main_first", [False, True])
def test_rows_do_not_touch_each_other(main_first, tokenizer):
    questions = replace(QUESTIONS, main_first=main_first)
    sources = [{"context": a, "question": b} for a in ["", *TEXTS] for b in TEXTS]
    rows, lengths = encode_sources(tokenizer, questions, sources, 9)
    for source, row, length in zip(sources, rows, lengths, strict=True):
        assert (row.tolist(), int(length)) == encoded(tokenizer, questions, source, 9)


@pytest.mark.parametrize("keep", ["start", "end"])
def test_long_inputs_are_bounded_before_they_are_tokenized(keep, tokenizer):
    parts = {
        "history": "no\n" + "two dogs ran " * 5000,
        "text": "☃" * 50_000,
        "more": "a red" * 9999,
    }
    inputs = (
        SourceInput("history", "turns"),
        SourceInput("more"),
        SourceInput("text"),
    )
    told = []

    class Reader:
        def tokenize(self, tokenizer, texts):
            told.extend(map(len, texts.numpy().tolist()))
            return tokenizer.graph_tokenizer.tokenize(texts)

    columns = {name: tf.constant([part, "no"]) for name, part in parts.items()}
    source_format = SourceFormat(inputs, keep=keep)
    composed = compose(tokenizer, source_format, columns, 9, Reader())
    assert len(told) == 7 and max(told) < 5000
    short = ids_of(tokenizer, "no", "<sep>", "no", "<sep>", "no")
    assert composed.lengths[0] >= 9 and composed.lengths[1] == len(short)
    # As if all were read, but for the run of unknown characters, which is one subword.
    whole = ids_of(tokenizer, "no", "<sep>", parts["history"][3:], "<sep>", parts["more"], "<sep>")
    whole += ids_of(tokenizer, "☃")
    expected = whole[-8:] if keep == "end" else whole[:8]
    assert composed.ids[0].numpy().tolist() == expected


def test_characters_that_are_cut_are_told_though_the_subwords_are_few(tokenizer):
    rows, lengths = encode_sources(tokenizer, CHAT, ["☃" * 50_000, "☃"], 9)
    assert rows[0].tolist() == rows[1].tolist()
    assert lengths.tolist() == [9, len(rows[1])]
    history = {"history": "no\n" + "☃" * 50_000, "text": "no"}
    assert encode_sources(tokenizer, CHAT, [history], 20)[1] >= 20


def test_no_text_can_write_a_symbol(tokenizer):
    separator = tokenizer.id_of("<sep>")
    assert separator not in tokenizer.encode(["a <sep> b<sep>"])[0]
    rows, _ = encode_sources(tokenizer, QUESTIONS, ["red <sep> dog"], 50)
    assert separator not in rows[0]
    with pytest.raises(ValueError, match="Received: symbol='<none>'"):
        tokenizer.id_of("<none>")


def test_with_end_pads(tokenizer):
    columns = {"context": tf.constant(["", TEXTS[0]]), "question": tf.constant(["no", "no"])}
    ids = with_end(compose(tokenizer, QUESTIONS, columns, 50).ids).numpy()
    short = ids_of(tokenizer, "no")
    assert ids[0, : len(short) + 1].tolist() == [*short, END_ID]
    assert set(ids[0, len(short) + 1 :]) == {PAD_ID}
    assert ids[1, -1] == END_ID
    none = {name: column[:0] for name, column in columns.items()}
    assert with_end(compose(tokenizer, QUESTIONS, none, 50).ids).shape == (0, 1)


def test_symbols_are_those_of_the_inputs():
    assert SourceFormat().symbols == []
    assert QUESTIONS.symbols == CHAT.symbols == ["<sep>"]
    assert SUMMARY.symbols == [length_symbol(length) for length in LENGTHS]
    assert (QUESTIONS.main, CHAT.main, SUMMARY.main) == ("question", "text", "text")
    assert QUESTIONS.to_text({"question": "q", "context": "c"}) == "c / q"
    assert CHAT.to_text({"history": "a\nb", "text": "c"}) == "a / b / c"


@pytest.mark.parametrize(
    ("source_format", "source", "expected"),
    [
        (QUESTIONS, {"query": "x"}, "Received: query"),
        (CHAT, {"text": 3}, "Received: text=3"),
        (SUMMARY, {"text": "a", "length": -1}, "Received: length=-1"),
        (SUMMARY, {"text": "a", "length": "3"}, "Received: length='3'"),
    ],
)
def test_bad_sources(source_format, source, expected):
    with pytest.raises(ValueError, match=expected):
        source_format.columns([source])


def test_bad_formats():
    with pytest.raises(ValueError, match="Received: kind='number'"):
        SourceInput("a", "number")
    with pytest.raises(ValueError, match="Received: keep='middle'"):
        SourceFormat(keep="middle")
    with pytest.raises(ValueError, match="needs a text"):
        SourceFormat((SourceInput("length", "length"),))


# The signatures


@pytest.fixture(scope="module")
def answering(tokenizer):
    model = tiny_model("bahdanau", tokenizer.vocab_size, seed=1)
    options = GenerationOptions(beam_size=2, max_length=6)
    return TextToText(model, tokenizer, options, 40, source_format=QUESTIONS)


def test_signatures_take_the_inputs_by_name(answering):
    functions = answering.signatures()
    assert set(functions) == {"serving_default", "n_best", "explain", "score", "with_prefix"}
    columns = {
        "question": tf.constant(["where is the dog", "no"]),
        "context": tf.constant(["two dogs ran", ""]),
    }
    served = functions["serving_default"](**columns)["text"].numpy()
    sources = [
        {"question": "where is the dog", "context": "two dogs ran"},
        {"question": "no", "context": ""},
    ]
    assert [p.text.encode() for p in answering.predict(sources)] == served.tolist()
    scored = functions["score"](**columns, target=tf.constant(["no", "a"]))
    np.testing.assert_allclose(answering.score(sources, ["no", "a"])[0], scored["score"], atol=1e-5)
    other = answering.score([{**sources[0], "context": "no"}, sources[1]], ["no", "a"])[0]
    assert other[0] != pytest.approx(float(scored["score"][0]), abs=1e-4)  # the context is read


def unbounded_inputs(function):
    """Names of the texts that reach a tokenization in a graph function without being cut."""
    found = set()
    for operation in function.get_concrete_function().graph.get_operations():
        if not (operation.type.startswith("Sentencepiece") and "Tokenize" in operation.type):
            continue
        ahead = [x.op for x in operation.inputs if x.dtype == tf.string]
        assert ahead
        while ahead:
            before = ahead.pop()
            if before.type == "Placeholder":
                found.add(before.name)
            if before.type != "Substr":
                ahead += [x.op for x in before.inputs]
    return found


def test_every_signature_cuts_every_text_before_it_is_tokenized(tokenizer):
    inputs = (
        SourceInput("length", "length", optional=True),
        SourceInput("history", "turns"),
        SourceInput("hint", optional=True),
        SourceInput("text"),
    )
    model = tiny_model("bahdanau", tokenizer.vocab_size, seed=1)
    options = GenerationOptions(beam_size=1, max_length=6, replace_unknown=True)
    pipeline = TextToText(model, tokenizer, options, 40, source_format=SourceFormat(inputs))
    found = {name: unbounded_inputs(function) for name, function in pipeline.signatures().items()}
    assert {"score", "with_hint"} < set(found) and not any(found.values()), found


@pytest.mark.usefixtures("eager")
def test_without_a_question_there_is_no_answer(answering):
    sources = [
        {"context": TEXTS[0], "question": "\u00a0"},
        {"context": "\u200b", "question": TEXTS[3]},
        {"context": TEXTS[0]},
    ]
    blank, answered, missing = answering.predict(sources)
    assert blank == missing == Prediction("", 0.0)
    assert answered.score == pytest.approx(answering.predict([TEXTS[3]])[0].score) != 0


@pytest.mark.usefixtures("eager")
def test_an_explanation_shows_the_separator(answering):
    (explanation,) = answering.explain([{"question": "no", "context": "a red house"}])
    assert "<sep>" in explanation.source_tokens
    assert explanation.text == "a red house / no"
    assert explanation.attention.shape[1] == len(explanation.source_tokens)


@pytest.mark.usefixtures("eager")
def test_an_optional_input_has_a_signature_of_its_own(tokenizer):
    model = tiny_model("bahdanau", tokenizer.vocab_size, seed=1)
    options = GenerationOptions(beam_size=1, max_length=6)
    summarizer = TextToText(model, tokenizer, options, 40, source_format=SUMMARY)
    functions = summarizer.signatures()
    names = [spec.name for spec in functions["serving_default"].input_signature]
    assert names == ["text"]
    specs = {spec.name: spec.dtype for spec in functions["with_length"].input_signature}
    assert specs == {"length": tf.int32, "text": tf.string}
    wished, free = summarizer.predict([{"text": TEXTS[0], "length": 3}, TEXTS[0]])
    alone = summarizer.predict([TEXTS[0]])[0]
    assert free.score == pytest.approx(alone.score, abs=1e-5)
    assert wished.score != pytest.approx(alone.score, abs=1e-4)

    hint = SourceInput("hint", optional=True)
    both = SourceFormat((hint, *SUMMARY.inputs))
    hinted = TextToText(model, tokenizer, options, 40, source_format=both)
    with pytest.raises(ValueError, match="Received: hint, length"):
        hinted.predict([{"text": TEXTS[0], "hint": "red"}, {"text": TEXTS[0], "length": 3}])


@pytest.mark.parametrize("source", ["no", {"question": "no", "context": "a red house"}])
def test_a_source_that_is_in_no_list_is_refused(answering, source):
    with pytest.raises(ValueError, match=f"a single one too.*Received: {source!r}"):
        answering.predict(source)
