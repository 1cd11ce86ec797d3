"""The clients against servers that are silent, slow, busy or none."""

from __future__ import annotations

import asyncio
import contextlib
import http.server
import json
import ssl
import threading
import time

import pytest

from attention_zoo.serving.client.async_client import AsyncClient
from attention_zoo.serving.client.client import Client, ClientError, Prediction
from attention_zoo.serving.client.retry import Retry
from attention_zoo.serving.runtime.errors import Code


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


def _untrusted(*arguments, **settings):
    error = ssl.SSLCertVerificationError(1, "[SSL: CERTIFICATE_VERIFY_FAILED] a line of OpenSSL's")
    error.verify_message = "self-signed certificate"
    raise error


def test_a_certificate_that_is_not_trusted_is_not_tried_again(monkeypatch):
    tried = []
    monkeypatch.setattr(
        "http.client.HTTPSConnection.connect", lambda self: _untrusted(tried.append(1))
    )
    with Client("https://a:1", "m") as client, pytest.raises(ClientError) as error:
        client.predict(["a"])
    assert "certificate of a:1 is not accepted (self-signed certificate)" in str(error.value)
    assert len(tried) == 1


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


class _Closing(_Replies):
    """Answers once on each connection, and closes it when it is asked again."""

    protocol_version = "HTTP/1.1"
    reply = (200, b'{"outputs": {"text": ["x"], "score": [1.0]}}')
    answered = False

    def do_POST(self):
        if not self.answered:
            super().do_POST()
        self.close_connection, self.answered = self.answered, True


def test_an_idle_connection_that_was_closed_is_opened_again(other_server):
    once = Retry(attempts=1)

    async def ask(url):
        async with AsyncClient(url, "m", retry=once) as client:
            return [*await client.predict(["a"]), *await client.predict(["b"])]

    url = other_server(base=_Closing)
    with Client(url, "m", retry=once) as client:
        assert client.predict(["a"]) == client.predict(["a"]) == [Prediction("x", 1.0)]
    assert asyncio.run(ask(url)) == 2 * [Prediction("x", 1.0)]
