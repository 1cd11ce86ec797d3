"""Tables of texts in files: delimited text, JSON, TMX and spreadsheets, told by what is in them.

| file | a row is |
|---|---|
| `.tsv`, `.txt`, any other with tabs | cells with a tab between, quoted where all rows say so |
| `.csv` | cells with a comma, semicolon, bar or tab between, quoted as `csv` writes them |
| `.jsonl`, `.ndjson`, `.json` | an object or a list: one a line, or all in one list |
| `.tmx` | a unit, with a text for each language |
| `.xlsx` | a row of the first sheet that has any (extra `[data]`) |
"""

from __future__ import annotations

import csv
import io
import itertools
import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from ....zoo.errors import DataError
from .columns import Columns, Row, named_pair, usual_width
from .opening import STDIN, TextFile, open_text, unpacked_name

HEAD = 1000  # rows from which the columns are told

# What `json.loads` raises; the second where values are nested too deeply.
NOT_JSON = (ValueError, RecursionError)
NULL = "a null character, as files in UTF-16 and UTF-32 have; convert it to UTF-8"
NO_TAB = "no tab between source and target"
JSON = (".jsonl", ".ndjson", ".json")
DELIMITED = (".csv", ".tsv", ".tab")
# Endings of files with rows of columns; in any other each line is a text.
TABLES = (*DELIMITED, *JSON, ".tmx", ".xlsx")
_NAMES = {"\t": "tab-separated", ",": "comma-separated", ";": "semicolon-separated"} | {
    "|": "separated by |"
}
_REGULAR = 0.99  # share of the rows that have as many cells as most

Item = TypeVar("Item")
Skip = Callable[[int, str], None]


@dataclass
class Table:
    """The rows of a file.

    Attributes:
        name: Path of the file, or name of the data, in messages.
        form: The form in words, such as `tab-separated`.
        read: Reads the rows from the first: their lines, from 1, and a list of cells or a mapping;
            told by its argument of lines that have none.
        strict: True where rows of another number of cells than the first are bad.
        wanted: The columns that the user names.
        head: The first rows.
    """

    name: str
    form: str
    read: Callable[[Skip], Iterator[tuple[int, Row]]]
    strict: bool = False
    wanted: tuple[str, ...] = ()
    head: list[Row] = field(default_factory=list)

    def __post_init__(self) -> None:
        rows = self.read(lambda line, reason: None)
        self.head = self.head or [row for _, row in itertools.islice(rows, HEAD)]

    @property
    def width(self) -> int:
        """The number of cells that most rows have."""
        return usual_width([row for row in self.head if isinstance(row, (list, dict))])

    def said(self, columns: Columns) -> str:
        """The columns and the form, in words."""
        return columns.said(self.width, self.form)

    def rows(self, columns: Columns, skip: Skip) -> Iterator[tuple[int, list[Any]]]:
        """Values of some columns, row by row; `None` for what a mapping lacks.

        Args:
            columns: The columns, of which the first row may have the names.
            skip: Told of the rows that cannot be used: line and reason.
        """
        keys, width = columns.keys, self.width if self.strict else 0
        rows = self.read(skip)
        if columns.header:
            next(rows, None)
        if not all(isinstance(key, int) for key in keys):
            for line, row in rows:
                get = row.get if isinstance(row, dict) else lambda key: None
                yield line, [get(key) for key in keys]
            return
        numbers = [int(key) for key in keys]
        least = 1 + max(numbers[: columns.required])
        for line, row in rows:
            if not isinstance(row, list):
                skip(line, "expected a list of texts")
            elif len(row) < least or (width and len(row) != width):
                skip(line, self._wrong_width(len(row), least))
            else:
                yield line, [row[number] for number in numbers if number < len(row)]

    def _wrong_width(self, found: int, least: int) -> str:
        if found == 1 and least == 2 and self.form.startswith(_NAMES["\t"]):
            return NO_TAB
        return f"{found} {'column' if found == 1 else 'columns'}, expected {max(self.width, least)}"


