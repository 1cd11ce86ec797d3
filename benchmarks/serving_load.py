"""Load on the local server: throughput and latency, and whether it stands what a network brings.

Everything stays on 127.0.0.1 and ends after a fixed time or number of requests.

    python benchmarks/serving_load.py throughput models/en-de --clients 1 8 64
    python benchmarks/serving_load.py soak models/en-de --seconds 600
    python benchmarks/serving_load.py publish models/en-de --seconds 180 --every 10
    python benchmarks/serving_load.py idle models/en-de --connections 1000
    python benchmarks/serving_load.py huge models/en-de
    python benchmarks/serving_load.py fuzz models/en-de --requests 10000

The folder is what `attention-zoo export` wrote for one model. The texts that are sent are those of
its warm-up requests. The server is started as users start it, in a process of its own. What is
asked of it is said line by line, PASS or FAIL; the exit status is 1 if one failed.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from serving_clients import Connection, Server, Tally, Verdict, load, served, warmup_texts
from serving_faults import fuzz, huge, idle

from attention_zoo.serving.runtime.versions import find_versions

TIMES_FASTER = 3.0  # dynamic batching, beside batches of 1
GROWTH = 1.02  # of memory between the second quarter and the last


def bare_calls(version: Path, texts: list[str], rows: int, seconds: float) -> float:
    """Texts a second of the bare model, called by one thread with so many rows."""
    from attention_zoo.serving.runtime.session import SavedModelSession

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


def throughput(options: argparse.Namespace, verdict: Verdict) -> None:
    """Requests of one text each by many clients, in batches and not, beside the bare call."""
    version = max(find_versions(options.base).items())[1]
    for rows in (1, *sorted(set(options.clients) - {1})):
        rate = bare_calls(version, warmup_texts(version), rows, options.seconds)
        print(f"bare call, {rows:3d} rows      {rate:8.1f} texts/s", flush=True)
    most = max(options.clients)
    rates: dict[str, list[float]] = {"--no-batching": [], "--batching": []}
    for _ in range(options.rounds):
        for mode, found in rates.items():
            with served(options.base, mode) as server:
                asyncio.run(load(server, most, 2.0))  # shapes that were never seen
                together = Tally()
                for clients in options.clients:
                    tally = asyncio.run(load(server, clients, options.seconds))
                    together.seconds += tally.seconds
                    together.errors += tally.errors
                    print(f"{mode[2:]:12} {clients:4d} clients {tally.line()}", flush=True)
                    if clients == most:
                        found.append(tally.rate)
                verdict.alive(server, together)
    single, batched = (statistics.median(found) for found in rates.values())
    verdict.say(
        f"dynamic batching at {most} clients, at least {TIMES_FASTER:g} times batches of 1",
        batched >= TIMES_FASTER * single,
        f"{batched:.1f} and {single:.1f} requests/s, {batched / single:.2f} times",
    )


def soak(options: argparse.Namespace, verdict: Verdict) -> None:
    """Steady load, with the memory of the server over time."""
    together = Tally()
    memory = []
    with served(options.base) as server:
        parts = max(4, min(20, int(options.seconds // 10)))
        for part in range(parts):
            tally = asyncio.run(load(server, max(options.clients), options.seconds / parts))
            together.seconds += tally.seconds
            together.errors += tally.errors
            together.elapsed += tally.elapsed
            memory.append(server.megabytes())
            at = (part + 1) * options.seconds / parts
            print(f"{at:6.0f} s {memory[-1]:8.1f} MB {tally.line()}", flush=True)
        print(f"in all {together.line()}")
        verdict.alive(server, together)
    quarter = max(1, parts // 4)
    # In the first quarter batches of each size and length come for the first time: pools fill.
    begin, early, late = (
        statistics.mean(part)
        for part in (memory[:quarter], memory[quarter : 2 * quarter], memory[-quarter:])
    )
    verdict.say(
        f"memory flat: the last quarter at most {GROWTH:g} times the second",
        late <= GROWTH * early,
        f"{begin:.1f} MB in the first, {early:.1f} MB in the second, {late:.1f} MB in the last, "
        f"{late / early:.3f} times",
    )


def publish(options: argparse.Namespace, verdict: Verdict) -> None:
    """New versions while clients ask, and some clients leave in mid-request."""
    newest = max(find_versions(options.base).items())[1]
    count = int(options.seconds // options.every)
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder) / options.base.resolve().name
        shutil.copytree(newest, base / "1")
        with served(base) as server:

            async def versions() -> None:
                for number in range(2, 2 + count):
                    await asyncio.sleep(options.every)
                    await asyncio.to_thread(shutil.copytree, newest, base / "new")
                    (base / "new").rename(base / str(number))

            async def both() -> Tally:
                asking = load(server, max(options.clients), options.seconds, leave_every=17)
                return (await asyncio.gather(asking, versions()))[0]

            tally = asyncio.run(both())
            print(tally.line())
            verdict.alive(server, tally)
            verdict.say("clients killed in mid-request", tally.left > 0, f"{tally.left} left")
            states = asyncio.run(_settled(server, count + 1))
            last = count + 1
            others = {state for number, state in states.items() if number != last}
            # Where loading takes longer than the time between two, some are passed over.
            verdict.say(
                f"a new version every {options.every:g} s: the last one is served, those before "
                "it are drained and freed, none failed",
                states.get(last) == "AVAILABLE" and others == {"END"},
                f"{count} published, {len(states) - 1} of them loaded, now {states}",
            )


async def _settled(server: Server, newest: int) -> dict[int, str]:
    """The states of all versions, once the newest is there alone or five minutes have passed."""
    head = f"GET /v1/models/{server.model} HTTP/1.1\r\nHost: localhost\r\n\r\n"
    connection = Connection(server)
    states: dict[int, str] = {}
    for _ in range(600):
        _, body = await connection.ask(head.encode())
        found = re.findall(
            rb'"version": "(\d+)",\s+"state": "(\w+)",\s+"status": {\s+"error_code": "(\w+)"', body
        )
        states = {
            int(number): state.decode() if code == b"OK" else f"{state.decode()} {code.decode()}"
            for number, state, code in found
        }
        if states.get(newest) == "AVAILABLE" and "UNLOADING" not in states.values():
            break
        await asyncio.sleep(0.5)
    connection.close()
    return dict(sorted(states.items()))


MODES: dict[str, Callable[[argparse.Namespace, Verdict], None]] = {
    "throughput": throughput,
    "soak": soak,
    "publish": publish,
    "idle": idle,
    "huge": huge,
    "fuzz": fuzz,
}


def main() -> int:
    """Runs one mode; the exit status is 1 if something that is asked of a server was not shown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("mode", choices=MODES)
    parser.add_argument("base", type=Path, help="folder of one model, with its versions")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 4, 16, 64])
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--rounds", type=int, default=1, help="of throughput; the median counts")
    parser.add_argument("--every", type=float, default=10.0, help="seconds between versions")
    parser.add_argument("--connections", type=int, default=1000)
    parser.add_argument("--requests", type=int, default=10_000, help="over REST, and over gRPC")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    verdict = Verdict()
    MODES[options.mode](options, verdict)
    return 0 if verdict.passed else 1


if __name__ == "__main__":
    sys.exit(main())
