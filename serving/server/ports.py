"""Ports that a server listens on."""

from __future__ import annotations

import socket

from ..runtime.errors import Code, ServingError


def listen(host: str, port: int, interface: str) -> socket.socket:
    """A socket bound to a port, which nobody else listens on.

    Raises:
        ServingError: if the port cannot be opened.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except (OSError, OverflowError) as error:
        listener.close()
        raise port_error(host, port, interface, error) from error
    return listener


def port_error(
    host: str, port: int, interface: str, error: Exception | None = None
) -> ServingError:
    """The error of a port that cannot be opened."""
    reason = f": {getattr(error, 'strerror', None) or error}" if error else ""
    return ServingError(
        Code.UNAVAILABLE,
        f"Cannot listen on {host}:{port} for {interface}{reason}. Choose another port, or 0 for a "
        "free one",
    )