def open_table(spec: str) -> Table:
    """Opens a file of rows.

    Args:
        spec: A path, or `-`, and the columns that are meant: `FILE#COLUMN,COLUMN`.

    Raises:
        DataError: The file is missing, damaged, or of a form that is not known.
    """
    path, wanted = split_columns(spec)
    kind = Path(unpacked_name(path)).suffix
    if kind == ".xlsx":
        table = _open_sheet(path)
    else:
        text = open_text(path)
        table = _open_text_table(text, kind)
        table.form += "" if text.encoding == "utf-8" else f", {text.encoding.upper()}"
    table.wanted = wanted
    return table


def split_columns(spec: str) -> tuple[str, tuple[str, ...]]:
    """The path in a spec and the columns after `#`, if there is no file of that whole name."""
    path, mark, columns = spec.rpartition("#")
    if not mark or Path(spec).expanduser().exists():
        return spec, ()
    wanted = tuple(column.strip() for column in columns.split(","))
    if not path or not all(wanted):
        raise DataError(f"Expected FILE#SOURCE,TARGET, by name or number. Received: {spec}")
    return path, wanted


def is_table(spec: str) -> bool:
    """True where a path ends as one of a table does, or names columns."""
    path, wanted = split_columns(spec)
    return bool(wanted) or unpacked_name(path).endswith(TABLES)


def _open_text_table(text: TextFile, kind: str) -> Table:
    start = text.sample.lstrip()[:100].casefold()
    if start.startswith(("<!doctype html", "<html")):
        raise DataError(f"{text.path} is a web page: download the file itself.")
    if kind == ".tmx" or start.startswith("<tmx"):
        return _open_tmx(text.path)
    if start.startswith("<?xml"):
        if "<tmx" in text.sample[:2000]:
            return _open_tmx(text.path)
        raise DataError(f"{text.path} is XML, of which TMX alone can be read; convert it to TMX.")
    if kind in JSON or (kind not in (*DELIMITED, ".txt") and _is_json(text.sample)):
        return _open_json(text, kind)
    return _open_delimited(text, kind)


# JSON


def _is_json(sample: str) -> bool:
    """True where the first line is an object or a list of JSON, or opens one."""
    first = sample.lstrip().partition("\n")[0]
    return first.strip() in ("[", "{") or _value(first, (dict, list)) is not None


def _value(text: str, kinds: tuple[type, ...]) -> Any:
    try:
        value = json.loads(text)
    except NOT_JSON:
        return None
    return value if isinstance(value, kinds) else None


def _open_json(text: TextFile, kind: str) -> Table:
    first, _, rest = text.sample.lstrip().partition("\n")
    is_value = _value(first, (dict, list)) is not None
    if kind in (".jsonl", ".ndjson") or (is_value and (rest.strip() or not text.whole)):
        return Table(text.path, "JSON lines", lambda skip: _json_lines(text, skip))
    try:
        rows = _records(text.path, json.loads(text.read()))
    except NOT_JSON as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{text.path} is not JSON: {error}.") from None
    return Table(text.path, "JSON", lambda skip: enumerate(map(_unfolded, rows), start=1))


def _json_lines(text: TextFile, skip: Skip) -> Iterator[tuple[int, Row]]:
    for number, line in filled_lines(text):
        try:
            value = json.loads(line)
        except NOT_JSON:
            skip(number, NULL if "\0" in line else "not JSON")
        else:
            yield number, _unfolded(value)


def _unfolded(row: Any) -> Any:
    """A record whose texts are in one value: `{"translation": {"de": …, "en": …}}`."""
    inner = row.get("translation") if isinstance(row, dict) else None
    return inner if isinstance(inner, dict) else row


def _records(path: str, value: Any) -> list[Any]:
    """The rows in a value: a list, the only list in an object, or an object of texts."""
    if isinstance(value, list):
        return value
    values = list(value.values()) if isinstance(value, dict) else []
    lists = [inner for inner in values if isinstance(inner, list)]
    if len(lists) == 1:
        return lists[0]
    if len(lists) > 1 and len(set(map(len, lists))) == 1:  # columns
        keys = [key for key, inner in value.items() if isinstance(inner, list)]
        return [dict(zip(keys, row, strict=True)) for row in zip(*lists, strict=True)]
    if values and all(isinstance(inner, str) for inner in values):
        names = [str(key) for key in value]
        return [value] if named_pair(names) else [list(pair) for pair in value.items()]
    raise DataError(
        f"{path} has no list of rows. Expected a list of objects, such as "
        '[{"source": "...", "target": "..."}], or one object a line.'
    )


