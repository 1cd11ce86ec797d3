"""One policy of both clients over both transports: deadlines, retries, replies, credentials."""

from __future__ import annotations

import asyncio
import http.server
import os
import shutil
import socket
import subprocess
import threading
import time

import pytest
from scripted_server import GOOD, SERVE, Script

from attention_zoo.serving.client.client import AsyncClient, Client, ClientError, Prediction
from attention_zoo.serving.client.grpc_transport import CHANNEL_OPTIONS
from attention_zoo.serving.client.retry import Retry
from attention_zoo.serving.runtime.errors import Code

QUICK = Retry(attempts=3, first_wait=0.01)
BUSY = (Code.UNAVAILABLE, "not now")


def call_sync(calls, *arguments, **settings):
    """The results of calls of a `Client`."""
    with Client(*arguments, **settings) as client:
        return [call(client) for call in calls]


def call_async(calls, *arguments, **settings):
    """The results of calls of an `AsyncClient`."""

    async def called():
        async with AsyncClient(*arguments, **settings) as client:
            return [await call(client) for call in calls]

    return asyncio.run(called())


@pytest.fixture(params=[call_sync, call_async])
def make_calls(request):
    return request.param


@pytest.fixture
def ask(make_calls):
    """Asks a client for one prediction."""

    def asked(*arguments, source="a", **settings):
        return make_calls([lambda client: client.predict([source])], *arguments, **settings)[0]

    return asked


@pytest.fixture(params=["rest", "grpc"])
def kind(request):
    return request.param


@pytest.fixture
def serve():
    """Starts a server of a kind with the steps of a script; returns its address and the script."""
    stops = []

    def make(kind, *steps, tls=None):
        script = Script(*steps)
        url, stop = SERVE[kind](script, tls)
        stops.append(stop)
        return url, script

    yield make
    for stop in stops:
        stop()


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers over HTTP, whatever was asked, and logs nothing."""

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.answer()

    def reply(self, body):
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def serve_http():
    """Starts a server of a handler; returns its address."""
    started = []

    def start(handler):
        made = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        made.handle_error = lambda *arguments: None  # of a client that has gone
        threading.Thread(target=made.serve_forever, daemon=True).start()
        started.append(made)
        return f"http://127.0.0.1:{made.server_address[1]}"

    yield start
    for made in started:
        made.shutdown()
        made.server_close()


CASES = [
    # Steps, settings, what comes of it (predictions, or code and words), calls of the server.
    ([GOOD], {}, [Prediction("x", 1.0)], 1),
    ([BUSY, BUSY, GOOD], {"retry": QUICK}, [Prediction("x", 1.0)], 3),
    ([(Code.RESOURCE_EXHAUSTED, "full"), GOOD], {"retry": QUICK}, [Prediction("x", 1.0)], 2),
    ([BUSY] * 9 + [GOOD], {"retry": Retry(first_wait=0.01)}, [Prediction("x", 1.0)], 10),
    ([BUSY], {"retry": QUICK}, (Code.UNAVAILABLE, "not now"), 3),
    ([BUSY], {"retry": Retry(attempts=1)}, (Code.UNAVAILABLE, "not now"), 1),
    ([(Code.NOT_FOUND, "gone")], {"retry": QUICK}, (Code.NOT_FOUND, "gone"), 1),
    ([BUSY, (Code.NOT_FOUND, "gone")], {"retry": QUICK}, (Code.NOT_FOUND, "gone"), 2),
    ([{"text": ["x"]}], {}, (Code.INTERNAL, "not those of a model from text to text"), 1),
    ([{**GOOD, "text": [5.0]}], {}, (Code.INTERNAL, "5.0 is not a text"), 1),
    ([{**GOOD, "score": ["1"]}], {}, (Code.INTERNAL, "'1' is not a number"), 1),
    ([{**GOOD, "missing": [5.0]}], {}, (Code.INTERNAL, "5.0 is not a text"), 1),
    ([{**GOOD, "truncated": ["false"]}], {}, (Code.INTERNAL, "'false' is not true or false"), 1),
    ([{name: 2 * column for name, column in GOOD.items()}], {}, (Code.INTERNAL, "2 rows"), 1),
    # A server that says when to ask again is not asked before.
    ([(*BUSY, 1), GOOD], {"retry": QUICK, "timeout": 0.9}, (Code.UNAVAILABLE, "not now"), 1),
    ([(*BUSY, 1), GOOD], {"retry": QUICK, "timeout": 30.0}, [Prediction("x", 1.0)], 2),
]


@pytest.mark.parametrize("case", CASES, ids=range(len(CASES)))
def test_what_comes_of_a_call(case, ask, kind, serve):
    steps, settings, expected, calls = case
    url, script = serve(kind, *steps)
    if isinstance(expected, list):
        assert ask(url, "m", **settings) == expected
    else:
        with pytest.raises(ClientError) as error:
            ask(url, "m", **settings)
        assert error.value.code == expected[0]
        assert expected[1] in str(error.value) and "\n" not in str(error.value)
    assert script.calls == calls


def test_a_silent_server_is_given_up(ask, kind, serve):
    silence = threading.Event()
    url, script = serve(kind, silence)
    start = time.monotonic()
    with pytest.raises(ClientError, match=r"No answer within 0\.3") as error:
        ask(url, "m", timeout=0.3)
    assert error.value.code == Code.DEADLINE_EXCEEDED
    assert time.monotonic() - start < 5
    if kind == "grpc":
        assert 0 < script.time_left < 0.35  # gRPC rounds
    silence.set()


def test_a_server_that_comes_back_is_found(ask, kind, serve):
    """Without a policy of one's own, for as long as the client may take."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    scheme = {"rest": "http", "grpc": "grpc"}[kind]
    start = time.monotonic()
    with pytest.raises(ClientError, match=rf"No server answers at 127\.0\.0\.1:{port}") as error:
        ask(f"{scheme}://127.0.0.1:{port}", "m", timeout=2.0)
    assert error.value.code == Code.UNAVAILABLE
    assert 0.5 < time.monotonic() - start < 10


