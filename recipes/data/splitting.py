"""Holding out rows of a corpus to validate with, by a hash of what they are about.

Rows with one source belong together, and so do those with one context of a question and the replies
of one conversation: none of them is on both sides. The same corpus is always split alike.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence

from ...zoo.errors import ConfigError, DataError
from ...zoo.text.source_format import Source, SourceFormat
from .corpus import PairCorpus

# Without a wish a twentieth is held out, of a small corpus up to a tenth, of a large one less.
SHARE, LARGEST_SHARE, FEWEST, MOST = 0.05, 0.1, 100, 2000
_HASHES = 2**64


def share_of(valid: str | None) -> float | None:
    """The share that is to be held out: `0.05`; `None` for a file or nothing.

    Raises:
        ConfigError: It is a number, but no share.
    """
    try:
        share = float(valid or "")
    except ValueError:
        return None
    if not 0 < share < 1:
        raise ConfigError(f"--valid takes a file, or a share such as 0.05. Received: {valid}")
    return share


def usual_share(rows: int) -> float:
    """The share that is held out of a corpus of some rows if nobody says."""
    return min(max(SHARE * rows, min(FEWEST, LARGEST_SHARE * rows)), MOST) / rows


class Grouping:
    """Tells the group of each row, as they come.

    Args:
        source_format: The inputs of the task. With turns, rows from one without a history to the
            next are a conversation; else the first text of a source decides.
    """

    def __init__(self, source_format: SourceFormat):
        self.name = next(item.name for item in source_format.inputs if item.kind != "length")
        self.main = source_format.main
        self.turns = next((i.name for i in source_format.inputs if i.kind == "turns"), None)

    def hashes(self, rows: Sequence[tuple[Source, str]]) -> Iterator[int]:
        """The hash of the group of each row."""
        start = 0
        for end in range(1, len(rows) + 1):
            if end == len(rows) or self.begins(rows[end][0]):
                value = self.hash_of(rows[start:end])
                yield from [value] * (end - start)
                start = end

    def begins(self, source: Source) -> bool:
        """True for the first row of a conversation, and for all rows that are in none."""
        return self.turns is None or isinstance(source, str) or not source.get(self.turns)

    def hash_of(self, rows: Sequence[tuple[Source, str]]) -> int:
        """The hash of a group, from its first row, or from all rows of a conversation."""
        if self.turns is None:
            return _hash(self._text(rows[0][0]))
        texts = [self._text(rows[0][0], self.main), *(target for _, target in rows)]
        return _hash("\n".join(texts))

    def _text(self, source: Source, name: str | None = None) -> str:
        if isinstance(source, str):
            return source
        return str(source.get(name or self.name) or source.get(self.main) or "")


def _hash(text: str) -> int:
    # What differs in case and white space only is alike.
    plain = " ".join(text.casefold().split()).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(plain, digest_size=8).digest(), "big")


def is_held_out(value: int, share: float) -> bool:
    """True for the hash of a group that is held out of a corpus of any size."""
    return value < share * _HASHES


def split(
    corpus: PairCorpus, source_format: SourceFormat, share: float | None = None
) -> tuple[PairCorpus, PairCorpus]:
    """Splits a corpus into the rows that are learnt and those that are held out.

    Args:
        corpus: The corpus.
        source_format: The inputs of its task.
        share: Share of the rows that is held out, about; `usual_share` if `None`.

    Returns:
        Both parts, in the order of the corpus.

    Raises:
        DataError: All rows belong together.
    """
    values = list(Grouping(source_format).hashes(list(corpus)))
    sizes: dict[int, int] = {}
    for value in values:
        sizes[value] = sizes.get(value, 0) + 1
    if len(sizes) < 2:
        raise DataError(
            f"The {len(corpus):,} rows of {corpus.name} are about one and the same text, so none "
            "can be held out: give --valid FILE."
        )
    wanted = max(1.0, (share or usual_share(len(corpus))) * len(corpus))
    held: set[int] = set()
    rows = 0
    # From the smallest hash on, so that a corpus that grows keeps most of what was held out.
    for value in sorted(sizes):
        if rows < wanted and rows + sizes[value] <= 1.5 * wanted:
            held.add(value)
            rows += sizes[value]
    held = held or {min(sizes, key=lambda value: (sizes[value], value))}
    train = corpus.part([row for row, value in enumerate(values) if value not in held])
    valid = corpus.part([row for row, value in enumerate(values) if value in held])
    valid.name, valid.note, valid.num_skipped, valid.skipped = f"{corpus.name}, held out", "", 0, []
    return train, valid


def overlap(train: PairCorpus, valid: PairCorpus, source_format: SourceFormat) -> int:
    """Number of rows to validate with whose group is in the training corpus too."""
    known = set(Grouping(source_format).hashes(list(train)))
    return sum(value in known for value in Grouping(source_format).hashes(list(valid)))


class HoldOut:
    """Splits rows as they come, without keeping them: those of one group go the same way.

    Args:
        source_format: The inputs of the task.
        share: Share of the groups that is held out.
        learn: Takes line, source and target of the rows that are learnt.
        hold: Takes those of the rows that are held out.
    """

    def __init__(
        self,
        source_format: SourceFormat,
        share: float,
        learn: Callable[[int, Source, str], None],
        hold: Callable[[int, Source, str], None],
    ):
        self.grouping, self.share = Grouping(source_format), share
        self.learn, self.hold = learn, hold
        self.rows: list[tuple[int, Source, str]] = []

    def add(self, line: int, source: Source, target: str) -> None:
        """Takes the next row."""
        if self.rows and self.grouping.begins(source):
            self.end()
        self.rows.append((line, source, target))

    def end(self) -> None:
        """Passes on the rows of the last group; called after the last row."""
        if not self.rows:
            return
        value = self.grouping.hash_of([(source, target) for _, source, target in self.rows])
        take = self.hold if is_held_out(value, self.share) else self.learn
        for row in self.rows:
            take(*row)
        self.rows = []
