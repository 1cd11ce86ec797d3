"""Reading a corpus of text pairs: a source text and the target text that belongs to it.

A corpus is named by one string, the same on the command line and in Python:

| spec | what it is |
|---|---|
| `train.tsv` | a row is source TAB target; further columns are ignored |
| `train.jsonl` | a row is `{"source": "...", "target": "..."}`; further keys are ignored |
| `train.en,train.de` | two parallel files, line i of one belongs to line i of the other |
| `hf:NAME[:CONFIG][@SPLIT][#SOURCE,TARGET]` | a Hugging Face dataset (extra `[data]`) |
| `tfds:NAME[/CONFIG][@SPLIT][#SOURCE,TARGET]` | a TensorFlow dataset (extra `[data]`) |

Files are UTF-8, may start with a byte order mark, may end their lines in CR LF, and may be
compressed with gzip. A line ends at a line feed and nowhere else: texts from the web are full of
characters such as U+2028 and U+0085, which `str.splitlines` takes for line ends.

Rows that cannot be used are counted, remembered by file and line, and skipped as long as there are
few of them; a file with many is not the file its owner thinks it is, so reading stops. Nothing is
ever written to the files.
"""

from __future__ import annotations

import gzip
import itertools
import json
import os
import zlib
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from ..zoo.source_format import Source

MAX_BAD_SHARE = 0.01  # by default one row in a hundred may be unusable; in a small file none may
SKIPPED_ROWS_KEPT = 20  # a report is for reading: the first rows are told, the others counted

NO_TAB = "no tab between source and target"
NOT_UTF8 = "not UTF-8"


class DataError(ValueError):
    """A corpus that cannot be used. The message is one line: what, where, and what to do."""


@dataclass(frozen=True)
class SkippedRow:
    """A row that was left out: its file, its line number (from 1) and why."""

    file: str
    line: int
    reason: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.reason}"