def test_headers_are_sent_with_every_request(ask, kind, serve):
    url, script = serve(kind, BUSY, GOOD)
    ask(url, "m", retry=QUICK, headers={"Authorization": "Bearer abc", "X-Tenant": "t"})
    assert [h.get("authorization") for h in script.headers] == ["Bearer abc"] * 2
    assert script.headers[0]["x-tenant"] == "t"


@pytest.fixture(scope="module")
def tls(tmp_path_factory):
    """An authority, and one certificate of it for a server and for a client."""
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl")
    folder = tmp_path_factory.mktemp("tls")
    names = {name: folder / f"{name}.pem" for name in ("ca", "ca_key", "key", "cert", "request")}

    def openssl(*arguments):
        subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)

    new = ["req", "-newkey", "rsa:2048", "-nodes", "-subj"]
    openssl(*new, "/CN=Test authority", "-x509", "-keyout", names["ca_key"], "-out", names["ca"])
    openssl(*new, "/CN=localhost", "-keyout", names["key"], "-out", names["request"])
    (folder / "extra").write_text("subjectAltName=DNS:localhost\n")
    signed = ["-CA", names["ca"], "-CAkey", names["ca_key"], "-CAcreateserial", "-out"]
    extra = ["-extfile", folder / "extra"]
    openssl("x509", "-req", "-in", names["request"], *signed, names["cert"], *extra)
    return {name: names[name] for name in ("ca", "cert", "key")}


def test_certificates_of_ones_own(ask, kind, serve, tls):
    url, script = serve(kind, GOOD, tls=tls)
    own = {"ca_file": tls["ca"], "cert_file": tls["cert"], "key_file": tls["key"]}
    assert ask(url, "m", **own) == [Prediction("x", 1.0)]
    start = time.monotonic()
    with pytest.raises(ClientError, match=r"certificate of localhost:\d+ is not accepted") as error:
        ask(url, "m", timeout=8)
    assert error.value.code == Code.UNAVAILABLE
    assert script.calls == 1 and time.monotonic() - start < 6  # it is not tried again
    with pytest.raises(ClientError):  # which shows no certificate
        ask(url, "m", ca_file=tls["ca"], retry=Retry(attempts=1))
    assert script.calls == 1


def test_a_closed_client_says_so(make_calls, kind, serve):
    url, script = serve(kind, GOOD)
    with pytest.raises(ClientError, match="closed") as error:
        make_calls([lambda client: client.close(), lambda client: client.predict(["a"])], url, "m")
    assert error.value.code == Code.FAILED_PRECONDITION and script.calls == 0


def test_a_message_that_is_too_large_is_sent_once(ask, kind, serve):
    """Over gRPC it is refused with the code of a server that is busy."""
    url, script = serve(kind, (Code.INVALID_ARGUMENT, "larger than max"))
    with pytest.raises(ClientError, match="larger than max"):
        ask(url, "m", source="a" * 20_000)
    assert script.calls <= 1


