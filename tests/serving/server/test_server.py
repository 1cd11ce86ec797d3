"""The server as a whole: start, stop, versions that change, and what it cannot start with."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import grpc
import numpy as np
import pytest
import wire_models

from attention_zoo.serving.client.client import Client
from attention_zoo.serving.runtime import protos
from attention_zoo.serving.runtime.errors import Code, ServingError
from attention_zoo.serving.runtime.tensor_protos import fill_tensor
from attention_zoo.serving.server.models import ModelManager
from attention_zoo.serving.server.server import (
    Address,
    ChangedFile,
    ModelServer,
    ServerOptions,
    ServerThread,
    _serve_until_told,
    find_configs,
    serve,
)

REST_ONLY = ServerOptions(rest_port=0, grpc_port=None, poll_seconds=0.05)


def test_models_of_a_folder(tmp_path):
    (tmp_path / "exports" / "en-de" / "1").mkdir(parents=True)
    (tmp_path / "exports" / "de-en" / "4").mkdir(parents=True)
    configs = find_configs(tmp_path / "exports")
    assert [config.name for config in configs] == ["de-en", "en-de"]
    assert [config.name for config in find_configs(tmp_path / "exports" / "en-de")] == ["en-de"]


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("missing", "does not exist"),
        ("file", r"Cannot serve .*file: .* Only ModelConfigList"),
        ("empty", "has no versions of a model"),
    ],
)
def test_nothing_to_serve_is_one_clear_error(path, words, tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ServingError, match=words) as error:
        serve(tmp_path / path)
    assert error.value.code in (Code.NOT_FOUND, Code.INVALID_ARGUMENT)
    assert "\n" not in str(error.value)


def test_a_file_of_models_is_served_and_read_again(tmp_path, wire_folder):
    file = tmp_path / "models.config"
    entry = "name: 'calc' base_path: '{}' model_platform: 'tensorflow'"
    entry = entry.format(wire_folder)
    file.write_text(f"model_config_list {{ config {{ {entry} }} }}")
    reread = ChangedFile(file, find_configs(file))
    assert reread() is None
    assert ChangedFile(file, [])() == find_configs(file)  # it changed while the server started
    options = replace(REST_ONLY, reread_seconds=0.05)
    manager = ModelServer(find_configs(file), options, reread).manager
    manager.start()
    try:
        assert manager.models() == {"calc": [3]}
        policy = "model_version_policy { specific { versions: 1 } } "
        labels = "version_labels { key: 'stable' value: 1 }"
        file.write_text(f"model_config_list {{ config {{ {entry} {policy} {labels} }} }}")
        end = time.monotonic() + 60
        while manager.models() != {"calc": [1]} and time.monotonic() < end:
            time.sleep(0.02)
        with manager.use("calc", label="stable") as handle:
            assert handle.version == 1
        file.write_text("nonsense")
        time.sleep(0.2)
        assert manager.models() == {"calc": [1]}
    finally:
        manager.stop()


def test_a_damaged_model_is_one_clear_error(tmp_path):
    (tmp_path / "m" / "1").mkdir(parents=True)
    (tmp_path / "m" / "1" / "saved_model.pb").write_bytes(b"no model")
    with (
        pytest.raises(ServingError, match="No version of model m can be served: version 1:") as e,
        ServerThread(tmp_path / "m", REST_ONLY),
    ):
        pass
    assert "\n" not in str(e.value)


def test_a_port_in_use_is_one_clear_error_before_a_model_is_loaded(wire_folder, monkeypatch):
    loaded, sync = [], ModelManager.sync
    monkeypatch.setattr(ModelManager, "sync", lambda self: loaded.append(self) or sync(self))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for options in (
            ServerOptions(rest_port=port, grpc_port=None),
            ServerOptions(rest_port=None, grpc_port=port),
        ):
            message = f"Cannot listen on 127.0.0.1:{port}"
            with (
                pytest.raises(ServingError, match=message) as error,
                ServerThread(wire_folder, options),
            ):
                pass
            assert "\n" not in str(error.value)
    assert not loaded


def test_a_handler_that_still_waits_is_cancelled_with_the_server(wire_folder):
    with ServerThread(wire_folder, REST_ONLY) as running:
        waiting = asyncio.run_coroutine_threadsafe(asyncio.sleep(3600), running._loop)
    assert waiting.cancelled()


def test_addresses():
    address = Address("0.0.0.0", 1, 2, {})
    assert (address.rest_url, address.grpc_url) == ("http://127.0.0.1:1", "grpc://127.0.0.1:2")
    assert Address("::1", 1, None, {}).rest_url == "http://[::1]:1"
    with pytest.raises(ValueError, match="without this interface"):
        Address("127.0.0.1", 1, None, {}).grpc_url  # noqa: B018


def test_it_can_be_reached_from_this_machine_alone(server):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # sends nothing: it tells which address would be used
        outside = probe.getsockname()[0]
    for port in (server.address.rest_port, server.address.grpc_port):
        with pytest.raises((ConnectionError, TimeoutError)):
            socket.create_connection((outside, port), timeout=1).close()


@pytest.fixture
def ask_calc():
    """Asks `calc` for a number and returns the reply."""
    import json
    import urllib.request

    def ask(url, value):
        body = json.dumps({"instances": [value]}).encode()
        request = urllib.request.Request(f"{url}/v1/models/calc:predict", body)
        with urllib.request.urlopen(request, timeout=30) as reply:
            return json.load(reply)["predictions"][0]

    return ask


def test_a_new_version_is_picked_up_and_no_request_is_lost(tmp_path, ask_calc):
    base = tmp_path / "calc"
    wire_models.write(base / "1", offset=1.0)
    wire_models.write(tmp_path / "next", offset=2.0)
    wire_models.write(tmp_path / "broken", offset=3.0)
    (tmp_path / "broken" / "saved_model.pb").write_bytes(b"\x00" * 100)
    seen, faults = [], []
    stop = threading.Event()
    with ServerThread(base, REST_ONLY) as running:
        url = running.address.rest_url

        def load():
            while not stop.is_set():
                try:
                    seen.append(ask_calc(url, 0.0))
                except Exception as error:
                    faults.append(error)

        threads = [threading.Thread(target=load) for _ in range(4)]
        for thread in threads:
            thread.start()
        os.rename(tmp_path / "next", base / "2")
        end = time.monotonic() + 60
        while 2.0 not in seen and time.monotonic() < end:
            time.sleep(0.02)
        os.rename(tmp_path / "broken", base / "3")
        while len(running.server.manager.status("calc")) < 3 and time.monotonic() < end:
            time.sleep(0.02)
        time.sleep(0.2)
        stop.set()
        for thread in threads:
            thread.join()
        assert not faults
        assert set(seen) == {1.0, 2.0}
        assert seen == sorted(seen) or seen.count(2.0) > 0
        assert ask_calc(url, 0.0) == 2.0
        states = {s.number: s.state.name for s in running.server.manager.status("calc")}
        assert states[3] == "END" and states[2] == "AVAILABLE"


def test_the_command_serves_until_it_is_told_to_stop(wire_folder, ask_calc):
    """The one test in a process of its own: signals, XLA off, and no second server on a port."""
    code = (
        "import sys\n"
        "from attention_zoo.serving.server.server import ServerOptions, serve\n"
        "def ready(address):\n"
        "    print('ready', address.rest_url, address.grpc_url, flush=True)\n"
        "options = ServerOptions(grace=60)\n"
        "serve(sys.argv[1], rest_port=0, grpc_port=0, ready=ready, options=options)\n"
        "print('stopped', flush=True)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(wire_folder)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        match = re.fullmatch(r"ready (http://127\.0\.0\.1:\d+) (grpc://127\.0\.0\.1:\d+)\n", line)
        assert match, line
        ports = sorted(int(url.rpartition(":")[2]) for url in match.groups())
        assert sorted(listening(process.pid)) == [("127.0.0.1", port) for port in ports]
        assert ask_calc(match.group(1), 1.0) == 3.5
        with Client(match.group(2), "nope") as client, pytest.raises(ServingError, match="nope"):
            client.predict(["a"])
        answers = []
        slow = [
            threading.Thread(target=lambda: answers.append(_slow(match.group(1)))),
            threading.Thread(target=lambda: answers.append(_slow_grpc(match.group(2)))),
        ]
        for thread in slow:
            thread.start()
        time.sleep(0.3)  # the requests are under way
        process.send_signal(signal.SIGTERM)
        for thread in slow:
            thread.join(60)
        assert sorted(answers) == [200, 1000.0]  # they were finished before the server went
        assert process.wait(30) == 0
        assert process.stdout.read() == "stopped\n"
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("loading", [True, False])
def test_it_can_be_stopped_while_a_model_is_loaded_and_while_one_answers(loading, monkeypatch):
    """What cannot be ended in time is said to be left, and nobody waits for it."""
    going_on = threading.Event()
    server = ModelServer([], replace(REST_ONLY, grace=0.0, poll_seconds=0))
    manager = server.manager
    if loading:
        monkeypatch.setattr(manager, "sync", lambda: going_on.wait(30))
    else:
        server.core._pool.submit(going_on.wait, 30)
    threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGTERM)).start()
    start = time.monotonic()
    try:
        assert asyncio.run(_serve_until_told(server, None)) is False
        assert time.monotonic() - start < 10
    finally:
        going_on.set()


def test_it_can_be_stopped_while_it_loads_models_that_a_client_named(monkeypatch):
    going_on, loading = threading.Event(), threading.Event()
    options = replace(REST_ONLY, rest_port=None, grpc_port=0, grace=0.0, poll_seconds=0)
    server = ModelServer([], options)

    def load(*arguments):
        loading.set()
        going_on.wait(30)

    def name_models_and_stop(address):
        with grpc.insecure_channel(address.grpc_url.removeprefix("grpc://")) as channel:
            call = channel.unary_unary("/tensorflow.serving.ModelService/HandleReloadConfigRequest")
            asked = call.future(b"\n\x02\n\x00")  # an empty list of models
            loading.wait(10)
            os.kill(os.getpid(), signal.SIGTERM)
            asked.exception()  # the call ends with the server

    def ready(address):
        monkeypatch.setattr(server.manager, "sync", load)
        threading.Thread(target=name_models_and_stop, args=(address,), daemon=True).start()

    start = time.monotonic()
    try:
        assert asyncio.run(_serve_until_told(server, ready)) is False
        assert loading.is_set() and time.monotonic() - start < 10
    finally:
        going_on.set()


def listening(pid):
    """Where a process listens for TCP: addresses and ports, as the system has them."""
    inodes = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        target = os.readlink(descriptor)
        if target.startswith("socket:["):
            inodes.add(target[8:-1])
    found = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in inodes:  # 0A: it listens
                words, port = fields[1].split(":")
                # Words of four bytes, the last one first.
                raw = b"".join(
                    bytes.fromhex(words[at : at + 8])[::-1] for at in range(0, len(words), 8)
                )
                address = ipaddress.ip_address(raw)
                mapped = getattr(address, "ipv4_mapped", None)  # of IPv4 in the form of IPv6
                found.append((str(mapped or address), int(port, 16)))
    return found


def _slow_grpc(url):
    request = protos.PredictRequest()
    request.model_spec.name = "calc"
    request.model_spec.signature_name = "slow"
    fill_tensor(request.inputs["x"], np.float32([1000.0]))
    with grpc.insecure_channel(url.removeprefix("grpc://")) as channel:
        call = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
        reply = protos.PredictResponse.FromString(call(request.SerializeToString(), timeout=30))
    return reply.outputs["y"].float_val[0]


def _slow(url):
    import json
    import urllib.request

    body = json.dumps({"signature_name": "slow", "instances": [1000.0]}).encode()
    request = urllib.request.Request(f"{url}/v1/models/calc:predict", body)
    with urllib.request.urlopen(request, timeout=30) as reply:
        return reply.status
