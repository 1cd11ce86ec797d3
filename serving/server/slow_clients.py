"""Clients that take too long to send the head of a request or to take its reply."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from aiohttp import web


class HeadTimeout:
    """Makes the protocols of new connections, and ends those over which no request comes.

    A request has come when its head is whole; from then on its body has a time of its own.

    Args:
        make: makes a protocol, such as the server of an aiohttp runner.
        seconds: from the connection to the end of the head of its first request; 0 for ever.
        body: what a client is told that takes longer, in JSON.
    """

    def __init__(self, make: Callable[[], web.RequestHandler], seconds: float, body: bytes):
        self._make = make
        self._seconds = seconds
        self._reply = (
            b"HTTP/1.1 408 Request Timeout\r\nContent-Type: application/json\r\n"
            b"Connection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
        )
        self._alarms: dict[Any, asyncio.TimerHandle] = {}  # each goes when it rings at the latest

    def __call__(self) -> web.RequestHandler:
        protocol = self._make()
        if self._seconds > 0:
            loop = asyncio.get_running_loop()
            self._alarms[protocol] = loop.call_later(self._seconds, self._give_up, protocol)
        return protocol

    def heard(self, protocol: Any) -> None:
        """Says that a request has come over the connection of this protocol."""
        alarm = self._alarms.pop(protocol, None)
        if alarm is not None:
            alarm.cancel()

    def _give_up(self, protocol: Any) -> None:
        self._alarms.pop(protocol, None)
        transport = protocol.transport
        if transport is not None and not transport.is_closing():
            transport.write(self._reply)
            transport.close()


class TimedReply(web.Response):
    """A reply that ends its connection if it is not taken in time.

    A client that reads nothing would hold the reply in memory for as long as it likes.

    Args:
        seconds: that the client may take; 0 for ever.
        **settings: of `aiohttp.web.Response`.
    """

    def __init__(self, seconds: float, **settings: Any):
        super().__init__(**settings)
        self._seconds = seconds
        self._transport: asyncio.Transport | None = None

    async def prepare(self, request: web.BaseRequest) -> Any:
        self._transport = request.transport
        return await super().prepare(request)

    async def write_eof(self, data: bytes = b"") -> None:
        if self._seconds <= 0 or self._transport is None:
            return await super().write_eof(data)
        alarm = asyncio.get_running_loop().call_later(self._seconds, self._transport.abort)
        try:
            return await super().write_eof(data)
        finally:
            alarm.cancel()
