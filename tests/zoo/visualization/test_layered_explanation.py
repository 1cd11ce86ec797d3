"""The record of every layer and head: its views, its numbers, its page."""

import base64
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from attention_zoo.zoo.pipeline.explain import reading_inputs
from attention_zoo.zoo.text.tokenizer import END_ID, START_ID, UNKNOWN_ID, Tokenizer
from attention_zoo.zoo.visualization import attention_statistics as statistics
from attention_zoo.zoo.visualization.explanation import Explanation
from attention_zoo.zoo.visualization.layered_explanation import LayeredExplanation

HOSTILE = '</script><script>alert(1)</script> "it\'s" &lt; שלום\u202e ' + "x" * 10_000
SOURCE = ["▁</script>", "▁<script>alert(1)</script>", '▁"onclick="x', "▁שלום", "▁&amp;", "</s>"]
TARGET = ["▁'", "▁</td>", "▁今天", "</s>"]


def random_maps(*shape, seed):
    weights = np.random.default_rng(seed).random(shape) ** 3
    return (weights / weights.sum(-1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def layered():
    t, s = len(TARGET), len(SOURCE)
    cross = random_maps(2, 3, t, s, seed=0)
    weights, p_gen = cross[-1].mean(0), np.linspace(0, 1, t)
    own = Explanation(HOSTILE, HOSTILE[::-1], SOURCE, TARGET, weights, -0.5, p_gen)
    decoder = np.tril(random_maps(2, 3, t, t, seed=2))
    return LayeredExplanation(own, cross, random_maps(1, 3, s, s, seed=1), decoder)


def test_views_are_means_of_the_chosen_maps(layered):
    for kind in layered.kinds:
        weights = layered.weights(kind)
        for layer in (None, 1, len(weights)):
            for head in ("mean", 1, 3):
                layers = range(len(weights)) if layer is None else [layer - 1]
                heads = range(3) if head == "mean" else [head - 1]
                expected = np.mean([weights[i, j] for i in layers for j in heads], axis=0)
                found = layered.view(kind, layer, head)
                np.testing.assert_allclose(found.attention, expected, rtol=1e-5)
                assert found.score == -0.5


def test_tokens_of_the_views(layered):
    cross, encoder, decoder = (layered.view(kind) for kind in ("cross", "encoder", "decoder"))
    assert (cross.target_tokens, cross.source_tokens) == (TARGET, SOURCE)
    assert encoder.target_tokens == encoder.source_tokens == SOURCE
    assert decoder.target_tokens == TARGET
    assert decoder.source_tokens == ["<s>", *TARGET[:-1]]
    assert (encoder.text, decoder.text) == (HOSTILE, HOSTILE[::-1])
    np.testing.assert_array_equal(cross.p_gen, layered.explanation.p_gen)
    assert encoder.p_gen is decoder.p_gen is None


def test_rollouts_up_to_a_layer(layered):
    cross, encoder, decoder = layered.cross, layered.encoder, layered.decoder
    for layers in (1, 2, None):
        expected = statistics.cross_rollout(cross[:layers], encoder, decoder[:layers])
        found = layered.view("cross", layers, "rollout").attention
        np.testing.assert_allclose(found, expected, rtol=1e-5)
        found = layered.view("decoder", layers, "rollout").attention
        np.testing.assert_allclose(found, statistics.rollout(decoder[:layers]), rtol=1e-5)


def test_statistics_of_every_head(layered):
    found = layered.statistics()
    places = [(head.kind, head.layer, head.head) for head in found]
    assert places == [
        (kind, layer + 1, head + 1)
        for kind in layered.kinds
        for layer, head in np.ndindex(*layered.weights(kind).shape[:2])
    ]
    for head in found:
        weights = layered.weights(head.kind)[head.layer - 1, head.head - 1]
        assert head.entropy == pytest.approx(statistics.entropy(weights))
        assert head.coverage == pytest.approx(statistics.coverage(weights))
        assert head.diagonality == pytest.approx(statistics.diagonality(weights))
        rest = 0 if head.kind == "decoder" else -1
        assert head.end == pytest.approx(weights[:, rest].mean())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "self"}, "of kind cross, encoder, decoder. Received: kind='self'"),
        ({"layer": 3}, "layer is a number from 1 to 2. Received: layer=3"),
        ({"layer": 0}, "layer is"),
        ({"kind": "encoder", "layer": 2}, "from 1 to 1"),
        ({"head": 4}, "head is a number from 1 to 3, or 'mean', or 'rollout'. Received: head=4"),
        ({"head": "max"}, "Received: head='max'"),
        ({"head": True}, "Received: head=True"),
    ],
)
def test_what_there_is_not(arguments, message, layered):
    with pytest.raises(ValueError, match=re.escape(message)):
        layered.view(**arguments)


