"""Kinds of tokens and normalizations of texts, by name, and the rules of NFC for SentencePiece."""

from __future__ import annotations

import contextlib
import functools
import itertools
import sys
import tempfile
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

KINDS = ("bpe", "unigram", "word", "char")  # of tokens
# SentencePiece's own, by its names, and two more.
NORMALIZATIONS = ("nfc", "none", "nmt_nfkc", "nfkc", "nmt_nfkc_cf", "nfkc_cf")


@contextlib.contextmanager
def normalization_options(name: str) -> Iterator[dict[str, Any]]:
    """Options of SentencePiece's trainer for a normalization, for use in a `with` statement.

    Args:
        name: One of `NORMALIZATIONS`.

    Raises:
        ValueError: There is no such normalization.
    """
    if name not in NORMALIZATIONS:
        raise ValueError(
            f"A normalization is one of {', '.join(NORMALIZATIONS)}. "
            f"Received: normalization={name!r}"
        )
    if name != "nfc":
        yield {"normalization_rule_name": "identity" if name == "none" else name}
        return
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "nfc.tsv"
        file.write_text(_nfc_rules(), encoding="ascii")
        yield {"normalization_rule_tsv": str(file)}


def without_path(model: bytes) -> bytes:
    """A trained model that no longer names the file from which its rules were read."""
    # Here, as the names above are read by commands that must not wait for it.
    from sentencepiece.sentencepiece_model_pb2 import ModelProto

    proto = ModelProto.FromString(model)
    if proto.normalizer_spec.normalization_rule_tsv:
        proto.normalizer_spec.ClearField("normalization_rule_tsv")
        proto.normalizer_spec.name = "nfc"
    return proto.SerializeToString(deterministic=True)


def to_nfc(text: str) -> str:
    """A text in Unicode NFC with single spaces for white space: the form that scores compare."""
    return " ".join(unicodedata.normalize("NFC", text).split())


@functools.cache
def _nfc_rules() -> str:
    """The rules of NFC as SentencePiece, which has none of its own for it, reads them from a file.

    A rule replaces a sequence of code points; of those that match the longest does. Marks that are
    neither composed nor in canonical order stay as they are.
    """
    rules = (map(_code_points, rule) for rule in _rules())
    return "".join("\t".join(rule) + "\n" for rule in rules)


def _code_points(text: str) -> str:
    return " ".join(f"{ord(sign):X}" for sign in text)


def _rules() -> Iterator[tuple[str, str]]:
    """Each sequence of code points that NFC, or the rule for white space, replaces by another."""
    for sign in map(chr, itertools.chain(range(1, 0xD800), range(0xE000, sys.maxunicode + 1))):
        if sign.isspace():
            if sign != " ":
                yield sign, " "
            continue
        composed = unicodedata.normalize("NFC", sign)
        for written in {sign, *_spellings(unicodedata.normalize("NFD", sign))}:
            if written != composed:
                yield written, composed


def _spellings(decomposed: str) -> Iterator[str]:
    """The sequences that NFC composes to the same: some of the marks composed, in any order."""
    first, marks = decomposed[0], decomposed[1:]
    composed = unicodedata.normalize("NFC", decomposed)
    # Only marks have an order that does not matter; the letters of a Korean syllable are none.
    are_marks = all(map(unicodedata.combining, marks))
    orders = map("".join, itertools.permutations(marks)) if are_marks else [marks]
    for order in set(orders):
        spelling = first + order
        if unicodedata.normalize("NFC", spelling) == composed:
            for end in range(1, len(spelling) + 1):
                yield unicodedata.normalize("NFC", spelling[:end]) + spelling[end:]
