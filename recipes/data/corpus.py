"""A corpus of text pairs in memory, and the collection of its rows while it is read.

Rows that cannot be used are counted, remembered by file and line, and skipped as long as they are
few; a file with many is probably not the intended one, so reading stops.
"""

from __future__ import annotations

import zlib
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from ...zoo.errors import DataError
from ...zoo.text.normalization import is_blank
from ...zoo.text.source_format import Source
from .files.tables import NO_TAB, NOT_JSON, NULL

__all__ = ["NOT_JSON", "is_blank"]  # for those that read rows of their own

# By default one row in a hundred may be unusable: one in a small file, none in a smaller one.
MAX_BAD_SHARE, SMALL = 0.01, 20
SKIPPED_ROWS_KEPT = 20  # a report names the first rows and counts the others
SKIPPED_ROWS_NAMED = 3  # in a single line

NOT_UTF8 = "not UTF-8"


@dataclass(frozen=True)
class SkippedRow:
    """A row that was left out: its file, its line number (from 1) and the reason."""

    file: str
    line: int
    reason: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.reason}"


class PairOrigin(NamedTuple):
    """Origin of a pair and its texts; lines count from 1."""

    file: str
    line: int
    source: Source
    target: str


@dataclass
class PairCorpus:
    """Pairs of texts in the order of their file: `targets[i]` belongs to `sources[i]`.

    Args:
        sources: Source texts, none empty, without white space at the ends; of a task with several
            inputs, mappings from their names.
        targets: Target texts, one for each source.
        name: Name in messages: the spec from which the corpus was read.
        num_skipped: Number of rows that could not be used.
        skipped: The first `SKIPPED_ROWS_KEPT` of them.
        alternatives: For each row the further targets that are right; empty if no row has any.
        lines: For each row its line in the file, from 1; empty if the rows are not lines.
        note: What was taken of the file, in words.
    """

    sources: list[Source]
    targets: list[str]
    name: str
    num_skipped: int = 0
    skipped: list[SkippedRow] = field(default_factory=list)
    alternatives: list[tuple[str, ...]] = field(default_factory=list)
    lines: array[int] = field(default_factory=lambda: array("q"), compare=False)
    note: str = field(default="", compare=False)

    def __len__(self) -> int:
        return len(self.sources)

    def __iter__(self) -> Iterator[tuple[Source, str]]:
        return zip(self.sources, self.targets, strict=True)

    def reversed(self) -> PairCorpus:
        """The same pairs in the other direction, from target to source."""
        if not all(isinstance(source, str) for source in self.sources):
            raise DataError(f"{self.name} has sources of several inputs, which cannot be targets.")
        targets = [str(source) for source in self.sources]
        return replace(self, sources=list(self.targets), targets=targets, alternatives=[])

    def part(self, rows: Sequence[int]) -> PairCorpus:
        """The rows with these numbers, in this order."""
        return replace(
            self,
            sources=[self.sources[row] for row in rows],
            targets=[self.targets[row] for row in rows],
            alternatives=[self.alternatives[row] for row in rows] if self.alternatives else [],
            lines=array("q", [self.lines[row] for row in rows] if self.lines else []),
        )

    @property
    def checksum(self) -> int:
        """A checksum that changes with any text and with their order."""
        value = 0
        for source, targets in zip(self.sources, self.references(), strict=True):
            row = source if isinstance(source, str) else sorted(source.items())
            value = zlib.crc32(repr((row, targets)).encode(), value)
        return value

    def references(self) -> list[tuple[str, ...]]:
        """For each row all targets that are right."""
        others = self.alternatives or [()] * len(self)
        return [(target, *more) for target, more in zip(self.targets, others, strict=True)]

    def origins(self, rows: Sequence[int]) -> list[PairOrigin]:
        """Origins of rows; their numbers, from 1, where the corpus has no lines."""
        lines = [int(self.lines[row]) if self.lines else row + 1 for row in rows]
        return [
            PairOrigin(self.name, line, self.sources[row], self.targets[row])
            for row, line in zip(rows, lines, strict=True)
        ]

    def report(self) -> str:
        """The number of pairs, and the skipped rows, one a line."""
        note = f" ({self.note})" if self.note else ""
        head = f"{self.name}: {len(self):,} pairs{note}"
        return head + skipped_lines(self.num_skipped, self.skipped)

    def tell_skipped(self, report: Callable[[str], None]) -> None:
        """Reports the number of skipped rows, if any, and the first of them in one line."""
        if not self.num_skipped:
            return
        named = [str(row) for row in self.skipped[:SKIPPED_ROWS_NAMED]]
        named += ["..."] if self.num_skipped > len(named) else []
        rows = "1 row" if self.num_skipped == 1 else f"{self.num_skipped:,} rows"
        report(f"{rows} skipped: {'; '.join(named)}")


def skipped_lines(number: int, rows: Sequence[SkippedRow]) -> str:
    """The end of a report: the number of skipped rows, and the first of them, one a line.

    Args:
        number: Number of skipped rows.
        rows: The first of them, of which at most `SKIPPED_ROWS_KEPT` are named.

    Returns:
        Text that follows the first line of the report; "" if no row was skipped.
    """
    if not number:
        return ""
    named = [f"\n  {row}" for row in rows[:SKIPPED_ROWS_KEPT]]
    more = f"\n  and {number - len(named):,} more" if number > len(named) else ""
    return f", {number:,} rows skipped" + "".join(named) + more


def flaw(*texts: str) -> str | None:
    """The reason why texts cannot be used, whatever their content; `None` if there is none."""
    joined = "".join(texts)
    if "\0" in joined:
        return NULL
    try:
        joined.encode()  # JSON can say half a surrogate pair, which UTF-8 cannot hold
    except UnicodeEncodeError:
        return NOT_UTF8
    return None


