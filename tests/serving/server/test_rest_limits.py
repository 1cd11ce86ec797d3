"""Requests over REST that are too large, too slow or too many."""

from __future__ import annotations

import contextlib
import gzip
import http.client
import json
import socket
import threading
import time

import numpy as np
import pytest
import rest_cases
from fake_versions import wait_for
from rest_case import send

from attention_zoo.serving.server import inference, rest
from attention_zoo.serving.server.request_bodies import RequestBodies
from attention_zoo.serving.server.server import ServerOptions, ServerThread


def test_a_large_body_that_is_refused_keeps_nobody_waiting(server, monkeypatch):
    begun, answered = threading.Event(), threading.Event()
    waited = []

    def parse_slowly(body):
        begun.set()
        waited.append(answered.wait(20))
        return {}

    monkeypatch.setattr(inference, "parse", parse_slowly)
    body = (server, "POST", "/v1/models/calc:predict", b" " * 20_000)
    sending = threading.Thread(target=send, args=body)
    sending.start()
    assert begun.wait(20)
    assert send(server, "GET", "/v1/models/calc")[0] == 200
    answered.set()
    sending.join()
    assert waited == [True]


@pytest.fixture(scope="module")
def hasty(wire_folder):
    """A server with little patience."""
    options = ServerOptions(rest_port=0, grpc_port=None, receive_timeout=0.5)
    with ServerThread(wire_folder, options) as running:
        yield running


HEAD = f"POST {rest_cases.PREDICT} HTTP/1.1\r\nHost: localhost\r\n".encode()


@pytest.mark.parametrize("sent", [b"", HEAD, HEAD + b"Content-Length: 20\r\n\r\n{"])
def test_a_client_that_takes_too_long_is_told_so(sent, hasty):
    address = hasty.address
    with socket.create_connection((address.host, address.rest_port), timeout=10) as opened:
        opened.sendall(sent)
        answer = b""
        while b"}" not in answer:
            answer += opened.recv(1000)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
    assert b"application/json" in head
    assert json.loads(body) == {"error": "The request was not sent within 0.5 seconds"}


