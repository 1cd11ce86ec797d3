"""The clients against the server."""

from __future__ import annotations

import asyncio
import pickle
import time
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime

import numpy as np
import pytest

from attention_zoo.serving.client import requests
from attention_zoo.serving.client.client import AsyncClient, Client, ClientError, Prediction
from attention_zoo.serving.client.retry import Retry
from attention_zoo.serving.client.transports import _seconds
from attention_zoo.serving.export.check_report import CheckResult
from attention_zoo.serving.export.export import ExportError
from attention_zoo.serving.runtime.errors import Code, ServingError

TEXTS = ["the little dog", "", "two dogs and a cat sleep in the house"]


@pytest.fixture(params=["rest", "grpc"])
def url(request, server):
    return server.address.rest_url if request.param == "rest" else server.address.grpc_url


@pytest.fixture
def client(url):
    with Client(url, model="toy") as made:
        yield made


def test_predictions_are_those_of_the_pipeline(client, toy):
    expected = toy.serving_default(TEXTS)
    predictions = client.predict(TEXTS)
    assert [p.text for p in predictions] == [t.decode() for t in expected["text"].numpy()]
    assert [p.score for p in predictions] == pytest.approx(expected["score"].numpy(), abs=1e-4)
    assert [p.truncated for p in predictions] == [False, False, True]
    assert client.translate(TEXTS) == predictions
    assert client.predict(TEXTS[:1])[0].text == predictions[0].text


def test_whole_texts(client):
    text = "\n".join(TEXTS)
    lines = client.predict(TEXTS)
    assert [p.text for p in client.document([text, "", TEXTS[0]])] == [
        "\n".join(p.text for p in lines), "", lines[0].text,
    ]  # fmt: skip
    found = client.document([text])[0]
    assert found.score == pytest.approx(sum(p.score for p in lines), abs=1e-4)
    assert found.truncated and client.document([]) == []
    with pytest.raises(TypeError, match="'length' can be asked for in `predict` alone"):
        client.document([{"text": "b", "length": 3}])


def test_several_hypotheses(client, toy):
    expected = toy.n_best(TEXTS)
    found = client.n_best(TEXTS)
    assert [[p.text for p in row] for row in found] == [
        [text.decode() for text in row] for row in expected["text"].numpy()
    ]
    assert isinstance(found[0][0], Prediction)
    assert [{p.truncated for p in row} for row in found] == [{False}, {False}, {True}]
    assert found[0][1].score == pytest.approx(expected["score"].numpy()[0, 1], abs=1e-4)


def test_explanations_have_no_padding(client):
    short, empty, long = client.explain(TEXTS)
    assert (short.text, short.target) == (TEXTS[0], client.predict(TEXTS)[0].text)
    assert "".join(short.source_tokens).replace("▁", " ").strip() == TEXTS[0]
    assert short.attention.shape == (len(short.target_tokens), len(short.source_tokens))
    np.testing.assert_allclose(short.attention.sum(-1), 1.0, atol=1e-4)
    assert empty.source_tokens == [] and empty.attention.shape == (0, 0)
    assert len(long.source_tokens) > len(short.source_tokens)
    assert [found.truncated for found in (short, empty, long)] == [False, False, True]


def test_explanations_of_a_model_that_copies_have_its_shares():
    request = requests.explain(["a b"])
    outputs = {
        "text": ["a"],
        "source_tokens": [["▁a", "▁b", ""]],
        "target_tokens": [["▁a", "</s>", ""]],
        "attention": [np.eye(3).tolist()],
        "score": [-1.0],
        "p_gen": [[0.25, 0.75, 0.0]],
    }
    assert request.parse(outputs)[0].p_gen.tolist() == [0.25, 0.75]
    del outputs["p_gen"]
    assert request.parse(outputs)[0].p_gen is None


def test_many_texts_are_sent_in_several_requests(client, server):
    texts = [f"{text} {number}" for number in range(4) for text in TEXTS]
    with Client(client.url, "toy", batch_size=5) as small:
        assert [p.text for p in small.predict(texts)] == [p.text for p in client.predict(texts)]
        assert [e.text for e in small.explain(texts)] == texts
    assert len(client.predict(["a dog"] * 300)) == 300  # more than the server takes at once


def test_scores_of_targets(client, toy):
    expected = toy.score(TEXTS[:1], ["a house"])
    (score,) = client.score(TEXTS[:1], ["a house"])
    assert score.score == pytest.approx(float(expected["score"][0]), abs=1e-4)
    assert score.tokens == int(expected["tokens"][0])
    assert not score.truncated
    assert [s.truncated for s in client.score(["a", TEXTS[2]], [TEXTS[2], "a"])] == [True, True]
    with pytest.raises(ValueError, match="Received: 3 texts and 1 targets"):
        client.score(TEXTS, ["a house"])


def test_no_texts_need_no_server(client):
    assert client.predict([]) == []
    assert client.n_best([]) == []
    assert client.explain([]) == []
    assert client.score([], []) == []


