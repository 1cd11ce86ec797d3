"""The rendezvous of the workers before a training, and the checks that they fit together."""

from __future__ import annotations

import contextlib
import os
import queue
import secrets
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from .channel import Channel
from .cluster import Cluster, split_address
from .workers import WorkerError, WorkerLost, Workers

WAIT_SECONDS = 45.0  # for all workers to come; with what follows, less than a minute
ANSWER_SECONDS = 5.0
RETRY_SECONDS = 0.3
ACCEPTED = "accepted"


def wait_for_workers(
    cluster: Cluster, settings: dict[str, Any], wait_seconds: float = WAIT_SECONDS
) -> Workers:
    """Waits until all workers of a cluster have arrived and checks that their settings agree.

    Call it before TensorFlow's own server listens on the address of this worker; when it returns,
    no worker listens there any more.

    Args:
        cluster: The addresses of all workers and the index of this one.
        settings: JSON values by name that must be equal at all workers.
        wait_seconds: Seconds to wait for the other workers.

    Returns:
        The open channels between the chief and the other workers.

    Raises:
        WorkerError: An address leads to another process, two workers have the same index, or the
            settings differ. Every worker that has arrived raises it.
        WorkerLost: A worker did not arrive or cannot be reached; starting all again may help. Every
            worker that has arrived raises it.
    """
    settings = {"the list of workers": list(cluster.addresses), **settings}
    with _Listener(cluster) as listener:
        until = time.monotonic() + wait_seconds
        if cluster.is_chief:
            channels = _accept_workers(cluster, listener, settings, until)
        else:
            channels = {0: _register(cluster, listener, settings, until)}
    try:
        # All listeners are closed before a server of TensorFlow connects to any address.
        if cluster.is_chief:
            for channel in channels.values():
                channel.receive()
            for channel in channels.values():
                channel.send("start")
        else:
            channels[0].send("closed")
            channels[0].receive()
    except OSError as error:
        raise WorkerLost(f"A worker went away during the rendezvous ({error}).") from error
    for channel in channels.values():
        channel.limit(None)
    return Workers(cluster, channels)


class _Listener:
    """Listens at the address of this worker and tells callers its index and identity."""

    def __init__(self, cluster: Cluster):
        self.id = secrets.token_hex(8)
        self.arrivals: queue.Queue[tuple[Channel, dict[str, Any]]] = queue.Queue()
        self._index = cluster.index
        _, port = split_address(cluster.addresses[cluster.index])
        both = socket.has_dualstack_ipv6()
        family = socket.AF_INET6 if both else socket.AF_INET
        try:
            # At all interfaces, as TensorFlow's server: a machine may not know its outer address.
            self._socket = socket.create_server(("", port), family=family, dualstack_ipv6=both)
        except OSError as error:
            raise WorkerError(
                f"{cluster.name(cluster.index)} cannot listen on port {port} "
                f"({os.strerror(error.errno or 0)}). Another worker with the same "
                "--index, or another program, has it."
            ) from error
        threading.Thread(target=self._listen, daemon=True).start()

    def __enter__(self) -> _Listener:
        return self

    def __exit__(self, *error: object) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # wakes the thread
        self._socket.close()

    def _listen(self) -> None:
        while True:
            try:
                sock, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(sock,), daemon=True).start()

    def _answer(self, sock: socket.socket) -> None:
        sock.settimeout(ANSWER_SECONDS)
        channel = Channel(sock)
        try:
            message = channel.receive()
            if message == "identify":
                channel.send({"index": self._index, "id": self.id})
            elif isinstance(message, dict) and self._index == 0:
                self.arrivals.put((channel, message))
                return
        except (OSError, ValueError):
            pass  # not a worker, so it gets no answer
        channel.close()


def _connect(address: str) -> Channel:
    sock = socket.create_connection(split_address(address), timeout=ANSWER_SECONDS)
    return Channel(sock)


def _identify(address: str) -> dict[str, Any]:
    """Asks the worker at an address for its index and identity."""
    channel = _connect(address)
    try:
        channel.send("identify")
        return channel.receive()
    finally:
        channel.close()


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _register(
    cluster: Cluster, listener: _Listener, settings: dict[str, Any], until: float
) -> Channel:
    """Registers this worker with the chief and waits to be accepted."""
    hello = {"index": cluster.index, "id": listener.id, "settings": settings}
    while True:
        try:
            found = _identify(cluster.addresses[0])
            if found["index"] != 0:
                raise WorkerError(
                    f"The address of {cluster.name(0)} leads to another process, which says that "
                    f"it is worker {found['index']}."
                )
            channel = _connect(cluster.addresses[0])
            channel.send(hello)
            # The chief may have begun to wait for the others only now.
            channel.limit(WAIT_SECONDS + 2 * ANSWER_SECONDS)
            answer = channel.receive()
            break
        except OSError as error:
            if time.monotonic() > until:
                raise WorkerLost(
                    f"{cluster.name(cluster.index)} does not reach {cluster.name(0)}: "
                    f"{_reason(error)}. Is worker 0 started, and is that its address?"
                ) from error
            time.sleep(RETRY_SECONDS)
    if answer != ACCEPTED:
        raise (WorkerLost if answer["again"] else WorkerError)(answer["refused"])
    return channel


