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

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ....zoo.errors import DataError
from .columns import Columns, Row, named_pair, usual_width
from .delimited import HEAD, TABS, Read, Skip, filled_lines, open_delimited
from .documents import read_sheet, tmx_rows
from .opening import TextFile, open_text, unpacked_name

# What `json.loads` raises; the second where values are nested too deeply.
NOT_JSON = (ValueError, RecursionError)
NULL = "a null character, as files in UTF-16 and UTF-32 have; convert it to UTF-8"
NO_TAB = "no tab between source and target"
JSON = (".jsonl", ".ndjson", ".json")
DELIMITED = (".csv", ".tsv", ".tab")
# Endings of files with rows of columns; in any other each line is a text.
TABLES = (*DELIMITED, *JSON, ".tmx", ".xlsx")


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
    read: Read
    strict: bool = False
    wanted: tuple[str, ...] = ()
    head: list[Row] = field(default_factory=list)

    def __post_init__(self) -> None:
        rows = self.read(lambda line, reason: None)
        self.head = self.head or [row for _, row in itertools.islice(rows, HEAD)]

    @property
    def width(self) -> int:
        """The number of cells that most rows have."""
        return usual_width(filter(lambda row: isinstance(row, (list, dict)), self.head))

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
        if found == 1 and least == 2 and self.form.startswith(TABS):
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
        form, rows = read_sheet(path)
        table = Table(path, form, lambda skip: iter(rows), strict=True)
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
    start = text.sample.lstrip().partition("\n")[0][:100].casefold()
    if start.startswith(("<!doctype html", "<html")) and "\t" not in start:
        raise DataError(f"{text.path} is a web page: download the file itself.")
    if kind == ".tmx" or (start.startswith(("<?xml", "<tmx")) and "<tmx" in text.sample[:2000]):
        return Table(text.path, "TMX", lambda skip: tmx_rows(text.path))
    if start.startswith("<?xml"):
        raise DataError(f"{text.path} is XML, of which TMX alone can be read; convert it to TMX.")
    if kind in JSON or (kind not in (*DELIMITED, ".txt") and _is_json(text.sample)):
        return _open_json(text, kind)
    form, read, strict = open_delimited(text, kind)
    return Table(text.path, form, read, strict)


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
