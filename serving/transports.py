"""How a client's calls reach a server over HTTP."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import quote

from .errors import Code, ServingError

# A server may close a connection that was idle, just when it is used again.
_STALE = (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError)


@dataclass(frozen=True)
class Target:
    """What a client asks: a model, and of its versions a number, a label or the newest."""

    model: str
    version: int | None = None
    label: str | None = None

    @property
    def path(self) -> str:
        """Its address below `/v1/models`."""
        path = quote(self.model, safe="")
        if self.version is not None:
            return f"{path}/versions/{self.version}"
        if self.label is not None:
            return f"{path}/labels/{quote(self.label, safe='')}"
        return path


class Transport(Protocol):
    """Calls a signature with columns of texts and returns columns of values."""

    def call(self, signature: str, inputs: Mapping[str, list[str]]) -> dict[str, list]:
        """The outputs by name.

        Raises:
            ServingError: what the server answered, or why it could not be asked.
        """

    def close(self) -> None:
        """Closes the connection."""


def request_body(signature: str, inputs: Mapping[str, list[str]]) -> bytes:
    """The JSON of a request by column."""
    document = {"signature_name": signature, "inputs": dict(inputs)}
    return json.dumps(document, ensure_ascii=False).encode("utf-8", "surrogateescape")


def read_reply(status: int, body: bytes, url: str) -> dict[str, list]:
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
        message = document.get("error") or f"{url} answered with status {status}"
        raise ServingError(Code.from_http_status(status), str(message))
    outputs = document.get("outputs")
    if not isinstance(outputs, dict):
        raise ServingError(
            Code.INTERNAL, f"{url} answered, but not as a model server: is the address right?"
        )
    return outputs


def unreachable(host: str, port: int, error: Exception) -> ServingError:
    """The error of a server that does not answer."""
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return ServingError(
        Code.UNAVAILABLE, f"No server answers at {host}:{port} ({reason}). Is it running?"
    )


class RestTransport:
    """REST with Python's standard library; one connection a thread, kept open.

    Args:
        secure: whether to speak HTTPS.
        host: of the server.
        port: of the server.
        prefix: path in front of `/v1`, behind a proxy.
        target: what to ask.
        timeout: seconds for a whole call.
    """

    def __init__(
        self, secure: bool, host: str, port: int, prefix: str, target: Target, timeout: float
    ):
        self._secure = secure
        self._host = host
        self._port = port
        self._timeout = timeout
        self._path = f"{prefix.rstrip('/')}/v1/models/{target.path}:predict"
        self._local = threading.local()
        self._connections: list[http.client.HTTPConnection] = []
        self._lock = threading.Lock()

    def call(self, signature: str, inputs: Mapping[str, list[str]]) -> dict[str, list]:
        body = request_body(signature, inputs)
        status, reply = self._send(body)
        return read_reply(status, reply, f"{self._host}:{self._port}")

    def _connection(self) -> http.client.HTTPConnection:
        known = getattr(self._local, "connection", None)
        if known is None:
            kind = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
            known = kind(self._host, self._port, timeout=self._timeout)
            self._local.connection = known
            with self._lock:
                self._connections.append(known)
        return known

    def _send(self, body: bytes) -> tuple[int, bytes]:
        connection = self._connection()
        was_open = connection.sock is not None
        try:
            return self._exchange(connection, body)
        except _STALE as error:
            connection.close()
            if not was_open:
                raise unreachable(self._host, self._port, error) from error
        except TimeoutError as error:
            connection.close()
            raise ServingError(
                Code.DEADLINE_EXCEEDED, f"No answer within {self._timeout:g} seconds"
            ) from error
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise unreachable(self._host, self._port, error) from error
        try:
            return self._exchange(connection, body)
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise unreachable(self._host, self._port, error) from error

    def _exchange(self, connection: http.client.HTTPConnection, body: bytes) -> tuple[int, bytes]:
        headers = {"Content-Type": "application/json"}
        connection.request("POST", self._path, body, headers)
        with connection.getresponse() as response:
            return response.status, response.read()

    def close(self) -> None:
        with self._lock:
            for connection in self._connections:
                connection.close()
            self._connections.clear()


def columns_of(outputs: Mapping[str, Any]) -> dict[str, list]:
    """Arrays of a reply as lists, bytes as text."""

    def plain(value: Any) -> Any:
        if isinstance(value, list):
            return [plain(element) for element in value]
        return value.decode("utf-8", "replace") if isinstance(value, bytes) else value

    return {name: plain(array.tolist()) for name, array in outputs.items()}
