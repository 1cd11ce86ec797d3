"""What a server on a network meets: broken requests, silent clients, clients that vanish.

The quick run sends a few hundred of each; `-m slow` sends ten thousand. Everything stays on this
machine and ends after a fixed number of requests.
"""

from __future__ import annotations

import http.client
import json
import random
import socket
import threading
import time

import grpc
import pytest

PREDICT = "/v1/models/calc:predict"
GOOD = b'{"instances": [1.0]}'
PIECES = [
    b'{"instances": [1.0, 2.0]}',
    b'{"inputs": {"x": [[1.0], [2.0]]}}',
    b'{"signature_name": "echo", "instances": [{"b64": "aGVsbG8="}, "x"]}',
    b'{"signature_name": "add", "instances": [{"a": 1, "b": 2}]}',
    b'{"signature_name": "kinds", "inputs": {"flag": [true], "long": [1], "double": [1], '
    b'"byte": [1]}}',
]
TOKENS = [b"{", b"}", b"[", b"]", b'"', b",", b":", b"\\u", b"\\", b"null", b"NaN", b"-", b"1e9"]
TOKENS += [b"\xff", b"\x00", b"999999999999999999999", b'"b64"', b'"inputs"', b'"instances"']


def mutate(generator, body):
    """A body with some bytes changed, cut out, repeated or put in."""
    data = bytearray(body)
    for _ in range(generator.randint(1, 4)):
        place = generator.randrange(len(data) + 1)
        kind = generator.randrange(4)
        if kind == 0 and data:
            data[place % len(data)] = generator.randrange(256)
        elif kind == 1:
            del data[place : place + generator.randint(1, 8)]
        elif kind == 2:
            data[place:place] = generator.choice(TOKENS)
        else:
            data[place:place] = data[: generator.randint(0, 20)]
    return bytes(data)


def post(connection, body, path=PREDICT, headers=None):
    connection.request("POST", path, body, headers or {})
    with connection.getresponse() as response:
        return response.status, response.read()


@pytest.fixture
def connection(server):
    address = server.address
    opened = http.client.HTTPConnection(address.host, address.rest_port, timeout=60)
    yield opened
    opened.close()


@pytest.fixture
def still_well(server):
    """Asks a valid question after the test, and looks for errors that the server did not expect."""
    yield
    address = server.address
    fresh = http.client.HTTPConnection(address.host, address.rest_port, timeout=60)
    assert post(fresh, GOOD)[0] == 200
    fresh.close()
    assert 'status="INTERNAL"' not in server.server.metrics.page()


def send_broken_bodies(connection, count, seed):
    generator = random.Random(seed)
    statuses = {}
    for _ in range(count):
        body = mutate(generator, generator.choice(PIECES))
        status, reply = post(connection, body)
        statuses[status] = statuses.get(status, 0) + 1
        if status == 200:
            assert b'"predictions"' in reply or b'"outputs"' in reply
        else:
            assert status in (400, 404, 501), (status, body, reply)
            text = reply.decode("utf-8", "surrogateescape")
            assert list(json.loads(text)) == ["error"], (body, reply)
    return statuses


@pytest.mark.usefixtures("still_well")
def test_broken_bodies_get_their_message(connection):
    statuses = send_broken_bodies(connection, 300, seed=1)
    assert statuses[400] > 100


@pytest.mark.slow
@pytest.mark.usefixtures("still_well")
def test_ten_thousand_broken_bodies(connection):
    send_broken_bodies(connection, 10_000, seed=2)


def send_broken_messages(server, count, seed):
    """Bytes that are no messages, or messages of something else, to every method of gRPC."""
    from tensorflow_serving.apis import predict_pb2

    good = predict_pb2.PredictRequest()
    good.model_spec.name = "calc"
    good.inputs["x"].dtype = 1
    good.inputs["x"].tensor_shape.dim.add(size=2)
    good.inputs["x"].float_val.extend([1.0, 2.0])
    generator = random.Random(seed)
    codes = {}
    address = server.address
    with grpc.insecure_channel(f"{address.host}:{address.grpc_port}") as channel:
        for _ in range(count):
            service, method = generator.choice(
                [
                    ("PredictionService", "Predict"),
                    ("PredictionService", "GetModelMetadata"),
                    ("PredictionService", "Classify"),
                    ("ModelService", "GetModelStatus"),
                    ("ModelService", "Nothing"),
                ]
            )
            call = channel.unary_unary(f"/tensorflow.serving.{service}/{method}")
            try:
                call(mutate(generator, good.SerializeToString()), timeout=60)
                code = "OK"
            except grpc.RpcError as error:
                code = error.code().name
            codes[code] = codes.get(code, 0) + 1
    return codes


