"""Requests to a served model and the reading of its replies, whatever the transport."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np

from ...zoo.text.source_format import Source
from ...zoo.visualization.explanation import Explanation
from ..runtime.errors import Code, ServingError

Result = TypeVar("Result")
Columns = dict[str, list]
# Below this no hypothesis was found: a model with fewer of them than beams fills up the rest.
_NO_HYPOTHESIS = -1e6


class ClientError(ServingError):
    """Error of a call: the server's answer in place of a result, or why it could not be reached.

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
        truncated: whether a part of the source was not read, or the text is as long as it may be.
        missing: addresses, placeholders and markup of the source that are not in the text.
    """

    text: str
    score: float
    truncated: bool = False
    missing: tuple[str, ...] = ()


Translation = Prediction  # what a translator writes is no other thing


@dataclass(frozen=True)
class Score:
    """Score of a given target.

    Attributes:
        score: log-probability of the target given the text.
        tokens: the number of tokens over which it was summed.
        truncated: whether a part of the source or of the target was not read.
    """

    score: float
    tokens: int
    truncated: bool = False


@dataclass(frozen=True)
class Request(Generic[Result]):
    """A call to make.

    Attributes:
        signature: what is called.
        inputs: columns of texts or whole numbers.
        read: makes results of the columns sent and those that come back.
    """

    signature: str
    inputs: Columns
    read: Callable[[Columns, Columns], list[Result]]

    def split(self, size: int) -> Iterator[Request[Result]]:
        """The same in calls of at most `size` rows; none if nothing is asked."""
        rows = max(len(column) for column in self.inputs.values())
        for start in range(0, rows, size):
            part = {name: column[start : start + size] for name, column in self.inputs.items()}
            yield Request(self.signature, part, self.read)

    def parse(self, outputs: Columns) -> list[Result]:
        """The results in a reply.

        Raises:
            ClientError: if the reply is not that of a model from text to text.
        """
        sent = len(next(iter(self.inputs.values())))
        try:
            for name, column in outputs.items():
                if len(column) != sent:
                    raise ValueError(f"{sent} texts, {len(column)} rows of '{name}'")
            return self.read(self.inputs, outputs)
        except (KeyError, TypeError, ValueError) as error:
            raise ClientError(
                Code.INTERNAL,
                f"The outputs of signature '{self.signature}' ({', '.join(sorted(outputs))}) are "
                f"not those of a model from text to text: {error!r}",
            ) from error


def _columns(texts: Sequence[Source]) -> Columns:
    """A column for each input: that of a plain text is `text`, those of a mapping are its names.

    What a source leaves out is empty, or 0 for a number.
    """
    _check_list("texts", texts)
    rows = [_inputs(source) for source in texts]
    names = list(dict.fromkeys(name for row in rows for name in row)) or ["text"]
    columns: Columns = {}
    for name in names:
        values = [row[name] for row in rows if name in row]
        kinds = {_kind(value) for value in values}
        if kinds not in ({str}, {int}, set()):
            raise TypeError(
                f"'{name}' is a text or a whole number, the same in all sources. "
                f"Received: {', '.join(sorted(kind.__name__ for kind in kinds))}"
            )
        plain = int if kinds == {int} else str
        columns[name] = [plain(row.get(name, plain())) for row in rows]
        if plain is str:
            _check_texts(name, columns[name])
    return columns


def _kind(value: Any) -> type:
    """Text, whole number or something else; those of NumPy are as good as those of Python."""
    if isinstance(value, str):
        return str
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
        return int
    return type(value)


def _inputs(source: Source) -> Mapping[str, str | int]:
    if isinstance(source, str):
        return {"text": source}
    if isinstance(source, Mapping):
        return source
    raise TypeError(f"A source is a text or a mapping from names to texts. Received: {source!r}")


def _check_list(name: str, texts: Any) -> None:
    if isinstance(texts, (str, bytes, Mapping)):
        raise TypeError(
            f"'{name}' is a list of texts, so that several can be sent at once; write [{texts!r}]"
        )


def _check_texts(name: str, texts: Sequence[Any]) -> None:
    for place, text in enumerate(texts):
        if not isinstance(text, str):
            raise TypeError(f"'{name}' is a list of texts. Received: {text!r}")
        try:
            text.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:  # half of a pair, such as that of an emoji that was cut
            raise ClientError(
                Code.INVALID_ARGUMENT, f"Text {place} of '{name}' has no UTF-8: {text!r}"
            ) from None


def _only_texts(columns: Columns) -> Columns:
    """The same columns, if all of them are texts."""
    numbers = [name for name, column in columns.items() if column and isinstance(column[0], int)]
    if numbers:
        raise TypeError(f"'{numbers[0]}' can be asked for in `predict` alone; leave it out here.")
    return columns


def predict(texts: Sequence[Source]) -> Request[Prediction]:
    """Asks for the best output for each text."""
    columns = _columns(texts)
    # What is no text is what a task can do without, which has a signature of its own.
    wishes = [name for name, column in columns.items() if column and isinstance(column[0], int)]
    wishes += ["prefix"] if "prefix" in columns else []
    return Request(f"with_{wishes[0]}" if wishes else "serving_default", columns, _predictions)


def document(texts: Sequence[str]) -> Request[Prediction]:
    """Asks for the output for each whole text, of any number of lines and sentences."""
    return Request("document", _only_texts(_columns(texts)), _predictions)


def _predictions(_: Columns, outputs: Columns) -> list[Prediction]:
    missing = outputs.get("missing", [""] * len(outputs["text"]))
    rows = zip(outputs["text"], outputs["score"], _truncated(outputs), missing, strict=True)
    return [_prediction(*row) for row in rows]


def _prediction(text: Any, score: Any, cut: bool, missing: Any) -> Prediction:
    spans = filter(None, _text(missing).split("\n"))
    return Prediction(_text(text), _number(score), cut, tuple(spans))


def n_best(texts: Sequence[Source]) -> Request[list[Prediction]]:
    """Asks for the best outputs for each text."""

    def read(_: Columns, outputs: Columns) -> list[list[Prediction]]:
        missing = outputs.get("missing", [[""] * len(row) for row in outputs["text"]])
        columns = outputs["text"], outputs["score"], _truncated(outputs), missing
        return [
            [
                _prediction(text, score, cut, spans)
                for text, score, spans in zip(texts, scores, all_spans, strict=True)
                if _number(score) > _NO_HYPOTHESIS
            ]
            for texts, scores, cut, all_spans in zip(*columns, strict=True)
        ]

    return Request("n_best", _only_texts(_columns(texts)), read)


def explain(texts: Sequence[Source]) -> Request[Explanation]:
    """Asks for the best output for each text and where the model looked."""
    names = ("text", "source_tokens", "target_tokens", "attention", "score")

    def read(inputs: Columns, outputs: Columns) -> list[Explanation]:
        shares = outputs.get("p_gen", [None] * len(outputs["text"]))
        sources = [_to_text(row) for row in zip(*inputs.values(), strict=True)]
        columns = (outputs[name] for name in names)
        rows = zip(sources, *columns, shares, _truncated(outputs), strict=True)
        return [_explanation(*row) for row in rows]

    return Request("explain", _only_texts(_columns(texts)), read)


def score(texts: Sequence[Source], targets: Sequence[str]) -> Request[Score]:
    """Asks how likely each target is."""
    _check_list("targets", targets)
    _check_texts("targets", targets)
    if len(texts) != len(targets):
        raise ValueError(
            f"Every text needs its target. Received: {len(texts)} texts and {len(targets)} targets"
        )

    def read(_: Columns, outputs: Columns) -> list[Score]:
        rows = zip(outputs["score"], outputs["tokens"], _truncated(outputs), strict=True)
        return [Score(_number(value), _count(tokens), cut) for value, tokens, cut in rows]

    return Request("score", {**_only_texts(_columns(texts)), "target": list(targets)}, read)


def _truncated(outputs: Columns) -> list[bool]:
    """The marks of texts of which something was lost; exports of earlier versions have none."""
    rows = next(iter(outputs.values()), [])
    marks = outputs.get("truncated", [False] * len(rows))
    if wrong := [mark for mark in marks if not isinstance(mark, bool)]:
        raise TypeError(f"{wrong[0]!r} is not true or false")
    return marks


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not a text")
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{value!r} is not a number")
    return float(value)


def _count(value: Any) -> int:
    if not _number(value).is_integer():
        raise TypeError(f"{value!r} is not a whole number")
    return int(value)


def _to_text(values: Sequence[str]) -> str:
    """The texts of a source as one, to be read by people."""
    if len(values) == 1:
        return values[0]
    return " / ".join(" / ".join(value.split("\n")) for value in values if value)


def _explanation(
    text: str,
    target: str,
    source: Sequence[str],
    written: Sequence[str],
    weights: Any,
    score: Any,
    p_gen: Any,
    truncated: bool,
) -> Explanation:
    """One row without the padding that it got from longer rows of its batch."""
    source_tokens = [token for token in map(_text, source) if token]
    target_tokens = [token for token in map(_text, written) if token]
    attention = np.asarray(weights, np.float32).reshape(len(written), len(source))
    return Explanation(
        text=text,
        target=_text(target),
        source_tokens=source_tokens,
        target_tokens=target_tokens,
        attention=attention[: len(target_tokens), : len(source_tokens)],
        score=_number(score),
        p_gen=None if p_gen is None else np.asarray(p_gen, np.float32)[: len(target_tokens)],
        truncated=truncated,
    )
