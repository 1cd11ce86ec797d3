"""Texts that are blank, too long or cut, and targets and outputs that are."""

import numpy as np
import pytest
import tensorflow as tf
from tiny_models import TableModel, tiny_model

from attention_zoo.serving.export.comparison import same_values
from attention_zoo.zoo import explain
from attention_zoo.zoo.decoding.options import NEG_INF, GenerationOptions
from attention_zoo.zoo.decoding.search import generate
from attention_zoo.zoo.pipeline.text_to_text import Prediction, TextToText
from attention_zoo.zoo.text.source_format import SourceFormat, SourceInput
from attention_zoo.zoo.text.tokenizer import END_ID, START_ID, Tokenizer

TEXTS = ["a red house", "two dogs", "一 座 房 子", "x", "a red dog and two red houses", "两 只 狗"]
OPTIONS = GenerationOptions(beam_size=3, max_length=7)


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.train(TEXTS * 5, vocab_size=40, character_coverage=1.0)


MORE = {"score": ["target"], "with_prefix": ["prefix"]}  # inputs beside the text


def test_long_targets_are_cut_before_they_take_memory(tokenizer):
    model = tiny_model("learned", tokenizer.vocab_size, seed=1)  # 16 positions
    pipeline = TextToText(model, tokenizer, OPTIONS, 16, truncate=True)
    long = "两 只 狗 " * 5000
    scores, tokens = pipeline.score(["two dogs"] * 3, [long, long + "x", "x"])
    assert tokens.tolist() == [7, 7, len(tokenizer.encode(["x"])[0]) + 1]
    # Of what is left and an end.
    labels = [*tokenizer.encode([long])[0][:6], END_ID]
    source = [*tokenizer.encode(["two dogs"])[0], END_ID]
    inputs = {"source": np.array([source]), "target": np.array([[START_ID, *labels[:-1]]])}
    log_p = tf.nn.log_softmax(model(inputs)[0]).numpy()[np.arange(7), labels].sum()
    np.testing.assert_allclose(scores[:2], [log_p] * 2, atol=1e-4)
    exact = TextToText(model, tokenizer, OPTIONS, 16)
    with pytest.raises(ValueError, match=r"1 of 2 targets.* 7 tokens.*truncate=True.*: target 1"):
        exact.score(["x", "x"], ["x", long])


BLANKS = [
    "",
    "   ",
    "\t\n",
    "\u200b",
    "\u3000\u00a0",
    "\ufeff",
    "\u2060",
    "\u0085",
    "\x00",
    "\ufffd",
    "\u3164\ufe0f",
    "\u2800",
]
BYTES = [b"\xff\xfe", b"\xc3", b"\xed\xa0\x80"]  # no UTF-8, which a server may be sent


@pytest.mark.parametrize(
    "kind",
    ["pointer", *(pytest.param(k, marks=pytest.mark.slow) for k in ("transformer", "memory"))],
)
def test_a_blank_text_has_an_empty_output_and_changes_no_other(kind, tokenizer):
    model = tiny_model(kind, tokenizer.vocab_size, seed=1)
    options = GenerationOptions(beam_size=2, max_length=7, min_length=2, replace_unknown=True)
    pipeline = TextToText(model, tokenizer, options)
    functions = pipeline.signatures()
    texts = ["two ж dogs", *BLANKS, *BYTES, "x"]
    rows, blank = tf.constant(texts), slice(1, -1)
    served = {
        name: {key: value.numpy() for key, value in function(rows, *more).items()}
        for name, function in functions.items()
        for more in [[rows[::-1]] if name in MORE else []]
    }
    texts = [b""] * (len(BLANKS) + len(BYTES))
    assert served["serving_default"]["text"][blank].tolist() == texts
    assert served["explain"]["text"][blank].tolist() == texts
    assert served["n_best"]["text"][blank].tolist() == [[b"", b""]] * len(texts)
    assert served["n_best"]["score"][blank].tolist() == [[0, NEG_INF]] * len(texts)
    for name, outputs in served.items():
        for key, values in outputs.items():
            if (name, key) != ("n_best", "score"):
                assert not np.any(values[blank].astype(bool)), (name, key)
            for row in (0, -1):
                more = [rows[::-1][row][None]] if name in MORE else []
                alone = functions[name](rows[row][None], *more)[key][0].numpy()
                assert same_values(values[row], alone, padded=True)[0], (name, key)
    assert served["serving_default"]["text"][0] and served["explain"]["attention"][[0, -1]].any()

    all_blank = [prediction.text for prediction in pipeline.predict(BLANKS)]
    assert all_blank == [""] * len(BLANKS)
    assert [[p.score for p in row] for row in pipeline.n_best(["", "\u200b"])] == [[0.0], [0.0]]
    assert pipeline.score([" "], ["two dogs"])[1].tolist() == [0]
    for texts in (["", "two dogs"], [" "]):
        found = explain(pipeline, texts)[0]
        assert found.target == "" and found.cross.shape[2:] == (0, 0)
        assert found.explanation.source_tokens == found.explanation.target_tokens == []
        assert found.to_terminal(80, color=False) and found._repr_html_()


@pytest.mark.parametrize("options", [{"beam_size": 1}, {"beam_size": 2, "do_sample": True}])
def test_a_blank_text_is_empty_by_any_search(options, tokenizer):
    model = tiny_model("bahdanau", tokenizer.vocab_size, seed=1)
    pipeline = TextToText(model, tokenizer, GenerationOptions(**options, max_length=7))
    found = pipeline.n_best(["\u3000", "two dogs"])
    assert found[0] == [Prediction("", 0.0)] and len(found[1]) == options["beam_size"]


