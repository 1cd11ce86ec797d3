"""Source formats: the named inputs of a task as the one source of a model, without TensorFlow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

SEPARATOR = "<sep>"
# A wish for a length is one of these symbols; the largest that is not above it.
LENGTHS = (*range(1, 13), 14, 17, 20, 25, 30, 40, 55, 75, 100, 150, 200)
KINDS = ("text", "turns", "length")

Source = str | Mapping[str, str | int]


@dataclass(frozen=True)
class SourceInput:
    """One input of a task.

    Args:
        name: as in the signatures.
        kind: `"text"`; `"turns"`, texts one a line, the oldest first; or `"length"`, a number of
            words, 0 for no wish.
        optional: only the signature `with_NAME` takes it.
    """

    name: str
    kind: str = "text"
    optional: bool = False

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind is one of {', '.join(KINDS)}. Received: kind={self.kind!r}")


@dataclass(frozen=True)
class SourceFormat:
    """The inputs of a task, in the order in which they stand in the source.

    Texts and turns have a separator between them that no text can write; a length is one symbol.

    Args:
        inputs: what the source is put together from; the last one that is no length is the main
            one, which a plain string means.
        keep: which part of a source stays that is longer than the limit: its `"start"`, or its
            `"end"`, so that the oldest sentences and turns go first.
        leave_out_long: whether rows longer than the limit are left out of training, not cut.
        max_turns: the newest turns that are read; the others are not.
        main_first: whether the main input stands in front as well, so that who reads the others
            from left to right knows what for. Left out where it does not fit twice, or alone.

    Example:

    >>> format = SourceFormat((SourceInput("context"), SourceInput("question")), keep="end")
    >>> format.columns([{"context": "Mary is here.", "question": "Where is Mary?"}])
    {'context': ['Mary is here.'], 'question': ['Where is Mary?']}
    """

    inputs: tuple[SourceInput, ...] = (SourceInput("text"),)
    keep: str = "start"
    leave_out_long: bool = False
    max_turns: int = 4
    main_first: bool = False

    def __post_init__(self) -> None:
        if self.keep not in ("start", "end"):
            raise ValueError(f"keep is 'start' or 'end'. Received: keep={self.keep!r}")
        if all(item.kind == "length" for item in self.inputs):
            raise ValueError(f"A source needs a text. Received: inputs={self.inputs}")

    @property
    def required(self) -> tuple[SourceInput, ...]:
        return tuple(item for item in self.inputs if not item.optional)

    @property
    def optional(self) -> tuple[SourceInput, ...]:
        return tuple(item for item in self.inputs if item.optional)

    @property
    def main(self) -> str:
        """The name of the input that a plain string is."""
        return [item.name for item in self.inputs if item.kind != "length"][-1]

    @property
    def symbols(self) -> list[str]:
        """Symbols that the tokenizer needs beside its tokens."""
        kinds = [item.kind for item in self.inputs]
        separated = len(kinds) - kinds.count("length") > 1 or "turns" in kinds
        lengths = [length_symbol(length) for length in LENGTHS] if "length" in kinds else []
        return [SEPARATOR] * separated + lengths

    def with_turns(self, max_turns: int) -> SourceFormat:
        """The same with another number of turns."""
        return replace(self, max_turns=max_turns)

    def columns(self, sources: Sequence[Source]) -> dict[str, list]:
        """A list for each input; what a source does not name is empty.

        Raises:
            ValueError: it is one source and no list of them, or a source has an input that there is
                not, or a text that is none.
        """
        if isinstance(sources, (str, Mapping)):
            raise ValueError(
                "Sources are given in a list, a single one too: [source]. "
                f"Received: {sources!r:.100}"
            )
        kinds = {item.name: item.kind for item in self.inputs}
        columns: dict[str, list] = {name: [] for name in kinds}
        for source in sources:
            values = {self.main: source} if isinstance(source, str) else source
            unknown = set(values) - set(kinds)
            if unknown:
                raise ValueError(
                    f"A source has {', '.join(kinds)}. Received: {', '.join(sorted(unknown))}"
                )
            for name, kind in kinds.items():
                columns[name].append(_value(name, kind, values.get(name)))
        return columns

    def optional_in(self, columns: Mapping[str, list]) -> str | None:
        """The optional input that some source of these columns has, or `None`.

        Raises:
            ValueError: there are several, and a signature takes one.
        """
        given = [item.name for item in self.optional if any(columns[item.name])]
        if len(given) > 1:
            raise ValueError(
                "One optional input can be asked for at a time: leave out the others, or give the "
                f"sources that have them in a call of their own. Received: {', '.join(given)}"
            )
        return given[0] if given else None

    def to_text(self, source: Source) -> str:
        """A source as one text, to be read by people."""
        if isinstance(source, str):
            return source
        values = [source.get(item.name) for item in self.inputs if item.kind != "length"]
        return " / ".join(" / ".join(str(value).split("\n")) for value in values if value)


# One text, of which nothing is cut in training: a row that is too long is left out.
PLAIN = SourceFormat(leave_out_long=True)


def length_symbol(length: int) -> str:
    """The symbol of one of `LENGTHS`."""
    return f"<length={length}>"


def _value(name: str, kind: str, value: str | int | None) -> str | int:
    if kind == "length":
        if value is None or (type(value) is int and value >= 0):
            return min(value or 0, LENGTHS[-1])  # there is no symbol for more
        raise ValueError(f"{name} is a number of words, or 0 for any. Received: {name}={value!r}")
    if value is None or isinstance(value, str):
        return value or ""
    raise ValueError(f"{name} is a text. Received: {name}={value!r}")
