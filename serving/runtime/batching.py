"""Dynamic batching: requests that arrive together run together.

While a batch runs, further requests wait and make the next one. On a processor as on a GPU the
time of a call hardly grows with the first rows added to it, so a server under load answers several
times as many requests. The price is that a request takes as long as the longest of its batch.
"""

from __future__ import annotations

import collections
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np

from ...zoo.cpus import available_cpus
from .batching_parameters import BatchingParameters
from .dtypes import from_numpy
from .errors import Code, ServingError, invalid_argument
from .session import SavedModelSession, Signature

Key = tuple
Arrays = dict[str, np.ndarray]
# A batch of less than half the usual rows waits for more, for a tenth of the time of the usual one.
_FEW = 0.7
_SHARE = 0.15
_FADE = 0.75
_WORTH_SHARING = 16  # rows in each part, where a batch is run in parts by threads that are free


@dataclass
class BatchObserver:
    """Observer of batches; the metrics of a server listen here.

    Attributes:
        queued: called with the seconds that a request waited and its rows.
        processed: called with the rows of a batch.
    """

    queued: Callable[[float, int], None] = lambda seconds, rows: None
    processed: Callable[[int], None] = lambda rows: None


@dataclass
class _Task:
    inputs: Arrays
    rows: int
    deadline: float | None
    arrived: float
    result: Future = field(default_factory=Future)

    def check_deadline(self) -> None:
        """Raises an error if the result is of no more use."""
        if self.deadline is not None and time.monotonic() >= self.deadline:
            raise ServingError(
                Code.DEADLINE_EXCEEDED, "Run() timeout exceeded while waiting in batching queue"
            )


@dataclass
class _Batch:
    key: Key
    opened: float
    tasks: list[_Task] = field(default_factory=list)
    rows: int = 0


