"""Kinds of tokens, normalizations and scripts, by name; and what is blank."""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import tensorflow as tf

# Scripts that put no spaces between words: Han, kana, Thai, Lao, Myanmar and Khmer.
_HAN = r"\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
SOUTHEAST_ASIAN = r"\u0e01-\u0e3a\u0e40-\u0eff\u1000-\u109f\u1780-\u17ff"
UNSPACED = re.compile(rf"[\u3040-\u30ff{_HAN}{SOUTHEAST_ASIAN}]")
# Ranges of what nobody sees: fillers, marks that choose how a letter looks, an empty Braille cell.
_UNSEEN = (
    "\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0"
    "\U000e0100-\U000e01ef"
)

KINDS = ("bpe", "unigram", "word", "char")  # of tokens
# SentencePiece's own, by its names, and two more.
NORMALIZATIONS = ("nfc", "none", "nmt_nfkc", "nfkc", "nmt_nfkc_cf", "nfkc_cf")


def to_nfc(text: str) -> str:
    """A text in Unicode NFC with single spaces for white space: the form that scores compare."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def is_blank(text: str) -> bool:
    """True if a text has only white space, control characters and what nobody sees."""
    return all(
        sign.isspace()
        or unicodedata.category(sign) in ("Cc", "Cf")
        or re.match(f"[{_UNSEEN}]", sign)
        for sign in text
    )


def are_blank(texts: tf.Tensor) -> tf.Tensor:
    """The same in the graph, for strings (B,), where bytes that are no UTF-8 are blank too."""
    import tensorflow as tf  # here, as files are read before there is a model

    readable = tf.strings.unicode_transcode(texts, "UTF-8", "UTF-8")  # U+FFFD for other bytes
    blank = rf"[\s\v\p{{Z}}\p{{Cc}}\p{{Cf}}\x{{FFFD}}{_UNSEEN}]*"
    return tf.strings.regex_full_match(readable, blank)