def _accept_workers(
    cluster: Cluster, listener: _Listener, settings: dict[str, Any], until: float
) -> dict[int, Channel]:
    """The channels of all other workers by index, as the chief gets them.

    If anything is wrong, every worker that has arrived is sent the reason.
    """
    joined: dict[int, tuple[Channel, dict[str, Any]]] = {}
    try:
        while len(joined) < len(cluster) - 1:
            try:
                channel, hello = listener.arrivals.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                raise _missing_error(cluster, listener, set(joined)) from None
            index = hello["index"]
            before = joined.get(index)
            if before is not None and _has_identity(cluster.addresses[index], hello["id"]):
                before[0].close()  # the same worker, which was started anew
                before = None
            joined[index if before is None else -1] = channel, hello
            _compare(cluster, index, settings, hello["settings"])
            if before is not None or index == 0:
                other = "here" if before is None else f"at {before[0].peer()}"
                raise WorkerError(
                    f"Two workers say that they are number {index}: one {other} and one at "
                    f"{channel.peer()}. Give each its own --index."
                )
        _check_addresses(
            cluster, {0: listener.id, **{i: hello["id"] for i, (_, hello) in joined.items()}}
        )
    except (WorkerError, WorkerLost) as error:
        _send_all(joined, {"refused": str(error), "again": isinstance(error, WorkerLost)})
        raise
    _send_all(joined, ACCEPTED)
    return {index: channel for index, (channel, _) in joined.items()}


def _send_all(joined: dict[int, tuple[Channel, dict[str, Any]]], value: Any) -> None:
    for channel, _ in joined.values():
        try:
            channel.send(value)
        except OSError:
            continue  # it has gone, which is found out when it is needed


def _has_identity(address: str, identity: str) -> bool:
    try:
        return _identify(address)["id"] == identity
    except (OSError, LookupError, TypeError, ValueError):
        return False


def _missing_error(cluster: Cluster, listener: _Listener, came: set[int]) -> Exception:
    try:
        if _identify(cluster.addresses[0])["id"] != listener.id:
            return WorkerError(
                f"Another process is worker 0 at {cluster.addresses[0]}. Give each worker its own "
                "--index."
            )
    except (OSError, LookupError, TypeError, ValueError):
        pass  # nobody else says so
    missing = [cluster.name(i) for i in range(1, len(cluster)) if i not in came]
    there = f"Only {', '.join(map(str, sorted({0, *came})))} of {len(cluster)} came. "
    return WorkerLost(
        f"{', '.join(missing)} did not come to {cluster.name(0)}. {there}Is each started, with the "
        "same --workers and its own --index, and can it reach that address?"
    )


def _compare(cluster: Cluster, index: int, ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    differences = [
        f"{name} is {theirs.get(name)!r} there and {ours.get(name)!r} at worker 0"
        for name in sorted({*ours, *theirs})
        if ours.get(name) != theirs.get(name)
    ]
    if differences:
        raise WorkerError(
            f"{cluster.name(index)} was started with another command: {', '.join(differences)}. "
            "Give all workers the same."
        )


def _check_addresses(cluster: Cluster, ids: dict[int, str]) -> None:
    """Checks that each address leads to the worker of its index."""

    def visit(index: int) -> Exception | None:
        try:
            found = _identify(cluster.addresses[index])
        except (OSError, ValueError) as error:
            return WorkerLost(f"{cluster.name(index)} is not at its address: {_reason(error)}.")
        if found["id"] != ids[index]:
            return WorkerError(
                f"The address of {cluster.name(index)} leads to another process, which says that "
                f"it is worker {found['index']}."
            )
        return None

    with ThreadPoolExecutor(max_workers=16) as visitors:
        problems = [problem for problem in visitors.map(visit, range(len(cluster))) if problem]
    if problems:
        wrong = any(isinstance(problem, WorkerError) for problem in problems)
        raise (WorkerError if wrong else WorkerLost)(" ".join(map(str, problems)))
