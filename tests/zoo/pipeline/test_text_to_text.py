"""Text in, text out: the signatures and the methods that run them."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tiny_models import TableModel, exhaustive_search, tiny_model

from attention_zoo.zoo import explain
from attention_zoo.zoo.decoding.options import NEG_INF, GenerationOptions
from attention_zoo.zoo.decoding.search import generate
from attention_zoo.zoo.pipeline.text_to_text import TextToText
from attention_zoo.zoo.text.tokenizer import END_ID, START_ID, UNKNOWN_ID, Tokenizer

TEXTS = ["a red house", "two dogs", "一 座 房 子", "x", "a red dog and two red houses", "两 只 狗"]
OPTIONS = GenerationOptions(beam_size=3, max_length=7)


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.train(TEXTS * 5, vocab_size=40, character_coverage=1.0)


@pytest.fixture(scope="module")
def attentive(tokenizer):
    model = tiny_model("bahdanau", tokenizer.vocab_size, seed=1)
    return TextToText(model, tokenizer, OPTIONS)


@pytest.fixture(scope="module")
def plain(tokenizer):
    return TextToText(tiny_model("none", tokenizer.vocab_size, seed=1), tokenizer, OPTIONS)


SIGNATURES = {
    "serving_default": {"text": (tf.string, 1), "score": (tf.float32, 1)},
    "n_best": {"text": (tf.string, 2), "score": (tf.float32, 2)},
    "explain": {
        "text": (tf.string, 1),
        "score": (tf.float32, 1),
        "source_tokens": (tf.string, 2),
        "target_tokens": (tf.string, 2),
        "attention": (tf.float32, 3),
    },
    "score": {"score": (tf.float32, 1), "tokens": (tf.int32, 1)},
    "document": {"text": (tf.string, 1), "score": (tf.float32, 1)},
    "with_prefix": {"text": (tf.string, 1), "score": (tf.float32, 1)},
}
MORE = {"score": ["target"], "with_prefix": ["prefix"]}  # inputs beside the text


def test_signatures_have_names_types_and_ranks(attentive):
    functions = attentive.signatures()
    assert set(functions) == set(SIGNATURES)
    for name, outputs in SIGNATURES.items():
        inputs = functions[name].input_signature
        names = ["text", *MORE.get(name, [])]
        assert [(spec.name, spec.dtype, spec.shape.as_list()) for spec in inputs] == [
            (argument, tf.string, [None]) for argument in names
        ]
        texts = tf.constant(TEXTS[:3])
        results = functions[name](*[texts] * len(inputs))
        found = {key: (tensor.dtype, tensor.shape.rank) for key, tensor in results.items()}
        told = {"missing": outputs["text"]} if "text" in outputs else {}
        assert found == {**outputs, **told, "truncated": (tf.bool, 1)}
        assert all(tensor.shape[0] == 3 for tensor in results.values())
        structured = functions[name].get_concrete_function().structured_outputs
        assert {key: spec.shape.rank for key, spec in structured.items()} == {
            key: tensor.shape.rank for key, tensor in results.items()
        }


def test_predictions_come_in_the_order_of_the_texts(attentive):
    together = attentive.predict(TEXTS, batch_size=2)  # of like length, not of like place
    for text, prediction in zip(TEXTS, together, strict=True):
        alone = attentive.predict([text])[0]
        assert alone.text == prediction.text
        assert abs(alone.score - prediction.score) < 1e-5
    assert len({prediction.score for prediction in together}) == len(TEXTS)
    assert attentive.predict([]) == []


def test_prediction_is_the_decoded_search(attentive, tokenizer):
    ids = tokenizer.encode_tensor(tf.constant(TEXTS))
    hypotheses = generate(attentive.model, ids, OPTIONS)
    rows = [row[row != 0].tolist() for row in hypotheses.ids[:, 0].numpy()]
    assert [p.text for p in attentive.predict(TEXTS)] == tokenizer.decode(rows)
    np.testing.assert_allclose(
        [p.score for p in attentive.predict(TEXTS)], hypotheses.scores[:, 0], atol=1e-5
    )


def test_n_best_is_sorted_and_starts_with_the_prediction(attentive):
    for best, row in zip(attentive.predict(TEXTS), attentive.n_best(TEXTS), strict=True):
        assert len(row) == OPTIONS.beam_size
        scores = [prediction.score for prediction in row]
        assert scores == sorted(scores, reverse=True)
        assert row[0].text == best.text
        assert len({prediction.text for prediction in row}) == len(row)


SPELLED_TWICE = {"ab": 0.4, "b": 0.2, "a": 0.04}  # "ab" has 0.36 in other tokens, too


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("size", [2, 3, 4])
def test_a_text_in_several_tokenizations_is_one_of_the_best(size):
    tokenizer = Tokenizer.train(["ab ab ab b a"] * 9, 30, character_coverage=1.0)
    ab, a, b = tokenizer.ids(["\u2581ab", "\u2581a", "b"])
    assert UNKNOWN_ID not in (ab, a, b)
    probabilities = np.zeros((3, tokenizer.vocab_size, tokenizer.vocab_size))
    probabilities[0, START_ID, [ab, a, b]] = 0.4, 0.4, 0.2
    probabilities[1, a, [b, END_ID]] = 0.9, 0.1
    probabilities[1, [ab, b], END_ID] = probabilities[2, :, END_ID] = 1.0
    options = GenerationOptions(beam_size=size, max_length=3, length_penalty=0.0)
    pipeline = TextToText(TableModel(probabilities), tokenizer, options)
    for row in pipeline.n_best(["ab", "", "a"])[::2]:
        likely = [(p.text, np.exp(p.score)) for p in row if p.score > -20]
        expected = list(SPELLED_TWICE.items())[:size]
        assert [text for text, _ in likely] == [text for text, _ in expected]
        assert [p for _, p in likely] == pytest.approx([p for _, p in expected])
    assert pipeline.predict(["ab"])[0].text == "ab"
    # The hypotheses themselves are as they were.
    source = tokenizer.encode_tensor(tf.constant(["ab"]))
    found = generate(pipeline.model, source, options).ids[0].numpy()
    assert tokenizer.decode(found)[:2] == ["ab", "ab"]


@pytest.mark.usefixtures("eager")
def test_n_best_leaves_out_beams_that_found_nothing(tokenizer):
    # The model can only write its end, or one certain subword and then its end.
    size = tokenizer.vocab_size
    dog = int(tokenizer.encode(["x"])[0][-1])
    probabilities = np.zeros((2, size, size))
    probabilities[0, START_ID, [END_ID, dog]] = 0.25, 0.75
    probabilities[1, :, END_ID] = 1.0
    options = GenerationOptions(beam_size=4, max_length=2, length_penalty=0.0)
    pipeline = TextToText(TableModel(probabilities), tokenizer, options)
    everything = pipeline.signatures()["n_best"](tf.constant(["x"]))
    row = pipeline.n_best(["x"])[0]
    likely = [p for p in row if p.score > -20]
    assert [p.text for p in likely] == tokenizer.decode([[dog], []])
    np.testing.assert_allclose([p.score for p in likely], np.log([0.75, 0.25]), atol=1e-6)
    assert everything["text"].shape == everything["score"].shape == (1, 4)

    # With one step there is one target, and three places stay empty.
    single = pipeline.with_generation(max_length=1)
    result = single.signatures()["n_best"](tf.constant(["x", "two"]))
    assert result["text"].numpy().tolist() == [[b""] * 4] * 2
    assert (result["score"].numpy()[:, 1:] == NEG_INF).all()
    assert [[p.text for p in row] for row in single.n_best(["x", "two"])] == [[""], [""]]


def test_explanations_of_attention_sum_to_one(attentive, tokenizer):
    for text, explanation, best in zip(
        TEXTS, attentive.explain(TEXTS, batch_size=4), attentive.predict(TEXTS), strict=True
    ):
        assert explanation.text == text
        assert explanation.target == best.text
        assert abs(explanation.score - best.score) < 1e-5
        source = tokenizer.pieces(tokenizer.encode([text])[0])
        assert explanation.source_tokens == [*source, "</s>"]
        assert explanation.target_tokens[-1] == "</s>"
        assert explanation.attention.shape == (
            len(explanation.target_tokens),
            len(explanation.source_tokens),
        )
        np.testing.assert_allclose(explanation.attention.sum(-1), 1.0, atol=1e-5)


@pytest.mark.usefixtures("eager")
def test_explanations_without_attention_are_zero(plain):
    for explanation in plain.explain(TEXTS):
        assert len(explanation.target_tokens) == len(explanation.attention) > 0
        assert not explanation.attention.any()


@pytest.mark.usefixtures("eager")
def test_scores_sum_the_log_probabilities_of_the_target(attentive, tokenizer):
    targets = ["two red dogs", "x", "房 子", "", "a", "unseen ж"]
    longer = attentive.with_generation(max_length=20)
    scores, tokens = longer.score(TEXTS, targets, batch_size=2)
    sources = tokenizer.encode(TEXTS)
    for i, ids in enumerate(tokenizer.encode(targets)):
        labels = [*ids, END_ID]
        inputs = {
            "source": np.array([[*sources[i], END_ID]], np.int32),
            "target": np.array([[START_ID, *ids]], np.int32),
        }
        logits = attentive.model(inputs).numpy()[0].astype("float64")
        log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        np.testing.assert_allclose(
            scores[i], log_p[np.arange(len(labels)), labels].sum(), atol=1e-4
        )
        assert tokens[i] == len(labels)
    # Of the last target one subword is unknown, which no search writes.
    assert labels.count(UNKNOWN_ID) == 1
    known = np.array(labels) != UNKNOWN_ID
    for written_by, kept in (
        (longer, known),
        (longer.with_generation(forbid_unknown=False), known | True),
        (longer.with_generation(replace_unknown=True), known),  # the source has none
    ):
        some, counts = written_by.score(TEXTS, targets, written_only=True)
        np.testing.assert_allclose(some[:-1], scores[:-1], atol=1e-4)
        expected = log_p[np.arange(len(labels)), labels][kept].sum()
        np.testing.assert_allclose(some[-1], expected, atol=1e-4)
        assert counts.tolist() == [*tokens[:-1], kept.sum()]
    copying = longer.with_generation(replace_unknown=True)
    sources = [*TEXTS[:-1], "ж"]
    every, all_counts = copying.score(sources, targets)
    some, counts = copying.score(sources, targets, written_only=True)
    np.testing.assert_allclose(some, every, atol=1e-5)
    assert counts.tolist() == all_counts.tolist()


def test_targets_begin_with_their_prefix_and_are_the_best_that_do():
    words = ["ab", "ba", "abc", "cab"]
    tokenizer = Tokenizer.train(words * 5, vocab_size=20, kind="char")
    size = tokenizer.vocab_size
    model = tiny_model("luong", size, seed=3)
    options = GenerationOptions(beam_size=20, max_length=5, max_length_ratio=None)
    pipeline = TextToText(model, tokenizer, options)
    prefixes = ["ab", "c", "ba", "cab"]
    ids = [tuple(map(int, row)) for row in tokenizer.encode(prefixes)]
    for text, prefix, forced, found in zip(
        words, prefixes, ids, pipeline.predict(words, prefix=prefixes), strict=True
    ):
        source = np.array([*tokenizer.encode([text])[0], END_ID])
        best = exhaustive_search(model, source, size, options, forced)[0]
        assert found.text.startswith(prefix)
        assert found.score == pytest.approx(best.score, abs=1e-4)
        assert found.text == tokenizer.decode([best.ids])[0]
    one = [p.text for p in pipeline.predict(words, prefix="ab")]
    assert one == [pipeline.predict([text], prefix=["ab"])[0].text for text in words]
    assert pipeline.predict([" "], prefix="ab")[0].text == ""
    for prefix, message in ((["a"], "4 texts and 1 prefixes"), ("ж", "'ж'"), ("abab", "'abab'")):
        with pytest.raises(ValueError, match=message):
            pipeline.predict(words, prefix=prefix)
    cut = pipeline.signatures()["with_prefix"](tf.constant(words[:1]), tf.constant(["abab"]))
    assert cut["truncated"].numpy().tolist() == [True]


def test_one_target_for_each_text(attentive):
    with pytest.raises(ValueError, match="Received: 2 texts and 1 targets"):
        attentive.score(["x", "x"], ["x"])


@pytest.mark.usefixtures("eager")
def test_each_side_is_read_and_written_with_its_own_subwords(tokenizer):
    sources = Tokenizer.train(["ein roter Hund", "zwei rote Hunde"] * 9, vocab_size=40)
    both = Tokenizer(tokenizer.model, sources.model)
    assert not both.shares_vocabulary and tokenizer.shares_vocabulary
    model = tiny_model(
        "transformer", tokenizer.vocab_size, seed=2, source_vocab_size=sources.vocab_size
    )
    pipeline = TextToText(model, both, OPTIONS)
    text, target = "zwei rote Hunde", "two red dogs"
    found = pipeline.explain([text])[0]
    ids = [*sources.encode([text])[0], END_ID]
    assert found.source_tokens == sources.pieces(ids)
    hypotheses = generate(model, tf.constant([ids]), OPTIONS)
    written = hypotheses.ids.numpy()[0, 0]
    assert found.target_tokens == tokenizer.pieces(written[written != 0])
    assert found.target == tokenizer.decode([written])[0]
    labels = [*tokenizer.encode([target])[0], END_ID]
    inputs = {"source": np.array([ids]), "target": np.array([[START_ID, *labels[:-1]]])}
    log_p = tf.nn.log_softmax(model(inputs)[0]).numpy()[np.arange(len(labels)), labels]
    np.testing.assert_allclose(pipeline.score([text], [target])[0], [log_p.sum()], atol=1e-4)
    assert len(pipeline.trackables()) == 2
    layered = explain(pipeline, [text])[0]
    np.testing.assert_allclose(layered.view(layer=2).attention, found.attention, atol=1e-5)
    keras.utils.set_random_seed(5)  # which drops the resources of both
    assert pipeline.predict([text])[0].text == found.target
    np.testing.assert_allclose(pipeline.score([text], [target])[0], [log_p.sum()], atol=1e-4)


def test_with_generation_shares_all_but_the_search(attentive):
    greedy = attentive.with_generation(beam_size=1)
    assert greedy.generation.beam_size == 1
    assert attentive.generation.beam_size == 3
    assert greedy.model is attentive.model
    assert greedy.tokenizer is attentive.tokenizer
    with pytest.raises(ValueError, match="Received: beam_size=0"):
        attentive.with_generation(beam_size=0)


def test_many_models_are_not_taken_for_one_function_that_is_traced_again(attentive, caplog):
    for size in range(1, 7):  # the smallest of the functions
        attentive.with_generation(beam_size=size)._run("units", [tf.constant(["x"])])
    assert "retracing" not in caplog.text


def test_a_debugger_sees_values_where_functions_run_eagerly(attentive, eager):
    copy, eagerly = attentive.with_generation(beam_size=1), []
    copy._score = lambda **columns: eagerly.append(tf.executing_eagerly()) or {**columns}
    copy._run("score", [tf.constant(["x"]), tf.constant(["x"])])
    assert eagerly == [True]


def test_goes_on_after_the_random_seed_is_set_anew(attentive):
    # Which drops TensorFlow's resources, the graph's tokenizer among them.
    before = attentive.predict(TEXTS[:2])
    scores = attentive.score(TEXTS[:2], TEXTS[:2])[0]
    keras.utils.set_random_seed(5)
    assert attentive.predict(TEXTS[:2]) == before
    np.testing.assert_array_equal(attentive.score(TEXTS[:2], TEXTS[:2])[0], scores)


def test_trackables_are_the_resources_of_the_graph(attentive):
    assert attentive.trackables() == [attentive.tokenizer.graph_tokenizer]


@pytest.mark.usefixtures("eager")
def test_heads_of_a_transformer_average_to_its_attention(tokenizer):
    model = tiny_model("transformer", tokenizer.vocab_size, seed=1)
    # A tokenizer of its own: seeds set in another test drop the graph's resource of the shared one.
    pipeline = TextToText(model, Tokenizer(tokenizer.model), OPTIONS)
    outputs = {
        name: tensor.numpy()
        for name, tensor in pipeline.signatures()["explain"](tf.constant(TEXTS)).items()
    }
    heads, tokens = outputs["attention_heads"], outputs["target_tokens"]
    assert heads.shape == (len(TEXTS), 2, 2, tokens.shape[1], outputs["source_tokens"].shape[1])
    np.testing.assert_allclose(heads[:, -1].mean(axis=1), outputs["attention"], atol=1e-5)
    written = (tokens != b"")[:, None, None]
    np.testing.assert_allclose(heads.sum(-1), np.broadcast_to(written, heads.shape[:-1]), rtol=1e-5)
    assert not written.all()
    for row, text in enumerate(TEXTS[:3]):
        alone = pipeline.signatures()["explain"](tf.constant([text]))["attention_heads"][0]
        _, _, t, s = alone.shape
        np.testing.assert_allclose(heads[row, :, :, :t, :s], alone, atol=1e-5)
    layered = explain(pipeline, TEXTS[:4], batch_size=3)
    for row, found in enumerate(layered):
        t, s = found.cross.shape[2:]
        np.testing.assert_allclose(found.cross, heads[row, :, :, :t, :s], atol=1e-5)
        assert found.explanation.text == TEXTS[row]
        assert found.encoder.shape == (2, 2, s, s) and found.decoder.shape == (2, 2, t, t)
        np.testing.assert_allclose(found.encoder.sum(-1), 1, rtol=1e-5)
        np.testing.assert_allclose(found.decoder[..., 0, :].sum(-1), 1, rtol=1e-5)
        served = found.view(layer=2).attention
        np.testing.assert_allclose(served, found.explanation.attention, atol=1e-5)


def test_a_recurrent_model_has_one_map(attentive):
    for found in explain(attentive, TEXTS[:3]):
        assert found.kinds == ("cross",) and found.cross.shape[:2] == (1, 1)
        np.testing.assert_allclose(found.cross[0, 0], found.explanation.attention, atol=1e-5)
