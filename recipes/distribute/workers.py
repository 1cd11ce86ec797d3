"""Workers: the rendezvous before TensorFlow's servers start, and the messages after it.

TensorFlow waits without end for a worker that never comes, and sums the gradients of workers that
train different models. So the workers meet first, over plain sockets on the same addresses: the
chief finds out who is there, whether each address leads where it should, and whether all want the
same. The connections stay open for the decisions that all workers must take alike, and tell at once
when a worker has gone.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import sys
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any

from ...zoo.errors import ConfigError
from ..core.interruption import Interrupted
from .cluster import Cluster
from .messages import Connection

# What TensorFlow needs to end a sum of gradients by itself, when one of those who take part in it
# has gone. If it has not ended by then the process is ended: it would wait for ever.
GRACE_SECONDS = 5.0
TRY_AGAIN = 75  # EX_TEMPFAIL of sysexits.h
DONE = "done"
STOP = "stop"


class WorkerError(ConfigError):
    """Workers that cannot train together."""


class WorkerLost(Exception):
    """A worker that is not there, or no more; all may be started again."""


class Workers:
    """The open connections between the chief and the other workers, who have met.

    Args:
        cluster: who they are.
        connections: to each other worker at the chief; to the chief, as 0, at the others.
        grace_seconds: how long the process may live once another worker is lost, unless an error
            could be raised for it.

    As a context manager it ends the training together: the others wait for the chief, and an error
    in one of them is told to all.
    """

    def __init__(
        self,
        cluster: Cluster,
        connections: dict[int, Connection],
        grace_seconds: float = GRACE_SECONDS,
    ):
        self.cluster = cluster
        self.lost: str | None = None
        self._again = True  # whether what was lost may be there at the next start
        self._connections = connections
        self._inboxes: dict[int, queue.Queue[Any]] = {i: queue.Queue() for i in connections}
        self._leaving = False
        self._done: set[int] = set()  # those who only wait for the chief to end
        self._awaited = False  # whether the others wait for a decision
        self._lock = threading.Lock()
        self._ending = threading.Timer(grace_seconds, self._end_process)
        self._readers = {
            index: threading.Thread(target=self._read, args=(index,), daemon=True)
            for index in connections
        }
        for reader in self._readers.values():
            reader.start()

    @property
    def is_chief(self) -> bool:
        return self.cluster.is_chief

    def decide(self, value: Any, decision: Callable[[list[Any]], Any]) -> Any:
        """Result of the chief for the values of all workers, the same everywhere.

        The other workers wait for it, so it may take its time. To be called by all workers in the
        same order.

        Args:
            value: of this worker, JSON or bytes.
            decision: called at the chief alone, with the values in the order of the workers; its
                result is JSON or bytes.

        Raises:
            WorkerLost: a worker has gone.
            WorkerError: a worker has found a fault that all have to mend first.
        """
        if not self.is_chief:
            self._send(0, value)
            return self._receive(0)
        values = [value, *(self._receive(index) for index in sorted(self._connections))]
        self._awaited = True
        result = decision(values)
        for index in self._connections:
            self._send(index, result)
        self._awaited = False
        return result

    def check_same(self, what: str, value: Any) -> None:
        """Refuses to go on unless all workers have the same value.

        Raises:
            WorkerError: names a worker with another value, at all workers.
        """

        def compare(values: list[Any]) -> str | None:
            for index, other in enumerate(values):
                if other != values[0]:
                    return (
                        f"{self.cluster.name(index)} has other {what} than worker 0: {other} "
                        f"there, {values[0]} here. Give all workers the same."
                    )
            return None

        problem = self.decide(value, compare)
        if problem:
            raise WorkerError(problem)

    def ask_chief_to_stop(self) -> None:
        """Passes a SIGTERM of this worker on to the chief, which may be in a long evaluation."""
        # In a thread of its own: a signal may come while a message is being sent.
        threading.Thread(target=self._send, args=(0, STOP), daemon=True).start()

    def __enter__(self) -> Workers:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        together = error is None or isinstance(error, (Interrupted, WorkerError))
        if together and self.lost is None and not self._awaited:
            self._leave()
        else:
            self._leaving = True
            why = str(error) or type(error).__name__
            if self.lost is None:
                again = not isinstance(error, ValueError)  # wrong settings or data stay wrong
                self._tell_failure(f"{self.cluster.name(self.cluster.index)}: {why}", again)
        for connection in self._connections.values():
            connection.close()

    def _leave(self) -> None:
        """Ends together: TensorFlow takes a worker that ends earlier for one that died."""

        def everybody_is_here(values: list[Any]) -> None:
            self._leaving = True

        # From now on the chief may close the connection at any moment.
        self._leaving = not self.is_chief
        with contextlib.suppress(WorkerLost, WorkerError):  # the training is done
            self.decide(DONE, everybody_is_here)

    def explain(self, error: BaseException, seconds: float = GRACE_SECONDS / 2) -> None:
        """Raises its own error if a lost worker is why TensorFlow failed; its news may be late."""
        waiting = threading.Event()
        for _ in range(20):
            if self.lost is not None:
                raise self._error() from error
            waiting.wait(seconds / 20)

    def _send(self, index: int, value: Any) -> None:
        try:
            self._connections[index].send(value)
        except OSError as error:
            # Why it has gone may have come before the end of the connection, and not be read yet.
            self._readers[index].join(GRACE_SECONDS)
            self._lose(self._gone(index, error))
            raise self._error() from error

    def _receive(self, index: int) -> Any:
        message = self._inboxes[index].get()
        if message is _GONE:
            self._inboxes[index].put(_GONE)  # for whoever asks again
            raise self._error()
        return message

    def _error(self) -> Exception:
        self._ending.cancel()  # the process can end by itself
        return WorkerLost(self.lost) if self._again else WorkerError(str(self.lost))

    def _gone(self, index: int, error: OSError) -> str:
        return (
            f"{self.cluster.name(index)} has gone ({error.strerror or error}); start all workers "
            "again to go on from the last checkpoint."
        )

    def _read(self, index: int) -> None:
        connection = self._connections[index]
        while True:
            try:
                message = connection.receive()
            except OSError as error:
                if index not in self._done:
                    self._lose(self._gone(index, error))
                break
            if message == DONE:
                self._done.add(index)
            if message == STOP:
                # If nothing waits for the signal it would end the process in the midst of its work.
                if callable(signal.getsignal(signal.SIGTERM)):
                    main = threading.main_thread().ident
                    signal.pthread_kill(main, signal.SIGTERM)  # type: ignore[arg-type]
                continue
            if isinstance(message, dict) and "failed" in message:
                self._lose(message["failed"], message["again"])
                break
            self._inboxes[index].put(message)
        self._inboxes[index].put(_GONE)

    def _lose(self, reason: str, again: bool = True) -> None:
        with self._lock:
            if self.lost is not None or self._leaving:
                return
            self._again, self.lost = again, reason
        self._tell_failure(reason, again)
        for inbox in self._inboxes.values():
            inbox.put(_GONE)
        self._ending.daemon = True
        self._ending.start()

    def _tell_failure(self, reason: str, again: bool) -> None:
        for connection in self._connections.values():
            try:
                connection.send({"failed": reason, "again": again})
            except OSError:
                continue

    def _end_process(self) -> None:
        """The way out of a sum of gradients that waits for a worker which is no more."""
        print(f"error: {self.lost}", file=sys.stderr, flush=True)
        os._exit(TRY_AGAIN if self._again else 2)


_GONE = object()
