"""Reading a corpus of text pairs: a source text and the target text that belongs to it.

A corpus is named by one string, the same on the command line and in Python:

| spec | what it is |
|---|---|
| `train.tsv` | a row is source TAB target; further columns are ignored, see below |
| `train.jsonl` | a row is `{"source": "...", "target": "..."}`; further keys are ignored |
| `train.en,train.de` | two parallel files, line i of one belongs to line i of the other |
| `hf:NAME[:CONFIG][@SPLIT][#SOURCE,TARGET]` | a Hugging Face dataset (extra `[data]`) |
| `tfds:NAME[/CONFIG][@SPLIT][#SOURCE,TARGET]` | a TensorFlow dataset (extra `[data]`) |

Files are UTF-8, may have a byte order mark before any line, may end their lines in CR LF, may end
with blank lines, and may be compressed with gzip. A line ends at a line feed and nowhere else:
texts from the web are full of characters such as U+2028 and U+0085, which `str.splitlines` takes
for line ends.

Several targets that are all right are a list in JSON, `"target": ["...", "..."]`; in a TSV they are
columns of that name: `source TAB target TAB target` as the first line of the file, in any order,
and of a row as many as it has. The first is learned, and scores count all of them.

Rows that cannot be used are skipped as long as they are few; see `corpus.Rows`. Nothing is ever
written to the files.
"""

from __future__ import annotations

import gzip
import itertools
import json
import os
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from ...zoo.errors import DataError
from .corpus import NO_TAB, NOT_JSON, NOT_UTF8, NULL, PairCorpus, Rows, is_blank

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# In this order: the mark of UTF-32 begins with that of UTF-16.
_OTHER_MARKS = {
    b"\xff\xfe\0\0": "UTF-32",
    b"\0\0\xfe\xff": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}

Item = TypeVar("Item")


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
        max_bad_rows: Number of unusable rows that are skipped. If `None`, one row in a hundred,
            which means none in a file of fewer than 100 rows.
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
    if is_named(spec):
        from .named_datasets import read_dataset

        read_dataset(spec, rows)
    elif "," in spec and not os.path.exists(os.path.expanduser(spec)):
        _read_parallel(spec, rows)
    elif spec.removesuffix(".gz").endswith(".jsonl"):
        for number, row in read_json_lines(spec, rows):
            rows.add_record(spec, number, row, "source", "target")
    else:
        _read_tsv(spec, rows)


def is_named(spec: str) -> bool:
    """True for a dataset by name, which is no path; `hf://` stands before the name of a model."""
    return spec.startswith(("hf:", "tfds:")) and not spec.startswith("hf://")


def read_lines(path: str) -> Iterator[bytes]:
    """The lines of a file as bytes, without byte order marks; gzip is decompressed.

    A CR before the line feed stays: it is white space at the end of a text, which is removed there.
    """
    if path.startswith("hf://"):
        raise DataError(
            f"{path} names a model, for predict and all else that takes a run; a dataset of the "
            "Hugging Face Hub is hf:NAME."
        )
    try:
        with open(os.path.expanduser(path), "rb") as raw:
            packed = raw.peek(2)[:2] == b"\x1f\x8b"
            stream: Iterable[bytes] = gzip.GzipFile(fileobj=raw) if packed else raw
            for number, line in enumerate(stream):
                if number == 0:
                    _check_encoding(path, line)
                # Files that were put together have one wherever another began.
                text = line.removeprefix(BYTE_ORDER_MARK)
                if text:
                    yield text.removesuffix(b"\n")
    except FileNotFoundError:
        raise DataError(
            f"{path or repr(path)} does not exist. Give the path of a text file."
        ) from None
    except IsADirectoryError:
        raise DataError(f"{path} is a folder. Give the path of a text file.") from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path} is a damaged gzip file: {error}.") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from None


def _check_encoding(path: str, start: bytes) -> None:
    for mark, encoding in _OTHER_MARKS.items():
        if start.startswith(mark):
            raise DataError(f"{path} is in {encoding}. Convert it to UTF-8 first.")


def read_texts(path: str, rows: Rows) -> Iterator[tuple[int, str]]:
    """The lines of a file as texts with their numbers, without blank lines at its end.

    Args:
        path: Path of the file.
        rows: Collects the lines that are not text.

    Returns:
        Numbers from 1, and texts.
    """
    lines = enumerate(read_lines(path), start=1)
    for number, line in _without_blank_end(lines, lambda item: not item[1].strip()):
        text, reason = decode(line)
        if reason is None:
            yield number, text
        else:
            rows.skip(path, number, reason)


def decode(line: bytes) -> tuple[str, str | None]:
    """The text of a line, and the reason if it is not text."""
    if b"\0" in line:
        return "", NULL
    try:
        return line.decode(), None
    except UnicodeDecodeError:
        return "", NOT_UTF8


def _without_blank_end(items: Iterable[Item], blank: Callable[[Item], bool]) -> Iterator[Item]:
    """The items without the blank ones after the last that is not blank."""
    held: list[Item] = []
    for item in items:
        held.append(item)
        if not blank(item):
            yield from held
            held.clear()


def read_json_lines(path: str, rows: Rows) -> Iterator[tuple[int, Any]]:
    """Yields the JSON value of each line of a file with its number; empty lines are skipped.

    Args:
        path: Path of a file with one JSON value a line.
        rows: Collects the lines that are not JSON.

    Returns:
        Numbers from 1, and values.
    """
    for number, line in read_texts(path, rows):
        try:
            value = json.loads(line)
        except NOT_JSON:
            rows.skip(path, number, "not JSON")
        else:
            yield number, value


def _read_tsv(path: str, rows: Rows) -> None:
    names = ["source", "target"]
    for count, (number, line) in enumerate(read_texts(path, rows)):
        columns = [column.strip() for column in line.split("\t")]
        if count == 0 and set(columns) == set(names) and columns.count("source") == 1:
            names = columns
            continue
        found: dict[str, list[str]] = {"source": [], "target": []}
        for name, column in zip(names, columns, strict=False):
            found[name].append(column)
        if found["source"] and found["target"]:
            rows.add(path, number, found["source"][0], *found["target"])
        else:
            rows.skip(path, number, NO_TAB)


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
    both = itertools.zip_longest(read_lines(source_path), read_lines(target_path))
    filled = _without_blank_end(
        both, lambda sides: not any(side and side.strip() for side in sides)
    )
    for number, (source, target) in enumerate(filled, start=1):
        counts[0] += source is not None
        counts[1] += target is not None
        if source is None or target is None:
            continue
        texts = []
        for path, line in ((source_path, source), (target_path, target)):
            text, reason = decode(line)
            if reason is not None:
                rows.skip(path, number, reason)
                break
            texts.append(text)
        if len(texts) == 2:
            rows.add(source_path if is_blank(texts[0]) else target_path, number, *texts)
    if counts[0] != counts[1]:
        raise DataError(
            f"{source_path} has {counts[0]:,} lines and {target_path} has {counts[1]:,}. "
            "Parallel files must have the same number of lines."
        )
