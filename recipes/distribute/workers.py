"""Workers of one training: their channels, common decisions and common end.

TensorFlow waits without end for a worker that never comes, and sums the gradients of workers that
train different models. So the workers find each other first, over plain sockets on the same
addresses, and the chief checks that all have arrived, that each address leads to its worker, and
that all have the same settings. The channels stay open for the decisions that all workers must make
alike, and show at once when a worker has gone.
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
from ..core.interruption import TRY_AGAIN, Interrupted
from .channel import Channel
from .cluster import Cluster

# Time for TensorFlow to end a sum of gradients by itself when one of its workers has gone. If it
# has not ended by then, the process is ended: it would wait forever.
GRACE_SECONDS = 5.0
# Errors of TensorFlow that say that another worker does not answer, as when it is paused or its
# cable is cut. Nothing else cancels an operation of a training.
UNREACHABLE = "UnavailableError", "DeadlineExceededError", "AbortedError", "CancelledError"
DONE = "done"
STOP = "stop"


class WorkerError(ConfigError):
    """Workers that cannot train together."""


class WorkerLost(Exception):
    """A worker that did not arrive or has gone; all may be started again."""


class Workers:
    """The open channels between the chief and the other workers.

    As a context manager it ends the training together: the others wait for the chief, and an error
    in one of them is reported to all.

    Args:
        cluster: The addresses of all workers and the index of this one.
        channels: At the chief, one for each other worker by its index; at the others, the one to
            the chief, under 0.
        grace_seconds: Seconds until the process is ended once another worker is lost, unless an
            error could be raised for it.
    """

    def __init__(
        self,
        cluster: Cluster,
        channels: dict[int, Channel],
        grace_seconds: float = GRACE_SECONDS,
    ):
        self.cluster = cluster
        self.lost: str | None = None
        self._again = True  # True if another start may succeed
        self._channels = channels
        self._inboxes: dict[int, queue.Queue[Any]] = {i: queue.Queue() for i in channels}
        self._leaving = False
        self._done: set[int] = set()  # workers that only wait for the chief to end
        self._awaited = False  # True while the others wait for a decision
        self._lock = threading.Lock()
        self._ending = threading.Timer(grace_seconds, self._end_process)
        self._readers = {
            index: threading.Thread(target=self._read, args=(index,), daemon=True)
            for index in channels
        }
        for reader in self._readers.values():
            reader.start()

    @property
    def is_chief(self) -> bool:
        return self.cluster.is_chief

    def coordinate(self, value: Any, decision: Callable[[list[Any]], Any]) -> Any:
        """Makes one decision for all workers from the values of all.

        All workers call it in the same order. The others wait for the chief, so the decision may
        take its time.

        Args:
            value: The value of this worker: JSON or bytes.
            decision: Called at the chief alone with the list of all values, in the order of the
                workers. Returns JSON or bytes.

        Returns:
            The result of `decision`, the same at all workers.

        Raises:
            WorkerLost: A worker has gone.
            WorkerError: A worker has ended with an error that another start would repeat.
        """
        if not self.is_chief:
            self._send(0, value)
            return self._receive(0)
        values = [value, *(self._receive(index) for index in sorted(self._channels))]
        self._awaited = True
        result = decision(values)
        for index in self._channels:
            self._send(index, result)
        self._awaited = False
        return result

    def check_same(self, what: str, value: Any) -> None:
        """Checks that a value is equal at all workers.

        Args:
            what: Name of the value in the error message.
            value: The value of this worker: JSON.

        Raises:
            WorkerError: A worker has another value than the chief; raised at all workers.
        """

        def compare(values: list[Any]) -> str | None:
            for index, other in enumerate(values):
                if other != values[0]:
                    return (
                        f"{self.cluster.name(index)} has other {what} than worker 0: {other} "
                        f"there, {values[0]} here. Give all workers the same."
                    )
            return None

        problem = self.coordinate(value, compare)
        if problem:
            raise WorkerError(problem)

    def ask_chief_to_stop(self) -> None:
        """Forwards a SIGTERM of this worker to the chief, which may be in a long evaluation."""
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
        stopped = None
        if together and self.lost is None and not self._awaited:
            stopped = self._leave(error.signal_number if isinstance(error, Interrupted) else None)
        else:
            self._leaving = True
            why = str(error) or type(error).__name__
            if self.lost is None:
                again = not isinstance(error, ValueError)  # wrong settings or data stay wrong
                self._report_failure(f"{self.cluster.name(self.cluster.index)}: {why}", again)
        for channel in self._channels.values():
            channel.close()
        if stopped is not None and error is None:
            raise Interrupted(stopped, f"{self.cluster.name(0)} was stopped before the end")

    def _leave(self, signal_number: int | None) -> int | None:
        """Ends together: TensorFlow takes a worker that ends earlier for one that died.

        Returns the signal that stopped the chief, mostly while it scored the best model.
        """

        def everybody_is_here(values: list[Any]) -> int | None:
            self._leaving = True
            return signal_number

        # From now on the chief may close the channel at any moment.
        self._leaving = not self.is_chief
        with contextlib.suppress(WorkerLost, WorkerError):  # the training is done
            return self.coordinate(DONE, everybody_is_here)
        return None

    def explain(self, error: BaseException, seconds: float = GRACE_SECONDS / 2) -> None:
        """Raises `WorkerLost` or `WorkerError` if TensorFlow failed because a worker has gone.

        Args:
            error: The error of TensorFlow, which becomes the cause.
            seconds: Seconds to wait, as the lost channel may be noticed after TensorFlow's error.
        """
        waiting = threading.Event()
        for _ in range(20):
            if self.lost is not None:
                raise self._error() from error
            waiting.wait(seconds / 20)
        if type(error).__name__ in UNREACHABLE:
            raise WorkerLost(
                f"Another worker does not answer ({type(error).__name__}); start all workers again "
                "to go on from the last checkpoint."
            ) from error

    def _send(self, index: int, value: Any) -> None:
        try:
            self._channels[index].send(value)
        except OSError as error:
            # Why it has gone may have come before the end of the connection, and not be read yet.
            self._readers[index].join(GRACE_SECONDS)
            self._lose(self._gone(index, error))
            raise self._error() from error

    def _receive(self, index: int) -> Any:
        message = self._inboxes[index].get()
        if message is _GONE:
            self._inboxes[index].put(_GONE)  # for the next call
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
        channel = self._channels[index]
        while True:
            try:
                message = channel.receive()
            except OSError as error:
                if index not in self._done:
                    self._lose(self._gone(index, error))
                break
            if message == DONE:
                self._done.add(index)
            if message == STOP:
                # Without a handler the signal would end the process in the middle of its work.
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
        self._report_failure(reason, again)
        for inbox in self._inboxes.values():
            inbox.put(_GONE)
        self._ending.daemon = True
        self._ending.start()

    def _report_failure(self, reason: str, again: bool) -> None:
        for channel in self._channels.values():
            try:
                channel.send({"failed": reason, "again": again})
            except OSError:
                continue

    def _end_process(self) -> None:
        """Ends a process whose sum of gradients waits for a worker that has gone."""
        print(f"error: {self.lost}", file=sys.stderr, flush=True)
        os._exit(TRY_AGAIN if self._again else 2)


_GONE = object()