def test_texts_that_are_called_like_marks_are_unknown_to_the_model():
    tokenizer = Tokenizer.train(["a b", "ab ba"] * 9, vocab_size=12, character_coverage=1.0)
    own = Explanation("", "", ["▁a", "</s>", "<pad>", "</s>"], ["<s>", "</s>"], np.eye(2, 4), 0.0)
    short = Explanation("", "", ["▁a"], ["</s>"], np.ones((1, 1)), 0.0)
    (a,) = tokenizer.ids(["▁a"])
    inputs = reading_inputs(tokenizer, [own, short])
    assert inputs["source"].numpy().tolist() == [[a, UNKNOWN_ID, UNKNOWN_ID, END_ID], [a, 0, 0, 0]]
    assert inputs["target"].numpy().tolist() == [[START_ID, UNKNOWN_ID], [START_ID, 0]]
    more = reading_inputs(tokenizer, [short], padding=2)
    assert more["source"].numpy().tolist() == [[a, 0, 0]]


def test_a_model_without_self_attention_says_so(layered):
    recurrent = LayeredExplanation(layered.explanation, layered.cross[:1, :1])
    assert recurrent.kinds == ("cross",)
    with pytest.raises(ValueError, match=r"of kind cross\. Received: kind='encoder'"):
        recurrent.view("encoder")
    expected = recurrent.cross[0, 0] / 2
    np.testing.assert_allclose(recurrent.view(head="rollout").attention, expected, rtol=1e-5)
    with pytest.raises(ValueError, match=r"map \(4, 6\) for each"):
        LayeredExplanation(layered.explanation, layered.cross[..., :5])


class Page(HTMLParser):
    """The elements of a page, and the text of its data."""

    def __init__(self, page):
        super().__init__()
        self.elements, self.texts = [], []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        self.texts.append("")

    def handle_data(self, data):
        if self.texts:
            self.texts[-1] += data


@pytest.fixture(scope="module")
def page(layered, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "page.html"
    layered.save(path)
    return Page(path.read_text(encoding="utf-8"))


def test_the_page_runs_its_own_script_and_loads_nothing(page):
    scripts = [attributes for tag, attributes in page.elements if tag == "script"]
    assert scripts == [{"type": "application/json", "id": "data"}, {"type": "module"}]
    for _, attributes in page.elements:
        assert not {"src", "href", "onclick", "onerror"} & set(attributes)
    policy = next(a["content"] for _, a in page.elements if "http-equiv" in a)
    assert "default-src 'none'" in policy and "script-src 'sha256-" in policy
    assert any("alert(1)" in text and "<script>" in text for text in page.texts)  # as text


def test_the_data_of_the_page_are_the_weights(page, layered):
    places = [attributes.get("id") for _, attributes in page.elements]
    data = json.loads(page.texts[places.index("data")])["kinds"]
    assert list(data) == ["cross", "encoder", "decoder"]
    for kind, found in data.items():
        weights = layered.weights(kind)
        assert (found["layers"], found["heads"]) == weights.shape[:2]
        stored = np.frombuffer(base64.b64decode(found["weights"]), np.uint8).reshape(weights.shape)
        np.testing.assert_allclose(stored / 255, weights, atol=0.5 / 255)
        stored = np.frombuffer(base64.b64decode(found["rollouts"]), np.uint8)
        expected = [
            layered.view(kind, layer + 1, "rollout").attention for layer in range(len(weights))
        ]
        np.testing.assert_allclose(stored / 255, np.ravel(expected), atol=0.51 / 255)
    assert data["cross"]["columns"][1] == "<script>alert(1)</script>"
    assert data["decoder"]["columns"][0] == "<s>"
    numbers = sum(tag == "tr" for tag, _ in page.elements) - 1
    assert numbers == len(layered.statistics())


def test_a_notebook_shows_the_page_in_a_frame(layered):
    frame = Page(layered._repr_html_())
    ((tag, attributes),) = frame.elements
    assert tag == "iframe" and attributes["sandbox"] == "allow-scripts"
    assert Page(attributes["srcdoc"]).elements[0][0] == "html"
    assert layered._repr_png_().startswith(b"\x89PNG")


def test_no_tokens_at_all(tmp_path):
    nothing = np.zeros((2, 2, 0, 0), np.float32)
    own = Explanation("", "", [], [], nothing[0, 0], 0.0)
    empty = LayeredExplanation(own, nothing, nothing, nothing)
    empty.save(tmp_path / "empty.html")
    assert all(head.entropy == 0 for head in empty.statistics())
