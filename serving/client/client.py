"""Asking a model server: texts in, typed results out, over REST or gRPC.

`AsyncClient` is for asyncio. `Client` makes the same calls in an event loop of its own, so that
both have one policy. REST needs aiohttp; gRPC imports grpcio when the first client for it is made.
Neither loads TensorFlow.
"""

from __future__ import annotations

import asyncio
import functools
import os
import selectors
import threading
import time
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, TypeVar

from ...zoo.text.source_format import Source
from ...zoo.visualization.explanation import Explanation
from ..runtime.errors import Code, ServingError
from . import requests
from .requests import ClientError, Prediction, Request, Score, Translation
from .retry import Retry
from .transports import Access, RestTransport, Target, Transport, read_url

__all__ = ["AsyncClient", "Client", "ClientError", "Prediction", "Score", "Translation"]

DEFAULT_TIMEOUT = 30.0
LONGEST_TIMEOUT = 1e8  # three years; neither sockets nor gRPC can count to infinity
Result = TypeVar("Result")


class _Sender:
    """Settings of a client, and the one policy by which both clients send requests."""

    def __init__(
        self,
        url: str,
        model: str,
        version: int | None = None,
        label: str | None = None,
        timeout: float = DEFAULT_TIMEOUT,
        retry: Retry | None = None,
        batch_size: int = 64,
        headers: Mapping[str, str] | None = None,
        ca_file: str | os.PathLike | None = None,
        cert_file: str | os.PathLike | None = None,
        key_file: str | os.PathLike | None = None,
    ):
        if version is not None and label is not None:
            raise ValueError(
                "A version is named by number or by label, not by both. "
                f"Received: version={version!r}, label={label!r}"
            )
        if not 0 < timeout <= LONGEST_TIMEOUT:
            raise ValueError(
                f"The timeout is a number of seconds, at most {LONGEST_TIMEOUT:.0f}. "
                f"Received: timeout={timeout!r}"
            )
        if batch_size < 1:
            raise ValueError(
                f"A request has at least one text. Received: batch_size={batch_size!r}"
            )
        self.url = url
        self.model = model
        self._timeout = timeout
        self._batch_size = batch_size
        self._retry = retry or Retry()
        self._closed = False
        access = Access(dict(headers or {}), ca_file, cert_file, key_file)
        self._transport = _make_transport(url, Target(model, version, label), access)

    async def _send(self, request: Request[Result]) -> list[Result]:
        """Sends a request, in parts and as often as it takes, and reads what comes back."""
        deadline = time.monotonic() + self._timeout
        results: list[Result] = []
        for part in request.split(self._batch_size):
            results += await self._send_part(part, deadline)
        return results

    async def _send_part(self, request: Request[Result], deadline: float) -> list[Result]:
        attempt = 1
        while True:
            if self._closed:
                raise ClientError(Code.FAILED_PRECONDITION, "This client is closed")
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


def _make_transport(url: str, target: Target, access: Access) -> Transport:
    address = read_url(url)
    if address.scheme in ("grpc", "grpcs"):
        from .grpc_transport import GrpcTransport

        return GrpcTransport(address, target, access)
    return RestTransport(address, target, access)


_CLIENTS_LOCK = threading.Lock()


@functools.cache
def _event_loop(process: int) -> asyncio.AbstractEventLoop:
    """The event loop in which all clients of a process without one of their own make calls."""
    # By poll, since what epoll watches would be shared with processes that are forked.
    loop = asyncio.SelectorEventLoop(selectors.PollSelector())
    # A client that nobody closed is left to the end of the process, in silence.
    loop.set_exception_handler(lambda loop, context: None)
    threading.Thread(target=loop.run_forever, name="attention-zoo-client", daemon=True).start()
    return loop


def _wait(coroutine: Coroutine[Any, Any, Result]) -> Result:
    with _CLIENTS_LOCK:
        loop = _event_loop(os.getpid())  # a process that was forked has the thread no more
    future = asyncio.run_coroutine_threadsafe(coroutine, loop)
    try:
        return future.result()
    except BaseException:
        future.cancel()  # such as at Ctrl-C; the server is told
        raise


