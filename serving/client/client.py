"""Asking a model server: texts in, typed results out, over REST or gRPC.

REST needs nothing but Python's standard library; gRPC imports `grpcio` and `protobuf` when the
first client for it is made. Neither loads TensorFlow. `AsyncClient` is the same for asyncio.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType
from typing import TypeVar

from ...zoo.text.source_format import Source
from ...zoo.visualization.explanation import Explanation
from ..runtime.errors import ServingError
from . import requests
from .requests import ClientError, Prediction, Request, Score, Translation
from .retry import Retry
from .transports import RestTransport, Target, Transport, read_url

__all__ = ["Client", "ClientError", "Prediction", "Score", "Translation", "check_settings"]

DEFAULT_TIMEOUT = 30.0
LONGEST_TIMEOUT = 1e8  # three years; neither sockets nor gRPC can count to infinity
Result = TypeVar("Result")


def check_settings(version: int | None, label: str | None, timeout: float, batch_size: int) -> None:
    """Refuses settings of a client that contradict each other."""
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
        raise ValueError(f"A request has at least one text. Received: batch_size={batch_size!r}")


class Client:
    """Asks one model of a TensorFlow Serving, the official one or the local one.

    It may be used from several threads, and keeps its connections open between calls.

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

    >>> client = Client("http://127.0.0.1:8501", model="rnn-bahdanau")
    >>> client.translate(["a house"])
    [Prediction(text='ein Haus', score=-0.31, truncated=False)]

    A text is a string; for a model that takes other inputs, a mapping from their names:

    >>> client.predict([{"context": "Anna is in the hall.", "question": "Where is Anna?"}])
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

    def predict(self, texts: Sequence[Source]) -> list[Prediction]:
        """Writes the best output for each text.

        Args:
            texts: Texts, or for a task with several inputs mappings from their names to texts. A
                mapping may also hold a number such as `"length": 6` where the model takes it, or a
                `"prefix"` that the output begins with.

        Returns:
            A prediction for each text.
        """
        return self._send(requests.predict(texts))

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
            texts: Texts.

        Returns:
            A prediction for each text; its score is the sum of those of its parts.
        """
        return self._send(requests.document(texts))

    def n_best(self, texts: Sequence[Source]) -> list[list[Prediction]]:
        """Writes the best outputs for each text.

        Args:
            texts: As for `predict`, without numbers.

        Returns:
            A list of predictions for each text, the best one first.
        """
        return self._send(requests.n_best(texts))

    def explain(self, texts: Sequence[Source]) -> list[Explanation]:
        """Writes the best output for each text and explains it.

        Args:
            texts: As for `predict`, without numbers.

        Returns:
            For each text its output, the tokens of both, and the attention of the latter to the
            former, `(T, S)`.
        """
        return self._send(requests.explain(texts))

    def score(self, texts: Sequence[Source], targets: Sequence[str]) -> list[Score]:
        """Scores each target given its text.

        Args:
            texts: As for `predict`, without numbers.
            targets: As many outputs as texts, such as a person or another model wrote.

        Returns:
            For each target its log-probability and the number of tokens over which it was summed.
        """
        return self._send(requests.score(texts, targets))

    def _send(self, request: Request[Result]) -> list[Result]:
        deadline = time.monotonic() + self._timeout
        results: list[Result] = []
        for part in request.split(self._batch_size):
            results += self._send_once(part, deadline)
        return results

    def _send_once(self, request: Request[Result], deadline: float) -> list[Result]:
        attempt = 1
        while True:
            timeout = max(0.001, deadline - time.monotonic())
            try:
                outputs = self._transport.call(request.signature, request.inputs, timeout)
                return request.parse(outputs)
            except ServingError as error:
                wait = self._retry.wait_after(error, attempt, deadline)
                if wait is None:
                    raise ClientError(error.code, error.message) from error
            time.sleep(wait)
            attempt += 1

    def close(self) -> None:
        """Closes the connections."""
        self._transport.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _make_transport(url: str, target: Target) -> Transport:
    address = read_url(url)
    if address.scheme == "grpc":
        from .grpc_transport import GrpcTransport

        return GrpcTransport(address, target)
    return RestTransport(address, target)
