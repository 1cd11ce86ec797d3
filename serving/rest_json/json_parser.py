"""JSON of requests: Python's parser, held to what the official server accepts.

Invalid bytes of UTF-8 are kept as surrogate escapes, so `encode(text)` of a string gives back what
the client sent.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

from ..runtime.errors import invalid_argument

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_WHITE_SPACE = re.compile(r"[ \n\r\t]*")
_SURROGATE_ESCAPE = re.compile(rb"\\u[dD][89a-fA-F]")
_WRITER = json.JSONEncoder(ensure_ascii=False)
_DESCRIPTION_LENGTH = 256
# Bytes in memory of what a character of a body announces: a list, an object, a value beside its
# reference, half a string.
_MEMORY = {b"[": 88, b"{": 264, b",": 48, b'"': 32}


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError
    return value


def _make_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        made.update(reversed(pairs))  # the first member of a name counts
    return made


_READER = json.JSONDecoder(object_pairs_hook=_make_object, parse_float=_finite)


def parse(body: bytes) -> Any:
    """Reads the first JSON value of a request's body.

    Args:
        body: UTF-8, with or without a byte order mark.

    Returns:
        The value; `NaN` and `Infinity` are numbers, of members with one name the first counts.

    Raises:
        ServingError: INVALID_ARGUMENT, if the body does not begin with a JSON value.
    """
    text = body.removeprefix(_BYTE_ORDER_MARK).decode("utf-8", "surrogateescape")
    try:
        value, _ = _READER.raw_decode(text, _WHITE_SPACE.match(text).end())  # type: ignore[union-attr]
        if _SURROGATE_ESCAPE.search(body):
            encode(_WRITER.encode(value))
    except json.JSONDecodeError as error:
        fault = f"{error.msg} at character: {error.pos}"
    except UnicodeEncodeError:
        fault = "half of a surrogate pair is escaped"
    except RecursionError:
        fault = "the document is nested too deep"
    except ValueError:
        fault = "a number is too big to be stored in double precision"
    else:
        return value
    raise invalid_argument(f"JSON Parse error: {fault}")


def expected_memory(body: bytes) -> int:
    """Estimates the bytes that a body takes in memory once it is parsed."""
    text = len(body) * (3 if body.isascii() else 6)  # as bytes, as text, as strings
    return text + sum(body.count(character) * size for character, size in _MEMORY.items())


def describe(value: Any) -> str:
    """Writes a parsed value as messages quote it: the first 256 characters of its JSON."""
    text = ""
    for piece in _WRITER.iterencode(value):
        text += piece
        if len(text) >= _DESCRIPTION_LENGTH:
            break
    return text[:_DESCRIPTION_LENGTH]


def encode(text: str) -> bytes:
    """Encodes a text of a request or reply, turning surrogate escapes back into their bytes."""
    return text.encode("utf-8", "surrogateescape")
