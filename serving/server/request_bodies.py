"""The bodies of requests: limits on their size, their time and the memory of all of them.

What costs time and memory is what a body becomes, so a compressed one is held to a ratio, and each
counts with the memory that its values are expected to take.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiohttp import web

from ..rest_json.json_parser import expected_memory
from ..runtime.errors import Code, ServingError

# Texts are seldom compressed to a twentieth; a body that unfolds to little need not show its ratio.
_LARGEST_RATIO = 100
_UNFOLDED_ANYWAY = 2**20


@dataclass
class _Held:
    """Memory that one request holds."""

    size: int = 0


class RequestBodies:
    """Reads the bodies of requests, no more at a time than there is room for.

    A body counts from its first bytes until its request is answered: with its size, and, when all
    of it has come, with the memory that its values will take.

    Args:
        largest: bytes of the largest body, unpacked.
        room: bytes in memory of all bodies at a time, at least `largest`.
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
            web.HTTPRequestEntityTooLarge: it is too large, or would become so.
        """
        announced = request.content_length or 0
        if announced > self.largest:  # so it is not waited for
            raise self._too_large(f"is larger than {self.largest} bytes")
        held = _Held()
        try:
            body = self._collect(request, held)
            if self._seconds > 0 and not request.content.is_eof():
                body = asyncio.wait_for(body, self._seconds)
            whole = await body
            memory = expected_memory(whole)
            if memory > self._room:
                raise self._too_large(
                    f"would take {memory} bytes of memory as lists and values, more than "
                    f"{self._room}; send fewer rows at a time"
                )
            self._hold(held, max(memory, held.size))
            yield whole
        finally:
            self.size -= held.size

    async def _collect(self, request: web.Request, held: _Held) -> bytes:
        packed = "Content-Encoding" in request.headers
        unfolded = max(_LARGEST_RATIO * (request.content_length or 0), _UNFOLDED_ANYWAY)
        parts = []
        async for part in request.content.iter_any():
            size = held.size + len(part)
            if size > self.largest:
                raise self._too_large(f"is larger than {self.largest} bytes")
            if packed and size > unfolded:
                raise self._too_large(
                    f"unfolds to more than {unfolded} bytes, {_LARGEST_RATIO} times what its "
                    "Content-Length announces; send it with less compression"
                )
            self._hold(held, size)
            parts.append(part)
        return b"".join(parts)

    def _hold(self, held: _Held, size: int) -> None:
        if self.size + size - held.size > self._room:
            raise ServingError(
                Code.UNAVAILABLE,
                f"The requests under way take {self.size} bytes of memory, and there is no "
                "room for more; try again later",
            )
        self.size += size - held.size
        held.size = size

    def _too_large(self, reason: str) -> web.HTTPRequestEntityTooLarge:
        text = f"The body of the request {reason}"
        return web.HTTPRequestEntityTooLarge(self.largest, 0, text=text)
