"""A server in a process of its own, and clients that put load on it; for `serving_load.py`."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from attention_zoo.serving.export.warmup import WARMUP_FILE
from attention_zoo.serving.runtime import protos
from attention_zoo.serving.runtime.records import read_records
from attention_zoo.serving.runtime.versions import find_versions

LOST_SECONDS = 60.0  # an answer that takes longer is lost


class Verdict:
    """Says of each thing that is asked of a server whether it was shown."""

    def __init__(self) -> None:
        self.passed = True

    def say(self, asked: str, passed: bool, measured: str) -> None:
        """One line: what is asked, whether it is so, and what was measured."""
        self.passed &= passed
        print(f"{'PASS' if passed else 'FAIL'}  {asked}: {measured}", flush=True)

    def alive(self, server: Server, tally: Tally) -> None:
        """Two lines that every load must earn."""
        self.say(
            "no valid request lost or answered wrongly",
            bool(tally.seconds) and not tally.errors,
            f"{len(tally.seconds)} answers compared, {len(tally.errors)} errors "
            f"{tally.errors[:2] or ''}".rstrip(),
        )
        status = server.process.poll()
        self.say("no crash", status is None, f"exit status {status}" if status else "it runs")


@dataclass
class Server:
    """A server that runs, and what is asked of it."""

    process: subprocess.Popen
    port: int
    grpc_port: int
    model: str
    texts: list[str]

    def request(self, text: str) -> bytes:
        """The bytes of a request for one text."""
        body = json.dumps({"instances": [text]}).encode()
        head = (
            f"POST /v1/models/{self.model}:predict HTTP/1.1\r\nHost: localhost\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body

    def megabytes(self) -> float:
        """Resident memory of the process."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.findall(r"VmRSS:\s+(\d+)", status)[0]) / 1024


def warmup_texts(version: Path) -> list[str]:
    """The texts in the warm-up requests of a version."""
    texts = set()
    for record in read_records(version / WARMUP_FILE):
        request = protos.PredictionLog.FromString(record).predict_log.request
        if request.model_spec.signature_name == "serving_default":
            texts |= {value.decode() for value in request.inputs["text"].string_val}
    return sorted(texts, key=len)


@contextmanager
def served(base: Path, *options: str) -> Iterator[Server]:
    """A server on the model in a folder."""
    command = [sys.executable, "-m", "attention_zoo", "serve", str(base), "--server=local"]
    command += ["--rest-port=0", "--grpc-port=0", *options]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        assert process.stdout is not None
        # "REST http://127.0.0.1:40001 ...", then "gRPC grpc://127.0.0.1:40002".
        lines = [process.stdout.readline() for _ in range(2)]
        ports = [int(port) for line in lines for port in re.findall(r"//127\.0\.0\.1:(\d+)", line)]
        if len(ports) != 2:
            raise RuntimeError(f"The server did not start: {lines}")
        texts = warmup_texts(max(find_versions(base).items())[1])
        yield Server(process, *ports, base.resolve().name, texts)
    finally:
        process.terminate()
        process.wait(60)


@dataclass
class Tally:
    """What came of some requests."""

    seconds: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    left: int = 0
    elapsed: float = 0.0

    @property
    def rate(self) -> float:
        """Answers a second."""
        return len(self.seconds) / max(self.elapsed, 1e-9)

    def line(self) -> str:
        """Throughput, latency and errors for a person."""
        if not self.seconds:
            return f"no answers, {len(self.errors)} errors {self.errors[:2]}"
        p50, p99 = np.percentile(self.seconds, [50, 99]) * 1000
        return (
            f"{self.rate:8.1f} requests/s   p50 {p50:7.1f} ms   "
            f"p99 {p99:7.1f} ms   {len(self.errors)} errors {self.errors[:2] or ''}"
        )


class Connection:
    """One connection to REST, kept open; as little work as possible beside the server's."""

    def __init__(self, server: Server):
        self._server = server
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        """Sends a request and reads the status and the body of its reply."""
        if self._writer is None or self._reader is None:
            self._reader, self._writer = await asyncio.open_connection(
                "127.0.0.1", self._server.port
            )
        self._writer.write(request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        length = int(re.findall(rb"(?i)content-length: *(\d+)", head)[0])
        body = await self._reader.readexactly(length)
        if b"connection: close" in head.lower():
            self.close()
        return int(head[9:12]), body

    async def send_and_leave(self, request: bytes) -> None:
        """Sends a request and is gone before the reply."""
        _, writer = await asyncio.open_connection("127.0.0.1", self._server.port)
        writer.write(request)
        await writer.drain()
        writer.close()

    def close(self) -> None:
        """Ends the connection."""
        if self._writer is not None:
            self._writer.close()
        self._writer = self._reader = None


async def expected_texts(server: Server) -> dict[str, str]:
    """The answer for each text, one request at a time."""
    connection = Connection(server)
    answers = {}
    for text in server.texts:
        status, body = await connection.ask(server.request(text))
        assert status == 200, body
        answers[text] = json.loads(body)["predictions"][0]["text"]
    connection.close()
    return answers


async def load(server: Server, clients: int, seconds: float, leave_every: int = 0) -> Tally:
    """Clients that ask one text after another; every answer is compared with the expected one."""
    expected = await expected_texts(server)
    requests = {text: server.request(text) for text in server.texts}
    tally = Tally()
    start = time.perf_counter()

    async def client(number: int) -> None:
        connection = Connection(server)
        count = number
        while (now := time.perf_counter()) - start < seconds:
            text = server.texts[count % len(server.texts)]
            count += 1
            try:
                if leave_every and count % leave_every == 0:
                    await connection.send_and_leave(requests[text])
                    tally.left += 1
                    continue
                asked = connection.ask(requests[text])
                status, body = await asyncio.wait_for(asked, LOST_SECONDS)
            except (OSError, asyncio.IncompleteReadError, asyncio.TimeoutError) as error:
                tally.errors.append(repr(error))
                connection.close()
                continue
            tally.seconds.append(time.perf_counter() - now)
            if status != 200 or json.loads(body)["predictions"][0]["text"] != expected[text]:
                tally.errors.append(f"{status} {body[:120]!r}")
        connection.close()

    await asyncio.gather(*(client(number) for number in range(clients)))
    tally.elapsed = time.perf_counter() - start
    return tally