def test_one_text_alone_is_refused(client):
    with pytest.raises(TypeError, match=r"write \['the dog'\]"):
        client.predict("the dog")


def test_sources_of_several_inputs_are_columns_by_name():
    sources = [{"text": "Hi", "history": "a\nb"}, {"text": "Yo"}, "Oh"]
    request = requests.predict(sources)
    assert request.signature == "serving_default"
    assert request.inputs == {"text": ["Hi", "Yo", "Oh"], "history": ["a\nb", "", ""]}
    outputs = {
        "text": ["x"],
        "source_tokens": [["a"]],
        "target_tokens": [["x"]],
        "attention": [[[1.0]]],
        "score": [-1.0],
    }
    # An export of an earlier version does not say that it cut anything.
    assert requests.predict(["Hi"]).parse(outputs) == [Prediction("x", -1.0, truncated=False)]
    told = requests.predict(["Hi"]).parse({**outputs, "missing": ["{a}\n<b>"]})
    assert told == [Prediction("x", -1.0, missing=("{a}", "<b>"))]
    several = {"text": [["x", "y"]], "score": [[-1.0, -2.0]], "missing": [["", "{a}"]]}
    (found,) = requests.n_best(["Hi"]).parse(several)
    assert found == [Prediction("x", -1.0), Prediction("y", -2.0, missing=("{a}",))]
    asked = {"history": "a\nb", "text": "Hi"}
    assert requests.explain([asked]).parse(outputs)[0].text == "a / b / Hi"
    assert requests.explain(["a\nb"]).parse(outputs)[0].text == "a\nb"
    request = requests.score([asked], ["x"])
    assert request.inputs == {"history": ["a\nb"], "text": ["Hi"], "target": ["x"]}


def test_texts_and_numbers_of_numpy_are_as_good_as_those_of_python():
    assert requests.predict(np.array(["a", "b"])).inputs == {"text": ["a", "b"]}
    rows = [{"text": np.str_("a"), "length": np.int64(3)}, {"text": "b", "length": 4}]
    columns = requests.predict(rows).inputs
    assert columns == {"text": ["a", "b"], "length": [3, 4]}
    assert {type(value) for column in columns.values() for value in column} == {str, int}


def test_a_wish_is_a_number_and_has_a_signature_of_its_own():
    request = requests.predict(["a", {"text": "b", "length": 3}])
    assert request.signature == "with_length"
    assert request.inputs == {"text": ["a", "b"], "length": [0, 3]}
    request = requests.predict([{"text": "a", "prefix": "b"}, "c"])
    assert request.signature == "with_prefix"
    assert request.inputs == {"text": ["a", "c"], "prefix": ["b", ""]}
    for ask in (requests.n_best, requests.explain, lambda rows: requests.score(rows, ["c"])):
        with pytest.raises(TypeError, match="'length' can be asked for in `predict` alone"):
            ask([{"text": "b", "length": 3}])


@pytest.mark.parametrize(
    ("sources", "words"),
    [
        ({"text": "a"}, "is a list of texts"),
        ([{"text": ["a"]}], "Received: list"),
        ([{"text": "a"}, {"text": 3}], "Received: int, str"),
        ([{"text": True}], "Received: bool"),
        ([3], "a text or a mapping"),
    ],
)
def test_sources_that_are_none(sources, words):
    with pytest.raises(TypeError, match=words):
        requests.predict(sources)


def test_targets_that_are_no_texts():
    with pytest.raises(TypeError, match=r"'targets' is a list of texts\. Received: None"):
        requests.score(["a"], [None])


@pytest.mark.parametrize(
    "ask",
    [
        lambda text: requests.predict(["a", text]),
        lambda text: requests.explain([{"text": "a"}, {"text": text}]),
        lambda text: requests.score(["a", "b"], ["a", text]),
    ],
)
def test_half_of_a_pair_of_surrogates_is_no_text(ask):
    with pytest.raises(ClientError, match=r"Text 1 of '.*' has no UTF-8") as error:
        ask("a \ud83d house")
    assert error.value.code == Code.INVALID_ARGUMENT


@pytest.mark.parametrize(
    ("settings", "code", "message"),
    [
        ({"model": "nope"}, Code.NOT_FOUND, "Servable not found for request: Latest(nope)"),
        (
            {"model": "toy", "version": 9},
            Code.NOT_FOUND,
            "Servable not found for request: Specific(toy, 9)",
        ),
        (
            {"model": "toy", "label": "x y/z"},
            Code.INVALID_ARGUMENT,
            "Unrecognized servable version label: x y/z",
        ),
    ],
)
def test_errors_of_the_server(settings, code, message, url):
    with Client(url, **settings) as client, pytest.raises(ClientError) as error:
        client.predict(["a"])
    assert (error.value.code, str(error.value)) == (code, message)


