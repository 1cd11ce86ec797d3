"""Whole texts: what a model reads at a time, and what is made of what it wrote."""

from dataclasses import replace

import pytest
import tensorflow as tf
from tiny_models import tiny_model

from attention_zoo.zoo.decoding.options import GenerationOptions
from attention_zoo.zoo.pipeline.documents import CHUNK, Units, in_chunks, join_document
from attention_zoo.zoo.pipeline.text_to_text import TextToText
from attention_zoo.zoo.text import SourceFormat, split_sentences
from attention_zoo.zoo.text.composing import compose
from attention_zoo.zoo.text.source_format import PLAIN, SourceInput
from attention_zoo.zoo.text.tokenizer import Tokenizer

TEXTS = ["a red house. Two dogs!", "一座房子。", "x", "a red dog and two houses? Yes.", "两只狗。"]
PARAGRAPHS = {
    " ": ["Two dogs.", "A red house!", "Two red dogs?", "Mr. X and a dog.", "Yes."] * 2,
    "": ["两只狗。", "一座房子。", "狗！", "房子两座？", "一只狗。"] * 2,
}


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.train(TEXTS * 5, vocab_size=60, character_coverage=1.0)


@pytest.fixture(scope="module")
def pipeline(tokenizer):
    """Reads one sentence at a time, and writes at least two tokens."""
    options = GenerationOptions(beam_size=2, max_length=9, min_length=2)
    model = tiny_model("bahdanau", tokenizer.vocab_size, seed=1)
    inputs = replace(PLAIN, max_sentences=1)
    return TextToText(model, tokenizer, options, 24, source_format=inputs)


def alone(pipeline, texts):
    """What the model writes for each text by itself."""
    found = pipeline.signatures()["serving_default"](tf.constant(texts))
    return [text.decode() for text in found["text"].numpy()], found["score"].numpy()


def test_every_sentence_is_written_as_alone_with_the_white_space_of_the_source(pipeline):
    for paragraph in PARAGRAPHS.values():
        written, scores = alone(pipeline, paragraph)
        # Two spaces and a tab are never touched, whatever scripts meet there.
        (found,) = pipeline.predict([" \t" + "  ".join(paragraph) + "\n"])
        assert found.text == " \t" + "  ".join(written) + "\n"
        assert found.score == pytest.approx(scores.sum(), abs=1e-3)
    assert len({*written}) > 1


def test_lines_are_kept(pipeline):
    text = "  Two dogs. A red house!\n\nx\r\n\t两只狗。一座房子。 \n\n"
    parts = ["Two dogs.", "A red house!", "x", "两只狗。", "一座房子。"]
    a, b, c, d, e = alone(pipeline, parts)[0]
    (found,) = pipeline.predict([text])
    lines = [line.split() for line in found.text.split("\n")]
    assert [" ".join(line) for line in lines] == [
        " ".join([*a.split(), *b.split()]), "", c, (d + e).strip(), "", "",
    ]  # fmt: skip
    assert found.text.startswith("  ") and "\r\n\t" in found.text
    dates = [f"{word} dogs" for word in ("two", "a red", "x", "houses and")] * 15
    assert [p.text for p in pipeline.predict(["\n".join(dates)])] == [
        "\n".join(alone(pipeline, dates)[0])
    ]


def test_every_part_of_a_text_has_its_language_tag(pipeline):
    tokenizer = Tokenizer.train(TEXTS * 5, vocab_size=60, protected=["<2de>", "<2f>", "{n}", "½"])
    inputs = replace(PLAIN, max_sentences=1, tags=("<2de>", "<2f>"))
    assert SourceFormat.from_dict(inputs.to_dict()) == inputs
    options = pipeline.generation
    model = tiny_model("bahdanau", tokenizer.vocab_size, seed=1)
    tagged = TextToText(model, tokenizer, options, 24, source_format=inputs)
    parts = tagged._parts(["<2de> Two dogs. Yes.\nx", "<2f>x", "A <2f>. x", "<2de> "]).texts
    assert parts == ["<2de> Two dogs.", "<2de> Yes.", "<2de> x", "<2f>x", "A <2f>.", "x"]
    parts = tagged._parts(["\n <2de> Two dogs. Yes.\n<2f> x"]).texts
    assert parts == ["", "<2de> Two dogs.", "<2de> Yes.", "<2f> x"]  # a line may have its own
    assert inputs.untagged(["<2de> x", " <2f>x", "x <2de>", ""]) == [2, 3]
    indented, plain = tagged.predict([" <2de> Two dogs\nx", "<2de> Two dogs\nx"])
    assert indented.text == " " + plain.text
    alone = compose(tokenizer, inputs, {"text": tf.constant(["<2de> ", "<2de> x", "<2f>"])}, 24)
    assert alone.blank.numpy().tolist() == [True, False, True]
    text = "<2de> x {n}{n} ½ <2f>"
    (ids,) = tokenizer.encode([text])
    assert tokenizer.decode([ids]) == [text]
    assert [tokenizer.pieces(ids).count(token) for token in ("<2de>", "{n}", "½")] == [1, 2, 1]
    in_graph = tokenizer.encode_tensor(tf.constant([text])).numpy()[0]
    assert in_graph[:-1].tolist() == ids.tolist()


