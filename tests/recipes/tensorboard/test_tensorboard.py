"""What TensorBoard shows of a run: health of the attention, the graph, the embedding."""

import json

import numpy as np
import pytest
from google.protobuf import text_format
from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator
from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig
from tensorboard.util.tensor_util import make_ndarray
from tiny_models import tiny_model

import attention_zoo
from attention_zoo.recipes.tensorboard.attention_metrics import attention_metrics
from attention_zoo.recipes.tensorboard.model_pictures import MAX_POINTS, write_embedding
from attention_zoo.zoo.decoding.options import GenerationOptions
from attention_zoo.zoo.pipeline.text_to_text import TextToText
from attention_zoo.zoo.text.tokenizer import END_ID, START_ID, Tokenizer
from attention_zoo.zoo.visualization.explanation import Explanation

TEXTS = ["a red house", "two dogs and a house", "x"]
TARGETS = ["two red dogs", "x", "a house and two dogs"]
SPACE = "\u2423"


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.train([*TEXTS, *TARGETS] * 5, vocab_size=30, character_coverage=1.0)


@pytest.fixture(scope="module")
def explanations(tokenizer):
    sides = [
        [[*tokenizer.pieces(ids), "</s>"] for ids in tokenizer.encode(texts)]
        for texts in (TEXTS, TARGETS)
    ]
    return [
        Explanation(text, target, source, written, np.zeros((len(written), len(source))), 0.0)
        for text, target, source, written in zip(TEXTS, TARGETS, *sides, strict=True)
    ]


def health_one_by_one(model, tokenizer):
    """The values of each sentence by itself, where there is no padding, and each head by itself."""
    found = {}
    for text, target in zip(TEXTS, TARGETS, strict=True):
        source, written = ([*map(int, ids)] for ids in tokenizer.encode([text, target]))
        inputs = {
            "source": np.array([[*source, END_ID]]),
            "target": np.array([[START_ID, *written]]),
        }
        for kind, maps in model.attention_maps(inputs)._asdict().items():
            rest = ("on_start", 0) if kind == "decoder" else ("on_end", -1)
            for layer, head in np.ndindex(2, 2):
                weights = maps.numpy()[0, layer, head]
                logs = np.log(np.where(weights > 0, weights, 1))
                values = {
                    "entropy": -(weights * logs).sum(1).mean(),
                    "coverage": np.minimum(weights.sum(0), 1).mean(),
                    rest[0]: weights[:, rest[1]].mean(),
                    "on_padding": 0.0,
                }
                for name, value in values.items():
                    found.setdefault(f"attention_{name}/{kind}_{layer + 1}", []).append(value)
    return {name: np.mean(values) for name, values in found.items()}


def test_health_is_the_mean_over_sentences_and_heads(tokenizer, explanations):
    model = tiny_model("transformer", tokenizer.vocab_size)
    found = attention_metrics(TextToText(model, tokenizer), explanations)
    diagonality = {name for name in found if "diagonality" in name}
    assert diagonality == {
        f"attention_diagonality/{kind}_{layer}"
        for kind in ("cross", "encoder", "decoder")
        for layer in (1, 2)
    }
    assert all(-1 <= found.pop(name) <= 1 for name in diagonality)
    assert found == pytest.approx(health_one_by_one(model, tokenizer), abs=1e-5)


def test_health_sees_attention_to_padding(tokenizer, explanations, monkeypatch):
    model = tiny_model("transformer", tokenizer.vocab_size)
    pipeline = TextToText(model, tokenizer)
    assert attention_metrics(pipeline, explanations[:1])["attention_on_padding/cross_1"] == 0
    for block in model.decoder.blocks:  # the mask of the source forgotten
        project = block.project
        monkeypatch.setattr(block, "project", lambda x, mask, own=project: own(x))
    assert attention_metrics(pipeline, explanations[:1])["attention_on_padding/cross_1"] > 0.01


