"""Channels between workers: JSON or bytes over a socket, each preceded by its length."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import threading
from typing import Any

HEADER = struct.Struct("!4scQ")
MAGIC = b"AZw1"  # so that whatever else may listen at an address is not taken for a worker
LARGEST_JSON = 1 << 24


class NotAWorker(OSError):
    """Received bytes that are not a message."""


class Channel:
    """A connected socket that sends and receives whole values.

    Network errors, including the end of the connection, are raised as `OSError`.

    Args:
        sock: A connected socket, which `close` closes.
    """

    def __init__(self, sock: socket.socket):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # A machine that was switched off closes no connections: it is found out in half a minute.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in (
            ("TCP_KEEPIDLE", 10),
            ("TCP_KEEPINTVL", 5),
            ("TCP_KEEPCNT", 4),
            ("TCP_USER_TIMEOUT", 30_000),
        ):
            if hasattr(socket, option):
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
        self._socket = sock
        self._sending = threading.Lock()

    def send(self, value: Any) -> None:
        """Sends bytes as they are, and anything else as JSON."""
        kind = b"b" if isinstance(value, bytes) else b"j"
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        with self._sending:
            self._socket.sendall(HEADER.pack(MAGIC, kind, len(body)))
            self._socket.sendall(body)

    def receive(self) -> Any:
        """Waits for the next value and returns it.

        Raises:
            NotAWorker: The other end is not a worker.
            OSError: The connection ended, or the time limit has passed.
        """
        magic, kind, length = HEADER.unpack(self._exactly(HEADER.size))
        if magic != MAGIC or (kind == b"j" and length > LARGEST_JSON):
            raise NotAWorker("what answers there is not a worker of attention-zoo")
        body = self._exactly(length)
        return body if kind == b"b" else json.loads(body)

    def limit(self, seconds: float | None) -> None:
        """Sets the time limit of each send and receive in seconds; `None` for no limit."""
        self._socket.settimeout(seconds)

    def peer(self) -> str:
        """The address of the machine at the other end."""
        return str(self._socket.getpeername()[0]).removeprefix("::ffff:")

    def close(self) -> None:
        with contextlib.suppress(OSError):  # the other end was faster
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _exactly(self, length: int) -> bytes:
        parts = bytearray()
        while len(parts) < length:
            part = self._socket.recv(min(length - len(parts), 1 << 20))
            if not part:
                raise ConnectionResetError("connection closed")
            parts += part
        return bytes(parts)
