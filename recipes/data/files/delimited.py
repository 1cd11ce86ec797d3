"""Delimited text: cells with a tab, comma, semicolon or bar between, quoted or not."""

from __future__ import annotations

import csv
import io
import itertools
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from ....zoo.errors import DataError
from .columns import Row, named_pair, usual_width
from .opening import STDIN, TextFile

HEAD = 1000  # rows from which the form of a file is told
TABS = "tab-separated"
_NAMES = {"\t": TABS, ",": "comma-separated", ";": "semicolon-separated"} | {"|": "separated by |"}
_REGULAR = 0.99  # share of the rows that have as many cells as most

Item = TypeVar("Item")
Skip = Callable[[int, str], None]
Read = Callable[[Skip], Iterator[tuple[int, Row]]]


def open_delimited(text: TextFile, kind: str) -> tuple[str, Read, bool]:
    """Opens delimited text.

    Args:
        text: The file.
        kind: The ending of its name, such as `.csv`.

    Returns:
        The form in words, the function that reads the rows, and whether all rows have as many
        cells.

    Raises:
        DataError: No delimiter parts the rows, or several do.
    """
    first_line = 1
    if match := re.match(r"sep=(.)\r?\n", text.sample):  # a line that spreadsheets write and read
        delimiter, first_line = match[1], 2
    else:
        delimiter = _delimiter(text, kind)
    if delimiter == "\t" and not _is_quoted(text.sample):
        return TABS, lambda skip: ((n, line.split("\t")) for n, line in filled_lines(text)), False
    form = _NAMES.get(delimiter, f"separated by {delimiter}")
    form += ", quoted" if delimiter == "\t" else ""
    return form, lambda skip: _csv_rows(text, delimiter, first_line, skip), True


def filled_lines(text: TextFile) -> Iterator[tuple[int, str]]:
    """The lines of a file with their numbers from 1, without blank lines at its end."""
    return without_blank_end(enumerate(text.lines(), start=1), lambda item: not item[1].strip())


def without_blank_end(items: Iterable[Item], is_blank: Callable[[Item], bool]) -> Iterator[Item]:
    """The items without the blank ones after the last that is not blank."""
    held: list[Item] = []
    for item in items:
        held.append(item)
        if not is_blank(item):
            yield from held
            held.clear()


def _delimiter(text: TextFile, kind: str) -> str:
    lines = [line for line in text.sample.split("\n", HEAD)[:HEAD] if line.strip()]
    with_tab = sum("\t" in line for line in lines)
    if kind in (".tsv", ".tab", ".txt") or not lines or with_tab >= 0.9 * len(lines):
        return "\t"
    if kind != ".csv" and text.path != STDIN:
        return "\t"
    if kind == ".csv" and not any(sign in text.sample for sign in ",;|"):
        return ","  # one column
    regular = [sign for sign in ",;|" if _is_regular(text.sample, sign)]
    if len(regular) > 1:
        # A line of names has no other sign than the one that is meant.
        regular = [sign for sign in regular if named_pair(lines[0].split(sign))] or regular
    if len(regular) == 1:
        return regular[0]
    if kind != ".csv":
        return "\t"
    if regular:
        raise DataError(
            f"{text.path}: {' and '.join(_NAMES[sign] for sign in regular)} its rows have as many "
            "cells each. Say which by a first line of names, such as source;target"
        )
    raise DataError(
        f"{text.path}: its rows have different numbers of cells, whether commas, semicolons or "
        "bars part them. Quote the texts that have the sign in them, or save it as tab-separated "
        "text (.tsv)."
    )


def _is_regular(sample: str, delimiter: str) -> bool:
    rows: list[list[str]] = []
    try:
        for row in itertools.islice(_reader(io.StringIO(sample, newline=""), delimiter), HEAD):
            rows += [row] if row else []
    except csv.Error:
        pass  # where the sample ends within a row, or rows are bad
    usual = usual_width(rows)
    return usual > 1 and sum(len(row) == usual for row in rows) >= _REGULAR * len(rows)


def _reader(lines: Iterable[str], delimiter: str) -> Any:
    csv.field_size_limit(1 << 24)
    return csv.reader(lines, delimiter=delimiter, strict=True, skipinitialspace=delimiter != "\t")


def _csv_rows(
    text: TextFile, delimiter: str, first_line: int, skip: Skip
) -> Iterator[tuple[int, Row]]:
    lines = (line + "\n" for line in text.lines())
    reader = _reader(itertools.islice(lines, first_line - 1, None), delimiter)
    start = first_line
    while True:
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            if "unexpected end" in str(error):
                raise DataError(
                    f"{text.path}:{start}: the quotation mark that opens a cell here is never "
                    "closed. Double the marks within quoted cells."
                ) from None
            skip(start, f"{error}, at line {first_line - 1 + reader.line_num}")
            row = []
        if any(map(str.strip, row)):
            yield start, row
        start = first_line + reader.line_num


def _is_quoted(sample: str) -> bool:
    """True if the rows of tab-separated text are as `csv` writes them, with quotation marks.

    A text may itself begin with a quotation mark. So each row is written anew, quoted by one of the
    rules that programs have; if one rule gives all of them, it is theirs. Without any mark that
    begins a cell there is nothing to tell.
    """
    if not re.search(r'(?:^|\t)"', sample, re.MULTILINE):
        return False
    rules = [csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC, _QUOTE_COMMAS]
    lines = io.StringIO(sample, newline="").readlines()
    reader, start = _reader(lines, "\t"), 0
    while rules:
        try:
            row = next(reader)
        except StopIteration:
            return True
        except csv.Error as error:
            # The sample may end within a row.
            return "unexpected end" in str(error) and start > 0
        raw = "".join(lines[start : reader.line_num]).rstrip("\r\n")
        if start or '"' in raw:  # names may have no marks where texts have them
            rules = [rule for rule in rules if _written(row, rule) == raw]
        start = reader.line_num
    return False


_QUOTE_COMMAS = -1  # as spreadsheets do in tab-separated text


def _written(row: list[str], rule: int) -> str:
    def cell(text: str) -> str:
        if rule == csv.QUOTE_ALL:
            quoted = True
        elif rule == csv.QUOTE_NONNUMERIC:
            quoted = re.fullmatch(r"[-+]?[\d.]+(e[-+]?\d+)?", text) is None
        else:
            special = '"\t\r\n,' if rule == _QUOTE_COMMAS else '"\t\r\n'
            quoted = any(sign in text for sign in special)
        return '"' + text.replace('"', '""') + '"' if quoted else text

    return "\t".join(map(cell, row))