@pytest.mark.usefixtures("eager")
def test_what_is_cut_is_told_by_every_signature(tokenizer):
    """By rows: one that fits exactly, one of a token more, many characters, and a blank text."""
    size, limit = tokenizer.vocab_size, 5
    end = np.zeros((2, size, size))
    end[:, :, END_ID] = 1.0  # every output is empty and has ended by itself
    model = TableModel(end)
    pipeline = TextToText(model, tokenizer, OPTIONS, max_source_length=limit, truncate=True)
    ids = tokenizer.encode(["a red dog and two red houses"])[0]
    fits, longer = tokenizer.decode([ids[: limit - 1], ids[:limit]])
    texts = [fits, longer, "red " * 5000, "\t" * 5000]
    cut = [False, True, True, True]
    assert [p.truncated for p in pipeline.predict(texts)] == cut
    assert [row[0].truncated for row in pipeline.n_best(texts)] == cut
    assert [e.truncated for e in pipeline.explain(texts)] == cut
    attentive = TextToText(tiny_model("luong", size), tokenizer, OPTIONS, limit, truncate=True)
    score = attentive.signatures()["score"]
    rows = tf.constant([*texts, fits, fits])
    targets = tf.constant([""] * 5 + ["red " * 50])
    assert score(rows, targets)["truncated"].numpy().tolist() == [*cut, False, True]

    # An output that had to end is told too.
    endless = np.zeros((OPTIONS.max_length + 1, size, size))
    endless[:, :, ids[0]] = 1.0
    pipeline = TextToText(TableModel(endless), tokenizer, OPTIONS)
    assert [p.truncated for p in pipeline.predict(["x", " "])] == [True, False]


@pytest.mark.usefixtures("eager")
def test_long_sources_are_cut_before_their_end(tokenizer):
    model = tiny_model("luong", tokenizer.vocab_size, seed=2)
    short = TextToText(model, tokenizer, OPTIONS, max_source_length=4, truncate=True)
    long = "a red dog and two red houses"
    ids = tokenizer.encode([long])[0][:3]
    explanation = short.explain([long])[0]
    assert explanation.source_tokens == [*tokenizer.pieces(ids), "</s>"]
    hypotheses = generate(model, tf.constant([[*ids, END_ID]]), OPTIONS)
    assert abs(explanation.score - float(hypotheses.scores[0, 0])) < 1e-5
    assert short.score([long], ["x"])[0] == short.score([long + " and"], ["x"])[0]


@pytest.mark.usefixtures("eager")
def test_long_sources_are_refused_unless_they_are_to_be_cut(tokenizer):
    model = tiny_model("luong", tokenizer.vocab_size, seed=2)
    ids = tokenizer.encode(["a red dog"])[0]
    texts = ["a", "a red dog", "a red dog and two red houses"]
    exact = TextToText(model, tokenizer, OPTIONS, max_source_length=len(ids) + 1)
    assert exact.too_long(texts) == [2]
    assert exact.too_long([]) == []
    for refuse in (exact.predict, exact.n_best, exact.explain, lambda t: exact.score(t, t)):
        with pytest.raises(ValueError, match=r"1 of 3 .*truncate=True the start.*: text 2"):
            refuse(texts)
    assert [p.text for p in exact.predict(texts[:2])]
    # A format with a rule for long sources asks for it.
    ruled = SourceFormat((SourceInput("text"),), keep="end")
    by_rule = TextToText(model, tokenizer, OPTIONS, len(ids) + 1, source_format=ruled)
    assert by_rule.truncate and by_rule.with_generation(beam_size=1).truncate
    assert by_rule.too_long(texts) == [2] and len(by_rule.predict(texts)) == 3


def test_limits_beyond_the_positions_of_a_model_are_refused(tokenizer):
    model = tiny_model("learned", tokenizer.vocab_size)  # 16 of them
    TextToText(model, tokenizer, GenerationOptions(max_length=16), max_source_length=16)
    with pytest.raises(ValueError, match=r"16 tokens.*max_source_length=17, max_target"):
        TextToText(model, tokenizer, GenerationOptions(max_length=16), max_source_length=17)
    with pytest.raises(ValueError, match=r"max_source_length=9, max_target_length=17"):
        TextToText(model, tokenizer, GenerationOptions(max_length=17), max_source_length=9)


def test_a_single_row_of_one_input_does_not_go_with_all_of_another(tokenizer):
    model = tiny_model("transformer", tokenizer.vocab_size, seed=1)
    functions = TextToText(model, tokenizer, GenerationOptions(max_length=3)).signatures()
    for name, other in (("score", "target"), ("with_prefix", "prefix")):
        for texts in ((["a", "b"], ["a"]), (["a"], ["a", "b"])):
            with pytest.raises(tf.errors.InvalidArgumentError, match=f"{other} has not as many"):
                functions[name](*map(tf.constant, texts))


def test_a_shortlist_that_was_not_learned_is_refused_before_a_graph_is_made(tokenizer):
    model = tiny_model("transformer", tokenizer.vocab_size, seed=1)
    with pytest.raises(ValueError, match="Received: shortlist=3, of none"):
        TextToText(model, tokenizer, GenerationOptions(shortlist=3))
    with pytest.raises(ValueError, match="Received: shortlist=3, of none"):
        TextToText(model, tokenizer, OPTIONS).with_generation(shortlist=3)