def test_a_client_that_does_not_take_its_reply_is_let_go(hasty):
    text = "a" * 8_000_000  # more than the system keeps for a client
    body = json.dumps({"signature_name": "echo", "inputs": [text]}).encode()
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        client.settimeout(30)
        client.connect((hasty.address.host, hasty.address.rest_port))
        client.sendall(HEAD + f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
        mine = client.getsockname()
        open_ones = hasty.server._runner.server
        wait_for(lambda: all(one.peername != mine for one in open_ones.connections), 30)
        read = 0
        with contextlib.suppress(ConnectionResetError):
            while part := client.recv(2**20):
                read += len(part)
    assert 0 < read < len(text)


def test_a_client_may_think_as_long_as_it_likes_between_requests(hasty):
    address = hasty.address
    connection = http.client.HTTPConnection(address.host, address.rest_port, timeout=10)
    body = rest_cases.ask(instances=[1.0])
    connection.request("POST", rest_cases.PREDICT, body)
    assert connection.getresponse().read()
    opened = connection.sock
    time.sleep(0.7)
    connection.request("POST", rest_cases.PREDICT, body)
    assert json.loads(connection.getresponse().read()) == {"predictions": [3.5]}
    assert connection.sock is opened
    connection.close()


def test_limits_on_time_and_size(wire_folder):
    options = ServerOptions(rest_port=0, grpc_port=None, timeout=2.0, max_body_bytes=10_000)
    with ServerThread(wire_folder, options) as small:
        body = rest_cases.ask("slow", instances=[1e6])
        status, _, reply = send(small, "POST", rest_cases.PREDICT, body)
        assert status == 504
        assert "error" in json.loads(reply)
        status, _, reply = send(small, "POST", rest_cases.PREDICT, b"x" * 10_001)
        assert status == 413
        assert "larger than 10000 bytes" in json.loads(reply)["error"]
        bomb = gzip.compress(b" " * 10_000_000)
        headers = {"Content-Encoding": "gzip"}
        assert send(small, "POST", rest_cases.PREDICT, bomb, headers)[0] == 413
        ok = send(small, "POST", rest_cases.PREDICT, rest_cases.ask(instances=[1.0]))
        assert ok[0] == 200


def packed(server, body):
    """Status and body of the reply to a compressed request."""
    headers = {"Content-Encoding": "gzip"}
    status, _, reply = send(server, "POST", rest_cases.PREDICT, gzip.compress(body), headers)
    return status, reply


@pytest.mark.parametrize(
    "body",
    [
        b'{"x":1e100,"instances":[1' + b",1" * 8_000_000 + b"]}",
        b'{"instances":[{"a":1,"a":2}' + b',{"a":1,"a":2}' * 1_100_000 + b"]}",
        b"[" * 3_000_000,
        b'"\\ud83d\\ude42' * 500_000,
    ],
    ids=["numbers", "objects", "lists", "escapes"],
)
def test_a_small_body_that_unfolds_to_much_is_refused_before_it_is_read(body, server, monkeypatch):
    monkeypatch.setattr(inference, "parse", lambda body: pytest.fail("it was read"))
    status, reply = packed(server, body)
    assert status == 413
    assert b"unfolds to more than " in reply


def test_compressed_texts_may_unfold(server):
    generator = np.random.default_rng(3)
    texts = ["".join(chr(c) for c in generator.integers(97, 123, 40)) * 20 for _ in range(3000)]
    status, reply = packed(server, rest_cases.ask("echo", instances=texts).encode())
    assert (status, json.loads(reply)) == (200, {"predictions": texts})


@pytest.mark.parametrize("element", ["[]", "{}", '""', "1"])
def test_a_body_that_would_take_too_much_memory_is_refused_before_it_is_read(
    element, wire_folder, monkeypatch
):
    monkeypatch.setattr(inference, "parse", lambda body: pytest.fail("it was read"))
    options = ServerOptions(rest_port=0, grpc_port=None, max_body_bytes=10**6, max_bodies_bytes=1)
    with ServerThread(wire_folder, options) as small:
        body = f'{{"instances": [{",".join([element] * 100_000)}]}}'
        status, _, reply = send(small, "POST", rest_cases.PREDICT, body)
        assert status == 413
        assert "bytes of memory as lists and values" in json.loads(reply)["error"]


def test_the_deadline_holds_while_a_body_is_read_and_while_it_waits_for_a_thread(
    wire_folder, monkeypatch
):
    release = threading.Event()
    monkeypatch.setattr(inference, "parse", lambda body: release.wait(30) and {})
    options = ServerOptions(rest_port=0, grpc_port=None, timeout=0.3, num_threads=1)
    with ServerThread(wire_folder, options) as small:
        for _ in range(2):  # the second finds no thread
            status, _, reply = send(small, "POST", rest_cases.PREDICT, b" " * 20_000)
            assert (status, b"deadline passed" in reply) == (504, True)
        release.set()


def test_a_server_with_enough_to_do_refuses_what_it_has_not_even_read(wire_folder):
    options = ServerOptions(rest_port=0, grpc_port=None, max_pending=1)
    with ServerThread(wire_folder, options) as busy:
        statuses = []
        slow = rest_cases.ask("slow", instances=[1000.0])
        under_way = threading.Thread(
            target=lambda: statuses.append(send(busy, "POST", rest_cases.PREDICT, slow)[0])
        )
        under_way.start()
        wait_for(lambda: busy.server.core._pending == 1)
        status, _, reply = send(busy, "POST", rest_cases.PREDICT, "{")
        assert (status, json.loads(reply)["error"][:27]) == (503, "1 requests are under way, a")
        under_way.join()
        assert statuses == [200]
        assert send(busy, "POST", rest_cases.PREDICT, "{")[0] == 400


def test_bodies_of_all_requests_have_one_room(wire_folder, monkeypatch):
    made = []
    monkeypatch.setattr(
        rest, "RequestBodies", lambda *limits: made.append(RequestBodies(*limits)) or made[-1]
    )
    options = ServerOptions(
        rest_port=0, grpc_port=None, max_body_bytes=10_000, max_bodies_bytes=15_000
    )
    with ServerThread(wire_folder, options) as small, contextlib.ExitStack() as stack:
        (held,) = made

        def begin(size, total=9_000):
            address = (small.address.host, small.address.rest_port)
            client = stack.enter_context(socket.create_connection(address, timeout=5.0))
            client.sendall(HEAD + f"Content-Length: {total}\r\n\r\n{' ' * size}".encode())
            return client

        first = begin(8_000)
        wait_for(lambda: held.size == 8_000)
        begin(6_000)
        wait_for(lambda: held.size == 14_000)
        third = begin(2_000)
        reply = third.recv(2000)
        assert reply.startswith(b"HTTP/1.1 503 ") and b"no room for more; try again later" in reply
        assert held.size == 14_000
        ok = rest_cases.ask(instances=[1.0])
        assert send(small, "POST", rest_cases.PREDICT, ok)[0] == 200
        first.close()
        wait_for(lambda: held.size == 6_000)
        begin(8_500)
        wait_for(lambda: held.size == 14_500)


def test_a_body_that_is_announced_too_large_is_not_waited_for(wire_folder):
    options = ServerOptions(rest_port=0, grpc_port=None, max_body_bytes=10_000)
    with ServerThread(wire_folder, options) as small:
        address = small.address
        with socket.create_connection((address.host, address.rest_port), timeout=5.0) as client:
            client.sendall(HEAD + b"Content-Length: 10001\r\n\r\n")
            assert client.recv(1000).startswith(b"HTTP/1.1 413 ")