class PairOrigin(NamedTuple):
    """Where a pair comes from, and its texts; the line is from 1."""

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
        targets: Target texts, as many as there are sources.
        name: What the corpus is called in messages: the spec it was read from.
        num_skipped: How many rows could not be used.
        skipped: The first `SKIPPED_ROWS_KEPT` of them.
        alternatives: For each row the targets that count as right too; empty if none has any.
        lines: For each row its line in the file, from 1; empty if the rows are not lines.
    """

    sources: list[Source]
    targets: list[str]
    name: str
    num_skipped: int = 0
    skipped: list[SkippedRow] = field(default_factory=list)
    alternatives: list[tuple[str, ...]] = field(default_factory=list)
    lines: array[int] = field(default_factory=lambda: array("q"), compare=False)

    def __len__(self) -> int:
        return len(self.sources)

    def __iter__(self) -> Iterator[tuple[Source, str]]:
        return zip(self.sources, self.targets, strict=True)

    def reversed(self) -> PairCorpus:
        """The same pairs the other way round: from target to source."""
        if not all(isinstance(source, str) for source in self.sources):
            raise DataError(f"{self.name} has sources of several inputs, which cannot be targets.")
        targets = [str(source) for source in self.sources]
        return replace(self, sources=list(self.targets), targets=targets, alternatives=[])

    def references(self) -> list[tuple[str, ...]]:
        """Of each row, all targets that count as right."""
        others = self.alternatives or [()] * len(self)
        return [(target, *more) for target, more in zip(self.targets, others, strict=True)]

    def origins(self, rows: Sequence[int]) -> list[PairOrigin]:
        """Where rows come from; their numbers, from 1, where the corpus has no lines."""
        lines = [int(self.lines[row]) if self.lines else row + 1 for row in rows]
        return [
            PairOrigin(self.name, line, self.sources[row], self.targets[row])
            for row, line in zip(rows, lines, strict=True)
        ]

    def report(self) -> str:
        """How many pairs there are, and the skipped rows one to a line."""
        lines = [f"{self.name}: {len(self):,} pairs"]
        if self.num_skipped:
            lines[0] += f", {self.num_skipped:,} rows skipped"
            lines += [f"  {row}" for row in self.skipped]
            if self.num_skipped > len(self.skipped):
                lines.append(f"  and {self.num_skipped - len(self.skipped):,} more")
        return "\n".join(lines)


def read_pairs(
    spec: str, *, reverse: bool = False, max_bad_rows: int | None = None, min_pairs: int = 2
) -> PairCorpus:
    """Read a corpus of text pairs.

    Args:
        spec: One of the forms in the table at the head of this module.
        reverse: Swap source and target.
        max_bad_rows: How many unusable rows to skip before stopping. By default one row in a
            hundred, which means none in a file of fewer than 100 rows.
        min_pairs: Fewer pairs than this are an error: 2 for training, 1 is enough to evaluate.

    Returns:
        A `PairCorpus`; its `report()` tells which rows were skipped.

    Raises:
        DataError: The corpus is missing, empty, too small, of unequal sides, or has too many
            unusable rows (no tab, an empty side, not UTF-8).
    """
    rows = Rows(spec, max_bad_rows)
    read_rows(spec, rows)
    corpus = rows.finish(min_pairs)
    return corpus.reversed() if reverse else corpus


def read_rows(spec: str, rows: Rows) -> None:
    """Reads a corpus of text pairs from its start to its end, row by row.

    Args:
        spec: One of the forms in the table at the head of this module.
        rows: What the rows are told to, the bad ones too.
    """
    if spec.startswith(("hf:", "tfds:")):
        from .named_datasets import read_dataset

        read_dataset(spec, rows)
    elif "," in spec and not os.path.exists(os.path.expanduser(spec)):
        _read_parallel(spec, rows)
    elif spec.removesuffix(".gz").endswith(".jsonl"):
        _read_jsonl(spec, rows)
    else:
        _read_tsv(spec, rows)


class Rows:
    """Collects the good rows of a corpus and holds the bad ones to their limit."""

    streamed = False  # whether nothing that is read is kept, so that it may be larger than memory

    def __init__(self, name: str, max_bad_rows: int | None = None):
        self.corpus = PairCorpus([], [], name)
        self.max_bad_rows = max_bad_rows
        self.good = 0

    def add(self, file: str, line: int, source: str, target: str) -> None:
        source, target = source.strip(), target.strip()
        if not source or not target:
            self.skip(file, line, f"the {'target' if source else 'source'} is empty")
            return
        self.add_clean(line, source, target)

    def add_clean(
        self, line: int, source: Source, target: str, alternatives: tuple[str, ...] = ()
    ) -> None:
        """Adds a row that was looked at before."""
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
        self.corpus.num_skipped += 1
        if len(self.corpus.skipped) < SKIPPED_ROWS_KEPT:
            self.corpus.skipped.append(SkippedRow(file, line, reason))

    def finish(self, min_pairs: int) -> PairCorpus:
        """The corpus, of which nothing but the name and the bad rows is there if it is streamed.

        Raises:
            DataError: there are too few good rows or too many bad ones.
        """
        name, good, bad = self.corpus.name, self.good, self.corpus.num_skipped
        if not good and not bad:
            raise DataError(f"{name} is empty: it has no rows. Expected at least {min_pairs}.")
        limit = self.max_bad_rows
        if limit is None:
            limit = int(MAX_BAD_SHARE * (good + bad))
        if bad > limit or not good:
            raise DataError(
                f"{self.corpus.skipped[0]}. {bad:,} of the {good + bad:,} rows of {name} cannot be "
                f"used and at most {limit:,} may be: correct them{self._hint(good)}."
            )
        if good < min_pairs:
            rows = "1 usable row" if good == 1 else f"{good} usable rows"
            raise DataError(f"{name} has only {rows}. Expected at least {min_pairs}.")
        return self.corpus

    def _hint(self, good: int) -> str:
        if good:
            return ", or allow more with max_bad_rows"
        if all(row.reason == NO_TAB for row in self.corpus.skipped):
            return ", or name two parallel files as SOURCE_FILE,TARGET_FILE"
        return ""


class StreamedRows(Rows):
    """Hands each good row on and keeps none.

    Args:
        name: of the corpus.
        take: gets line, source and target of each row.
        max_bad_rows: as in `read_pairs`.
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


