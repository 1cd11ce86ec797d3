"""Asking a model server from asyncio: the clients of `client`, with every call a coroutine."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Protocol, TypeVar

import aiohttp
import yarl

from ...zoo.text.source_format import Source
from ...zoo.visualization.explanation import Explanation
from ..runtime.errors import ServingError
from . import requests
from .client import DEFAULT_TIMEOUT, check_settings
from .requests import ClientError, Prediction, Request, Score, Translation
from .retry import Retry
from .transports import (
    ServerAddress,
    Target,
    read_reply,
    read_url,
    request_body,
    too_late,
    unreachable,
)

Result = TypeVar("Result")


class AsyncTransport(Protocol):
    """Calls a signature with columns of texts and returns columns of values."""

    async def call(
        self, signature: str, inputs: Mapping[str, list], timeout: float
    ) -> dict[str, list]:
        """The outputs by name."""

    async def close(self) -> None:
        """Closes the connections."""


class AsyncRestTransport:
    """REST with aiohttp.

    Args:
        address: of the server.
        target: what to ask.
        max_connections: calls at a time; further ones wait.
    """

    def __init__(self, address: ServerAddress, target: Target, max_connections: int = 100):
        self._address = address
        url = f"{address.scheme}://{address.authority}{address.prefix}{target.path}"
        self._url = yarl.URL(url, encoded=True)  # a colon in a name stays quoted
        self._max_connections = max_connections
        self._session: aiohttp.ClientSession | None = None
        self._loop: asyncio.AbstractEventLoop | None = None  # whose the session is

    async def call(
        self, signature: str, inputs: Mapping[str, list], timeout: float
    ) -> dict[str, list]:
        body, end = request_body(signature, inputs), time.monotonic() + timeout
        try:
            try:
                status, reply = await self._exchange(body, timeout)
            except aiohttp.ServerDisconnectedError:  # by a server that had closed it when idle
                status, reply = await self._exchange(body, max(0.001, end - time.monotonic()))
        except asyncio.TimeoutError as error:
            raise too_late(timeout) from error
        except aiohttp.ClientError as error:
            raise unreachable(self._address, error) from error
        return read_reply(status, reply, self._address)

    async def _exchange(self, body: bytes, timeout: float) -> tuple[int, bytes]:
        """Status and body of the reply."""
        loop = asyncio.get_running_loop()
        if self._session is None or self._loop is not loop:
            await self.close()
            connector = aiohttp.TCPConnector(limit=self._max_connections)
            self._session, self._loop = aiohttp.ClientSession(connector=connector), loop
        async with self._session.post(
            self._url,
            data=body,
            headers={"Content-Type": "application/json"},
            timeout=aiohttp.ClientTimeout(total=timeout),
        ) as response:
            return response.status, await response.read()

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None


class AsyncClient:
    """Asks one model of a TensorFlow Serving from asyncio.

    Args:
        url: `http://host:port` or `https://host:port` for REST, `grpc://host:port` for gRPC.
        model: name of the model.
        version: number of a version; the server's newest if `None`.
        label: label of a version, such as `"stable"`; not together with `version`.
        timeout: seconds after which a call is given up, all attempts together.
        retry: when a call is made again; a few times if the server is busy, if `None`.
        batch_size: texts in a request at most; more of them are sent in several.

    Raises:
        ClientError: in every call: what the server answered, or why it could not be asked.

    Example:

    >>> async with AsyncClient("http://127.0.0.1:8501", model="rnn-bahdanau") as client:
    ...     await asyncio.gather(*(client.translate([text]) for text in texts))
    """

    def __init__(
        self,
        url: str,
        model: str,
        version: int | None = None,
        label: str | None = None,
        timeout: float = DEFAULT_TIMEOUT,
        retry: Retry | None = None,
        batch_size: int = 64,
    ):
        check_settings(version, label, timeout, batch_size)
        self.url = url
        self.model = model
        self._timeout = timeout
        self._batch_size = batch_size
        self._retry = retry or Retry()
        self._transport = _make_transport(url, Target(model, version, label))

    async def predict(self, texts: Sequence[Source]) -> list[Prediction]:
        """Writes the best output for each text.

        Args:
            texts: Texts, or for a task with several inputs mappings from their names to texts. A
                mapping may also hold a number such as `"length": 6` where the model takes it, or a
                `"prefix"` that the output begins with.

        Returns:
            A prediction for each text.
        """
        return await self._send(requests.predict(texts))

    async def translate(self, texts: Sequence[Source]) -> list[Translation]:
        """Calls `predict`, under the name of what a translator does.

        Args:
            texts: As for `predict`.

        Returns:
            A prediction for each text.
        """
        return await self.predict(texts)

    async def document(self, texts: Sequence[str]) -> list[Prediction]:
        """Writes the output for each whole text, of any number of lines and sentences.

        The model splits it and puts the outputs together again with the white space between; one
        that takes several inputs cannot.

        Args:
            texts: Texts.

        Returns:
            A prediction for each text; its score is the sum of those of its parts.
        """
        return await self._send(requests.document(texts))

    async def n_best(self, texts: Sequence[Source]) -> list[list[Prediction]]:
        """Writes the best outputs for each text.

        Args:
            texts: As for `predict`, without numbers.

        Returns:
            A list of predictions for each text, the best one first.
        """
        return await self._send(requests.n_best(texts))

    async def explain(self, texts: Sequence[Source]) -> list[Explanation]:
        """Writes the best output for each text and explains it.

        Args:
            texts: As for `predict`, without numbers.

        Returns:
            For each text its output, the tokens of both, and the attention of the latter to the
            former, `(T, S)`.
        """
        return await self._send(requests.explain(texts))

    async def score(self, texts: Sequence[Source], targets: Sequence[str]) -> list[Score]:
        """Scores each target given its text.

        Args:
            texts: As for `predict`, without numbers.
            targets: As many outputs as texts, such as a person or another model wrote.

        Returns:
            For each target its log-probability and the number of tokens over which it was summed.
        """
        return await self._send(requests.score(texts, targets))

    async def _send(self, request: Request[Result]) -> list[Result]:
        deadline = time.monotonic() + self._timeout
        results: list[Result] = []
        for part in request.split(self._batch_size):
            results += await self._send_once(part, deadline)
        return results

    async def _send_once(self, request: Request[Result], deadline: float) -> list[Result]:
        attempt = 1
        while True:
            timeout = max(0.001, deadline - time.monotonic())
            try:
                outputs = await self._transport.call(request.signature, request.inputs, timeout)
                return request.parse(outputs)
            except ServingError as error:
                wait = self._retry.wait_after(error, attempt, deadline)
                if wait is None:
                    raise ClientError(error.code, error.message) from error
            await asyncio.sleep(wait)
            attempt += 1

    async def close(self) -> None:
        """Closes the connections."""
        await self._transport.close()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()


def _make_transport(url: str, target: Target) -> AsyncTransport:
    address = read_url(url)
    if address.scheme == "grpc":
        from .grpc_transport import AsyncGrpcTransport

        return AsyncGrpcTransport(address, target)
    return AsyncRestTransport(address, target)
