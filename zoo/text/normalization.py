"""Kinds of tokens, normalizations and scripts, by name."""

from __future__ import annotations

import re
import unicodedata

# Scripts that put no spaces between words: Han, kana, Thai, Lao, Myanmar and Khmer.
_HAN = r"\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
SOUTHEAST_ASIAN = r"\u0e01-\u0e3a\u0e40-\u0eff\u1000-\u109f\u1780-\u17ff"
UNSPACED = re.compile(rf"[\u3040-\u30ff{_HAN}{SOUTHEAST_ASIAN}]")

KINDS = ("bpe", "unigram", "word", "char")  # of tokens
# SentencePiece's own, by its names, and two more.
NORMALIZATIONS = ("nfc", "none", "nmt_nfkc", "nfkc", "nmt_nfkc_cf", "nfkc_cf")


def to_nfc(text: str) -> str:
    """A text in Unicode NFC with single spaces for white space: the form that scores compare."""
    return " ".join(unicodedata.normalize("NFC", text).split())