@pytest.mark.parametrize(
    ("model", "source", "codes", "word"),
    [
        # A number that cannot be sent: over REST the server refuses it, over gRPC the client.
        ("calc", {"length": 2**40}, [Code.INVALID_ARGUMENT, Code.FAILED_PRECONDITION], ""),
        ("toy", {"histroy": "b"}, [Code.INVALID_ARGUMENT], "histroy"),
    ],
)
def test_inputs_that_a_model_has_not_are_refused(model, source, codes, word, ask, kind, server):
    address = server.address
    url = address.rest_url if kind == "rest" else address.grpc_url
    with pytest.raises(ClientError) as error:
        ask(url, model, source={"text": "a", **source})
    assert error.value.code in codes and word in str(error.value)


def test_a_call_that_is_cancelled_tells_the_server(kind, serve):
    """It does not wait for the answer, nor does the connection stay open."""
    silence = threading.Event()
    url, _ = serve(kind, silence)

    async def cancelled():
        async with AsyncClient(url, "m") as client:
            call = asyncio.ensure_future(client.predict(["a"]))
            await asyncio.sleep(0.2)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call

    start = time.monotonic()
    asyncio.run(cancelled())
    assert time.monotonic() - start < 5
    silence.set()


def test_replies_that_trickle_are_given_up_and_redirects_are_not_followed(ask, serve_http):
    """Over HTTP alone, whose replies come in parts and may send elsewhere."""
    heads = {
        "head": b"HTTP/1.1 200 OK\r\nX-Slow: ",
        "body": b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n",
        "away": b"HTTP/1.1 307 Away\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
    }

    class Trickle(Handler):
        def answer(self):
            model = self.path.rpartition("/")[2].removesuffix(":predict")
            self.wfile.write(heads[model])
            while model != "away":  # until the client has gone
                self.wfile.write(b" ")
                time.sleep(0.05)

    url = serve_http(Trickle)
    for model in ("head", "body"):
        start = time.monotonic()
        with pytest.raises(ClientError, match=r"No answer within 0\.3") as error:
            ask(url, model, timeout=0.3)
        assert error.value.code == Code.DEADLINE_EXCEEDED
        assert time.monotonic() - start < 3
    with pytest.raises(ClientError, match=r"status 307, a redirect to http://127\.0\.0\.1:1/"):
        ask(url, "away")


@pytest.mark.parametrize("body", [b"<html>hello</html>", b'{"predictions": 1}', b"{}", b'"a"'])
def test_what_is_no_model_server_is_said_to_be_none(body, ask, serve_http):
    class Other(Handler):
        def answer(self):
            self.reply(body)

    with pytest.raises(ClientError, match="not as a model server") as error:
        ask(serve_http(Other), "m")
    assert error.value.code == Code.INTERNAL


def test_connections_are_kept_and_found_stale(make_calls, serve_http):
    """A server may close a connection that was idle, just when it is used again."""
    connections = []

    class Once(Handler):
        protocol_version = "HTTP/1.1"

        def setup(self):
            super().setup()
            self.answered = 0
            connections.append(self)

        def answer(self):
            self.answered += 1
            if self.answered == 3:  # it closes without a word
                self.close_connection = True
            else:
                self.reply(b'{"predictions": [{"text": "x", "score": 1.0}]}')

    calls = [lambda client: client.predict(["a"])] * 3
    found = make_calls(calls, serve_http(Once), "m", retry=Retry(attempts=1))
    assert found == 3 * [[Prediction("x", 1.0)]]
    assert [handler.answered for handler in connections] == [3, 1]


def test_a_client_looks_for_its_server_as_often_as_it_asks_again():
    """By default gRPC would wait longer after each failure, up to two minutes."""
    options = dict(CHANNEL_OPTIONS)
    assert options["grpc.initial_reconnect_backoff_ms"] <= 1000 * Retry().first_wait
    assert options["grpc.max_reconnect_backoff_ms"] <= 1000 * Retry().longest_wait


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_process_that_was_forked_can_ask(serve):
    url, _ = serve("rest", GOOD)
    with Client(url, "m") as client:
        client.predict(["a"])
        child = os.fork()
        if child == 0:
            try:
                os._exit(0 if client.predict(["b"]) == [Prediction("x", 1.0)] else 1)
            finally:
                os._exit(2)
        assert os.waitpid(child, 0)[1] == 0
        assert client.predict(["c"]) == [Prediction("x", 1.0)]
