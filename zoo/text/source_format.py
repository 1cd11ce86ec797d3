"""Source formats: the named inputs of a task and their order in the source, without TensorFlow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from .sentences import RULES_VERSION

SEPARATOR = "<sep>"
# A wish for a length is one of these symbols; the largest that is not above it.
LENGTHS = (*range(1, 13), 14, 17, 20, 25, 30, 40, 55, 75, 100, 150, 200)
KINDS = ("text", "turns", "length")

Source = str | Mapping[str, str | int]


@dataclass(frozen=True)
class SourceInput:
    """One input of a task.

    Args:
        name: Name of the input in the signatures.
        kind: `"text"`; `"turns"`, one text a line, the oldest first; or `"length"`, a number of
            words, 0 for any.
        optional: Whether only the signature `with_NAME` takes the input.

    Raises:
        ValueError: The kind is unknown.
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

    Texts and turns are separated by a symbol that no text can write; a length is one symbol.

    Args:
        inputs: Inputs that make up the source; the last one that is not a length is the main one,
            which a plain string stands for.
        keep: Part of a long source that is kept: its `"start"`, or its `"end"`, so that the oldest
            sentences and turns are dropped first.
        leave_out_long: Whether rows above the limit are left out of training instead of cut.
        max_turns: Number of the newest turns that are read.
        main_first: Whether the main input is also put in front, so that a model that reads from
            left to right knows what to look for. It is left out where it does not fit twice, or is
            the only input.
        sentences: Version of the rules by which texts are split into sentences, with a separator
            between them, for models that read sentences; 0 to leave them whole.
        max_sentences: Number of sentences that a line of a whole text may have to be read at once,
            as the sources of the training had them; 0 for any.
        tags: Language tags that a source may begin with, each one token of the tokenizer.
        tag: A symbol in front of every source, such as that of its language.
        target_tag: A symbol that every target begins with.

    Raises:
        ValueError: No input is a text, `keep` is unknown, or there are no rules of this version.

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
    sentences: int = 0
    max_sentences: int = 0
    tags: tuple[str, ...] = ()
    tag: str | None = None
    target_tag: str | None = None

    def __post_init__(self) -> None:
        if self.keep not in ("start", "end"):
            raise ValueError(f"keep is 'start' or 'end'. Received: keep={self.keep!r}")
        if all(item.kind == "length" for item in self.inputs):
            raise ValueError(f"A source needs a text. Received: inputs={self.inputs}")
        if self.sentences not in (0, RULES_VERSION):
            raise ValueError(
                f"Texts are split into sentences by rules of version {RULES_VERSION}, or not (0). "
                f"Received: sentences={self.sentences!r}; use the version of this package that "
                "trained the model"
            )

    def to_dict(self) -> dict[str, Any]:
        """The values of the format, for a file."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Any) -> SourceFormat:
        """The format of the values that `to_dict` gave.

        Raises:
            ValueError: They are something else.
        """
        try:
            inputs = tuple(SourceInput(**item) for item in values["inputs"])
            return cls(**{**values, "inputs": inputs, "tags": tuple(values.get("tags", ()))})
        except (KeyError, TypeError) as error:
            raise ValueError(f"Expected a format of sources. Received: {values!r}") from error

    @property
    def required(self) -> tuple[SourceInput, ...]:
        return tuple(item for item in self.inputs if not item.optional)

    @property
    def optional(self) -> tuple[SourceInput, ...]:
        return tuple(item for item in self.inputs if item.optional)

    @property
    def can_be_split(self) -> bool:
        """True where a long text may be read in parts: there is no other input, and no rule."""
        return len(self.inputs) == 1 and self.inputs[0].kind == "text" and self.leave_out_long

    @property
    def main(self) -> str:
        """The name of the input that a plain string stands for."""
        return [item.name for item in self.inputs if item.kind != "length"][-1]

    @property
    def symbols(self) -> list[str]:
        """Symbols that the tokenizer needs in addition to its tokens."""
        kinds = [item.kind for item in self.inputs]
        several = len(kinds) - kinds.count("length") > 1 or "turns" in kinds
        separated = several or bool(self.sentences)
        lengths = [length_symbol(length) for length in LENGTHS] if "length" in kinds else []
        tags = [tag for tag in (self.tag, self.target_tag) if tag is not None]
        return [SEPARATOR] * separated + lengths + tags

    @property
    def targets(self) -> SourceFormat:
        """The format of the targets: one text, behind its tag if there is one."""
        return replace(PLAIN, tag=self.target_tag)

    def with_turns(self, max_turns: int) -> SourceFormat:
        """The same format with another number of turns."""
        return replace(self, max_turns=max_turns)

    def columns(self, sources: Sequence[Source]) -> dict[str, list]:
        """A list of values for each input; an input that a source does not have is empty.

        Raises:
            ValueError: The argument is a single source, or a source has an unknown input or a value
                of the wrong type.
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
            ValueError: There are several, and a signature takes one.
        """
        given = [item.name for item in self.optional if any(columns[item.name])]
        if len(given) > 1:
            raise ValueError(
                "One optional input can be asked for at a time: leave out the others, or give the "
                f"sources that have them in a call of their own. Received: {', '.join(given)}"
            )
        return given[0] if given else None

    def untagged(self, sources: Sequence[Source]) -> list[int]:
        """The numbers of the sources that begin with none of the tags; none without tags."""
        if not self.tags:
            return []
        texts = self.columns(sources)[self.main]
        return [row for row, text in enumerate(texts) if not text.lstrip().startswith(self.tags)]

    def to_text(self, source: Source) -> str:
        """A source as one text for people."""
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
