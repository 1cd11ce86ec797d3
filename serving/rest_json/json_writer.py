"""JSON as TensorFlow Serving writes it: layout, numbers and escapes of RapidJSON's PrettyWriter."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Any

import numpy as np

INDENT = 4
_ESCAPED = re.compile(r'["\\\x00-\x1f]')
_ESCAPES = {
    '"': '\\"',
    "\\": "\\\\",
    "\b": "\\b",
    "\f": "\\f",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
}
_NOT_FINITE = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}


def quote(text: str) -> str:
    """A JSON string; everything beyond ASCII stays as it is."""
    if _ESCAPED.search(text) is None:
        return f'"{text}"'
    escaped = _ESCAPED.sub(lambda m: _ESCAPES.get(m.group()) or f"\\u{ord(m.group()):04X}", text)
    return f'"{escaped}"'


def quote_bytes(value: bytes) -> str:
    """A JSON string of UTF-8; bytes that are none become surrogate escapes."""
    return quote(value.decode("utf-8", "surrogateescape"))


def decimals(array: np.ndarray) -> list[str]:
    """Numbers as the server writes them: six digits where they suffice, else all that they have.

    Args:
        array: float32 or float64 values, of one dimension.
    """
    digits = 9 if array.dtype == np.float32 else 17
    values = array.tolist()
    texts = [f"{value:.6g}" for value in values]
    with np.errstate(over="ignore"):
        read_back = np.array([float(text) for text in texts]).astype(array.dtype)
    for index in np.flatnonzero(read_back != array).tolist():
        texts[index] = f"{values[index]:.{digits}g}"
    return [
        text if "." in text or "e" in text else _NOT_FINITE.get(text) or f"{text}.0"
        for text in texts
    ]


class PrettyWriter:
    """Writes one JSON document piece by piece.

    Args:
        limit: length after which no further piece is written, leaving the document cut off.
    """

    def __init__(self, limit: int | None = None):
        self.single_line = False  # arrays on one line
        self._limit = limit
        self._pieces: list[str] = []
        self._length = 0
        self._levels: list[list] = []  # [is an array, number of values and names so far]

    @property
    def full(self) -> bool:
        """Whether the limit is reached."""
        return self._limit is not None and self._length >= self._limit

    def text(self) -> str:
        """What was written so far."""
        return "".join(self._pieces)

    def _write(self, piece: str) -> None:
        self._pieces.append(piece)
        if self._limit is not None:
            self._length += len(piece.encode("utf-8", "surrogateescape"))

    def _prefix(self) -> None:
        if not self._levels:
            return
        is_array, count = self._levels[-1]
        if is_array:
            if self.single_line:
                self._write(", " if count else "")
            else:
                self._write((",\n" if count else "\n") + " " * INDENT * len(self._levels))
        elif count % 2:
            self._write(": ")
        else:
            self._write((",\n" if count else "\n") + " " * INDENT * len(self._levels))
        self._levels[-1][1] += 1

    def raw(self, text: str) -> None:
        """Writes a value that is JSON already."""
        self._prefix()
        self._write(text)

    def name(self, text: str) -> None:
        """Writes the name of the next member."""
        self.raw(quote(text))

    def start(self, is_array: bool) -> None:
        """Opens a list or an object."""
        self._prefix()
        self._write("[" if is_array else "{")
        self._levels.append([is_array, 0])

    def values(self, texts: Iterable[str]) -> None:
        """Writes a list of values that are JSON already."""
        texts = list(texts)
        self.start(is_array=True)
        if texts:
            self.raw(texts[0])
            between = ", " if self.single_line else ",\n" + " " * INDENT * len(self._levels)
            self._write("".join(between + text for text in texts[1:]))
            self._levels[-1][1] = len(texts)
        self.end()

    def end(self) -> None:
        """Closes the innermost list or object."""
        is_array, count = self._levels.pop()
        if count and not (is_array and self.single_line):
            self._write("\n" + " " * INDENT * len(self._levels))
        self._write("]" if is_array else "}")


def describe(value: Any) -> str:
    """A parsed value as it stands in error messages: cut off after about 256 bytes."""
    writer = PrettyWriter(limit=256)
    writer.single_line = True
    _describe(writer, value)
    return writer.text()


def _describe(writer: PrettyWriter, value: Any) -> bool:
    """Writes a value and says whether the whole of it found room."""
    if writer.full:
        return False
    if isinstance(value, dict):
        writer.start(is_array=False)
        for name, member in value.items():
            if writer.full:
                return False
            writer.name(name)
            if not _describe(writer, member):
                return False
    elif isinstance(value, list):
        writer.start(is_array=True)
        if not all(_describe(writer, element) for element in value):
            return False
    elif isinstance(value, float):
        if not math.isfinite(value):
            return False  # the writer of messages has no way to write it
        writer.raw(_double(value))
        return True
    else:
        writer.raw(quote(value) if isinstance(value, str) else _literal(value))
        return True
    if writer.full:
        return False
    writer.end()
    return True


def _literal(value: int | bool | None) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _double(value: float) -> str:
    """A double in the fewest digits that read back as it."""
    text = repr(value)
    if "e" not in text:
        return text
    digits, _, exponent = text.partition("e")
    if -7 < int(exponent) < 0:
        sign = "-" if value < 0 else ""
        return f"{sign}0.{'0' * (-int(exponent) - 1)}{digits.lstrip('-').replace('.', '')}"
    if 0 <= int(exponent) < 21:
        return f"{int(value)}.0"
    return f"{digits}e{int(exponent)}"