# Delimited text


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


def _open_delimited(text: TextFile, kind: str) -> Table:
    sample, first_line = text.sample, 1
    if match := re.match(r"sep=(.)\r?\n", sample):  # a line that spreadsheets write and read
        delimiter, first_line = match[1], 2
    else:
        delimiter = _delimiter(text, kind)
    if delimiter == "\t" and not _is_quoted(sample):
        return Table(
            text.path,
            _NAMES["\t"],
            lambda skip: ((n, line.split("\t")) for n, line in filled_lines(text)),
        )
    form = _NAMES.get(delimiter, f"separated by {delimiter}")
    form += ", quoted" if delimiter == "\t" else ""
    return Table(
        text.path, form, lambda skip: _csv_rows(text, delimiter, first_line, skip), strict=True
    )


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


# Translation memories and spreadsheets

_LANG = "{http://www.w3.org/XML/1998/namespace}lang"
_INLINE = ("bpt", "ept", "ph", "it", "ut")  # codes of a program, not text


def _open_tmx(path: str) -> Table:
    def rows(skip: Skip) -> Iterator[tuple[int, Row]]:
        from defusedxml.common import DefusedXmlException
        from defusedxml.ElementTree import ParseError, iterparse

        from .opening import open_unpacked

        with open_unpacked(path) as stream:
            try:
                number = 0
                for _, element in iterparse(stream):
                    if element.tag.rpartition("}")[2] == "tu":
                        number += 1
                        yield number, _unit(element)
                        element.clear()
            except (ParseError, DefusedXmlException) as error:
                raise DataError(f"{path} is no TMX: {error}.") from None

    return Table(path, "TMX", rows)


def _unit(unit: Any) -> dict[str, str]:
    texts = {}
    for variant in unit:
        language = variant.get(_LANG) or variant.get("lang")
        segment = next((part for part in variant if part.tag.rpartition("}")[2] == "seg"), None)
        if language and segment is not None:
            texts[language] = "".join(_texts(segment))
    return texts


def _texts(element: Any) -> Iterator[str]:
    yield element.text or ""
    for part in element:
        if part.tag.rpartition("}")[2] not in _INLINE:
            yield from _texts(part)
        yield part.tail or ""


def _open_sheet(path: str) -> Table:
    try:
        import openpyxl
    except ImportError:
        raise DataError(
            f"{path} needs the package openpyxl: pip install 'attention-zoo[data]', or save the "
            "sheet as .csv or .tsv."
        ) from None
    from .opening import open_unpacked

    with open_unpacked(path) as stream:
        content = io.BytesIO(stream.read())
    try:
        book = openpyxl.load_workbook(content, read_only=True, data_only=True)
        sheets = {sheet.title: list(sheet.iter_rows(values_only=True)) for sheet in book.worksheets}
    except Exception as error:  # what a file that is no workbook raises is of many kinds
        raise DataError(f"{path} is no .xlsx workbook: {error}.") from None
    found = {title: rows for title, rows in sheets.items() if any(map(any, rows))}
    title, rows = next(iter(found.items()), ("", []))
    cells = [(n, [_cell(value) for value in row]) for n, row in enumerate(rows, start=1)]
    filled = [(n, row) for n, row in cells if any(row)]
    width = max((i + 1 for _, row in filled for i, cell in enumerate(row) if cell), default=0)
    form = f"sheet {title}" if len(found) == 1 else f"sheet {title} of {', '.join(found)}"
    return Table(path, form, lambda skip: ((n, row[:width]) for n, row in filled), strict=True)


def _cell(value: Any) -> str:
    """The text of a cell; whole numbers have no point."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return "" if value is None else str(value)
