"""Requests that a generator makes wrong in every part, with right ones beside them.

The generator is seeded: a request that fails here is found again by its number.
"""

from __future__ import annotations

import gzip
import http.client
import json
import os
import random
import re
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import numpy as np
import pytest

from attention_zoo.serving.runtime import protos
from attention_zoo.serving.runtime.tensor_protos import fill_tensor

PATH = "/v1/models/calc"
SIGNATURES = ["add", "echo", "image", "kinds", "refuse", "scalar", "half", "uneven", "nothing", ""]
INPUTS = ["x", "a", "b", "text", "flag", "long", "double", "byte", "image_bytes", "y", ""]
NUMBERS = ["0", "-1", "1.5", "1e400", "-1e-400", "NaN", "-Infinity", "00", "1e", "9" * 400, "0x1"]
TEXTS = ['"a"', '"\\ud800"', '"\\u00"', '"é"', '"\x00"', '"' + "x" * 5000 + '"', '{"b64": "YQ=="}']
TEXTS += ['{"b64": "*"}', '{"b64": 1}', '{"b64": "YQ==", "c": 1}', "null", "true", "fals"]


def value(generator, depth=0):
    """The text of a JSON value, or nearly of one."""
    kind = generator.randrange(10)
    if kind < 3 or depth > 4:
        return generator.choice(NUMBERS)
    if kind < 6:
        return generator.choice(TEXTS)
    if kind < 9:
        parts = [value(generator, depth + 1) for _ in range(generator.randrange(4))]
        return f"[{','.join(parts)}{generator.choice(['', '', '', ','])}]"
    if generator.random() < 0.2:
        return "[" * generator.choice([33, 65, 255, 5000]) + "1"
    names = generator.choices(INPUTS, k=generator.randrange(3))
    return "{" + ",".join(f'"{n}":{value(generator, depth + 1)}' for n in names) + "}"


def body_of(generator):
    """The bytes of a body."""
    names = ["signature_name", "instances", "inputs", "examples", "instances"]
    members = []
    for name in generator.choices(names, k=generator.randrange(1, 4)):
        content = value(generator)
        if name == "signature_name" and generator.random() < 0.8:
            content = json.dumps(generator.choice(SIGNATURES))
        members.append(f'"{name}": {content}')
    text = "{" + ", ".join(members) + generator.choice(["}", "}", "}", "", "}}", "} x"])
    data = text.encode("utf-8", "surrogatepass")
    if generator.random() < 0.1:
        place = generator.randrange(len(data))
        data = data[:place] + bytes(generator.choices(range(256), k=3)) + data[place:]
    return data


def request_of(generator):
    """The bytes of a request over HTTP."""
    method = generator.choices(["POST", "GET", "PUT", "OPTIONS", "HEAD", "P\x00ST"], [20] + [1] * 5)
    address = generator.choices(
        [
            f"{PATH}:predict",
            f"{PATH}/versions/{generator.choice(['1', '03', '-1', '9' * 30, '%31'])}:predict",
            f"{PATH}/labels/{generator.choice(['stable', '%00', 'a%2Fb', '', '..'])}:predict",
            f"/v1/models/{generator.choice(['%ff', 'calc%0a', '../calc', 'a' * 3000])}:predict",
            f"{PATH}:predict?{generator.choice(['', 'a=b', '%'])}",
            generator.choice(
                ["/", "*", "/v1/", "//calc", "http://x/v1/models/calc", "/%zz", "calc"]
            ),
        ],
        [10, 2, 2, 2, 1, 1],
    )
    body = body_of(generator)
    headers = ["Host: localhost", "Connection: close"]
    length = len(body)
    kind = generator.randrange(20)
    if kind == 0:
        body = gzip.compress(body) if generator.random() < 0.5 else body
        length = len(body)
        headers.append(f"Content-Encoding: {generator.choice(['gzip', 'deflate', 'br', 'x'])}")
    elif kind == 1:
        headers[0] = f"Host: {generator.choice(['evil.example', '', '[', 'localhost:x'])}"
    elif kind == 2:
        headers.append(
            generator.choice(["Expect: 100-continue", "Expect: x", "X", ": y", "A\x00: b"])
        )
    elif kind == 3:
        length = generator.choice(["x", "-1", "1" * 30, "", "0x10", "+5"])
    elif kind == 4:
        headers.append("Transfer-Encoding: chunked")
        body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body) if generator.random() < 0.5 else body
    elif kind == 5:
        headers.append("X: " + "y" * generator.choice([100, 9000, 70_000]))
    head = f"{method[0]} {address[0]} HTTP/1.1\r\n" + "\r\n".join(headers)
    head += f"\r\nContent-Length: {length}\r\n\r\n"
    return head.encode("utf-8", "replace") + body