# Files


def read_lines(path: str) -> Iterator[bytes]:
    """The lines of a file as bytes, without byte order mark; gzip is unpacked.

    A CR before the line feed stays: it is white space at the end of a text, which is removed there.
    """
    try:
        with open(os.path.expanduser(path), "rb") as raw:
            packed = raw.peek(2)[:2] == b"\x1f\x8b"
            stream: Iterable[bytes] = gzip.GzipFile(fileobj=raw) if packed else raw
            for number, line in enumerate(stream):
                if number == 0:
                    if line.startswith((b"\xff\xfe", b"\xfe\xff")):
                        raise DataError(f"{path} is in UTF-16. Convert it to UTF-8 first.")
                    line = line.removeprefix(b"\xef\xbb\xbf")
                    if not line:
                        return
                yield line.removesuffix(b"\n")
    except FileNotFoundError:
        raise DataError(f"{path} does not exist. Give the path of a text file.") from None
    except IsADirectoryError:
        raise DataError(f"{path} is a folder. Give the path of a text file.") from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path} is a damaged gzip file: {error}.") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from None


def _read_tsv(path: str, rows: Rows) -> None:
    for number, line in enumerate(read_lines(path), start=1):
        try:
            columns = line.decode().split("\t", 2)
        except UnicodeDecodeError:
            rows.skip(path, number, NOT_UTF8)
            continue
        if len(columns) < 2:
            rows.skip(path, number, NO_TAB)
        else:
            rows.add(path, number, columns[0], columns[1])


def _read_jsonl(path: str, rows: Rows) -> None:
    for number, line in enumerate(read_lines(path), start=1):
        try:
            row = json.loads(line.decode())
        except UnicodeDecodeError:
            rows.skip(path, number, NOT_UTF8)
        except ValueError:
            rows.skip(path, number, "not JSON")
        else:
            add_record(rows, path, number, row, "source", "target")


def add_record(
    rows: Rows, file: str, number: int, row: Any, source_key: str, target_key: str
) -> None:
    """Adds a row of named values, of which two are its texts."""
    source, target = (
        (row.get(source_key), row.get(target_key)) if isinstance(row, dict) else (None, None)
    )
    if not isinstance(source, str) or not isinstance(target, str):
        rows.skip(file, number, f'expected texts under "{source_key}" and "{target_key}"')
        return
    try:
        (source + target).encode()  # JSON can say half a surrogate pair, which UTF-8 cannot hold
    except UnicodeEncodeError:
        rows.skip(file, number, NOT_UTF8)
        return
    rows.add(file, number, source, target)


def _read_parallel(spec: str, rows: Rows) -> None:
    paths = spec.split(",")
    if len(paths) != 2 or not all(path.strip() for path in paths):
        raise DataError(f"Expected two files as SOURCE_FILE,TARGET_FILE. Received: {spec}")
    source_path, target_path = (path.strip() for path in paths)
    counts = [0, 0]
    both = itertools.zip_longest(read_lines(source_path), read_lines(target_path))
    for number, (source, target) in enumerate(both, start=1):
        counts[0] += source is not None
        counts[1] += target is not None
        if source is None or target is None:
            continue
        texts = []
        for path, line in ((source_path, source), (target_path, target)):
            try:
                texts.append(line.decode())
            except UnicodeDecodeError:
                rows.skip(path, number, NOT_UTF8)
                break
        if len(texts) == 2:
            rows.add(source_path if not texts[0].strip() else target_path, number, *texts)
    if counts[0] != counts[1]:
        raise DataError(
            f"{source_path} has {counts[0]:,} lines and {target_path} has {counts[1]:,}. "
            "Parallel files must have the same number of lines."
        )
