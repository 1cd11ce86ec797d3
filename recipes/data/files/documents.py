"""Translation memories (TMX) and spreadsheets (.xlsx)."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

from ....zoo.errors import DataError
from .opening import open_unpacked

_LANG = "{http://www.w3.org/XML/1998/namespace}lang"
_INLINE = ("bpt", "ept", "ph", "it", "ut")  # codes of a program, not text


def tmx_rows(path: str) -> Iterator[tuple[int, dict[str, str]]]:
    """The units of a translation memory, by language.

    Args:
        path: The file.

    Returns:
        Numbers from 1, and a text for each language.

    Raises:
        DataError: It is no TMX.
    """
    from defusedxml.common import DefusedXmlException
    from defusedxml.ElementTree import ParseError, iterparse

    number = 0
    with open_unpacked(path) as stream:
        try:
            for _, element in iterparse(stream):
                if element.tag.rpartition("}")[2] == "tu":
                    number += 1
                    yield number, _unit(element)
                    element.clear()
        except (ParseError, DefusedXmlException) as error:
            raise DataError(f"{path} is no TMX: {error}.") from None


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


def read_sheet(path: str) -> tuple[str, list[tuple[int, list[str]]]]:
    """The filled rows of the first sheet of a workbook that has any.

    Args:
        path: The file.

    Returns:
        The name of the sheet in words; numbers from 1, and the cells.

    Raises:
        DataError: It is no workbook, or the package that reads it is missing.
    """
    try:
        import openpyxl
    except ImportError:
        raise DataError(
            f"{path} needs the package openpyxl: pip install 'attention-zoo[data]', or save the "
            "sheet as .csv or .tsv."
        ) from None
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
    return form, [(n, row[:width]) for n, row in filled]


def _cell(value: Any) -> str:
    """The text of a cell; whole numbers have no point."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return "" if value is None else str(value)