class BatchingSession:
    """A session that puts requests of one signature together.

    It has the interface of `SavedModelSession`, and `submit`, which does not wait. A request whose
    batch fails is run again alone, so that nobody gets an error for what a neighbour sent.

    Clients that were answered together ask again together, one after the other. Whoever ran with
    the first of them at once would run small batches for ever; so after a large batch, a small one
    waits a moment for the others. A client that is alone never waits.

    Args:
        session: runs the batches, and is closed with this one.
        parameters: how requests are put together.
        observer: is told of every batch.
    """

    def __init__(
        self,
        session: SavedModelSession,
        parameters: BatchingParameters | None = None,
        observer: BatchObserver | None = None,
    ):
        self._session = session
        self._parameters = parameters or BatchingParameters()
        self._observer = observer or BatchObserver()
        self.path = session.path
        self.signatures = session.signatures
        self.signature_map = session.signature_map
        self._condition = threading.Condition()
        self._waiting: collections.deque[_Batch] = collections.deque()
        self._open: dict[Key, _Batch] = {}
        self._closing = False
        self._idle = 0
        self._usual_rows = 0.0
        self._usual_seconds = 0.0
        num_threads = self._parameters.num_batch_threads or available_cpus()
        self._threads = [
            threading.Thread(target=self._work, name="attention-zoo-batch", daemon=True)
            for _ in range(num_threads)
        ]
        for thread in self._threads:
            thread.start()

    def signature(self, name: str) -> Signature:
        """The signature of this name."""
        return self._session.signature(name)

    def submit(
        self,
        signature: str,
        inputs: Mapping[str, np.ndarray],
        outputs: Iterable[str] | None = None,
        deadline: float | None = None,
    ) -> Future:
        """Puts a request into a batch.

        Args:
            signature: name of the signature.
            inputs: an array for each input, all with the same number of rows.
            outputs: the outputs wanted; all if `None`.
            deadline: on the clock of `time.monotonic`, when the result is of no more use.

        Returns:
            A future of the outputs.

        Raises:
            ServingError: if the request cannot be put into a batch, or too many wait.
        """
        arrays = {name: np.asarray(array) for name, array in inputs.items()}
        rows = _num_rows(arrays)
        most = self._parameters.max_batch_size
        if rows > most:
            raise invalid_argument(
                f"Task size {rows} is larger than maximum input batch size {most}"
            )
        shapes = ((n, from_numpy(a.dtype).number, a.shape[1:]) for n, a in sorted(arrays.items()))
        key = (signature, None if outputs is None else tuple(outputs), *shapes)
        task = _Task(arrays, rows, deadline, time.monotonic())
        with self._condition:
            if self._closing:
                raise ServingError(Code.UNAVAILABLE, f"The session of {self.path} is closed")
            batch = self._open.get(key)
            if batch is None or batch.rows + rows > self._parameters.execution_size:
                if len(self._waiting) >= self._parameters.max_enqueued_batches:
                    raise ServingError(
                        Code.UNAVAILABLE,
                        "The batch scheduling queue to which this task was submitted is full; "
                        f"task size is {rows}",
                    )
                batch = _Batch(key, task.arrived)
                self._open[key] = batch
                self._waiting.append(batch)
            batch.tasks.append(task)
            batch.rows += rows
            if batch.rows == rows or self._is_large(batch) or self._is_closed(batch):
                self._condition.notify()
        return task.result

    def run(
        self,
        signature: str,
        inputs: Mapping[str, np.ndarray],
        outputs: Iterable[str] | None = None,
        timeout: float | None = None,
    ) -> Arrays:
        """`submit`, and waits for the outputs."""
        deadline = None if timeout is None else time.monotonic() + timeout
        return self.submit(signature, inputs, outputs, deadline).result()

    def _work(self) -> None:
        while (batch := self._next_batch()) is not None:
            self._process(batch)

    def _next_batch(self) -> _Batch | None:
        """Waits for a batch that is full or has waited long enough; `None` at the end."""
        patience = self._parameters.batch_timeout_micros / 1e6
        with self._condition:
            while True:
                wait = None
                now = time.monotonic()
                for batch in self._waiting:
                    due = batch.opened + patience
                    if not self._is_large(batch):
                        due = max(due, batch.opened + _SHARE * self._usual_seconds)
                    if self._closing or self._is_closed(batch) or now >= due:
                        self._waiting.remove(batch)
                        if self._open.get(batch.key) is batch:
                            del self._open[batch.key]
                            self._usual_rows = max(batch.rows, _FADE * self._usual_rows)
                            return self._share_out(batch)
                        return batch
                    wait = due - now if wait is None else min(wait, due - now)
                if self._closing:
                    return None
                self._idle += 1
                self._condition.wait(wait)
                self._idle -= 1

    def _share_out(self, batch: _Batch) -> _Batch:
        """Leaves a part of a large batch to each thread that has nothing to do."""
        parts = min(self._idle + 1, batch.rows // _WORTH_SHARING, len(batch.tasks))
        if parts < 2:
            return batch
        for part in range(1, parts):
            tasks = batch.tasks[part::parts]
            rows = sum(task.rows for task in tasks)
            self._waiting.appendleft(_Batch(batch.key, batch.opened, tasks, rows))
            self._condition.notify()
        tasks = batch.tasks[::parts]
        return _Batch(batch.key, batch.opened, tasks, sum(task.rows for task in tasks))

    def _is_large(self, batch: _Batch) -> bool:
        """Tells if a batch is about as large as those before it."""
        return batch.rows >= _FEW * self._usual_rows

    def _is_closed(self, batch: _Batch) -> bool:
        """Tells if nothing more can come into a batch."""
        full = batch.rows >= self._parameters.execution_size
        return full or self._open.get(batch.key) is not batch

    def _process(self, batch: _Batch) -> None:
        now = time.monotonic()
        tasks = []
        for task in batch.tasks:
            self._observer.queued(now - task.arrived, task.rows)
            if not task.result.set_running_or_notify_cancel():
                continue
            try:
                task.check_deadline()
                tasks.append(task)
            except ServingError as error:
                task.result.set_exception(error)
        if not tasks:
            return
        try:
            self._run_together(batch.key, tasks)
        except Exception as error:
            if len(tasks) == 1:
                tasks[0].result.set_exception(error)
                return
            for task in tasks:
                self._run_alone(batch.key, task)

    def _run_alone(self, key: Key, task: _Task) -> None:
        try:
            task.check_deadline()  # it may be for that very reason that the batch failed
            self._run_together(key, [task])
        except Exception as error:
            task.result.set_exception(error)

    def _run_together(self, key: Key, tasks: Sequence[_Task]) -> None:
        rows = sum(task.rows for task in tasks)
        merged = {
            name: np.concatenate([task.inputs[name] for task in tasks]) for name in tasks[0].inputs
        }
        self._observer.processed(rows)
        deadlines = [task.deadline for task in tasks]
        timeout = None
        if all(deadline is not None for deadline in deadlines):
            # Until the last one has no more use for the result.
            timeout = max(0.001, max(d for d in deadlines if d is not None) - time.monotonic())
        start_time = time.monotonic()
        outputs = self._session.run(key[0], merged, key[1], timeout)
        seconds = time.monotonic() - start_time
        # Of the large ones among the last batches; whoever is alone soon waits no more.
        self._usual_seconds = max(seconds, _FADE * self._usual_seconds)
        for array in outputs.values():
            _check_output(array, rows)
        start = 0
        for task in tasks:
            stop = start + task.rows
            task.result.set_result({name: array[start:stop] for name, array in outputs.items()})
            start = stop

    def close(self) -> None:
        """Finishes what waits, ends the threads and frees the model."""
        with self._condition:
            self._closing = True
            self._condition.notify_all()
        for thread in self._threads:
            thread.join()
        self._session.close()


def _num_rows(arrays: Arrays) -> int:
    """The rows of a request, the same in all of its inputs."""
    if not arrays:
        raise invalid_argument("Batching Run() must have at least one input tensor")
    if not all(array.ndim for array in arrays.values()):
        raise invalid_argument("Batching Run() input tensors must have at least one dimension")
    sizes = {len(array) for array in arrays.values()}
    if len(sizes) != 1:
        raise invalid_argument("Batching Run() input tensors must have equal 0th-dimension size")
    return sizes.pop()


def _check_output(array: np.ndarray, rows: int) -> None:
    """Refuses an output that cannot be given back row by row."""
    if array.ndim and len(array) == rows:
        return
    fault = "output tensor has 0 dimensions"
    if array.ndim:
        fault = (
            "output tensor's 0th dimension does not equal the sum of the 0th dimension sizes of "
            "the input tensors"
        )
    raise ServingError(Code.FAILED_PRECONDITION, f"Batched {fault}")