def in_split(text: str, split: str, dev_share: int) -> bool:
    """Decides by its checksum whether a text belongs to a split.

    Args:
        text: The text that no two splits may share.
        split: "train" or "dev".
        dev_share: One text in that many belongs to dev.

    Returns:
        True if the text belongs to the split.

    Raises:
        ValueError: There is no such split.
    """
    if split not in ("train", "dev"):
        raise ValueError(f'split must be "train" or "dev". Received: split={split!r}')
    return (zlib.crc32(text.encode()) % dev_share == 0) == (split == "dev")


def spread_rows(total: int, count: int) -> list[int]:
    """Row numbers that are spread evenly from the first to the last row.

    Args:
        total: Number of rows.
        count: Largest number of row numbers.

    Returns:
        `count` row numbers, or all if there are fewer.
    """
    return np.linspace(0, total - 1, min(count, total)).astype(int).tolist()


class Rows:
    """Collects the good rows of a corpus and limits the number of bad ones.

    Args:
        name: Name of the corpus.
        max_bad_rows: Number of unusable rows that are skipped; one in a hundred if `None`.
    """

    streamed = False  # whether nothing that is read is kept, so that it may be larger than memory

    def __init__(self, name: str, max_bad_rows: int | None = None):
        self.corpus = PairCorpus([], [], name)
        self.max_bad_rows = max_bad_rows
        self.good = 0

    def add(self, file: str, line: int, source: str, *targets: str) -> None:
        """Adds a pair of texts, or skips it if it cannot be used.

        Args:
            file: File of the row.
            line: Its line, from 1.
            source: Source text.
            *targets: Target text, and others that are right; blank ones are left out.
        """
        source = source.strip()
        given = dict.fromkeys(target.strip() for target in targets if not is_blank(target))
        reason = flaw(source, *targets)
        if reason is None and (is_blank(source) or not given):
            reason = f"the {'source' if is_blank(source) else 'target'} is empty"
        if reason is not None:
            self.skip(file, line, reason)
            return
        target, *others = given
        self.add_clean(line, source, target, tuple(others))

    def tell(self, note: str) -> None:
        """Keeps a note of what was taken of the file.

        Args:
            note: The columns and the form, in words.
        """
        self.corpus.note = note

    def add_clean(
        self, line: int, source: Source, target: str, alternatives: tuple[str, ...] = ()
    ) -> None:
        """Adds a row that has been checked.

        Args:
            line: Line of the row, from 1.
            source: Source text, or mapping of several inputs.
            target: Target text.
            alternatives: Further targets that are right.
        """
        self.good += 1
        self._keep(line, source, target, alternatives)

    def _keep(self, line: int, source: Source, target: str, alternatives: tuple[str, ...]) -> None:
        corpus = self.corpus
        corpus.lines.append(line)
        corpus.sources.append(source)
        corpus.targets.append(target)
        if alternatives and not corpus.alternatives:
            corpus.alternatives = [()] * (len(corpus) - 1)
        if alternatives or corpus.alternatives:
            corpus.alternatives.append(alternatives)

    def skip(self, file: str, line: int, reason: str) -> None:
        """Counts a row that cannot be used.

        Args:
            file: File of the row.
            line: Its line, from 1.
            reason: The reason, to be read after file and line.
        """
        self.corpus.num_skipped += 1
        if len(self.corpus.skipped) < SKIPPED_ROWS_KEPT:
            self.corpus.skipped.append(SkippedRow(file, line, reason))

    def finish(self, min_pairs: int) -> PairCorpus:
        """The corpus; if it is streamed, only its name and the bad rows.

        Raises:
            DataError: There are too few good rows or too many bad ones.
        """
        name, good, bad = self.corpus.name, self.good, self.corpus.num_skipped
        if not good and not bad:
            raise DataError(f"{name} is empty: it has no rows. Expected at least {min_pairs}.")
        limit = self.max_bad_rows
        if limit is None:
            least = 1 if good + bad >= SMALL else 0
            limit = max(least, int(MAX_BAD_SHARE * (good + bad)))
        if bad > limit or not good:
            counted = f"{bad:,} of the {good + bad:,}" if good else f"None of the {bad:,}"
            negated = "cannot" if good else "can"
            raise DataError(
                f"{self.corpus.skipped[0]}. {counted} rows of {name} {negated} be used and at most "
                f"{limit:,} may be bad: correct them{self._hint(good)}."
            )
        if good < min_pairs:
            rows = "1 usable row" if good == 1 else f"{good} usable rows"
            raise DataError(f"{name} has only {rows}. Expected at least {min_pairs}.")
        return self.corpus

    def _hint(self, good: int) -> str:
        if not good and all(row.reason == NO_TAB for row in self.corpus.skipped):
            return ", or name two parallel files as SOURCE_FILE,TARGET_FILE"
        if all(row.reason == NOT_UTF8 for row in self.corpus.skipped):
            return ", or convert the file from its encoding, as in iconv -f ENCODING -t UTF-8"
        return ""


class StreamedRows(Rows):
    """Passes each good row on and keeps none.

    Args:
        name: Name of the corpus.
        take: Called with line, source and target of each row.
        max_bad_rows: As in `read_pairs`.
    """

    streamed = True

    def __init__(
        self,
        name: str,
        take: Callable[[int, Source, str], None],
        max_bad_rows: int | None = None,
    ):
        super().__init__(name, max_bad_rows)
        self._take = take

    def _keep(self, line: int, source: Source, target: str, alternatives: tuple[str, ...]) -> None:
        self._take(line, source, target)
