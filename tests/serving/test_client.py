"""The clients against the server, and against servers that are none."""

from __future__ import annotations

import asyncio
import contextlib
import http.server
import json
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from attention_zoo.serving import questions
from attention_zoo.serving.async_client import AsyncClient
from attention_zoo.serving.client import Client, ClientError, Prediction
from attention_zoo.serving.errors import Code, ServingError
from attention_zoo.serving.retry import Retry

TEXTS = ["the little dog", "", "two dogs and a cat sleep in the house"]


@pytest.fixture(params=["rest", "grpc"])
def client(request, server):
    address = server.address
    url = address.rest_url if request.param == "rest" else address.grpc_url
    with Client(url, model="toy") as made:
        yield made


def test_predictions_are_those_of_the_pipeline(client, toy):
    expected = toy.serving_default(TEXTS)
    predictions = client.predict(TEXTS)
    assert [p.text for p in predictions] == [t.decode() for t in expected["text"].numpy()]
    assert [p.score for p in predictions] == pytest.approx(expected["score"].numpy(), abs=1e-4)
    assert client.translate(TEXTS) == predictions
    assert client.predict(TEXTS[:1])[0].text == predictions[0].text


def test_several_hypotheses(client, toy):
    expected = toy.n_best(TEXTS)
    found = client.n_best(TEXTS)
    assert [[p.text for p in row] for row in found] == [
        [text.decode() for text in row] for row in expected["text"].numpy()
    ]
    assert isinstance(found[0][0], Prediction)
    assert found[0][1].score == pytest.approx(expected["score"].numpy()[0, 1], abs=1e-4)


def test_explanations_have_no_padding(client):
    short, empty, long = client.explain(TEXTS)
    assert (short.text, short.target) == (TEXTS[0], client.predict(TEXTS)[0].text)
    assert "".join(short.source_tokens).replace("▁", " ").strip() == TEXTS[0]
    assert short.attention.shape == (len(short.target_tokens), len(short.source_tokens))
    np.testing.assert_allclose(short.attention.sum(-1), 1.0, atol=1e-4)
    assert empty.source_tokens == [] and empty.attention.shape == (0, 0)
    assert len(long.source_tokens) > len(short.source_tokens)


def test_explanations_of_a_model_that_copies_have_its_shares():
    question = questions.explain(["a b"])
    outputs = {
        "text": ["a"],
        "source_tokens": [["▁a", "▁b", ""]],
        "target_tokens": [["▁a", "</s>", ""]],
        "attention": [np.eye(3).tolist()],
        "score": [-1.0],
        "p_gen": [[0.25, 0.75, 0.0]],
    }
    assert question.answer(outputs)[0].p_gen.tolist() == [0.25, 0.75]
    del outputs["p_gen"]
    assert question.answer(outputs)[0].p_gen is None


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
    question = questions.predict(sources)
    assert question.signature == "serving_default"
    assert question.inputs == {"text": ["Hi", "Yo", "Oh"], "history": ["a\nb", "", ""]}
    outputs = {
        "text": ["x"],
        "source_tokens": [["a"]],
        "target_tokens": [["x"]],
        "attention": [[[1.0]]],
        "score": [-1.0],
    }
    asked = {"history": "a\nb", "text": "Hi"}
    assert questions.explain([asked]).answer(outputs)[0].text == "a / b / Hi"
    assert questions.explain(["a\nb"]).answer(outputs)[0].text == "a\nb"
    question = questions.score([asked], ["x"])
    assert question.inputs == {"history": ["a\nb"], "text": ["Hi"], "target": ["x"]}


