"""What can be asked of a served model, and how its answers are read, whatever the transport."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np

from ..zoo.explanation import Explanation
from .errors import Code, ServingError

Result = TypeVar("Result")
Columns = dict[str, list]
# Below this no hypothesis was found: a model with fewer of them than beams fills up the rest.
_NO_HYPOTHESIS = -1e6


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


Translation = Prediction  # what a translator writes is no other thing


@dataclass(frozen=True)
class Score:
    """How likely a model finds a given target.

    Attributes:
        score: log-probability of the target given the text.
        tokens: the number of subwords over which it was summed.
    """

    score: float
    tokens: int


@dataclass(frozen=True)
class Question(Generic[Result]):
    """A call to make.

    Attributes:
        signature: what is called.
        inputs: columns of texts.
        read: makes results of the columns sent and those that come back.
    """

    signature: str
    inputs: Columns
    read: Callable[[Columns, Columns], list[Result]]

    def split(self, size: int) -> Iterator[Question[Result]]:
        """The same in calls of at most `size` rows; none if nothing is asked."""
        rows = max(len(column) for column in self.inputs.values())
        for start in range(0, rows, size):
            part = {name: column[start : start + size] for name, column in self.inputs.items()}
            yield Question(self.signature, part, self.read)

    def answer(self, outputs: Columns) -> list[Result]:
        """The results in a reply.

        Raises:
            ClientError: if the reply is not that of a model from text to text.
        """
        try:
            return self.read(self.inputs, outputs)
        except (KeyError, TypeError, ValueError) as error:
            raise ClientError(
                Code.INTERNAL,
                f"The outputs of signature '{self.signature}' ({', '.join(sorted(outputs))}) are "
                f"not those of a model from text to text: {error!r}",
            ) from error


def _columns(**inputs: Sequence[str]) -> Columns:
    for name, texts in inputs.items():
        if isinstance(texts, (str, bytes)):
            raise TypeError(
                f"'{name}' is a list of texts, so that several can be sent at once; "
                f"write [{texts!r}]"
            )
    return {name: list(texts) for name, texts in inputs.items()}


def predict(texts: Sequence[str]) -> Question[Prediction]:
    """Asks for the best output for each text."""

    def read(_: Columns, outputs: Columns) -> list[Prediction]:
        rows = zip(outputs["text"], outputs["score"], strict=True)
        return [Prediction(text, float(score)) for text, score in rows]

    return Question("serving_default", _columns(text=texts), read)


def n_best(texts: Sequence[str]) -> Question[list[Prediction]]:
    """Asks for the best outputs for each text."""

    def read(_: Columns, outputs: Columns) -> list[list[Prediction]]:
        return [
            [
                Prediction(text, float(score))
                for text, score in zip(*row, strict=True)
                if float(score) > _NO_HYPOTHESIS
            ]
            for row in zip(outputs["text"], outputs["score"], strict=True)
        ]

    return Question("n_best", _columns(text=texts), read)


def explain(texts: Sequence[str]) -> Question[Explanation]:
    """Asks for the best output for each text and where the model looked."""
    names = ("text", "source_tokens", "target_tokens", "attention", "score")

    def read(inputs: Columns, outputs: Columns) -> list[Explanation]:
        shares = outputs.get("p_gen", [None] * len(outputs["text"]))
        rows = zip(inputs["text"], *(outputs[name] for name in names), shares, strict=True)
        return [_explanation(*row) for row in rows]

    return Question("explain", _columns(text=texts), read)


def score(texts: Sequence[str], targets: Sequence[str]) -> Question[Score]:
    """Asks how likely each target is."""
    columns = _columns(text=texts, target=targets)
    if len(columns["text"]) != len(columns["target"]):
        raise ValueError(
            "Every text needs its target. "
            f"Received: {len(columns['text'])} texts and {len(columns['target'])} targets"
        )

    def read(_: Columns, outputs: Columns) -> list[Score]:
        rows = zip(outputs["score"], outputs["tokens"], strict=True)
        return [Score(float(value), int(tokens)) for value, tokens in rows]

    return Question("score", columns, read)


def _explanation(
    text: str,
    target: str,
    source: Sequence[str],
    written: Sequence[str],
    weights: Any,
    score: Any,
    p_gen: Any,
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
        p_gen=None if p_gen is None else np.asarray(p_gen, np.float32)[: len(target_tokens)],
    )
