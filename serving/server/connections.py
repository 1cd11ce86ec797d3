"""Connections over HTTP: how many there may be, and how long a client may take."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

from aiohttp import web

try:
    import resource
except ImportError:  # pragma: no cover (there is no such limit on Windows)
    resource = None  # type: ignore[assignment]


def raise_descriptor_limit() -> None:
    """Lets the process have as many descriptors as it may."""
    if resource is not None:
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def max_connections(max_pending: int) -> int:
    """Connections that each interface may hold.

    A third of the descriptors, so that neither interface takes those of the other, nor those with
    which models are loaded; and no more than twice the requests that may be under way.
    """
    descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0] if resource else 512
    return max(1, min(descriptors // 3, 2 * max_pending))


def end_unread_replies(listener: socket.socket, seconds: float) -> None:
    """Lets the system end connections whose clients do not take what was sent in time.

    Such a client would hold its reply in memory for as long as it likes.
    """
    option = getattr(socket, "TCP_USER_TIMEOUT", None)  # of Linux; accepted sockets inherit it
    if option is not None and seconds > 0:
        listener.setsockopt(socket.IPPROTO_TCP, option, max(1, int(1000 * seconds)))


def _raw_reply(status: str, body: bytes) -> bytes:
    return (
        b"HTTP/1.1 %s\r\nContent-Type: application/json\r\nConnection: close\r\n"
        b"Content-Length: %d\r\n\r\n%s" % (status.encode(), len(body), body)
    )


class Connections:
    """Makes the protocols of new connections, and ends those over which no request comes.

    A request has come when its head is whole; from then on its body has a time of its own. One that
    is refused for its first line alone costs a hundredth of one that is read: a server that has
    more to do than it can still says so at once.

    Args:
        server: of an aiohttp runner.
        refusal: called with the first bytes of a connection; returns an error in JSON, or `None`.
        most: connections at a time; further ones are told so and closed.
        seconds: from the connection to the end of the head of its first request; 0 for ever.
        too_slow: what a client is told that takes longer, in JSON.
    """

    def __init__(
        self,
        server: web.Server,
        refusal: Callable[[bytes], bytes | None],
        most: int,
        seconds: float,
        too_slow: bytes,
    ):
        self.server = server
        self.refusal = refusal
        self.most = most
        self.seconds = seconds
        self.too_slow = _raw_reply("408 Request Timeout", too_slow)
        self.new: set[_NewConnection] = set()  # nothing has come over them
        self._alarms: dict[Any, asyncio.TimerHandle] = {}  # each goes when it rings at the latest

    def __call__(self) -> asyncio.Protocol:
        return _NewConnection(self)

    def take_over(self, transport: Any, data: bytes, alarm: asyncio.TimerHandle | None) -> None:
        """Hands a connection and its first bytes to the HTTP server."""
        protocol = self.server()
        if alarm is not None:
            self._alarms[protocol] = alarm
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        protocol.data_received(data)

    def heard(self, protocol: Any) -> None:
        """Says that a request has come over the connection of this protocol."""
        alarm = self._alarms.pop(protocol, None)
        if alarm is not None:
            alarm.cancel()

    def close(self) -> None:
        """Closes the connections over which nothing has come."""
        for connection in list(self.new):
            connection.end()


class _NewConnection(asyncio.Protocol):
    """Reads the first bytes of a connection."""

    def __init__(self, connections: Connections):
        self._all = connections
        self._alarm: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport
        self._all.new.add(self)
        if self._all.seconds > 0:
            loop = asyncio.get_running_loop()
            self._alarm = loop.call_later(self._all.seconds, self.end, self._all.too_slow)

    def data_received(self, data: bytes) -> None:
        self._all.new.discard(self)
        error = self._all.refusal(data)
        if len(self._all.server.connections) + len(self._all.new) >= self._all.most:
            error = b'{"error": "%d connections are open, and no more are taken"}' % self._all.most
        if error is None:
            self._all.take_over(self._transport, data, self._alarm)
        else:
            self.end(_raw_reply("503 Service Unavailable", error))

    def connection_lost(self, error: Exception | None) -> None:
        self._all.new.discard(self)
        if self._alarm is not None:
            self._alarm.cancel()

    def end(self, reply: bytes = b"") -> None:
        """Closes the connection, which may be in use by now, with a last reply."""
        if not self._transport.is_closing():
            self._transport.write(reply)
            self._transport.close()
