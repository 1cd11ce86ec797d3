"""Learning of SentencePiece models, and the rules of NFC by which they normalize texts."""

from __future__ import annotations

import contextlib
import functools
import io
import itertools
import re
import sys
import tempfile
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import sentencepiece
from sentencepiece.sentencepiece_model_pb2 import ModelProto

from .normalization import KINDS, NORMALIZATIONS
from .special_ids import END_ID, PAD_ID, START_ID, UNKNOWN_ID

_SYMBOLS = ("<unk>", "<s>", "</s>", "<pad>")  # of SentencePiece, whatever their ids


def learn_model(texts: list[str], normalization: str, **settings: Any) -> bytes:
    """Learns a SentencePiece model from texts.

    Args:
        texts: Sentences.
        normalization: One of `NORMALIZATIONS`.
        **settings: Options of SentencePiece's trainer, `model_type` and `vocab_size` among them.

    Returns:
        The content of a model file.

    Raises:
        ValueError: There is no such kind or normalization, or no tokens can be learned.
    """
    if settings["model_type"] not in KINDS:
        raise ValueError(
            f"The kind of tokens is one of {', '.join(KINDS)}. "
            f"Received: kind={settings['model_type']!r}"
        )
    buffer = io.BytesIO()
    # Of which sentences a large corpus is sampled down to; by default another seed each time.
    sentencepiece.set_random_generator_seed(0)
    try:
        with _normalization_options(normalization) as rules:
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=_learnable(texts, settings.get("control_symbols", ())),
                model_writer=buffer,
                hard_vocab_limit=False,
                shuffle_input_sentence=True,
                pad_id=PAD_ID,
                unk_id=UNKNOWN_ID,
                bos_id=START_ID,
                eos_id=END_ID,
                max_sentence_length=100_000,
                # More threads change the order of sums and with it, now and then, a piece.
                num_threads=1,
                minloglevel=2,
                **settings,
                **rules,
            )
    except RuntimeError as error:
        # It says "INTERNAL: file(line) [condition] reason. advice", some of it not always.
        condition, _, reason = str(error).split("[", 1)[-1].partition("] ")
        if counts := re.search(r"required_chars\D*(\d+) vs (\d+)", reason):
            raise ValueError(
                f"The text has so many characters that vocab_size must be {counts[2]} or more: "
                "give that, or a smaller character_coverage. Received: "
                f"vocab_size={settings['vocab_size']}"
            ) from error
        reason = reason.split(". ")[0].strip() or condition
        raise ValueError(
            f"SentencePiece could not learn tokens from this text: {reason}. Give more "
            f"text or a larger vocabulary. Received: vocab_size={settings['vocab_size']}"
        ) from error
    return _without_path(buffer.getvalue())


def _learnable(texts: list[str], symbols: Sequence[str]) -> Iterator[str]:
    """The texts as SentencePiece learns of all of their characters.

    It skips what is written as one of its symbols, whose characters no text could then be made of,
    and leaves out every sentence that has U+2585.
    """
    written = re.compile("|".join(map(re.escape, (*_SYMBOLS, *symbols))))
    for text in texts:
        text = written.sub(lambda match: " ".join(match[0]), text) if "<" in text else text
        yield text.replace("\u2585", " ")


@contextlib.contextmanager
def _normalization_options(name: str) -> Iterator[dict[str, Any]]:
    """Options of SentencePiece's trainer for a normalization."""
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


def _without_path(model: bytes) -> bytes:
    """A trained model that no longer names the file from which its rules were read."""
    proto = ModelProto.FromString(model)
    if proto.normalizer_spec.normalization_rule_tsv:
        proto.normalizer_spec.ClearField("normalization_rule_tsv")
        proto.normalizer_spec.name = "nfc"
    return proto.SerializeToString(deterministic=True)


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
        if unicodedata.is_normalized("NFD", sign):
            continue  # as a million of them are: there is no other spelling
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
