"""More requests than a server can answer: goodput, time to refusal and connections.

    python benchmarks/serving_overload.py models/dates
    python benchmarks/serving_overload.py models/dates --rows 64 --serve --no-batching

Requests come at random moments (Poisson), each over a connection of its own, at a multiple of the
server's capacity, whether or not it has answered those before. Capacity is what 64 clients get that
ask again as soon as they are answered. With `--rows` a request has that many texts, which makes a
slow model of a fast one. The sender must not be late itself: its delay stands beside the figures,
and a run in which it exceeds 0.1 s says nothing. The exit status is 1 if at twice the capacity or
more less than 80% of it is answered in time.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import statistics
import sys
import time
from pathlib import Path

from serving_clients import LOST_SECONDS, Server, served

CLIENTS = 64
ENOUGH = 0.8  # of the capacity, answered in time


def request_bytes(server: Server, rows: int, start: int) -> bytes:
    """A request of some texts over a connection of its own."""
    texts = [server.texts[(start + row) % len(server.texts)] for row in range(rows)]
    body = json.dumps({"instances": texts}).encode()
    head = (
        f"POST /v1/models/{server.model}:predict HTTP/1.1\r\nHost: localhost\r\n"
        f"Connection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def ask(server: Server, data: bytes) -> int:
    """The status of the reply; 0 where there is none."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(data)
        reply = await asyncio.wait_for(reader.read(), LOST_SECONDS)
        writer.close()
    except (OSError, asyncio.TimeoutError):
        return 0
    return int(reply[9:12] or 0)


async def capacity(server: Server, rows: int, seconds: float) -> float:
    """Requests a second that are answered to clients who wait for each answer."""
    end, count = time.monotonic() + seconds, 0

    async def client(number: int) -> None:
        nonlocal count
        while time.monotonic() < end:
            count += await ask(server, request_bytes(server, rows, number)) == 200
            number += CLIENTS

    start = time.monotonic()
    await asyncio.gather(*(client(number) for number in range(CLIENTS)))
    return count / (time.monotonic() - start)


async def storm(server: Server, rows: int, rate: float, seconds: float) -> dict[str, float]:
    """Figures of requests that come at this rate."""
    generator = random.Random(1)
    found: list[tuple[int, float, float]] = []
    late: list[float] = []
    connections = 0

    async def one(data: bytes, due: float) -> None:
        late.append(time.monotonic() - due)
        status = await ask(server, data)
        found.append((status, time.monotonic() - due, time.monotonic()))

    start = due = time.monotonic()
    tasks = []
    while due - start < seconds:
        due += generator.expovariate(rate)
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        data = request_bytes(server, rows, len(tasks))
        tasks.append(asyncio.ensure_future(one(data, due)))
        if len(tasks) % 20 == 0:
            connections = max(connections, len(os.listdir(f"/proc/{server.process.pid}/fd")))
    await asyncio.gather(*tasks)
    # What is still waiting at the end makes up for the queue that was empty at the beginning.
    good = [taken for status, taken, _ in found if status == 200]
    refused = [taken for status, taken, _ in found if status not in (0, 200)]
    last = max((end for status, _, end in found if status == 200), default=start + seconds)
    return {
        "offered": len(tasks) / seconds,
        "goodput": len(good) / (last - start),
        "answer": statistics.median(good) if good else float("nan"),
        "refused": len(refused) / len(found),
        "refusal": statistics.median(refused) if refused else float("nan"),
        "late refusal": sorted(refused)[int(0.95 * len(refused))] if refused else float("nan"),
        "unanswered": sum(status == 0 for status, _, _ in found),
        "descriptors": connections,
        "sender late": sorted(late)[int(0.99 * (len(late) - 1))],
    }


def main() -> int:
    """Measures one model; a line for each multiple of its capacity."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("base", type=Path, help="folder of an exported model")
    parser.add_argument("--factors", type=float, nargs="+", default=[0.5, 1.0, 2.0, 3.0])
    parser.add_argument("--rows", type=int, default=1, help="texts in a request")
    parser.add_argument("--seconds", type=float, default=30.0, help="of each measurement")
    parser.add_argument("--serve", nargs=argparse.REMAINDER, default=[], help="options of serve")
    options = parser.parse_args()
    passed = True
    for factor in options.factors:
        with served(options.base, *options.serve) as server:
            most = asyncio.run(capacity(server, options.rows, options.seconds / 3))
            figures = asyncio.run(storm(server, options.rows, factor * most, options.seconds))
        shown = ", ".join(f"{name} {value:.4g}" for name, value in figures.items())
        print(f"{factor:g} x capacity {most:.1f}/s: {shown}", flush=True)
        passed &= factor < 2 or figures["goodput"] >= ENOUGH * most
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
