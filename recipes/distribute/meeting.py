"""The meeting of the workers before a training: all there, all at their addresses, all alike."""

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

from .cluster import Cluster, split_address
from .messages import Connection
from .workers import WorkerError, WorkerLost, Workers

WAIT_SECONDS = 45.0  # for all workers to come; with what follows, less than a minute
ANSWER_SECONDS = 5.0
RETRY_SECONDS = 0.3
ACCEPTED = "accepted"


def meet(cluster: Cluster, settings: dict[str, Any], wait_seconds: float = WAIT_SECONDS) -> Workers:
    """Waits until all workers of a cluster are there and want the same.

    To be called before TensorFlow's own server listens on the address of this worker; when it
    returns, no worker listens there any more.

    Args:
        cluster: the workers.
        settings: JSON; what has to be the same at all of them, by name.
        wait_seconds: how long to wait for the others to come.

    Returns:
        The connections between them.

    Raises:
        WorkerError: an address that leads to another process, two workers with one number, or one
            with other settings; said at every worker that has come.
        WorkerLost: a worker did not come, or is not reached; the same, and it may come later.
    """
    settings = {"the list of workers": list(cluster.addresses), **settings}
    with _Door(cluster) as door:
        until = time.monotonic() + wait_seconds
        if cluster.is_chief:
            connections = _receive_all(cluster, door, settings, until)
        else:
            connections = {0: _join(cluster, door, settings, until)}
    try:
        # All doors are closed before any server of TensorFlow knocks at one.
        if cluster.is_chief:
            for connection in connections.values():
                connection.receive()
            for connection in connections.values():
                connection.send("start")
        else:
            connections[0].send("closed")
            connections[0].receive()
    except OSError as error:
        raise WorkerLost(f"A worker went away during the meeting ({error}).") from error
    for connection in connections.values():
        connection.limit(None)
    return Workers(cluster, connections)


class _Door:
    """Listens at the address of this worker; tells who asks which worker this is."""

    def __init__(self, cluster: Cluster):
        self.id = secrets.token_hex(8)
        self.arrivals: queue.Queue[tuple[Connection, dict[str, Any]]] = queue.Queue()
        self._index = cluster.index
        _, port = split_address(cluster.addresses[cluster.index])
        both = socket.has_dualstack_ipv6()
        family = socket.AF_INET6 if both else socket.AF_INET
        try:
            # At all interfaces, as TensorFlow's server: a machine may not know its outer address.
            self._listener = socket.create_server(("", port), family=family, dualstack_ipv6=both)
        except OSError as error:
            raise WorkerError(
                f"{cluster.name(cluster.index)} cannot listen on port {port} "
                f"({os.strerror(error.errno or 0)}). Another worker with the same "
                "--index, or another program, has it."
            ) from error
        threading.Thread(target=self._listen, daemon=True).start()

    def __enter__(self) -> _Door:
        return self

    def __exit__(self, *error: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread
        self._listener.close()

    def _listen(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._welcome, args=(sock,), daemon=True).start()

    def _welcome(self, sock: socket.socket) -> None:
        sock.settimeout(ANSWER_SECONDS)
        connection = Connection(sock)
        try:
            message = connection.receive()
            if message == "who":
                connection.send({"index": self._index, "id": self.id})
            elif isinstance(message, dict) and self._index == 0:
                self.arrivals.put((connection, message))
                return
        except (OSError, ValueError):
            pass  # somebody else's, who gets no answer
        connection.close()


def _dial(address: str) -> Connection:
    sock = socket.create_connection(split_address(address), timeout=ANSWER_SECONDS)
    return Connection(sock)


def _who(address: str) -> dict[str, Any]:
    """Identity that the worker at an address gives."""
    connection = _dial(address)
    try:
        connection.send("who")
        return connection.receive()
    finally:
        connection.close()


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _join(cluster: Cluster, door: _Door, settings: dict[str, Any], until: float) -> Connection:
    """Comes to the chief and waits to be accepted."""
    hello = {"index": cluster.index, "id": door.id, "settings": settings}
    while True:
        try:
            found = _who(cluster.addresses[0])
            if found["index"] != 0:
                raise WorkerError(
                    f"The address of {cluster.name(0)} leads to another process, which says that "
                    f"it is worker {found['index']}."
                )
            connection = _dial(cluster.addresses[0])
            connection.send(hello)
            # The chief may have begun to wait for the others only now.
            connection.limit(WAIT_SECONDS + 2 * ANSWER_SECONDS)
            answer = connection.receive()
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
    return connection


def _receive_all(
    cluster: Cluster, door: _Door, settings: dict[str, Any], until: float
) -> dict[int, Connection]:
    """At the chief: the connections of all others, by number; or all are told why not."""
    joined: dict[int, tuple[Connection, dict[str, Any]]] = {}
    try:
        while len(joined) < len(cluster) - 1:
            try:
                connection, hello = door.arrivals.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                raise _who_is_missing(cluster, door, set(joined)) from None
            index = hello["index"]
            before = joined.get(index)
            if before is not None and _leads_to(cluster.addresses[index], hello["id"]):
                before[0].close()  # the same worker, which was started anew
                before = None
            joined[index if before is None else -1] = connection, hello
            _compare(cluster, index, settings, hello["settings"])
            if before is not None or index == 0:
                other = "here" if before is None else f"at {before[0].peer()}"
                raise WorkerError(
                    f"Two workers say that they are number {index}: one {other} and one at "
                    f"{connection.peer()}. Give each its own --index."
                )
        _visit_all(cluster, {0: door.id, **{i: hello["id"] for i, (_, hello) in joined.items()}})
    except (WorkerError, WorkerLost) as error:
        _send_all(joined, {"refused": str(error), "again": isinstance(error, WorkerLost)})
        raise
    _send_all(joined, ACCEPTED)
    return {index: connection for index, (connection, _) in joined.items()}


def _send_all(joined: dict[int, tuple[Connection, dict[str, Any]]], value: Any) -> None:
    for connection, _ in joined.values():
        try:
            connection.send(value)
        except OSError:
            continue  # it has gone, which is found out when it is needed


def _leads_to(address: str, identity: str) -> bool:
    try:
        return _who(address)["id"] == identity
    except (OSError, LookupError, TypeError, ValueError):
        return False


def _who_is_missing(cluster: Cluster, door: _Door, came: set[int]) -> Exception:
    try:
        if _who(cluster.addresses[0])["id"] != door.id:
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


def _visit_all(cluster: Cluster, ids: dict[int, str]) -> None:
    """Checks that each address leads to the worker of its index."""

    def visit(index: int) -> Exception | None:
        try:
            found = _who(cluster.addresses[index])
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
