"""Reading a corpus of text pairs: a source text and the target text that belongs to it.

A corpus is named by one string, the same on the command line and in Python:

| spec | content |
|---|---|
| `train.tsv`, `.csv`, `.jsonl`, `.json`, `.tmx`, `.xlsx` | a pair a row; see `files.tables` |
| `FILE#SOURCE,TARGET` | the same, with the columns that are meant, by name or by number from 1 |
| `-` | the standard input, as one of these |
| `train.en,train.de` | two parallel files, line i of one belongs to line i of the other |
| `hf:NAME[:CONFIG][@SPLIT][#SOURCE,TARGET]` | a Hugging Face dataset (extra `[data]`) |
| `tfds:NAME[/CONFIG][@SPLIT][#SOURCE,TARGET]` | a TensorFlow dataset (extra `[data]`) |

Which columns are meant is told by their names, such as `source` and `target` or `en` and `German`;
without names, the first two columns that hold texts are. The report of the corpus says which were
taken.

Files may be in UTF-8, UTF-16 or another encoding that can be told, have a byte order mark before
any line, end their lines in CR LF, end with blank lines, and be packed (gzip, bzip2, xz, zstd). A
line ends at a line feed and nowhere else: texts from the web are full of characters such as U+2028
and U+0085, which `str.splitlines` takes for line ends.

Several targets that are all right are a list in JSON, `"target": ["...", "..."]`; in a table
they are columns of that name: `source TAB target TAB target` as the first line of the file, in any
order, and of a row as many as it has. The first is learned, and scores count all of them.

Rows that cannot be used are skipped as long as they are few; see `corpus.Rows`. Nothing is ever
written to the files.
"""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable

from ...zoo.errors import DataError
from .corpus import PairCorpus, Rows, flaw, is_blank
from .files.columns import pair_columns
from .files.delimited import without_blank_end
from .files.opening import open_text, open_unpacked
from .files.tables import Table, open_table, split_columns


def read_pairs(
    spec: str,
    *,
    reverse: bool = False,
    max_bad_rows: int | None = None,
    min_pairs: int = 2,
    read: Callable[[str, Rows], None] | None = None,
) -> PairCorpus:
    """Reads a corpus of text pairs.

    Args:
        spec: One of the forms in the table at the head of this module.
        reverse: Whether source and target are swapped.
        max_bad_rows: Number of unusable rows that are skipped. If `None`, one row in a hundred, and
            one in a file of 20 rows or more.
        min_pairs: Smallest number of pairs: 2 for training, 1 to evaluate.
        read: Reads the rows of another kind of corpus, such as `read_question_rows`.

    Returns:
        A `PairCorpus`; its `report()` names the skipped rows.

    Raises:
        DataError: The corpus is missing, empty, too small, of unequal sides, or has too many
            unusable rows (no tab, an empty side, not UTF-8, a null character).
    """
    rows = Rows(spec, max_bad_rows)
    (read or read_rows)(spec, rows)
    corpus = rows.finish(min_pairs)
    return corpus.reversed() if reverse else corpus


def read_rows(spec: str, rows: Rows) -> None:
    """Reads a corpus of text pairs from its start to its end, row by row.

    Args:
        spec: One of the forms in the table at the head of this module.
        rows: Collects the rows, good and bad.

    Raises:
        DataError: The corpus is missing, damaged, or has sides of unequal length.
    """
    if is_parallel(spec):
        _read_parallel(spec, rows)
        return
    table = open_corpus(spec, rows)
    add_pairs(table, rows)


def open_corpus(spec: str, rows: Rows) -> Table:
    """Opens the rows of a corpus that is a file or a dataset by name.

    Args:
        spec: The corpus.
        rows: Collects its rows; whether they are streamed decides if a dataset is.
    """
    if is_named(spec):
        from .named_datasets import open_dataset

        return open_dataset(spec, rows.streamed)
    return open_table(spec)


def add_pairs(table: Table, rows: Rows) -> None:
    """Adds the rows of a table as pairs of texts."""
    columns = pair_columns(table.name, table.head, table.wanted)
    rows.tell(table.said(columns) if table.head else "")
    missing = f'expected texts under "{columns.keys[0]}" and "{columns.keys[1]}"'

    def skip(line: int, reason: str) -> None:
        rows.skip(table.name, line, reason)

    for line, (source, *targets) in table.rows(columns, skip):
        if targets and isinstance(targets[0], list):  # all of them right
            targets = targets[0]
        if all(isinstance(text, str) for text in (source, *targets)):
            rows.add(table.name, line, source, *targets)
        else:
            skip(line, missing)


def json_lines(corpus: PairCorpus) -> str:
    """The pairs of a corpus as JSON lines, which `read_pairs` reads from a file in `.jsonl`."""
    rows = [
        {"source": source, "target": targets[0] if len(targets) == 1 else list(targets)}
        for source, targets in zip(corpus.sources, corpus.references(), strict=True)
    ]
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def is_named(spec: str) -> bool:
    """True for a dataset by name, which is no path; `hf://` stands before the name of a model."""
    return spec.startswith(("hf:", "tfds:")) and not spec.startswith("hf://")


def is_parallel(spec: str) -> bool:
    """True for a spec of two files."""
    if is_named(spec) or os.path.exists(os.path.expanduser(spec)):
        return False
    return "," in split_columns(spec)[0]


def check_readable(spec: str) -> None:
    """Refuses a corpus whose files cannot be opened, before anything that takes time.

    Raises:
        DataError: One of them is missing or damaged.
    """
    if not is_named(spec):
        for path in spec.split(",") if is_parallel(spec) else [split_columns(spec)[0]]:
            with open_unpacked(path.strip()) as stream:
                stream.read(1)


def parse_text(line: str) -> str:
    """The source in a line: the whole line.

    Raises:
        DataError: The line has columns, like a row of a pair file.
    """
    if "\t" in line.strip():
        raise DataError(
            "A tab parts a source from its target, which is not to be read: give the sources alone "
            f"(cut -f1), or spaces for tabs. Received: {line[:60]!r}"
        )
    return line


def _read_parallel(spec: str, rows: Rows) -> None:
    paths = spec.split(",")
    if len(paths) != 2 or not all(path.strip() for path in paths):
        raise DataError(f"Expected two files as SOURCE_FILE,TARGET_FILE. Received: {spec}")
    source_path, target_path = (path.strip() for path in paths)
    counts = [0, 0]
    files = open_text(source_path), open_text(target_path)
    both = itertools.zip_longest(*(file.lines() for file in files))
    filled = without_blank_end(both, lambda sides: not any(side and side.strip() for side in sides))
    for number, (source, target) in enumerate(filled, start=1):
        counts[0] += source is not None
        counts[1] += target is not None
        if source is None or target is None:
            continue
        at_source = is_blank(source) or flaw(source) is not None
        rows.add(source_path if at_source else target_path, number, source, target)
    if counts[0] != counts[1]:
        raise DataError(
            f"{source_path} has {counts[0]:,} lines and {target_path} has {counts[1]:,}. "
            "Parallel files must have the same number of lines."
        )
