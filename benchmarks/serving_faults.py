"""What a network brings beside good requests: broken, huge, slow and silent ones; for
`serving_load.py`. Good clients ask all the while, and are answered as if they were alone.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import gzip
import json
import random
from collections.abc import Awaitable

import grpc
from serving_clients import LOST_SECONDS, Connection, Server, Tally, Verdict, load, served

from attention_zoo.serving.client.grpc_transport import make_request
from attention_zoo.serving.client.transports import Target

GOOD_CLIENTS = 4
SENDERS = 8  # of broken requests at a time
RAW_SECONDS = 2.0  # for an answer to a request whose head is broken, which may never be due
_PREDICT = "/tensorflow.serving.PredictionService/Predict"
# What broken requests may be answered with; everything else is a fault of the server.
_STATUSES = frozenset({200, 400, 404, 405, 413, 501})
_CODES = frozenset({"OK", "INVALID_ARGUMENT", "NOT_FOUND", "FAILED_PRECONDITION", "UNIMPLEMENTED"})


async def _beside(server: Server, work: Awaitable[None]) -> Tally:
    """Good clients that ask until some other work is done."""
    task = asyncio.ensure_future(work)
    together = Tally()
    while True:
        tally = await load(server, GOOD_CLIENTS, 1.0)
        together.seconds += tally.seconds
        together.errors += tally.errors
        together.elapsed += tally.elapsed
        if task.done():
            await task
            return together


def _head(server: Server, length: str) -> bytes:
    path = f"/v1/models/{server.model}:predict"
    return f"POST {path} HTTP/1.1\r\nHost: localhost\r\n{length}\r\n\r\n".encode()


def _error_of(body: bytes) -> str:
    """The message of an error in JSON; empty if it is none."""
    try:
        document = json.loads(body.decode("utf-8", "replace"))
    except ValueError:
        return ""
    return document["error"] if isinstance(document, dict) and list(document) == ["error"] else ""


async def _raw(server: Server, data: bytes) -> str:
    """The status that is answered to some bytes on a connection of their own.

    "waits" if there is none yet, as to the head of a body that never comes; "closed" without one.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        writer.write(data)
        line = await asyncio.wait_for(reader.readline(), RAW_SECONDS)
    except asyncio.TimeoutError:
        return "waits"
    except ConnectionError:
        return "closed"
    finally:
        writer.close()
    # A line without a version is HTTP/0.9, and is answered as such.
    return line[9:12].decode() if line.startswith(b"HTTP/") else "closed"


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


def fuzz(options: argparse.Namespace, verdict: Verdict) -> None:
    """Broken requests over REST and gRPC, beside good ones."""
    with served(options.base) as server:
        rest: collections.Counter[str] = collections.Counter()
        codes: collections.Counter[str] = collections.Counter()
        wrong: list[str] = []

        async def send() -> None:
            for function, found in ((_fuzz_rest, rest), (_fuzz_grpc, codes)):
                parts = [len(range(n, options.requests, SENDERS)) for n in range(SENDERS)]
                senders = (
                    function(server, random.Random(options.seed + n), count, found, wrong)
                    for n, count in enumerate(parts)
                )
                await asyncio.gather(*senders)

        tally = asyncio.run(_beside(server, send()))
        print(f"good clients {tally.line()}")
        verdict.alive(server, tally)
        for name, found in (("REST", rest), ("gRPC", codes)):
            verdict.say(
                f"{options.requests} broken requests over {name}",
                sum(found.values()) == options.requests,
                str(dict(sorted(found.items()))),
            )
        verdict.say("each fault answered with its own message", not wrong, str(wrong[:3] or "yes"))


async def _fuzz_rest(
    server: Server,
    generator: random.Random,
    count: int,
    statuses: collections.Counter[str],
    wrong: list[str],
) -> None:
    """Broken bodies on one connection; every tenth request is broken as a whole, on its own."""
    connection = Connection(server)
    for number in range(count):
        body = json.dumps({"instances": [generator.choice(server.texts)]}).encode()
        if number % 10 == 0:
            whole = _head(server, f"Content-Length: {len(body)}") + body
            broken = mutated(generator, whole)
            status = await _raw(server, broken)
            statuses[f"raw {status}"] += 1
            if status != "waits" and (not status.isdecimal() or int(status) not in _STATUSES):
                wrong.append(f"{broken!r}: {status}")
            continue
        body = mutated(generator, body)
        request = _head(server, f"Content-Length: {len(body)}") + body
        code, reply = await asyncio.wait_for(connection.ask(request), LOST_SECONDS)
        statuses[str(code)] += 1
        if code not in _STATUSES or (code != 200 and not _error_of(reply)):
            wrong.append(f"{body!r}: {code} {reply[:100]!r}")
    connection.close()


async def _fuzz_grpc(
    server: Server,
    generator: random.Random,
    count: int,
    codes: collections.Counter[str],
    wrong: list[str],
) -> None:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        call = channel.unary_unary(_PREDICT)
        for _ in range(count):
            text = generator.choice(server.texts)
            request = make_request(Target(server.model), "", {"text": [text]})
            data = mutated(generator, request.SerializeToString())
            message: str | None = ""
            try:
                await call(data, timeout=LOST_SECONDS)
                code = "OK"
            except grpc.RpcError as error:
                code, message = error.code().name, error.details()
            codes[code] += 1
            if code not in _CODES or (code != "OK" and not message):
                wrong.append(f"{data!r}: {code} {message}")


