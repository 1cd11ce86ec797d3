"""Processing of a request up to its reply, whatever the transport."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import numpy as np

from ...zoo.cpus import available_cpus
from ..rest_json.json_parser import encode, parse
from ..rest_json.json_reply import write_outputs
from ..rest_json.json_tensor import read_inputs, read_signature_name
from ..runtime.batching import BatchingSession
from ..runtime.errors import Code, ServingError, invalid_argument
from ..runtime.metrics import Metrics
from ..runtime.session import Signature
from .model_state import Handle
from .models import ModelManager

DEFAULT_SIGNATURE = "serving_default"
_LARGE_BODY = 16_384  # bytes; more is read and written in a thread, so that others go on
# Of the time until its deadline, the part that a request may be expected to wait. What is expected
# is an average; with all of it every second answer would come too late.
_USED_DEADLINE = 0.5
_VALUE_BYTES = 52  # of a value of a reply: a number of Python, its reference and its text
Result = TypeVar("Result")


@dataclass(frozen=True)
class ModelSpec:
    """Model that a request asks for.

    Attributes:
        name: of the model.
        version: a number, or `None` for the highest or the labelled one.
        label: a label, or `None`.
    """

    name: str
    version: int | None = None
    label: str | None = None


class InferenceCore:
    """Runs requests on the models of a manager, in threads of its own.

    Args:
        manager: the models.
        metrics: is told of requests and runs.
        num_threads: requests at a time; four for each processor if `None`, as the official server.
        max_pending: requests that may be under way or wait; beyond them they are refused.
        max_reply_bytes: memory that the values of a reply may take while it is written; any if
            `None`.
    """

    def __init__(
        self,
        manager: ModelManager,
        metrics: Metrics | None = None,
        num_threads: int | None = None,
        max_pending: int = 1000,
        max_reply_bytes: int | None = None,
    ):
        self.manager = manager
        self._max_values = math.inf if max_reply_bytes is None else max_reply_bytes // _VALUE_BYTES
        self.metrics = metrics or Metrics()
        self._max_pending = max_pending
        self._pending = 0  # counted in the event loop alone
        self._pool = ThreadPoolExecutor(
            num_threads or 4 * available_cpus(), thread_name_prefix="attention-zoo-request"
        )

    def use(self, spec: ModelSpec) -> Handle:
        """The version that a request asks for, to be released when it is answered."""
        return self.manager.use(spec.name, spec.version, spec.label)

    def count_request(
        self, name: str, api: str, entrypoint: str, seconds: float, code: Code
    ) -> None:
        """Counts an answered request; models that nobody serves are counted as one."""
        known = name if name in self.manager.models() else ""
        self.metrics.request(known, api, entrypoint, seconds, code)

    def check_load(self, spec: ModelSpec, deadline: float | None) -> None:
        """Refuses a request that would only make others wait, before it takes memory and time.

        Args:
            spec: what it asks for.
            deadline: on the clock of `time.monotonic`, when the answer is of no more use.

        Raises:
            ServingError: UNAVAILABLE, if too many are under way, or those of its model are not
                likely to be done in time.
        """
        if self._pending >= self._max_pending:
            raise ServingError(
                Code.UNAVAILABLE,
                f"{self._pending} requests are under way, and no more are taken; try again later",
            )
        wait = 0.0
        with suppress(ServingError), self.use(spec) as handle:
            wait = handle.workload.expected_wait()
        if deadline is not None and wait > _USED_DEADLINE * (deadline - time.monotonic()):
            raise ServingError(
                Code.UNAVAILABLE,
                f"The requests under way for {spec.name} are expected to take {wait:.1f} seconds, "
                "too long for the deadline of another one; try again later",
            )

    @contextmanager
    def admit(self, spec: ModelSpec, deadline: float | None) -> Iterator[None]:
        """Counts a request as under way for as long as the block lasts, after `check_load`."""
        self.check_load(spec, deadline)
        self._pending += 1
        try:
            yield
        finally:
            self._pending -= 1

    async def answer_json(self, spec: ModelSpec, body: bytes, deadline: float | None) -> bytes:
        """Answers a request in JSON with a reply in JSON."""
        document = await self.aside(len(body), lambda: parse(body), deadline)
        name = read_signature_name(document)
        with self.use(spec) as handle:
            signature = handle.session.signatures.get(name or DEFAULT_SIGNATURE)
            if signature is None:
                raise invalid_argument(
                    f'Serving signature name: "{name or DEFAULT_SIGNATURE}" '
                    "not found in signature def"
                )
            read = await self.aside(
                len(body), lambda: read_inputs(document, signature.inputs, name), deadline
            )
            outputs = await self.predict(handle, signature, read.inputs, None, deadline)
            values = sum(array.size for array in outputs.values())
            text = await self.aside(
                values * 8, lambda: write_outputs(outputs, read.by_row), deadline
            )
        return encode(text)

    async def predict(
        self,
        handle: Handle,
        signature: Signature,
        inputs: Mapping[str, np.ndarray],
        outputs: Iterable[str] | None = None,
        deadline: float | None = None,
    ) -> dict[str, np.ndarray]:
        """Runs a signature on arrays.

        Args:
            handle: the version in use.
            signature: one of its signatures.
            inputs: an array for each of its inputs.
            outputs: the outputs wanted; all if `None`.
            deadline: on the clock of `time.monotonic`, when the answer is of no more use.
        """
        check_inputs(signature, inputs)
        start = time.perf_counter()
        rows = max((len(array) for array in inputs.values() if array.ndim), default=1)
        try:
            session = handle.session
            with handle.workload.rows_under_way(rows):
                if isinstance(session, BatchingSession):
                    future = session.submit(signature.name, inputs, outputs, deadline)
                    found = await asyncio.wrap_future(future)
                else:

                    def run() -> dict[str, np.ndarray]:
                        return session.run(signature.name, inputs, outputs, _time_left(deadline))

                    found = await asyncio.get_running_loop().run_in_executor(self._pool, run)
        finally:
            self.metrics.runtime(handle.name, time.perf_counter() - start)
        self._check_size(found)
        return found

    def _check_size(self, outputs: Mapping[str, np.ndarray]) -> None:
        """Refuses a reply that takes too much memory, such as the attention of many long texts."""
        values = sum(array.size for array in outputs.values())
        if values > self._max_values:
            raise invalid_argument(
                f"The reply would have {values} values, more than the {self._max_values} that this "
                "server writes at a time; send fewer rows"
            )

    async def aside(
        self, size: int, function: Callable[[], Result], deadline: float | None
    ) -> Result:
        """Calls a function, in a thread where it has many bytes to go through.

        Args:
            size: bytes that it goes through.
            function: called without arguments.
            deadline: on the clock of `time.monotonic`, when its result is of no more use.

        Raises:
            ServingError: DEADLINE_EXCEEDED, if there is no result, or no thread, in time.
        """
        timeout = _time_left(deadline)
        if size <= _LARGE_BODY:
            return function()
        running = asyncio.get_running_loop().run_in_executor(self._pool, function)
        try:
            return await asyncio.wait_for(running, timeout)
        except asyncio.TimeoutError as error:
            raise ServingError(
                Code.DEADLINE_EXCEEDED, "The deadline passed while the request was read or written"
            ) from error

    def close(self, grace: float = 0.0) -> bool:
        """Ends the threads, waiting so many seconds for what they do; whether all have ended."""
        closing = threading.Thread(
            target=partial(self._pool.shutdown, cancel_futures=True), daemon=True
        )
        closing.start()
        closing.join(grace)
        return not closing.is_alive()


async def in_daemon_thread(function: Callable[[], Result]) -> Result:
    """Calls a function that may take long, and must not keep the process from ending."""
    done: Future[Result] = Future()
    done.set_running_or_notify_cancel()

    def run() -> None:
        try:
            done.set_result(function())
        except BaseException as error:
            done.set_exception(error)

    threading.Thread(target=run, name="attention-zoo-models", daemon=True).start()
    return await asyncio.wrap_future(done)


def deadline_after(timeout: float | None) -> float | None:
    """The moment on the clock of `time.monotonic` that is so many seconds away."""
    return None if timeout is None else time.monotonic() + timeout


def _time_left(deadline: float | None) -> float | None:
    if deadline is None:
        return None
    timeout = deadline - time.monotonic()
    if timeout <= 0:
        raise ServingError(Code.DEADLINE_EXCEEDED, "The deadline passed before the run")
    return timeout


def _braced(names: Iterable[str]) -> str:
    return f"{{{','.join(sorted(names))}}}"


def check_inputs(signature: Signature, inputs: Mapping[str, Any]) -> None:
    """Checks that a request has the inputs of a signature, no more and no less."""
    expected = signature.inputs
    if len(inputs) != len(expected):
        raise invalid_argument(
            f"input size does not match signature: {len(inputs)}!={len(expected)} "
            f"len({_braced(inputs)}) != len({_braced(expected)}). "
            f"Sent extra: {_braced(set(inputs) - set(expected))}. "
            f"Missing but required: {_braced(set(expected) - set(inputs))}."
        )
    for alias, spec in expected.items():
        if alias not in inputs:
            raise invalid_argument(
                f"Signature input alias: {alias}(feed name: {spec.tensor}) not found in request "
                f"and no default value provided. Inputs expected to be in the request "
                f"{_braced(expected)}, or default input alias set: "
            )