@pytest.mark.usefixtures("still_well")
def test_broken_messages_get_their_code(server):
    codes = send_broken_messages(server, 300, seed=3)
    allowed = {"OK", "INVALID_ARGUMENT", "NOT_FOUND", "UNIMPLEMENTED", "FAILED_PRECONDITION"}
    assert set(codes) <= allowed
    assert codes["INVALID_ARGUMENT"] > 50


@pytest.mark.slow
@pytest.mark.usefixtures("still_well")
def test_ten_thousand_broken_messages(server):
    send_broken_messages(server, 10_000, seed=4)


def raw(server, data, wait=10.0):
    """What the server answers to some bytes on a new connection."""
    address = server.address
    with socket.create_connection((address.host, address.rest_port), timeout=wait) as opened:
        opened.sendall(data)
        opened.shutdown(socket.SHUT_WR)
        received = b""
        while chunk := opened.recv(65536):
            received += chunk
        return received


@pytest.mark.usefixtures("still_well")
@pytest.mark.parametrize(
    "data",
    [
        b"hello\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 64,
        b"POST " + PREDICT.encode() + b" HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n",
        b"POST " + PREDICT.encode() + b" HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /v1/models/calc HTTP/1.1\r\n" + b"x: y\r\n" * 10_000 + b"\r\n",
        b"GET /v1/models/%ff%00%zz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        b"GET //etc/passwd HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        b"GET /v1/models/../../etc/passwd HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    ],
    ids=lambda data: data[:24].decode("latin-1").strip(),
)
def test_what_is_no_request_is_refused(data, server):
    answer = raw(server, data)
    status = int(answer.split(b" ")[1]) if answer.startswith(b"HTTP/1.") else 400
    assert 400 <= status < 500
    assert b"root:" not in answer


@pytest.mark.usefixtures("still_well")
def test_clients_that_vanish_leave_no_trace(server):
    address = server.address
    body = json.dumps({"signature_name": "slow", "instances": [200.0]}).encode()
    head = f"POST {PREDICT} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
    head = f"{head}\r\n".encode()
    for number in range(30):
        opened = socket.create_connection((address.host, address.rest_port), timeout=10)
        opened.sendall((head + body)[: len(head) + number * len(body) // 20])
        opened.close()


@pytest.mark.usefixtures("still_well")
def test_silent_and_slow_clients_keep_nobody_waiting(server, connection):
    address = server.address
    idle = [
        socket.create_connection((address.host, address.rest_port), timeout=10) for _ in range(200)
    ]
    try:
        for opened in idle[:50]:
            opened.sendall(b"POST /v1/models/calc:predict HTTP/1.1\r\nHost: localhost\r\nX: ")
        start = time.monotonic()
        assert post(connection, GOOD)[0] == 200
        assert time.monotonic() - start < 10
    finally:
        for opened in idle:
            opened.close()


@pytest.mark.usefixtures("still_well")
def test_good_requests_are_answered_rightly_among_broken_ones(server):
    address = server.address
    faults = []
    stop = threading.Event()

    def disturb(seed):
        generator = random.Random(seed)
        opened = http.client.HTTPConnection(address.host, address.rest_port, timeout=60)
        while not stop.is_set():
            post(opened, mutate(generator, generator.choice(PIECES)))
        opened.close()

    def ask(number):
        opened = http.client.HTTPConnection(address.host, address.rest_port, timeout=60)
        for value in range(50):
            x = float(100 * number + value)
            status, reply = post(opened, json.dumps({"instances": [x]}).encode())
            if status != 200 or json.loads(reply) != {"predictions": [x / 2 + 3]}:
                faults.append((x, status, reply))
        opened.close()

    disturbers = [threading.Thread(target=disturb, args=(seed,)) for seed in range(2)]
    askers = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    for thread in disturbers + askers:
        thread.start()
    for thread in askers:
        thread.join()
    stop.set()
    for thread in disturbers:
        thread.join()
    assert not faults