class Client(_Sender):
    """Asks one model of a TensorFlow Serving, the official one or the local one.

    It may be used from several threads, and keeps its connections open between calls.

    Args:
        url: `http://host:port` or `https://host:port` for REST, `grpc://host:port` or with TLS
            `grpcs://host:port` for gRPC.
        model: name of the model.
        version: number of a version; the server's newest if `None`.
        label: label of a version, such as `"stable"`; not together with `version`.
        timeout: seconds after which a call is given up, all attempts together.
        retry: when a call is made again; while the server is busy or away, if `None`.
        batch_size: texts in a request at most; more of them are sent in several.
        headers: sent with every request, such as `{"Authorization": "Bearer ..."}`; metadata over
            gRPC.
        ca_file: certificates of the authorities that are trusted, in PEM; those of the system if
            `None`.
        cert_file: certificate by which this client shows who it is, in PEM.
        key_file: its private key; in `cert_file` as well, if `None`.

    Raises:
        ClientError: in every call: what the server answered, or why it could not be asked.

    Example:

    >>> client = Client("http://127.0.0.1:8501", model="rnn-bahdanau")
    >>> client.translate(["a house"])
    [Prediction(text='ein Haus', score=-0.31, truncated=False, missing=())]

    A text is a string; for a model that takes other inputs, a mapping from their names:

    >>> client.predict([{"context": "Anna is in the hall.", "question": "Where is Anna?"}])

    A server behind a proxy that asks for a token, with a certificate of an authority of one's own:

    >>> Client("https://models.example", "en-de", headers={"Authorization": "Bearer ..."},
    ...        ca_file="authority.pem")
    """

    def predict(self, texts: Sequence[Source]) -> list[Prediction]:
        """Writes the best output for each text.

        Args:
            texts: Texts, or for a task with several inputs mappings from their names to texts. A
                mapping may also hold a number such as `"length": 6` where the model takes it, or a
                `"prefix"` that the output begins with.

        Returns:
            A prediction for each text.
        """
        return _wait(self._send(requests.predict(texts)))

    def translate(self, texts: Sequence[Source]) -> list[Translation]:
        """Calls `predict`, under the name of what a translator does.

        Args:
            texts: As for `predict`.

        Returns:
            A prediction for each text.
        """
        return self.predict(texts)

    def document(self, texts: Sequence[str]) -> list[Prediction]:
        """Writes the output for each whole text, of any number of lines and sentences.

        The model splits it and puts the outputs together again with the white space between; one
        that takes several inputs cannot.

        Args:
            texts: N of them, strings.

        Returns:
            A prediction for each text; its score is the sum of those of its parts.
        """
        return _wait(self._send(requests.document(texts)))

    def n_best(self, texts: Sequence[Source]) -> list[list[Prediction]]:
        """Writes the best outputs for each text.

        Args:
            texts: As for `predict`, without numbers.

        Returns:
            A list of predictions for each text, the best one first.
        """
        return _wait(self._send(requests.n_best(texts)))

    def explain(self, texts: Sequence[Source]) -> list[Explanation]:
        """Writes the best output for each text and explains it.

        Args:
            texts: As for `predict`, without numbers.

        Returns:
            For each text its output, the tokens of both, and the attention of the latter to the
            former, `(T, S)`.
        """
        return _wait(self._send(requests.explain(texts)))

    def score(self, texts: Sequence[Source], targets: Sequence[str]) -> list[Score]:
        """Scores each target given its text.

        Args:
            texts: As for `predict`, without numbers.
            targets: As many outputs as texts, such as a person or another model wrote.

        Returns:
            For each target its log-probability and the number of tokens over which it was summed.
        """
        return _wait(self._send(requests.score(texts, targets)))

    def close(self) -> None:
        """Closes the connections; further calls are refused."""
        self._closed = True
        _wait(self._transport.close())

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


class AsyncClient(_Sender):
    """Asks one model of a TensorFlow Serving from asyncio: `Client`, with coroutines as methods.

    Args:
        url: As all others, that of `Client`.

    Raises:
        ClientError: in every call: what the server answered, or why it could not be asked.

    Example:

    >>> async with AsyncClient("http://127.0.0.1:8501", model="rnn-bahdanau") as client:
    ...     await asyncio.gather(*(client.translate([text]) for text in texts))
    """

    async def predict(self, texts: Sequence[Source]) -> list[Prediction]:
        """Writes the best output for each text.

        Args:
            texts: Texts, or for a task with several inputs mappings from their names to texts.
                More than `batch_size` are sent in several requests.

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
        """Writes the output for each whole text, sentence by sentence.

        Args:
            texts: Texts of any number of lines and sentences.

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
            For each text its output, the tokens of both, and the attention, `(T, S)`.
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

    async def close(self) -> None:
        """Closes the connections; further calls are refused."""
        self._closed = True
        await self._transport.close()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()
