"""Asking a model server: texts in, typed results out, over REST or gRPC.

REST needs nothing but Python's standard library; gRPC imports `tensorflow-serving-api`, and with it
TensorFlow, when the first client for it is made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from ..zoo.explanation import Explanation
from .errors import ServingError
from .transports import RestTransport, Target, Transport

DEFAULT_TIMEOUT = 30.0


class ClientError(ServingError):
    """What a server answered in place of a result, or why it could not be asked.

    Attributes:
        code: the canonical status code, such as `Code.NOT_FOUND`.
        message: the server's words, or what went wrong on the way.
    """


@dataclass(frozen=True)
class Prediction:
    """A text that a model wrote.

    Attributes:
        text: the text.
        score: the model's score of it; higher is better.
    """

    text: str
    score: float


@dataclass(frozen=True)
class Score:
    """How likely a model finds a given target.

    Attributes:
        score: log-probability of the target given the text.
        tokens: the number of subwords over which it was summed.
    """

    score: float
    tokens: int


class Client:
    """Asks one model of a TensorFlow Serving, the official one or the local one.

    It may be used from several threads, and keeps its connection open between calls.

    Args:
        url: `http://host:port` or `https://host:port` for REST, `grpc://host:port` for gRPC.
        model: name of the model.
        version: number of a version; the server's newest if `None`.
        label: label of a version, such as `"stable"`; not together with `version`.
        timeout: seconds after which a call is given up.

    Raises:
        ClientError: in every call: what the server answered, or why it could not be asked.

    Example:

    >>> client = Client("http://127.0.0.1:8501", model="rnn-bahdanau")
    >>> client.translate(["a house"])
    [Prediction(text='ein Haus', score=-0.31)]
    """

    def __init__(
        self,
        url: str,
        model: str,
        version: int | None = None,
        label: str | None = None,
        timeout: float = DEFAULT_TIMEOUT,
    ):
        if version is not None and label is not None:
            raise ValueError(
                "A version is named by number or by label, not by both. "
                f"Received: version={version!r}, label={label!r}"
            )
        if not timeout > 0:
            raise ValueError(f"The timeout is a number of seconds. Received: timeout={timeout!r}")
        self.url = url
        self.model = model
        self._transport = make_transport(url, Target(model, version, label), timeout)

    def predict(self, texts: Sequence[str]) -> list[Prediction]:
        """The best output for each text."""
        outputs = self._call("serving_default", {"text": texts})
        return [
            Prediction(text, float(score))
            for text, score in zip(outputs["text"], outputs["score"], strict=True)
        ]

    def translate(self, texts: Sequence[str]) -> list[Prediction]:
        """`predict` under the name of what a translator does."""
        return self.predict(texts)

    def n_best(self, texts: Sequence[str]) -> list[list[Prediction]]:
        """The best outputs for each text, the best one first."""
        outputs = self._call("n_best", {"text": texts})
        return [
            [Prediction(text, float(score)) for text, score in zip(*row, strict=True)]
            for row in zip(outputs["text"], outputs["score"], strict=True)
        ]

    def explain(self, texts: Sequence[str]) -> list[Explanation]:
        """The best output for each text with the attention paid to its subwords."""
        outputs = self._call("explain", {"text": texts})
        return [
            _explanation(*row)
            for row in zip(
                texts,
                outputs["text"],
                outputs["source_tokens"],
                outputs["target_tokens"],
                outputs["attention"],
                outputs["score"],
                strict=True,
            )
        ]

    def score(self, texts: Sequence[str], targets: Sequence[str]) -> list[Score]:
        """How likely the model finds each target given its text."""
        if len(texts) != len(targets):
            raise ValueError(
                "Every text needs its target. "
                f"Received: {len(texts)} texts and {len(targets)} targets"
            )
        outputs = self._call("score", {"text": texts, "target": targets})
        return [
            Score(float(score), int(tokens))
            for score, tokens in zip(outputs["score"], outputs["tokens"], strict=True)
        ]

    def _call(self, signature: str, inputs: dict[str, Sequence[str]]) -> dict[str, list]:
        for name, texts in inputs.items():
            if isinstance(texts, (str, bytes)):
                raise TypeError(
                    f"'{name}' is a list of texts, so that several can be sent at once; "
                    f"write [{texts!r}]"
                )
        columns = {name: list(texts) for name, texts in inputs.items()}
        if not all(columns.values()):
            return _NO_ROWS
        try:
            return self._transport.call(signature, columns)
        except ServingError as error:
            raise ClientError(error.code, error.message) from error

    def close(self) -> None:
        """Closes the connection."""
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


class _NoRows(dict):
    """The outputs for no texts at all, which no server needs to be asked for."""

    def __missing__(self, name: str) -> list:
        return []


_NO_ROWS = _NoRows()


def make_transport(url: str, target: Target, timeout: float) -> Transport:
    """The transport for an address.

    Raises:
        ValueError: if the address is of no kind that can be asked.
    """
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        port = None
    if parts.scheme not in ("http", "https", "grpc") or not parts.hostname:
        raise ValueError(
            "A server's address is http://host:port or https://host:port for REST and "
            f"grpc://host:port for gRPC. Received: url={url!r}"
        )
    if parts.scheme == "grpc":
        from .grpc_transport import GrpcTransport

        return GrpcTransport(parts.hostname, port or 8500, target, timeout)
    default_port = 443 if parts.scheme == "https" else 8501
    return RestTransport(
        parts.scheme == "https", parts.hostname, port or default_port, parts.path, target, timeout
    )


def _explanation(
    text: str, target: str, source: Sequence[str], written: Sequence[str], weights: Any, score: Any
) -> Explanation:
    """One row without the padding that it got from longer rows of its batch."""
    source_tokens = [token for token in source if token]
    target_tokens = [token for token in written if token]
    attention = np.asarray(weights, np.float32).reshape(len(written), len(source))
    return Explanation(
        text=text,
        target=target,
        source_tokens=source_tokens,
        target_tokens=target_tokens,
        attention=attention[: len(target_tokens), : len(source_tokens)],
        score=float(score),
    )