def huge(options: argparse.Namespace, verdict: Verdict) -> None:
    """Bodies and messages beyond every limit, beside good requests."""
    megabyte = 2**20
    rows = json.dumps({"instances": ["a"] * 100_000}).encode()
    texts = json.dumps({"instances": ["a b c d e f g h " * 65_536]}).encode()  # one text of 1 MB
    bomb = gzip.compress(b" " * (100 * megabyte))
    zipped = f"Content-Encoding: gzip\r\nContent-Length: {len(bomb)}"
    chunked = b"".join(b"100000\r\n%s\r\n" % (b" " * megabyte) for _ in range(20))
    large = b" " * (65 * megabyte)
    cases: list[tuple[str, bytes, str, str]] = [
        ("a body of 65 MB", _body(large), "413", "is larger than"),
        ("a body of 20 MB in chunks", b"Transfer-Encoding: chunked\r\n\r\n" + chunked, "413", "is"),
        ("100 MB, packed to 0.1 MB", f"{zipped}\r\n\r\n".encode() + bomb, "413", "is larger than"),
        ("100,000 texts", _body(rows), "400", "is larger than maximum input batch size"),
        ("10,000,000 lists in a list", _body(b"[" * 10_000_000), "400", "is nested deeper than"),
        ("a text of 1 MB", _body(texts), "200", ""),
        ("a header of 1 MB", b"X: " + b"y" * megabyte + b"\r\n\r\n", "400", ""),
    ]
    with served(options.base) as server:
        before = server.megabytes()
        answers: dict[str, tuple[str, str]] = {}

        async def send() -> None:
            for name, rest, _, _ in cases:
                path = f"/v1/models/{server.model}:predict"
                head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\n".encode()
                answers[name] = await _answer(server, head + rest)
            answers["gRPC"] = await _huge_message(server, 65 * megabyte)

        tally = asyncio.run(_beside(server, send()))
        print(f"good clients {tally.line()}")
        verdict.alive(server, tally)
        grpc_case = ("gRPC", b"", "RESOURCE_EXHAUSTED", "larger than max")
        for name, _, status, words in [*cases, grpc_case]:
            got, message = answers[name]
            shown = f"{got} {message[:120]}".strip()
            verdict.say(f"{name}: {status}", got == status and words in message, shown)
        print(f"memory {before:.1f} MB before, {server.megabytes():.1f} MB after")


def _body(data: bytes) -> bytes:
    return f"Content-Length: {len(data)}\r\n\r\n".encode() + data


async def _answer(server: Server, data: bytes) -> tuple[str, str]:
    """Status and message of the reply to a request that may be answered before it is sent."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)

    async def write() -> None:
        try:
            for start in range(0, len(data), 2**16):
                writer.write(data[start : start + 2**16])
                await writer.drain()
        except ConnectionError:
            pass  # it was answered before it had seen everything

    writing = asyncio.create_task(write())
    try:
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), LOST_SECONDS)
        body = await asyncio.wait_for(reader.read(2**20), LOST_SECONDS)
    except (ConnectionError, asyncio.IncompleteReadError) as error:
        return "none", repr(error)
    finally:
        writing.cancel()
        writer.close()
    return head[9:12].decode(), _error_of(body)


async def _huge_message(server: Server, size: int) -> tuple[str, str]:
    request = make_request(Target(server.model), "", {"text": ["a" * size]})
    async with grpc.aio.insecure_channel(
        f"127.0.0.1:{server.grpc_port}", options=[("grpc.max_send_message_length", -1)]
    ) as channel:
        try:
            await channel.unary_unary(_PREDICT)(request.SerializeToString(), timeout=LOST_SECONDS)
        except grpc.RpcError as error:
            return error.code().name, error.details() or ""
    return "OK", ""


def idle(options: argparse.Namespace, verdict: Verdict) -> None:
    """Connections that say nothing, or their headers a byte at a time, beside good requests."""
    patience = options.seconds + 5.0
    closed: collections.Counter[str] = collections.Counter()

    async def measure(server: Server) -> list[Tally]:
        before = await load(server, 1, options.seconds)
        opened = [
            await asyncio.open_connection("127.0.0.1", server.port)
            for _ in range(options.connections)
        ]
        dripping = asyncio.create_task(_drip(opened[::10], server.request("a"), options.seconds))
        during = await load(server, 1, options.seconds)
        await dripping
        print(f"memory {server.megabytes():.1f} MB with {len(opened)} connections")
        waiting = [asyncio.wait_for(reader.read(), LOST_SECONDS) for reader, _ in opened]
        for answer in await asyncio.gather(*waiting, return_exceptions=True):
            told = isinstance(answer, bytes) and b"was not sent within" in answer
            closed[answer[9:12].decode() if told else repr(answer)[:80]] += 1
        for _, writer in opened:
            writer.close()
        return [before, during]

    with served(options.base, f"--receive-timeout={patience}") as server:
        alone, beside = asyncio.run(measure(server))
        print(f"alone   {alone.line()}\nbeside  {beside.line()}")
        verdict.alive(server, beside)
        verdict.say(
            f"{options.connections} idle connections, a tenth of them with slow headers, let go "
            f"with their own message after {patience:g} s",
            dict(closed) == {"408": options.connections},
            str(dict(closed)),
        )


async def _drip(
    opened: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]], request: bytes, seconds: float
) -> None:
    for byte in request[:40]:
        for _, writer in opened:
            writer.write(bytes([byte]))
        await asyncio.sleep(seconds / 50)