def test_a_wish_is_a_number_and_has_a_signature_of_its_own():
    question = questions.predict(["a", {"text": "b", "length": 3}])
    assert question.signature == "with_length"
    assert question.inputs == {"text": ["a", "b"], "length": [0, 3]}
    for ask in (questions.n_best, questions.explain, lambda rows: questions.score(rows, ["c"])):
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
        questions.predict(sources)


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
@pytest.mark.parametrize("kind", ["rest", "grpc"])
def test_errors_of_the_server(settings, code, message, kind, server):
    url = server.address.rest_url if kind == "rest" else server.address.grpc_url
    with Client(url, **settings) as client, pytest.raises(ClientError) as error:
        client.predict(["a"])
    assert (error.value.code, str(error.value)) == (code, message)


@pytest.mark.parametrize("kind", ["rest", "grpc"])
def test_versions_and_labels_reach_the_server(kind, server):
    url = server.address.rest_url if kind == "rest" else server.address.grpc_url
    with Client(url, "toy", version=1) as client:
        assert client.predict(["a"])
    with (
        Client(url, "calc", label="stable") as client,
        pytest.raises(ClientError, match="input"),
    ):
        client.predict(["a"])


class _Replies(http.server.BaseHTTPRequestHandler):
    """Answers every POST with what stands in `reply`."""

    reply: tuple[int, bytes] = (200, b"")
    wait: threading.Event | None = None

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        if self.wait is not None:
            self.wait.wait(10)
            return
        status, body = self.reply
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def other_server():
    """Makes a server with fixed replies and returns its address."""
    running = []

    def make(**settings):
        handler = type("Handler", (settings.pop("base", _Replies),), settings)
        made = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=made.serve_forever, daemon=True).start()
        running.append(made)
        return f"http://127.0.0.1:{made.server_address[1]}"

    yield make
    for made in running:
        made.shutdown()
        made.server_close()


@pytest.mark.parametrize(
    ("reply", "code", "message"),
    [
        ((200, b"<html>hello</html>"), Code.INTERNAL, "not as a model server"),
        ((200, b'{"outputs": [1]}'), Code.INTERNAL, "not as a model server"),
        ((503, b"busy"), Code.UNAVAILABLE, "answered with status 503"),
        ((429, b'{"error": "queue full"}'), Code.RESOURCE_EXHAUSTED, "queue full"),
        ((502, b""), Code.UNAVAILABLE, "answered with status 502"),
    ],
)
def test_replies_of_other_servers(reply, code, message, other_server):
    once = Retry(attempts=1)
    with (
        Client(other_server(reply=reply), "m", retry=once) as client,
        pytest.raises(ClientError) as error,
    ):
        client.predict(["a"])
    assert error.value.code == code
    assert message in str(error.value)


class _Busy(_Replies):
    """Refuses some requests with `refusal`, then answers."""

    refusals = 2
    refusal = (503, b'{"error": "busy"}')
    good = (200, b'{"outputs": {"text": ["x"], "score": [1.0]}}')

    def do_POST(self):
        kind = type(self)
        self.reply = self.refusal if kind.refusals > 0 else self.good
        kind.refusals -= 1
        super().do_POST()


class _Slow(_Replies):
    """Sends a byte of its reply now and then."""

    reply = (200, b"{")

    def do_POST(self):
        super().do_POST()
        with contextlib.suppress(OSError):  # the client has gone
            for _ in range(100):
                time.sleep(0.05)
                self.wfile.write(b" ")

    def send_header(self, name, value):
        super().send_header(name, "1000")


QUICK = Retry(attempts=3, first_wait=0.01)


def ask_async(*arguments, **settings):
    """One prediction by an `AsyncClient`."""

    async def ask():
        async with AsyncClient(*arguments, **settings) as client:
            return await client.predict(["a"])

    return asyncio.run(ask())


def ask(*arguments, **settings):
    """One prediction by a `Client`."""
    with Client(*arguments, **settings) as client:
        return client.predict(["a"])


