"""Address of a server and of a model on it, and the transport of calls over HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Protocol
from urllib.parse import quote, urlsplit

import aiohttp
import yarl

from ..runtime.errors import Code, ServingError

_DEFAULT_PORTS = {"http": 8501, "https": 443, "grpc": 8500, "grpcs": 443}
_MAX_CONNECTIONS = 100  # calls at a time; further ones wait


@dataclass(frozen=True)
class ServerAddress:
    """Address of a server.

    Attributes:
        scheme: `http`, `https`, `grpc` or `grpcs`.
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
            f"grpc://host:port or grpcs://host:port for gRPC. Received: url={url!r}"
        )
    port = port or _DEFAULT_PORTS[parts.scheme]
    return ServerAddress(parts.scheme, parts.hostname, port, parts.path.rstrip("/"))


@dataclass(frozen=True)
class Access:
    """Credentials of a client and the authorities that it trusts.

    Attributes:
        headers: sent with every request.
        ca_file: certificates of trusted authorities, or `None` for those of the system.
        cert_file: certificate of the client, or `None`.
        key_file: its private key; `None` where it is in `cert_file`.
    """

    headers: Mapping[str, str]
    ca_file: str | os.PathLike | None = None
    cert_file: str | os.PathLike | None = None
    key_file: str | os.PathLike | None = None

    def ssl_context(self) -> ssl.SSLContext:
        """The same for TLS over REST."""
        context = ssl.create_default_context(cafile=self.ca_file)
        if self.cert_file is not None:
            context.load_cert_chain(self.cert_file, self.key_file)
        return context

    def pem(self) -> tuple[bytes | None, bytes | None, bytes | None]:
        """Contents of the files for TLS over gRPC: authorities, private key, certificate."""
        files = (self.ca_file, self.key_file or self.cert_file, self.cert_file)
        authorities, key, certificate = (f and Path(f).read_bytes() for f in files)
        return authorities or None, key or None, certificate or None


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

    async def call(
        self, signature: str, inputs: Mapping[str, list], timeout: float
    ) -> dict[str, list]:
        """The outputs by name.

        Raises:
            ServingError: what the server answered, or why it could not be asked.
        """

    async def close(self) -> None:
        """Closes the connections."""


def unreachable(address: ServerAddress, error: BaseException) -> ServingError:
    """The error of a server that does not answer."""
    error = getattr(error, "certificate_error", error)  # of aiohttp, around that of Python
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    if "certificate" in reason.lower():
        reason = getattr(error, "verify_message", reason).rstrip(".")
        return ServingError(
            Code.UNAVAILABLE,
            f"The certificate of {address.authority} is not accepted ({reason}). Use the name that "
            "it is for; if its authority is one of your own, give its file as `ca_file`",
            permanent=True,
        )
    return ServingError(
        Code.UNAVAILABLE, f"No server answers at {address.authority} ({reason}). Is it running?"
    )


def too_late(timeout: float) -> ServingError:
    """The error of a server that takes too long."""
    return ServingError(Code.DEADLINE_EXCEEDED, f"No answer within {timeout:.3g} seconds")


class RestTransport:
    """REST with aiohttp.

    Args:
        address: of the server.
        target: what to ask.
        access: credentials.
    """

    def __init__(self, address: ServerAddress, target: Target, access: Access):
        self._address = address
        url = f"{address.scheme}://{address.authority}{address.prefix}{target.path}"
        self._url = yarl.URL(url, encoded=True)  # a colon in a name stays quoted
        self._headers = {**access.headers, "Content-Type": "application/json"}
        self._tls = access.ssl_context() if address.scheme == "https" else True
        self._session: aiohttp.ClientSession | None = None
        self._loop: asyncio.AbstractEventLoop | None = None  # whose the session is

    async def call(
        self, signature: str, inputs: Mapping[str, list], timeout: float
    ) -> dict[str, list]:
        body, end = _request_body(signature, inputs), time.monotonic() + timeout
        try:
            try:
                return await self._exchange(body, timeout)
            except aiohttp.ServerDisconnectedError:  # by a server that had closed it when idle
                return await self._exchange(body, max(0.001, end - time.monotonic()))
        except asyncio.TimeoutError as error:
            raise too_late(timeout) from error
        except aiohttp.ClientError as error:
            raise unreachable(self._address, error) from error

    async def _exchange(self, body: bytes, timeout: float) -> dict[str, list]:
        loop = asyncio.get_running_loop()
        if self._session is None or self._loop is not loop:
            with contextlib.suppress(RuntimeError):  # of a loop that has ended
                await self.close()
            connector = aiohttp.TCPConnector(limit=_MAX_CONNECTIONS, ssl=self._tls)
            self._session, self._loop = aiohttp.ClientSession(connector=connector), loop
        async with self._session.post(
            self._url,
            data=body,
            headers=self._headers,
            timeout=aiohttp.ClientTimeout(total=timeout),
            allow_redirects=False,  # texts and credentials are for this server alone
        ) as response:
            reply = await response.read()
            return _read_reply(response.status, response.headers, reply, self._address)

    async def close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()


def _request_body(signature: str, inputs: Mapping[str, list]) -> bytes:
    """The JSON of a request by row, of which a server refuses inputs that it does not know."""
    rows = [dict(zip(inputs, row, strict=True)) for row in zip(*inputs.values(), strict=True)]
    document = {"signature_name": signature, "instances": rows}
    return json.dumps(document, ensure_ascii=False).encode("utf-8", "surrogateescape")


def _seconds(wait: str) -> float:
    """The seconds in a `Retry-After`, or until the time that it says; 0 if it says neither."""
    if wait.isascii() and wait.isdigit():
        return float(wait)
    with contextlib.suppress(TypeError, ValueError):
        return max(0.0, parsedate_to_datetime(wait).timestamp() - time.time())
    return 0.0


def _read_reply(
    status: int, headers: Mapping[str, str], body: bytes, address: ServerAddress
) -> dict[str, list]:
    """The outputs in a reply by column."""
    try:
        document = json.loads(body.decode("utf-8", "replace"))
    except ValueError:
        document = None
    if not isinstance(document, dict):
        document = {}
    if status != 200:
        message = document.get("error") or f"{address.authority} answered with status {status}"
        if 300 <= status < 400:
            message += f", a redirect to {headers.get('Location')}; give that address"
        error = ServingError(Code.from_http_status(status), str(message))
        error.retry_after = _seconds(headers.get("Retry-After", ""))
        raise error
    rows = document.get("predictions")
    if not isinstance(rows, list) or not all(
        isinstance(row, dict) and row.keys() == rows[0].keys() for row in rows
    ):
        raise ServingError(
            Code.INTERNAL,
            f"{address.authority} answered, but not as a model server with a model from text to "
            "text: is the address right?",
        )
    return {name: [row[name] for row in rows] for name in (rows[0] if rows else ())}