def message_of(generator):
    """The bytes of a message of gRPC."""
    request = protos.PredictRequest()
    request.model_spec.name = generator.choice(["calc", "calc", "calc", "", "x\n", "é" * 600])
    request.model_spec.signature_name = generator.choice(SIGNATURES)
    if generator.random() < 0.2:
        request.model_spec.version.value = generator.choice([1, -1, 2**62])
    elif generator.random() < 0.2:
        request.model_spec.version_label = generator.choice(["stable", "", "\x00"])
    for name in generator.choices(INPUTS, k=generator.randrange(4)):
        tensor = request.inputs[name]
        if generator.random() < 0.3:
            kinds = [np.float32([1, 2]), np.int64([[1]]), np.array([b"\xff"], object), np.zeros(0)]
            fill_tensor(tensor, generator.choice(kinds))
        tensor.dtype = generator.choice([1, 1, 3, 7, 9, 0, 14, 20, 99, -5, tensor.dtype])
        for _ in range(generator.randrange(3)):
            tensor.tensor_shape.dim.add(size=generator.choice([0, 1, 2, -1, 2**40, 2**62]))
        tensor.tensor_shape.unknown_rank = generator.random() < 0.1
        if generator.random() < 0.3:
            tensor.tensor_content = bytes(generator.choices(range(256), k=generator.randrange(9)))
        tensor.float_val.extend([1.0] * generator.randrange(3))
    request.output_filter.extend(generator.choices(["y", "sum", ""], k=generator.randrange(2)))
    data = bytearray(request.SerializeToString())
    for _ in range(generator.choice([0, 0, 0, 1, 5])):
        data[generator.randrange(len(data) + 1) : generator.randrange(len(data) + 1)] = bytes([255])
    return bytes(data)


class Watched:
    """A server in a process of its own, and its memory and descriptors."""

    def __init__(self, folder):
        code = (
            "import logging, sys\n"
            "from attention_zoo.serving.server.server import ServerOptions, serve\n"
            "logging.getLogger('aiohttp.server').setLevel(logging.CRITICAL)\n"
            "def ready(address):\n"
            "    print(address.rest_port, address.grpc_port, flush=True)\n"
            "options = ServerOptions(receive_timeout=5.0)\n"
            "serve(sys.argv[1], rest_port=0, grpc_port=0, ready=ready, options=options)\n"
        )
        command = [sys.executable, "-c", code, str(folder)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.rest_port, self.grpc_port = map(int, self.process.stdout.readline().split())

    def megabytes(self):
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.findall(r"VmRSS:\s+(\d+)", status)[0]) / 1024

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def ask(self, data):
        """The status of a reply to some bytes; 0 where the connection ends without one."""
        with socket.create_connection(("127.0.0.1", self.rest_port), timeout=40) as opened:
            opened.sendall(data)
            received = b""
            while part := opened.recv(65536):
                received += part
        received = received.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")
        return int(received[9:12]) if received.startswith(b"HTTP/1.") else 0

    def valid(self, stop, wrong):
        """Asks rightly until told to stop; counts the answers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.rest_port, timeout=40)
        count = 0
        while not stop.is_set():
            connection.request("POST", f"{PATH}:predict", json.dumps({"instances": [count]}))
            response = connection.getresponse()
            reply = response.read()
            if response.status != 200 or json.loads(reply) != {"predictions": [count / 2 + 3]}:
                wrong.append((response.status, reply))
            count += 1
        connection.close()
        return count


def disturb(folder, count, send):
    """Sends requests that `send` makes of a server and a seed, with right ones beside them.

    Returns what came of each, by seed; asserts that the server stays as it was.
    """
    server = Watched(folder)
    try:
        stop, wrong = threading.Event(), []
        with ThreadPoolExecutor(12) as pool:
            beside = [pool.submit(server.valid, stop, wrong) for _ in range(2)]
            found = list(pool.map(lambda seed: send(server, seed), range(count // 2)))
            memory, descriptors = server.megabytes(), server.descriptors()
            found += pool.map(lambda seed: send(server, seed), range(count // 2, count))
            grown = server.megabytes() / memory
            stop.set()
            assert all(future.result() > 10 for future in beside)
        assert not wrong
        assert grown < 1.15 and server.descriptors() <= descriptors + 8
        assert server.process.poll() is None
        return found
    finally:
        server.process.kill()
        server.process.wait()


def send_rest(server, seed):
    return server.ask(request_of(random.Random(seed)))


def send_grpc(server, seed):
    generator = random.Random(seed)
    methods = ["Predict"] * 6 + ["GetModelMetadata", "Classify", "MultiInference", "Nothing"]
    name = f"/tensorflow.serving.PredictionService/{generator.choice(methods)}"
    if generator.random() < 0.1:
        name = f"/tensorflow.serving.ModelService/{generator.choice(['GetModelStatus', 'x'])}"
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        try:
            channel.unary_unary(name)(message_of(generator), timeout=40)
        except grpc.RpcError as error:
            return error.code().name
    return "OK"


@pytest.mark.parametrize("count", [200, pytest.param(5000, marks=pytest.mark.slow)])
def test_malformed_requests_over_rest(count, wire_folder):
    found = disturb(wire_folder, count, send_rest)
    failed = [seed for seed, status in enumerate(found) if not 200 <= status < 500]
    assert not failed, [(seed, found[seed], request_of(random.Random(seed))) for seed in failed[:3]]
    assert len({*found}) >= 3


@pytest.mark.parametrize("count", [200, pytest.param(2000, marks=pytest.mark.slow)])
def test_malformed_messages_over_grpc(count, wire_folder):
    found = disturb(wire_folder, count, send_grpc)
    known = {"OK", "INVALID_ARGUMENT", "NOT_FOUND", "FAILED_PRECONDITION", "UNIMPLEMENTED"}
    failed = [seed for seed, code in enumerate(found) if code not in known]
    assert not failed, [(seed, found[seed]) for seed in failed[:10]]
    assert len({*found}) >= 4