@pytest.mark.usefixtures("eager")
def test_a_text_is_split_where_the_model_does_not_know_it_whole(pipeline, tokenizer):
    two, long = "Two dogs. Yes.", "a red dog. Two houses! " * 4
    for number, text, parts in (
        (1, two, 2),
        (2, two, 1),
        (0, two, 1),
        (0, long, 8),  # of more tokens than the model takes
        (2, f"{two}\n{two} x.", 1 + 3),
        (2, "", 0),
    ):
        inputs = replace(PLAIN, max_sentences=number)
        model = TextToText(pipeline.model, tokenizer, pipeline.generation, 24, source_format=inputs)
        assert len(model._parts([text]).texts) == parts, (number, text)
        assert model.too_long([text]) == []
    (whole,) = model.predict([two])
    assert whole.text == alone(model, [two])[0][0]


@pytest.mark.usefixtures("eager")
def test_what_is_cut_is_marked(pipeline):
    sentence_too_long = "Yes. " + "two red dogs and " * 20
    few = TextToText(
        pipeline.model,
        pipeline.tokenizer,
        replace(pipeline.generation, max_length=30, max_length_ratio=None),
        24,
        source_format=pipeline.source_format,
        truncate=True,
        max_document_sentences=3,
    )
    texts = ["Yes. Yes. Yes.", "Yes. Yes. Yes. Yes.", sentence_too_long, "", "x"]
    assert few.too_long(texts) == [1, 2]
    found = few.signatures()["document"](tf.constant(texts))
    lengths = found["truncated"].numpy().tolist()
    three = few.predict(texts[:1])[0]
    assert lengths == [three.truncated, True, True, False, few.predict(["x"])[0].truncated]
    assert found["text"].numpy()[1].decode().rstrip() == three.text.rstrip()
    few.truncate = False
    with pytest.raises(ValueError, match=r"2 of 5 texts have more than .* at a time.*: text 1"):
        few.predict(texts)
    few.split = False
    assert few._parts(texts) is None and few.too_long(texts) == [2]


def test_tasks_with_other_inputs_or_a_rule_for_long_texts_are_not_split(pipeline):
    assert SourceFormat(leave_out_long=True).can_be_split
    for inputs in (
        SourceFormat(),
        SourceFormat((SourceInput("text", "turns"),), leave_out_long=True),
        SourceFormat((SourceInput("context"), SourceInput("question")), leave_out_long=True),
    ):
        assert not inputs.can_be_split
    assert "document" in pipeline.signatures()


@pytest.mark.parametrize(
    ("after", "written", "expected"),
    [
        (["", "", ""], ["Hi.", "Yes!", "No"], "Hi. Yes! No"),  # from Chinese
        (["", "", ""], ["Hi,", "“Yes”", "好"], "Hi,“Yes”好"),
        ([" ", " ", ""], ["你好。", "“对！”", "不"], "你好。“对！”不"),  # from English
        (["  ", "\n", " "], ["你好。", "对！", "不。"], "你好。  对！\n不。 "),
        ([" ", " ", ""], ["Hi.", "", "No."], "Hi.  No."),
        ([" ", " ", ""], ["", "", ""], "  "),
    ],
)
def test_scripts_have_a_space_between_sentences_or_not(after, written, expected):
    before = tf.constant(["", "", ""])
    units = Units(tf.constant(["a"] * 3), before, tf.constant(after), tf.zeros(3, tf.int64), [True])
    assert join_document(units, tf.constant(written)).numpy()[0].decode() == expected
    blank = units._replace(texts=before)
    assert join_document(blank, tf.constant(written)).numpy().tolist() == [b""]


@pytest.mark.parametrize("count", [0, 1, CHUNK, 2 * CHUNK + 1])
def test_chunks_are_of_like_lengths_and_come_back_in_order(count):
    texts = tf.constant(["x" * (7 * i % 11) for i in range(count)], tf.string)
    sizes = []

    def function(part):
        sizes.append(part.shape)
        spread = tf.strings.length(part)
        return tf.strings.join([part, "!"]), tf.fill(tf.shape(part), tf.reduce_max(spread))

    written, longest = in_chunks(function, texts, [tf.string, tf.int32])
    assert written.numpy().tolist() == [text + b"!" for text in texts.numpy()]
    lengths = sorted(map(len, texts.numpy()))
    ends = [max(lengths[i : i + CHUNK]) for i in range(0, count, CHUNK)]
    assert sorted({*longest.numpy().tolist()}) == sorted({*ends})


def test_rules_of_python_are_those_of_the_graph(pipeline):
    text = " ".join(PARAGRAPHS[" "])
    assert pipeline._parts([text, "x"]).texts == [*map(str.strip, split_sentences(text)), "x"]
