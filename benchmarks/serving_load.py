"""Load on the local server: throughput and latency, and whether it stands what a network brings.

Everything stays on 127.0.0.1 and ends after a fixed time or number of requests.

    python benchmarks/serving_load.py throughput models/en-de --clients 1 8 64
    python benchmarks/serving_load.py soak models/en-de --seconds 600
    python benchmarks/serving_load.py publish models/en-de --seconds 180 --every 10
    python benchmarks/serving_load.py idle models/en-de --connections 1000
    python benchmarks/serving_load.py fuzz models/en-de --requests 10000

The folder is what `attention-zoo export` wrote for one model. The texts that are sent are those of
its warm-up requests. The server is started as users start it, in a process of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from serving_clients import Connection, Server, Tally, expected_texts, load, served, warmup_texts

from attention_zoo.serving.versions import find_versions


def bare_calls(version: Path, texts: list[str], rows: int, seconds: float) -> float:
    """Texts a second of the bare model, called by one thread with so many rows."""
    from attention_zoo.serving.session import SavedModelSession

    batches = [
        np.array([texts[(start + row) % len(texts)] for row in range(rows)], object)
        for start in range(len(texts))
    ]
    with SavedModelSession(version) as session:
        for batch in batches:
            session.run("serving_default", {"text": batch})
        start = time.perf_counter()
        calls = 0
        while time.perf_counter() - start < seconds:
            session.run("serving_default", {"text": batches[calls % len(batches)]})
            calls += 1
        return calls * rows / (time.perf_counter() - start)


def throughput(options: argparse.Namespace) -> bool:
    """Requests of one text each by many clients, in batches and not, beside the bare call."""
    version = max(find_versions(options.base).items())[1]
    for rows in (1, *sorted(set(options.clients) - {1})):
        rate = bare_calls(version, warmup_texts(version), rows, options.seconds)
        print(f"bare call, {rows:3d} rows      {rate:8.1f} texts/s", flush=True)
    sound = True
    for mode in ("--no-batching", "--batching"):
        with served(options.base, mode) as server:
            asyncio.run(load(server, max(options.clients), 2.0))  # shapes that were never seen
            for clients in options.clients:
                tally = asyncio.run(load(server, clients, options.seconds))
                sound &= not tally.errors
                print(f"{mode[2:]:12} {clients:4d} clients {tally.line()}", flush=True)
    return sound


def soak(options: argparse.Namespace) -> bool:
    """Steady load, with the memory of the server over time."""
    sound = True
    with served(options.base) as server:
        parts = max(2, min(20, int(options.seconds // 10)))
        for part in range(parts):
            tally = asyncio.run(load(server, max(options.clients), options.seconds / parts))
            sound &= not tally.errors
            at = (part + 1) * options.seconds / parts
            print(f"{at:6.0f} s {server.megabytes():8.1f} MB {tally.line()}", flush=True)
    return sound


def publish(options: argparse.Namespace) -> bool:
    """New versions while clients ask, and some clients leave in mid-request."""
    newest = max(find_versions(options.base).items())[1]
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder) / options.base.resolve().name
        shutil.copytree(newest, base / "1")
        with served(base) as server:

            async def versions() -> None:
                for number in range(2, 2 + int(options.seconds // options.every)):
                    await asyncio.sleep(options.every)
                    await asyncio.to_thread(shutil.copytree, newest, base / "new")
                    (base / "new").rename(base / str(number))

            async def both() -> Tally:
                asking = load(server, max(options.clients), options.seconds, leave_every=17)
                return (await asyncio.gather(asking, versions()))[0]

            tally = asyncio.run(both())
            status, body = asyncio.run(_state(server))
            states = re.findall(rb'"version": "(\d+)",\s+"state": "(\w+)"', body)
            available = [int(number) for number, state in states if state == b"AVAILABLE"]
            print(f"{tally.line()}\nversions {len(states)}, available {available}")
            return not tally.errors and status == 200 and len(available) == 1


async def _state(server: Server) -> tuple[int, bytes]:
    head = f"GET /v1/models/{server.model} HTTP/1.1\r\nHost: localhost\r\n\r\n"
    return await Connection(server).ask(head.encode())


def idle(options: argparse.Namespace) -> bool:
    """Connections that say nothing, or their headers a byte at a time, beside one that asks."""

    async def measure(server: Server) -> list[Tally]:
        before = await load(server, 1, options.seconds)
        opened = [
            await asyncio.open_connection("127.0.0.1", server.port)
            for _ in range(options.connections)
        ]
        request = server.request("a")

        async def slowly() -> None:
            for byte in request[:40]:
                for _, writer in opened[::10]:
                    writer.write(bytes([byte]))
                await asyncio.sleep(options.seconds / 50)

        dripping = asyncio.create_task(slowly())
        during = await load(server, 1, options.seconds)
        await dripping
        for _, writer in opened:
            writer.close()
        return [before, during]

    with served(options.base) as server:
        tallies = asyncio.run(measure(server))
        for name, tally in zip(("alone", "beside"), tallies, strict=True):
            print(f"{name:7} {options.connections} connections: {tally.line()}")
        print(f"memory {server.megabytes():.1f} MB")
        return not any(tally.errors for tally in tallies)


def mutated(generator: random.Random, data: bytes) -> bytes:
    """Bytes with some changed, cut out or repeated."""
    changed = bytearray(data)
    for _ in range(generator.randint(1, 5)):
        place = generator.randrange(len(changed)) if changed else 0
        kind = generator.randrange(3)
        if kind == 0 and changed:
            changed[place] = generator.randrange(256)
        elif kind == 1:
            del changed[place : place + generator.randint(1, 6)]
        else:
            changed[place:place] = changed[: generator.randint(0, 16)]
    return bytes(changed)


def fuzz(options: argparse.Namespace) -> bool:
    """Broken requests over REST and gRPC; every hundredth is whole and must be answered rightly."""
    generator = random.Random(options.seed)
    with served(options.base) as server:
        expected = asyncio.run(expected_texts(server))
        statuses: dict[str, int] = {}
        half = options.requests // 2
        asyncio.run(_fuzz_rest(server, generator, half, statuses))
        _fuzz_grpc(server, generator, half, statuses)
        same = asyncio.run(expected_texts(server)) == expected
        alive = server.process.poll() is None
        print(f"{dict(sorted(statuses.items()))}\nalive {alive}, answers as before {same}")
        return alive and same and not any(key in statuses for key in ("REST 500", "INTERNAL"))


async def _fuzz_rest(
    server: Server, generator: random.Random, count: int, statuses: dict[str, int]
) -> None:
    connection = Connection(server)
    for number in range(count):
        body = json.dumps({"instances": [generator.choice(server.texts)]}).encode()
        body = mutated(generator, body) if number % 100 else body
        head = f"POST /v1/models/{server.model}:predict HTTP/1.1\r\nHost: x\r\nContent-Length: "
        status, _ = await connection.ask(f"{head}{len(body)}\r\n\r\n".encode() + body)
        assert number % 100 or status == 200
        statuses[f"REST {status}"] = statuses.get(f"REST {status}", 0) + 1
    connection.close()


def _fuzz_grpc(
    server: Server, generator: random.Random, count: int, statuses: dict[str, int]
) -> None:
    import grpc

    from attention_zoo.serving.grpc_transport import make_request
    from attention_zoo.serving.transports import Target

    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        call = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
        for number in range(count):
            text = generator.choice(server.texts)
            request = make_request(Target(server.model), "", {"text": [text]})
            data = request.SerializeToString()
            try:
                call(mutated(generator, data) if number % 100 else data, timeout=30)
                name = "OK"
            except grpc.RpcError as error:
                name = error.code().name
            assert number % 100 or name == "OK", name
            statuses[name] = statuses.get(name, 0) + 1


MODES: dict[str, Callable[[argparse.Namespace], bool]] = {
    "throughput": throughput,
    "soak": soak,
    "publish": publish,
    "idle": idle,
    "fuzz": fuzz,
}


def main() -> int:
    """Runs one mode; the exit status is 1 if an answer was lost or wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("mode", choices=MODES)
    parser.add_argument("base", type=Path, help="folder of one model, with its versions")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 4, 16, 64])
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--every", type=float, default=10.0, help="seconds between versions")
    parser.add_argument("--connections", type=int, default=1000)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    return 0 if MODES[options.mode](options) else 1


if __name__ == "__main__":
    sys.exit(main())
