"""Transport of a client's calls over HTTP."""

from __future__ import annotations

import http.client
import json
import ssl
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import quote, urlsplit

from ..runtime.errors import Code, ServingError

# A server may close a connection that was idle, just when it is used again.
_STALE = (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError)
_PART = 65536  # bytes that are read before the clock is looked at
_DEFAULT_PORTS = {"http": 8501, "https": 443, "grpc": 8500}


@dataclass(frozen=True)
class ServerAddress:
    """Address of a server.

    Attributes:
        scheme: `http`, `https` or `grpc`.
        host: name or number.
        port: number.
        prefix: path in front of `/v1`, behind a proxy.
    """

    scheme: str
    host: str
    port: int
    prefix: str

    @property
    def authority(self) -> str:
        """Host and port in one."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def read_url(url: str) -> ServerAddress:
    """The parts of an address.

    Raises:
        ValueError: if it is of no kind that can be asked.
    """
    parts = urlsplit(url)
    try:
        port = parts.port
        (parts.hostname or "").encode("idna")  # as it will be looked up
    except ValueError:
        port = 0
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname or port == 0:
        raise ValueError(
            "A server's address is http://host:port or https://host:port for REST and "
            f"grpc://host:port for gRPC. Received: url={url!r}"
        )
    port = port or _DEFAULT_PORTS[parts.scheme]
    return ServerAddress(parts.scheme, parts.hostname, port, parts.path.rstrip("/"))


@dataclass(frozen=True)
class Target:
    """Target of a client's calls: a model, and of its versions a number, a label or the newest."""

    model: str
    version: int | None = None
    label: str | None = None

    @property
    def path(self) -> str:
        """The address of its predictions."""
        path = f"/v1/models/{quote(self.model, safe='')}"
        if self.version is not None:
            path += f"/versions/{self.version}"
        elif self.label is not None:
            path += f"/labels/{quote(self.label, safe='')}"
        return f"{path}:predict"


class Transport(Protocol):
    """Calls a signature with columns of texts or whole numbers; returns columns of values."""

    def call(self, signature: str, inputs: Mapping[str, list], timeout: float) -> dict[str, list]:
        """The outputs by name.

        Raises:
            ServingError: what the server answered, or why it could not be asked.
        """

    def close(self) -> None:
        """Closes the connection."""


def request_body(signature: str, inputs: Mapping[str, list]) -> bytes:
    """The JSON of a request by column."""
    document = {"signature_name": signature, "inputs": dict(inputs)}
    return json.dumps(document, ensure_ascii=False).encode("utf-8", "surrogateescape")


def read_reply(status: int, body: bytes, address: ServerAddress) -> dict[str, list]:
    """The outputs in a reply.

    Raises:
        ServingError: if the reply is an error, or none of a model server.
    """
    try:
        document = json.loads(body.decode("utf-8", "replace"))
    except ValueError:
        document = None
    if not isinstance(document, dict):
        document = {}
    if status != 200:
        message = document.get("error") or f"{address.authority} answered with status {status}"
        raise ServingError(Code.from_http_status(status), str(message))
    outputs = document.get("outputs")
    if not isinstance(outputs, dict):
        raise ServingError(
            Code.INTERNAL,
            f"{address.authority} answered, but not as a model server: is the address right?",
        )
    return outputs


def unreachable(address: ServerAddress, error: BaseException) -> ServingError:
    """The error of a server that does not answer."""
    error = getattr(error, "certificate_error", error)  # of aiohttp, around that of Python
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    if isinstance(error, ssl.SSLCertVerificationError):
        return ServingError(
            Code.UNAVAILABLE,
            f"The certificate of {address.authority} is not accepted "
            f"({error.verify_message.rstrip('.')}). Use the name that it is for; if its authority "
            "is one of your own, set SSL_CERT_FILE to the file of that",
            permanent=True,
        )
    return ServingError(
        Code.UNAVAILABLE, f"No server answers at {address.authority} ({reason}). Is it running?"
    )


def too_late(timeout: float) -> ServingError:
    """The error of a server that takes too long."""
    return ServingError(Code.DEADLINE_EXCEEDED, f"No answer within {timeout:.3g} seconds")


class RestTransport:
    """REST with Python's standard library; as many connections as calls at a time, kept open.

    Args:
        address: of the server.
        target: what to ask.
    """

    def __init__(self, address: ServerAddress, target: Target):
        self._address = address
        self._path = address.prefix + target.path
        self._idle: list[http.client.HTTPConnection] = []
        self._lock = threading.Lock()

    def call(self, signature: str, inputs: Mapping[str, list], timeout: float) -> dict[str, list]:
        body = request_body(signature, inputs)
        end = time.monotonic() + timeout
        connection = self._take()
        was_open = connection.sock is not None
        try:
            try:
                status, reply = self._exchange(connection, body, end)
            except _STALE:
                connection.close()
                if not was_open:
                    raise
                status, reply = self._exchange(connection, body, end)
        except TimeoutError as error:
            connection.close()
            raise too_late(timeout) from error
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise unreachable(self._address, error) from error
        with self._lock:
            self._idle.append(connection)
        return read_reply(status, reply, self._address)

    def _take(self) -> http.client.HTTPConnection:
        with self._lock:
            if self._idle:
                return self._idle.pop()
        secure = self._address.scheme == "https"
        kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        return kind(self._address.host, self._address.port)

    def _exchange(
        self, connection: http.client.HTTPConnection, body: bytes, end: float
    ) -> tuple[int, bytes]:
        """Status and body of the reply; a `TimeoutError` where it is not whole in time."""
        connection.timeout = _left(end)
        if connection.sock is not None:
            connection.sock.settimeout(connection.timeout)
        connection.request("POST", self._path, body, {"Content-Type": "application/json"})
        socket, parts = connection.sock, []
        with connection.getresponse() as response:
            while not response.isclosed():
                socket.settimeout(_left(end))
                part = response.read1(_PART)
                if not part:
                    break
                parts.append(part)
            if response.length:
                raise http.client.IncompleteRead(b"".join(parts), response.length)
            return response.status, b"".join(parts)

    def close(self) -> None:
        with self._lock:
            for connection in self._idle:
                connection.close()
            self._idle.clear()


def _left(end: float) -> float:
    """Seconds until a moment on the clock of `time.monotonic`."""
    seconds = end - time.monotonic()
    if seconds <= 0:
        raise TimeoutError
    return seconds


def columns_of(outputs: Mapping[str, Any]) -> dict[str, list]:
    """Arrays of a reply as lists, bytes as text."""

    def plain(value: Any) -> Any:
        if isinstance(value, list):
            return [plain(element) for element in value]
        return value.decode("utf-8", "replace") if isinstance(value, bytes) else value

    return {name: plain(array.tolist()) for name, array in outputs.items()}
