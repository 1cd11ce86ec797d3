"""Addresses on this machine that nobody listens at."""

import contextlib
import socket


def free_addresses(count):
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("", 0))) for _ in range(count)]
        return tuple(f"127.0.0.1:{s.getsockname()[1]}" for s in sockets)
