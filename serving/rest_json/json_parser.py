"""JSON as TensorFlow Serving reads it: its liberties, its limits and its error messages.

The official server reads requests with RapidJSON in a mode of its own: NaN and Infinity are
numbers, reading stops after the first value, a byte order mark is skipped, of two members with one
name the first counts, strings that are no UTF-8 are passed on as bytes, and lists may be nested
very deep. Python's parser reads nearly every body the same way and much faster; whatever it refuses
or would read otherwise goes through the one below, which also knows the messages.

Invalid bytes are kept as surrogate escapes, so `encode("utf-8", "surrogateescape")` of a string
gives back what the client sent.
"""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

from ..runtime.errors import invalid_argument

# The official server knows no limit. Here each level takes a hundred bytes for every one that was
# sent, so that a body of brackets alone could take all memory.
MAX_DEPTH = 1_000_000
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_WHITE_SPACE = re.compile(rb"[ \n\r\t]*")
# What Python would read otherwise than RapidJSON: escaped surrogates without a partner, and numbers
# beyond a double. Digits are counted from the first of a number alone: from each of them it would
# take seconds for a body full of long numbers, in which no other thread could run.
_DELICATE = re.compile(rb"\\u[dD][89a-fA-F]|(?<![0-9])[0-9]{300}|[eE]\+?[0-9]{3}")

_TEXT = re.compile(rb'[^"\\\x00-\x1f]*')
_HEX = re.compile(rb"[0-9a-fA-F]{4}")
_INTEGER = re.compile(rb"-?(?:0|[1-9][0-9]*)")
_DIGITS = re.compile(rb"[0-9]+")
_EXPONENT = re.compile(rb"[eE][+-]?")
_NOT_FINITE = re.compile(rb"-?(?:NaN|Infinity|Inf)")
_ESCAPES = {
    ord('"'): '"',
    ord("\\"): "\\",
    ord("/"): "/",
    ord("b"): "\b",
    ord("f"): "\f",
    ord("n"): "\n",
    ord("r"): "\r",
    ord("t"): "\t",
}
_LITERALS = {ord("n"): (b"null", None), ord("t"): (b"true", True), ord("f"): (b"false", False)}

# What is missing, by what was read before: (state, message at a character that does not fit).
_START, _IN_ARRAY, _AFTER_COMMA, _IN_OBJECT, _AFTER_MEMBER_COMMA = range(5)
_AFTER_KEY, _AFTER_COLON, _AFTER_MEMBER, _AFTER_ELEMENT = range(5, 9)
_MISSING = {
    _START: "The document is empty.",
    _IN_ARRAY: "Invalid value.",
    _AFTER_COMMA: "Invalid value.",
    _AFTER_COLON: "Invalid value.",
    _IN_OBJECT: "Missing a name for object member.",
    _AFTER_MEMBER_COMMA: "Missing a name for object member.",
    _AFTER_KEY: "Missing a colon after a name of object member.",
    _AFTER_MEMBER: "Missing a comma or '}' after an object member.",
    _AFTER_ELEMENT: "Missing a comma or ']' after an array element.",
}
_CLOSES = frozenset(
    {
        (_IN_ARRAY, ord("]")),
        (_AFTER_ELEMENT, ord("]")),
        (_IN_OBJECT, ord("}")),
        (_AFTER_MEMBER, ord("}")),
    }
)
_EXPECTS_VALUE = frozenset({_START, _IN_ARRAY, _AFTER_COMMA, _AFTER_COLON})


class RepeatedMembers(dict):
    """An object in which a name occurs twice; the first member counts.

    Attributes:
        num_members: how many members it was written with.
    """

    num_members = 0


def _make_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) == len(pairs):
        return made
    repeated = RepeatedMembers()
    for name, value in pairs:
        repeated.setdefault(name, value)
    repeated.num_members = len(pairs)
    return repeated


_FAST = json.JSONDecoder(object_pairs_hook=_make_object)


def parse(body: bytes) -> Any:
    """The first JSON value of a request's body.

    Raises:
        ServingError: with RapidJSON's message and the offset in bytes.
    """
    if not body:
        raise invalid_argument("JSON Parse error: The document is empty")
    if not _DELICATE.search(body):
        text = body.removeprefix(_BYTE_ORDER_MARK).decode("utf-8", "surrogateescape")
        try:
            value, _ = _FAST.raw_decode(text, _skip_text_space(text))
        except (ValueError, RecursionError):
            pass  # the parser below takes more, or knows what is wrong
        else:
            # Of a bare number, Python reads as much as fits and leaves the rest.
            if isinstance(value, (dict, list)):
                return value
    return _Parser(body).parse()


def _skip_text_space(text: str) -> int:
    return len(text) - len(text.lstrip(" \n\r\t"))


def _fail(message: str, offset: int) -> NoReturn:
    raise invalid_argument(f"JSON Parse error: {message} at offset: {offset}")


