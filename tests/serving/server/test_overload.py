"""More requests than a server can answer, clients that go, connections that stay, a stop."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import logging
import os
import socket
import statistics
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest
from fake_versions import FakeSession, publish, wait_for

from attention_zoo.serving.runtime.batching_parameters import BatchingParameters
from attention_zoo.serving.runtime.errors import Code, ServingError
from attention_zoo.serving.runtime.model_config import ModelConfig
from attention_zoo.serving.server import connections, loading
from attention_zoo.serving.server.inference import InferenceCore, ModelSpec
from attention_zoo.serving.server.loading import Loader
from attention_zoo.serving.server.model_state import Workload
from attention_zoo.serving.server.models import ModelManager
from attention_zoo.serving.server.server import ModelServer, ServerOptions, ServerThread

PREDICT = "/v1/models/calc:predict"
REST_ONLY = ServerOptions(rest_port=0, grpc_port=None, poll_seconds=0)


def post(address, value, signature="serving_default", timeout=60.0):
    """Status and body of a reply over a connection of its own."""
    connection = http.client.HTTPConnection(address.host, address.rest_port, timeout=timeout)
    try:
        body = json.dumps({"signature_name": signature, "instances": [value]})
        connection.request("POST", PREDICT, body)
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def test_the_time_of_a_row_is_that_between_answers(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    workload = Workload()
    assert workload.expected_wait() == 0.0
    with contextlib.ExitStack() as waiting:
        for _ in range(30):
            waiting.enter_context(workload.rows_under_way(2))
        for _ in range(20):  # one after another, a second each, two side by side or not
            with workload.rows_under_way(1):
                now[0] += 1.0
        assert workload.expected_wait() == pytest.approx(60.0)
    now[0] += 1000.0  # a rest is no work
    with workload.rows_under_way(10):
        now[0] += 0.5
        assert workload.expected_wait() < 12
    with pytest.raises(ValueError), workload.rows_under_way(1000):  # noqa: PT011
        raise ValueError  # what fails measures nothing
    assert workload.expected_wait() == 0.0


def test_what_would_come_too_late_is_refused_at_once(base):
    manager = ModelManager([ModelConfig("m", base)], FakeSession, poll_seconds=0)
    manager.start()
    core = InferenceCore(manager)
    spec = ModelSpec("m")
    with manager.use("m") as handle:
        workload = handle.workload
    workload._seconds, workload._done, workload._rows = 10.0, 100.0, 100  # 10 s of work
    core.check_load(spec, time.monotonic() + 30)
    core.check_load(spec, None)
    core.check_load(ModelSpec("another"), time.monotonic() + 1)
    with pytest.raises(ServingError, match=r"expected to take 10\.0 seconds") as error:
        core.check_load(spec, time.monotonic() + 15)
    assert error.value.code == Code.UNAVAILABLE
    manager.stop()


def test_a_reply_that_would_take_all_memory_is_refused():
    core = InferenceCore(None, max_reply_bytes=52 * 100)
    core._check_size({"a": np.zeros((10, 5)), "b": np.zeros(50)})
    with pytest.raises(ServingError, match=r"101 values, more than the 100 .*fewer rows") as error:
        core._check_size({"a": np.zeros((10, 5)), "b": np.zeros(51)})
    assert error.value.code == Code.INVALID_ARGUMENT


def test_at_three_times_its_capacity_a_server_works_on_and_refuses_quickly(wire_folder):
    """Clients that come whatever the server does, for some seconds, on a slow signature."""
    options = ServerOptions(rest_port=0, grpc_port=None, timeout=4.0, enable_batching=False)
    with ServerThread(wire_folder, options) as running, ThreadPoolExecutor(200) as pool:
        address = running.address
        start = time.perf_counter()
        for _ in pool.map(lambda _: post(address, 40.0, "slow"), range(30)):
            pass
        seconds = (time.perf_counter() - start) / 30

        def timed(number):
            start = time.perf_counter()
            return post(address, 40.0, "slow")[0], time.perf_counter() - start

        calls = []
        for number in range(round(8.0 / seconds * 3)):
            calls.append(pool.submit(timed, number))
            time.sleep(seconds / 3)
        found = [call.result() for call in calls]
    statuses = [status for status, _ in found]
    told = [taken for status, taken in found if status == 503]
    assert set(statuses) <= {200, 503, 504}
    assert statuses.count(504) <= 0.1 * len(statuses)
    assert len(told) > 0.2 * len(statuses) and statistics.median(told) < 1.0
    assert max(taken for status, taken in found if status == 200) < 8.0


def test_requests_of_clients_that_have_gone_are_not_run(wire_folder):
    """Sixty of a second each; the next one does not wait for them."""
    options = ServerOptions(rest_port=0, grpc_port=None, num_threads=2, enable_batching=False)
    with ServerThread(wire_folder, options) as running:
        address = running.address
        body = json.dumps({"signature_name": "slow", "instances": [500.0]}).encode()
        head = f"POST {PREDICT} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
        start = time.perf_counter()
        post(address, 500.0, "slow")
        alone = time.perf_counter() - start
        gone = [socket.create_connection((address.host, address.rest_port)) for _ in range(60)]
        for opened in gone:
            opened.sendall(head.encode() + body)
        time.sleep(0.3)
        for opened in gone:
            opened.close()
        start = time.perf_counter()
        assert post(address, 1.0)[0] == 200
        assert time.perf_counter() - start < 10 * alone  # of 60


def test_connections_beyond_the_limit_are_told_so(wire_folder, monkeypatch):
    monkeypatch.setattr(connections, "resource", None)
    options = ServerOptions(rest_port=0, grpc_port=None, max_pending=5)
    with ServerThread(wire_folder, options) as running:
        address = running.address
        idle = [socket.create_connection((address.host, address.rest_port)) for _ in range(10)]
        status, reply = post(address, 1.0)
        assert (status, reply["error"]) == (503, "10 connections are open, and no more are taken")
        for opened in idle[:3]:
            opened.close()
        wait_for(lambda: post(address, 1.0)[0] == 200)
        for opened in idle:
            opened.close()


def test_connections_of_grpc_leave_descriptors_for_rest(wire_folder):
    """A process with few descriptors, and more silent clients of gRPC than it has."""
    code = (
        "import resource, sys\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200))\n"
        "from attention_zoo.serving.server.server import ServerOptions, serve\n"
        "def ready(address):\n"
        "    print(address.rest_port, address.grpc_port, flush=True)\n"
        "serve(sys.argv[1], rest_port=0, grpc_port=0, ready=ready)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(wire_folder)], stdout=subprocess.PIPE, text=True
    )
    idle = []
    try:
        rest_port, grpc_port = map(int, process.stdout.readline().split())
        for _ in range(250):
            idle.append(socket.create_connection(("127.0.0.1", grpc_port), timeout=10))
        time.sleep(1.0)
        connection = http.client.HTTPConnection("127.0.0.1", rest_port, timeout=20)
        connection.request("POST", PREDICT, b'{"instances": [1.0]}')
        assert connection.getresponse().status == 200
    finally:
        for opened in idle:
            opened.close()
        process.kill()
        process.wait()


def test_a_server_that_stops_answers_every_request_that_came(wire_folder):
    """Clients that keep their connections never find one closed under a request."""
    answered, told, lost = [], [], []

    def ask():
        connection = http.client.HTTPConnection(address.host, address.rest_port, timeout=30)
        connection.connect()
        while True:
            try:
                connection.request("POST", PREDICT, b'{"instances": [1.0]}')
                response = connection.getresponse()
                answered.append(response.status)
                response.read()
            except (OSError, http.client.HTTPException) as error:
                lost.append(error)
                return
            if response.getheader("Connection") == "close":
                told.append(connection)
                return

    with ServerThread(wire_folder, REST_ONLY) as running:
        address = running.address
        idle = http.client.HTTPConnection(address.host, address.rest_port, timeout=30)
        idle.connect()
        clients = [threading.Thread(target=ask) for _ in range(12)]
        for client in clients:
            client.start()
        wait_for(lambda: len(answered) > 50, 30)
    for client in clients:
        client.join(30)
    assert not lost and len(told) == len(clients)
    assert set(answered) == {200}
    assert idle.sock.recv(1) == b""  # closed


@pytest.mark.parametrize(
    ("host", "header", "status"),
    [
        ("127.0.0.1", "evil.example", 403),
        ("127.0.0.1", "evil.example:8501", 403),
        ("127.0.0.1", "127.0.0.1.evil.example", 403),
        ("127.0.0.1", "[", 403),
        ("127.0.0.1", "LOCALHOST:8501", 200),
        ("127.0.0.1", "[::1]:8501", 200),
        ("127.0.0.1", "127.0.0.1", 200),
        ("0.0.0.0", "models.example", 200),
    ],
)
def test_a_name_that_was_made_to_lead_here_is_refused(host, header, status, wire_folder):
    """A page elsewhere whose name leads to 127.0.0.1 is asked for under that name."""
    options = ServerOptions(host=host, rest_port=0, grpc_port=None, poll_seconds=0)
    with ServerThread(wire_folder, options) as running:
        port = running.address.rest_port
        for path in ("/models.json", "/v1/models/calc", "/", options.metrics_path):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            connection.putrequest("GET", path, skip_host=True)
            connection.putheader("Host", header)
            connection.endheaders()
            response = connection.getresponse()
            assert response.status == status, path
            assert "aiohttp" not in response.getheader("Server")
            response.read()
            connection.close()


def test_a_server_can_refuse_every_configuration(wire_folder):
    options = ServerOptions(rest_port=None, grpc_port=0, poll_seconds=0, reload=False)
    with ServerThread(wire_folder, options) as running:
        with grpc.insecure_channel(running.address.grpc_url.removeprefix("grpc://")) as channel:
            call = channel.unary_unary("/tensorflow.serving.ModelService/HandleReloadConfigRequest")
            with pytest.raises(grpc.RpcError, match="takes no configuration") as error:
                call(b"\n\x02\n\x00", timeout=30)  # an empty list of models
        assert error.value.code() == grpc.StatusCode.PERMISSION_DENIED
        assert running.server.manager.models() == {"calc": [3]}


def test_a_model_that_never_loads_keeps_no_other_waiting(tmp_path, base):
    stuck, go_on = tmp_path / "stuck", threading.Event()
    publish(stuck, 1)

    def load(path):
        if path.parent == stuck:
            go_on.wait(30)
        return FakeSession(path)

    configs = [ModelConfig("stuck", stuck), ModelConfig("m", base)]
    manager = ModelManager(configs, load, poll_seconds=0.02)
    starting = threading.Thread(target=manager.start)
    starting.start()
    try:
        wait_for(lambda: manager.models().get("m") == [1])
        publish(base, 2)
        wait_for(lambda: manager.models()["m"] == [2])  # nor its next versions
        assert manager.models()["stuck"] == []
    finally:
        go_on.set()
        starting.join(10)
        assert manager.models() == {"stuck": [1], "m": [2]}
        manager.stop(grace=1.0)


def test_states_can_be_asked_for_while_models_are_loaded(base):
    """The ports are open before: a probe must tell a server that loads from none."""
    go_on = threading.Event()
    server = ModelServer([ModelConfig("m", base)], REST_ONLY)
    server.manager._load = lambda path: go_on.wait(30) and FakeSession(path)

    async def ask():
        starting = asyncio.ensure_future(server.start())
        while server._listening is None:
            await asyncio.sleep(0.01)
        port = server._listening.sockets[0].getsockname()[1]
        replies = []
        for request in (b"GET /v1/models/m", b"POST /v1/models/m:predict"):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            body = b"Content-Length: 19\r\n\r\n" + b'{"instances": [""]}'
            writer.write(request + b" HTTP/1.0\r\n" + body)
            replies.append(await reader.read())
            writer.close()
        go_on.set()
        await starting
        await server.stop(1.0)
        return replies

    state, prediction = asyncio.run(ask())
    assert b'"state": "LOADING"' in state
    assert b" 404 " in prediction and b"Servable not found" in prediction


@pytest.mark.parametrize("name", ["saved_model.pb", "batching_params.pbtxt", "assets.extra/x"])
def test_what_is_no_file_is_not_read(name, tmp_path):
    (tmp_path / "1" / "assets.extra").mkdir(parents=True)
    os.mkfifo(tmp_path / "1" / name)
    with pytest.raises(ServingError, match="neither a file nor a folder") as error:
        Loader()(tmp_path / "1")
    assert error.value.code == Code.DATA_LOSS
    (tmp_path / "1" / name).unlink()
    (tmp_path / "1" / name).symlink_to("/dev/zero")
    with pytest.raises(ServingError, match="neither a file nor a folder"):
        loading._check_files(tmp_path / "1")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("num_batch_threads", 30_000),
        ("max_batch_size", 2**40),
        ("max_enqueued_batches", 2**40),
        ("batch_timeout_micros", 2**40),
    ],
)
def test_values_that_end_a_process_are_refused(name, value):
    with pytest.raises(ValueError, match=rf"`{name}` is a number from .* Received: {name}={value}"):
        BatchingParameters(**{name: value})


def test_names_cannot_forge_lines_of_the_log(caplog):
    with caplog.at_level(logging.INFO, logger="attention_zoo.serving"):
        logging.getLogger("attention_zoo.serving").error("Model %s", "x\n2026 ERROR forged\x1b[2J")
    (record,) = caplog.records
    assert record.getMessage() == "Model x\\n2026 ERROR forged\\x1b[2J"
