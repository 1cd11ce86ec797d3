"""Token labels for a picture, a page or a terminal."""

import unicodedata
from collections.abc import Sequence

from rich.cells import cell_len

SPACE_MARK = "\u2581"  # SentencePiece writes the space before a word as this block
BARE_SPACE = "\u2423"  # a token which is nothing but a space has to be seen: open box
CONTINUATION = "\u00b7"  # put before a piece that goes on inside a word: un ·break ·able
ELLIPSIS = "\u2026"
JOINERS = "\u200c\u200d"  # they choose letter shapes in Persian, Hindi and emoji: part of the text


def clean_text(text: str) -> str:
    r"""Text without characters that would act on a page or terminal instead of being read.

    Control characters (a line break, the start of a terminal's escape sequence) become their Python
    escapes, direction overrides and other invisible format characters are dropped, and what neither
    XML nor UTF-8 can hold becomes the replacement character.

    Args:
        text: Any text.

    Returns:
        The text on one line, safe to print, to draw, and, once escaped, to write as XML.

    Example:

    >>> print(clean_text("a\nb"))
    a\nb
    """
    return "".join(_clean_character(character) for character in text)


def _clean_character(character: str) -> str:
    category = unicodedata.category(character)
    if category == "Cc":
        return character.encode("unicode_escape").decode("ascii")
    if category in ("Zl", "Zp"):
        return " "
    if category == "Cf" and character not in JOINERS:
        return ""
    if category == "Cs" or ord(character) & 0xFFFE == 0xFFFE:
        return "\ufffd"
    return character


def token_labels(tokens: Sequence[str]) -> list[str]:
    r"""Readable labels of SentencePiece tokens.

    The mark of a word's beginning is left out, since most tokens begin a word; a token which is
    only that mark is shown as an open box. A piece which goes on inside a word of a script that
    writes spaces gets a leading dot instead. Chinese and Japanese pieces, which follow each other
    without spaces anyway, letters where all tokens are letters, and the tokens of vocabularies
    without marks stay as they are.

    Args:
        tokens: Tokens in reading order.

    Returns:
        One label for each token, never empty.

    Example:
        >>> token_labels(["\u2581un", "break", "able", "\u2581今天"])
        ['un', '·break', '·able', '今天']
    """
    marked = any(token.startswith(SPACE_MARK) for token in tokens)
    # Letters need no dots; symbols such as </s> are none.
    marked = marked and any(len(token) > 1 and token[0] != "<" for token in tokens)
    labels: list[str] = []
    previous = ""
    for token in tokens:
        body = token.removeprefix(SPACE_MARK)
        inside_word = marked and body == token and _joins(previous[-1:]) and _joins(body[:1])
        label = clean_text(body.replace(SPACE_MARK, " "))
        labels.append(CONTINUATION + label if inside_word else label or BARE_SPACE)
        previous = token
    return labels


def _joins(character: str) -> bool:
    """True for a letter, mark or digit of a script that puts spaces between words."""
    if not character or unicodedata.category(character)[0] not in "LMN":
        return False
    return unicodedata.east_asian_width(character) not in ("W", "F")


def display_width(text: str) -> int:
    """Number of terminal columns of a text: 2 for a wide character, 0 for a combining mark."""
    return cell_len(text)


def shorten(text: str, columns: int, ellipsis: str = ELLIPSIS) -> str:
    """Shortens a text to a number of terminal columns.

    Args:
        text: Any text.
        columns: Largest number of columns.
        ellipsis: Replaces the part that is left out.

    Returns:
        The text, with an ellipsis at its end if it was too long.

    Example:

    >>> shorten("Donaudampfschiff", 8)
    'Donauda…'
    """
    if cell_len(text) <= columns:
        return text
    room = columns - cell_len(ellipsis)
    kept = ""
    for character in text:
        if cell_len(kept + character) > room:
            break
        kept += character
    return kept + ellipsis


def is_right_to_left(text: str) -> bool:
    """True if the first letter that has a direction is written from right to left."""
    for character in text:
        direction = unicodedata.bidirectional(character)
        if direction in ("R", "AL"):
            return True
        if direction == "L":
            return False
    return False
