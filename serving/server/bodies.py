"""The bodies of requests: how large one may be, how long it may take, how much all may hold."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiohttp import web

from ..runtime.errors import Code, ServingError


@dataclass
class _Held:
    """What one request holds in memory."""

    size: int = 0


class Bodies:
    """Reads the bodies of requests, no more at a time than there is room for.

    A body counts from its first bytes until its request is answered.

    Args:
        largest: bytes of the largest body, unpacked.
        room: bytes of all bodies at a time; at least one of the largest size is always read.
        seconds: that a body may take to come; 0 for ever.
    """

    def __init__(self, largest: int, room: int, seconds: float):
        self.largest = largest
        self._room = max(room, largest)
        self._seconds = seconds
        self.size = 0  # of those held; counted in the event loop alone

    @asynccontextmanager
    async def read(self, request: web.Request) -> AsyncIterator[bytes]:
        """The body of a request whose head has come, for as long as the block lasts.

        Raises:
            asyncio.TimeoutError: it does not come in time.
            ServingError: UNAVAILABLE, where others leave no room for it.
            web.HTTPRequestEntityTooLarge: it is too large.
        """
        announced = request.content_length or 0
        if announced > self.largest:  # so it is not waited for
            raise web.HTTPRequestEntityTooLarge(self.largest, announced)
        held = _Held()
        try:
            body = self._collect(request, held)
            if self._seconds > 0 and not request.content.is_eof():
                body = asyncio.wait_for(body, self._seconds)
            yield await body
        finally:
            self.size -= held.size

    async def _collect(self, request: web.Request, held: _Held) -> bytes:
        parts = []
        async for part in request.content.iter_any():
            if held.size + len(part) > self.largest:
                raise web.HTTPRequestEntityTooLarge(self.largest, held.size + len(part))
            if self.size + len(part) > self._room:
                raise ServingError(
                    Code.UNAVAILABLE,
                    f"The requests under way have bodies of {self.size} bytes, and there is no "
                    "room for more; try again later",
                )
            held.size += len(part)
            self.size += len(part)
            parts.append(part)
        return b"".join(parts)
