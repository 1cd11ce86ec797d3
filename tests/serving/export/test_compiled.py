"""Exports whose search XLA compiles: the answers of the graph, and servers that refuse them."""

import numpy as np
import pytest
import tensorflow as tf
from tiny_models import tiny_model
from toy_pipelines import ToyTextToText

from attention_zoo.serving.client.client import Client
from attention_zoo.serving.export import compiled, isolated_load
from attention_zoo.serving.export.check_report import ExportError
from attention_zoo.serving.export.compiled import with_compiled_search
from attention_zoo.serving.export.export import export
from attention_zoo.serving.runtime.errors import Code, ServingError
from attention_zoo.serving.server.loading import Loader
from attention_zoo.serving.server.server import ServerOptions, ServerThread
from attention_zoo.zoo.decoding import GenerationOptions
from attention_zoo.zoo.pipeline.text_to_text import TextToText
from attention_zoo.zoo.text.source_format import SourceFormat, SourceInput
from attention_zoo.zoo.text.tokenizer import Tokenizer

TEXTS = ["a red house", "two dogs", "", "x", "a red dog and two red houses", "two", "两 只 狗"]
QUESTIONS = SourceFormat((SourceInput("context"), SourceInput("question")))


class Brief(TextToText):
    """Has one signature, as each one takes its time to be traced."""

    def signatures(self):
        return {"serving_default": super().signatures()["serving_default"]}


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.train(TEXTS * 5, 44, character_coverage=1.0, symbols=QUESTIONS.symbols)


def pipeline(tokenizer, kind="bahdanau", layers=None, **options):
    layers = layers or {}
    model = tiny_model(kind, tokenizer.vocab_size, seed=1, **layers)
    options = {"beam_size": 3, "max_length": 7, "min_length": 3, **options}
    return Brief(model, tokenizer, GenerationOptions(**options), 20, truncate=True, split=False)


@pytest.fixture(scope="module")
def version(tokenizer, tmp_path_factory):
    """A pipeline and the folder of its compiled export, which has passed the checks."""
    made = pipeline(tokenizer)
    folder = tmp_path_factory.mktemp("compiled")
    with pytest.MonkeyPatch.context() as patch:  # one shape
        patch.setattr(compiled, "LENGTHS", (9,))
        patch.setattr(compiled, "BATCHES", (4,))
        return made, export(made, folder, name="tiny", samples=TEXTS, compiled=True)


@pytest.mark.parametrize("kind", ["one text", "two texts"])
def test_warm_up_asks_for_every_shape(kind, tokenizer, monkeypatch):
    monkeypatch.setattr(compiled, "LENGTHS", (9, 6, 40))
    monkeypatch.setattr(compiled, "BATCHES", (1, 4))
    made = pipeline(tokenizer)
    if kind == "two texts":
        made.source_format = QUESTIONS
    shapes = []
    for texts in compiled.shape_samples(made, TEXTS):
        names = [item.name for item in made.source_format.required]
        source, *_ = made._source(dict.fromkeys(names, tf.constant(texts)))
        shapes.append(tuple(source.shape))
    assert [rows for rows, _ in shapes] == [1, 4, 1, 4, 1, 4]
    lengths = [length for _, length in shapes]
    assert lengths[::2] == lengths[1::2]
    limits = [(0, 6), (6, 9), (9, 20)]  # the model reads 20 tokens
    assert all(low < n <= high for n, (low, high) in zip(lengths[::2], limits, strict=True))


def test_it_is_served_with_xla_and_answers_as_the_graph(version):
    made, path = version
    texts = [*TEXTS, " ".join(TEXTS)]  # the last one is longer than what is compiled
    expected = made.predict(texts)
    assert len({row.text for row in expected}) > 3
    options = ServerOptions(rest_port=0, grpc_port=None, xla_cpu_compilation=True)
    with (
        ServerThread(path.parent, options) as server,
        Client(server.address.rest_url, "tiny") as client,
    ):
        # As many as are compiled, and one more; fewer, with copies to fill them up.
        for size in (4, 5, 3):
            found = [
                row
                for i in range(0, len(texts), size)
                for row in client.predict(texts[i : i + size])
            ]
            assert [row.text for row in found] == [row.text for row in expected]
            scores = [[row.score for row in rows] for rows in (found, expected)]
            np.testing.assert_allclose(*scores, atol=1e-5)
            assert [row.truncated for row in found] == [row.truncated for row in expected]


def test_a_server_without_xla_refuses_it(version):
    _, path = version
    with pytest.raises(ServingError, match="start it with --xla_cpu_compilation_enabled") as caught:
        Loader(ServerOptions())(path)
    assert caught.value.code == Code.FAILED_PRECONDITION
    # What a stock server says, which knows nothing of exports: the name of the function tells.
    with pytest.raises(ServingError, match="XLA compilation disabled") as caught:
        isolated_load.load_isolated(path)
    assert "needs_xla_cpu_compilation_enabled" in caught.value.message


@pytest.mark.parametrize("beam_size", [1, 3])
def test_compiled_searches_find_what_the_graph_finds(beam_size, tokenizer, monkeypatch):
    monkeypatch.setattr(compiled, "LENGTHS", (10,))
    monkeypatch.setattr(compiled, "BATCHES", (8,))
    layers = {"encoder_layers": 1, "decoder_layers": 1}
    made = pipeline(tokenizer, "transformer", layers, beam_size=beam_size, max_length=12)
    found = with_compiled_search(made).predict(TEXTS)
    for one, other in zip(found, made.predict(TEXTS), strict=True):
        assert (one.text, one.truncated) == (other.text, other.truncated)
        assert abs(one.score - other.score) < 1e-5


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"do_sample": True}, "leave out compiled.*Received: do_sample=True"),
        ({"replace_unknown": True}, "Received: replace_unknown=True"),
        ({"no_repeat_ngram": 2}, "Received: no_repeat_ngram=2"),
    ],
)
def test_searches_whose_shapes_depend_on_texts_are_refused(given, words, tokenizer, tmp_path):
    with pytest.raises(ExportError, match=words):
        export(pipeline(tokenizer, **given), tmp_path, compiled=True)
    assert not any(tmp_path.iterdir())


def test_what_is_no_search_of_the_zoo_is_refused(tokenizer, tmp_path):
    with pytest.raises(ExportError, match="Received: ToyTextToText"):
        export(ToyTextToText(), tmp_path, compiled=True)
    with pytest.raises(ExportError, match=r"stored as float32.*Received: int8"):
        export(pipeline(tokenizer), tmp_path, compiled=True, variant="int8")