def test_health_of_sentences_as_long_as_the_model_reads(tokenizer, explanations):
    longest = max(max(len(e.source_tokens), len(e.target_tokens)) for e in explanations)
    options = {"positions": "learned", "max_length": longest}
    model = tiny_model("transformer", tokenizer.vocab_size, **options)
    pipeline = TextToText(model, tokenizer, GenerationOptions(max_length=longest), longest)
    found = attention_metrics(pipeline, explanations)
    expected = health_one_by_one(model, tokenizer)
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-5)


def test_a_model_without_attention_has_no_health(tokenizer, explanations):
    pipeline = TextToText(tiny_model("none", tokenizer.vocab_size), tokenizer)
    assert attention_metrics(pipeline, explanations) == {}
    assert attention_metrics(pipeline, []) == {}


# The projector


def test_labels_of_the_projector_are_one_line_each(tmp_path):
    labels = ["a", "<b>'\"&", "two\tcells", "a\nline", "\u2028", " ", "שלום\u202e", "x" * 10_000]
    vectors = np.random.default_rng(0).normal(size=(len(labels), 3))
    write_embedding(tmp_path / "deep", labels, vectors)
    shown = (tmp_path / "deep" / "tokens.tsv").read_text().removesuffix("\n").split("\n")
    expected = ["a", "<b>'\"&", r"two\tcells", r"a\nline", SPACE, SPACE, "שלום", "x" * 10_000]
    assert shown == expected
    with pytest.raises(ValueError, match="7 labels and vectors of shape"):
        write_embedding(tmp_path, labels[1:], vectors)


def test_a_large_vocabulary_is_cut(tmp_path):
    write_embedding(tmp_path, ["x"] * (MAX_POINTS + 5), np.zeros((MAX_POINTS + 5, 1)))
    assert len((tmp_path / "embedding.tsv").read_text().splitlines()) == MAX_POINTS
    assert len((tmp_path / "tokens.tsv").read_text().splitlines()) == MAX_POINTS


# A run


@pytest.fixture(scope="module")
def valid(trained):
    accumulator = EventAccumulator(str(trained[0] / "tensorboard" / "valid"))
    accumulator.Reload()
    return accumulator


def test_a_run_logs_health_at_every_evaluation(valid, trained):
    history = json.loads((trained[0] / "metrics.json").read_text())["history"]
    names = ("entropy", "coverage", "diagonality", "on_end", "on_padding")
    for name in names:
        events = valid.Tensors(f"attention_{name}/cross_1")
        assert [event.step for event in events] == [entry["step"] for entry in history]
        assert all(np.isfinite(make_ndarray(event.tensor_proto)) for event in events)
    assert not any(name.startswith("attention") for name in history[0])


def test_a_run_logs_the_scores_of_its_best_model(trained):
    final = EventAccumulator(str(trained[0] / "tensorboard" / "final")).Reload()
    scores = json.loads((trained[0] / "metrics.json").read_text())["valid"]
    assert "final/bleu" not in final.Tags()["tensors"] and scores.pop("bleu") is None
    for name, score in scores.items():
        (event,) = final.Tensors(f"final/{name}")
        np.testing.assert_allclose(make_ndarray(event.tensor_proto), score, rtol=1e-6)


def test_a_run_shows_its_graph(valid):
    graph = valid.Graph()
    names = [node.name.split("/") for node in graph.node]
    scopes = {"source_tokens", "target_tokens", "log_probability"}
    assert {"text", "target"} | scopes <= {name[0] for name in names}
    parts = {name[1].rstrip("_0123456789") for name in names if name[0].startswith("encoder_")}
    assert {"target_embedding", "encoder", "bridge", "decoder", "output"} <= parts
    assert graph.ByteSize() < 2**20


def test_a_run_shows_its_embedding(trained):
    folder = trained[0] / "tensorboard" / "valid"
    config = text_format.Parse((folder / "projector_config.pbtxt").read_text(), ProjectorConfig())
    (embedding,) = config.embeddings
    vectors = np.loadtxt(folder / embedding.tensor_path, delimiter="\t")
    labels = (folder / embedding.metadata_path).read_text().splitlines()
    model = attention_zoo.load(trained[0])
    np.testing.assert_allclose(
        vectors, model.model.target_embedding.embeddings, rtol=1e-3, atol=1e-6
    )
    assert labels == model.tokenizer.pieces(range(model.tokenizer.vocab_size))