@pytest.mark.parametrize(
    "error",
    [
        ServingError(Code.UNAVAILABLE, "busy", permanent=True),
        ClientError(Code.NOT_FOUND, "no such model"),
        ExportError("refused", [CheckResult("weights", False, "twice")]),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_come_whole_from_other_processes(error):
    other = pickle.loads(pickle.dumps(error))
    assert (type(other), other.__dict__) == (type(error), error.__dict__)
    assert (str(other), other.args) == (str(error), error.args)


def test_versions_and_labels_reach_the_server(url):
    with Client(url, "toy", version=1) as client:
        assert client.predict(["a"])
    with (
        Client(url, "calc", label="stable") as client,
        pytest.raises(ClientError, match="input"),
    ):
        client.predict(["a"])


def test_waits_grow_and_end_with_the_deadline():
    retry = Retry(attempts=10, first_wait=0.1, longest_wait=1.0)
    busy = ServingError(Code.UNAVAILABLE, "busy")
    far = time.monotonic() + 1000
    waits = [retry.wait_after(busy, attempt, far) for attempt in range(1, 10)]
    for attempt, wait in enumerate(waits):
        longest = min(1.0, 0.1 * 2**attempt)
        assert longest / 2 <= wait <= longest
    assert retry.wait_after(busy, 10, far) is None
    assert retry.wait_after(busy, 1, time.monotonic() + 0.01) is None
    assert retry.wait_after(ServingError(Code.NOT_FOUND, ""), 1, far) is None
    assert Retry().wait_after(busy, 100, far) <= Retry().longest_wait
    busy.retry_after = 7.0
    assert retry.wait_after(busy, 1, far) == 7.0
    assert retry.wait_after(busy, 1, time.monotonic() + 5) is None
    with pytest.raises(ValueError, match="Received: attempts=0"):
        Retry(attempts=0)


def test_a_server_says_how_long_to_wait_in_seconds_or_until_when():
    soon = format_datetime(datetime.now(timezone.utc) + timedelta(seconds=30), usegmt=True)
    assert [_seconds(wait) for wait in ("7", "", "soon", "²", "-1")] == [7, 0, 0, 0, 0]
    assert 25 < _seconds(soon) <= 30
    assert _seconds("Wed, 21 Oct 2015 07:28:00 GMT") == 0


def test_tokens_in_a_reply_are_texts_and_their_number_is_whole():
    score = {"score": [-1.0], "tokens": [2.5]}
    with pytest.raises(ClientError, match=r"2\.5 is not a whole number"):
        requests.score(["a"], ["b"]).parse(score)
    row = {"text": ["x"], "score": [-1.0], "attention": [[[1.0]]], "target_tokens": [["x"]]}
    with pytest.raises(ClientError, match="7 is not a text"):
        requests.explain(["a"]).parse({**row, "source_tokens": [[7]]})


def test_the_client_for_asyncio_answers_as_the_other(url):
    async def ask():
        async with AsyncClient(url, "toy") as client:
            return await asyncio.gather(
                client.predict(TEXTS),
                client.n_best(TEXTS),
                client.explain(TEXTS),
                client.score(TEXTS, TEXTS),
                client.translate([]),
            )

    predictions, hypotheses, explanations, scores, nothing = asyncio.run(ask())
    with Client(url, "toy") as client:
        assert [p.text for p in predictions] == [p.text for p in client.predict(TEXTS)]
        assert [len(row) for row in hypotheses] == [len(row) for row in client.n_best(TEXTS)]
        assert explanations[0].target_tokens == client.explain(TEXTS)[0].target_tokens
        assert [s.tokens for s in scores] == [s.tokens for s in client.score(TEXTS, TEXTS)]
    assert nothing == []


def test_the_client_for_asyncio_goes_from_one_loop_to_the_next(url):
    client = AsyncClient(url, "toy")
    first, second = (asyncio.run(client.predict(TEXTS)) for _ in range(2))
    assert first == second
    asyncio.run(client.close())


@pytest.mark.parametrize("make", [Client, AsyncClient])
def test_a_colon_in_a_label_is_part_of_it(make, server):
    client = make(server.address.rest_url, "toy", label="a:b")
    with pytest.raises(ClientError, match="Unrecognized servable version label: a:b"):
        asyncio.run(client.predict(["a"])) if make is AsyncClient else client.predict(["a"])
    asyncio.run(client.close()) if make is AsyncClient else client.close()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"url": "127.0.0.1:8501", "model": "m"}, "Received: url="),
        ({"url": "ftp://host", "model": "m"}, "Received: url="),
        ({"url": "http://host:port", "model": "m"}, "Received: url="),
        ({"url": "http://model..server", "model": "m"}, "Received: url="),
        ({"url": "http://host", "model": "m", "timeout": 0}, "Received: timeout=0"),
        ({"url": "http://host", "model": "m", "timeout": float("inf")}, "Received: timeout=inf"),
        ({"url": "http://host", "model": "m", "timeout": float("nan")}, "Received: timeout=nan"),
        ({"url": "http://h", "model": "m", "version": 1, "label": "a"}, "not by both"),
        ({"url": "http://h", "model": "m", "batch_size": 0}, "Received: batch_size=0"),
    ],
)
def test_impossible_settings(arguments, message):
    with pytest.raises(ValueError, match=message):
        Client(**arguments)