class _Parser:
    """A parser without recursion; `position` is where it reads."""

    def __init__(self, data: bytes):
        self.data = data
        self.position = len(_BYTE_ORDER_MARK) if data.startswith(_BYTE_ORDER_MARK) else 0

    def peek(self) -> int:
        """The next byte, 0 at the end, where RapidJSON sees one as well."""
        return self.data[self.position] if self.position < len(self.data) else 0

    def skip_space(self) -> None:
        self.position = _WHITE_SPACE.match(self.data, self.position).end()  # type: ignore[union-attr]

    def parse(self) -> Any:
        state = _START
        # For each open list or object: its elements or pairs, which of the two it is, and the
        # name of the member that is being read.
        names: list[str | None] = []
        containers: list[list] = []
        objects: list[bool] = []
        while True:
            self.skip_space()
            char = self.peek()
            value: Any
            if state in _EXPECTS_VALUE and char in b"[{":
                if len(containers) == MAX_DEPTH:
                    _fail(f"The document is nested deeper than {MAX_DEPTH} levels.", self.position)
                self.position += 1
                containers.append([])
                objects.append(char == ord("{"))
                names.append(None)
                state = _IN_OBJECT if objects[-1] else _IN_ARRAY
                continue
            if (state, char) in _CLOSES:
                self.position += 1
                value = self._close(containers, objects, names)
            elif state in _EXPECTS_VALUE:
                if char in b"\0,:]}":
                    _fail(_MISSING[state], self.position)
                value = self._scalar(char)
            else:
                state = self._punctuation(state, char, names)
                continue
            if not containers:
                return value
            if objects[-1]:
                containers[-1].append((names[-1], value))
                state = _AFTER_MEMBER
            else:
                containers[-1].append(value)
                state = _AFTER_ELEMENT

    @staticmethod
    def _close(containers: list[list], objects: list[bool], names: list[str | None]) -> Any:
        names.pop()
        elements = containers.pop()
        return _make_object(elements) if objects.pop() else elements

    def _punctuation(self, state: int, char: int, names: list[str | None]) -> int:
        """Reads a name, colon or comma and returns the next state."""
        if state in (_IN_OBJECT, _AFTER_MEMBER_COMMA) and char == ord('"'):
            names[-1] = self._string()
            return _AFTER_KEY
        following = {
            (_AFTER_KEY, ord(":")): _AFTER_COLON,
            (_AFTER_MEMBER, ord(",")): _AFTER_MEMBER_COMMA,
            (_AFTER_ELEMENT, ord(",")): _AFTER_COMMA,
        }.get((state, char))
        if following is None:
            _fail(_MISSING[state], self.position)
        self.position += 1
        return following

    def _scalar(self, char: int) -> Any:
        if char == ord('"'):
            return self._string()
        if char in _LITERALS:
            word, value = _LITERALS[char]
            for expected in word:
                if self.peek() != expected:
                    _fail("Invalid value.", self.position)
                self.position += 1
            return value
        return self._number()

    def _number(self) -> int | float:
        start = self.position
        special = _NOT_FINITE.match(self.data, start)
        if special:
            self.position = special.end()
            return float(special.group())
        match = _INTEGER.match(self.data, start)
        if match is None:
            _fail("Invalid value.", start + (self.peek() == ord("-")))
        self.position = match.end()
        is_integer = True
        if self.peek() == ord("."):
            is_integer = False
            self.position += 1
            self._digits("Miss fraction part in number.")
        exponent = _EXPONENT.match(self.data, self.position)
        if exponent:
            is_integer = False
            self.position = exponent.end()
            self._digits("Miss exponent in number.")
        text = self.data[start : self.position]
        if is_integer and len(text) <= 20 and int(text) < 2**64:
            return int(text)
        value = float(text)
        if value in (float("inf"), float("-inf")):
            _fail("Number too big to be stored in double.", start)
        return value

    def _digits(self, message: str) -> None:
        match = _DIGITS.match(self.data, self.position)
        if match is None:
            _fail(message, self.position)
        self.position = match.end()

    def _string(self) -> str:
        self.position += 1
        parts: list[str] = []
        while True:
            match = _TEXT.match(self.data, self.position)
            assert match is not None
            parts.append(match.group().decode("utf-8", "surrogateescape"))
            self.position = match.end()
            char = self.peek()
            if char == ord('"'):
                self.position += 1
                return "".join(parts)
            if char == 0:
                _fail("Missing a closing quotation mark in string.", self.position)
            if char != ord("\\"):
                _fail("Invalid escape character in string.", self.position)
            parts.append(self._escape())

    def _escape(self) -> str:
        start = self.position
        self.position += 1
        char = self.peek()
        self.position += 1
        if char in _ESCAPES:
            return _ESCAPES[char]
        if char != ord("u"):
            _fail("Invalid escape character in string.", start)
        code = self._hex(start)
        if 0xD800 <= code <= 0xDBFF:
            if self.data[self.position : self.position + 2] != b"\\u":
                _fail("The surrogate pair in string is invalid.", start)
            self.position += 2
            low = self._hex(start)
            if not 0xDC00 <= low <= 0xDFFF:
                _fail("The surrogate pair in string is invalid.", start)
            return chr(0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00))
        if 0xDC00 <= code <= 0xDFFF:
            # RapidJSON writes the three bytes that the code would have in UTF-8.
            return chr(code).encode("utf-8", "surrogatepass").decode("utf-8", "surrogateescape")
        return chr(code)

    def _hex(self, start: int) -> int:
        match = _HEX.match(self.data, self.position)
        if match is None:
            _fail("Incorrect hex digit after \\u escape in string.", start)
        self.position = match.end()
        return int(match.group(), 16)