@pytest.mark.parametrize("ask", [ask, ask_async])
@pytest.mark.parametrize("silent", [True, False])
def test_a_silent_or_slow_server_is_given_up(silent, ask, other_server):
    wait = threading.Event()
    url = other_server(wait=wait) if silent else other_server(base=_Slow)
    with pytest.raises(ClientError, match=r"No answer within 0.2 seconds") as error:
        ask(url, "m", timeout=0.2)
    assert error.value.code == Code.DEADLINE_EXCEEDED
    wait.set()


@pytest.mark.parametrize("ask", [ask, ask_async])
def test_a_busy_server_is_asked_again(ask, other_server):
    for status in (503, 429):
        url = other_server(base=_Busy, refusal=(status, b'{"error": "busy"}'))
        assert ask(url, "m", retry=QUICK) == [Prediction("x", 1.0)]


@pytest.mark.parametrize("ask", [ask, ask_async])
def test_a_server_is_not_asked_for_ever(ask, other_server):
    with pytest.raises(ClientError, match="busy"):
        ask(other_server(base=_Busy, refusals=3), "m", retry=QUICK)
    with pytest.raises(ClientError, match="wrong"):
        ask(other_server(base=_Busy, refusals=1, refusal=(400, b'{"error": "wrong"}')), "m")


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
    with pytest.raises(ValueError, match="Received: attempts=0"):
        Retry(attempts=0)


@pytest.mark.parametrize("kind", ["rest", "grpc"])
def test_the_client_for_asyncio_answers_as_the_other(kind, server):
    url = server.address.rest_url if kind == "rest" else server.address.grpc_url

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


@pytest.mark.parametrize("ask", [ask, ask_async])
@pytest.mark.parametrize("kind", ["http", "grpc"])
def test_nobody_listens(ask, kind):
    with pytest.raises(ClientError, match=r"No server answers at 127\.0\.0\.1:1") as error:
        ask(f"{kind}://127.0.0.1:1", "m", timeout=10, retry=QUICK)
    assert error.value.code == Code.UNAVAILABLE


@pytest.mark.parametrize("outputs", [{"text": ["x"]}, {"text": ["x"], "score": ["high"]}])
def test_a_model_of_another_kind(outputs, other_server):
    reply = json.dumps({"outputs": outputs}).encode()
    with pytest.raises(ClientError, match="not those of a model from text to text"):
        ask(other_server(reply=(200, reply)), "m")


def test_connections_are_as_many_as_calls_at_a_time(other_server):
    with Client(other_server(base=_Busy, refusals=0), "m") as client:
        for _ in range(3):
            thread = threading.Thread(target=client.predict, args=(["a"],))
            thread.start()
            thread.join()
        assert len(client._transport._idle) == 1


def test_an_idle_connection_that_was_closed_is_opened_again(other_server):
    reply = b'{"outputs": {"text": ["x"], "score": [1.0]}}'
    with Client(other_server(reply=(200, reply)), "m") as client:
        # The server above speaks HTTP/1.0 and closes after each reply.
        assert client.predict(["a"]) == client.predict(["a"]) == [Prediction("x", 1.0)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"url": "127.0.0.1:8501", "model": "m"}, "Received: url="),
        ({"url": "ftp://host", "model": "m"}, "Received: url="),
        ({"url": "http://host:port", "model": "m"}, "Received: url="),
        ({"url": "http://host", "model": "m", "timeout": 0}, "Received: timeout=0"),
        ({"url": "http://h", "model": "m", "version": 1, "label": "a"}, "not by both"),
        ({"url": "http://h", "model": "m", "batch_size": 0}, "Received: batch_size=0"),
    ],
)
def test_impossible_settings(arguments, message):
    with pytest.raises(ValueError, match=message):
        Client(**arguments)


def test_a_client_for_rest_needs_no_tensorflow():
    code = (
        "import sys\n"
        "from attention_zoo.serving import Client\n"
        "Client('http://127.0.0.1:1', model='m')\n"
        "heavy = {'tensorflow', 'keras', 'grpc', 'aiohttp'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
