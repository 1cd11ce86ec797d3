"""Vocabularies from elsewhere in the order of the zoo: its special ids first, then the pieces.

A SentencePiece model numbers its pieces by their order. A checkpoint has its own numbers: those of
a file beside it, or those of the model moved up. Here the model is written anew, with the zoo's
special pieces in front and, behind, whatever the checkpoint can write and the model cannot; and for
each id the row of the checkpoint's vocabulary is told, so that embeddings are put into this order
once and nothing has to be looked up later.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sentencepiece import sentencepiece_model_pb2 as protos

from ..errors import ConfigError
from ..text.special_ids import END_ID, PAD_ID, START_ID, UNKNOWN_ID
from ..text.unknown import WHITE_SPACE_MARK
from .checkpoint import read_json
from .languages import M2M100, NLLB

_Piece = protos.ModelProto.SentencePiece
# No text is split into it before all others, where byte pairs are merged by their score.
_LOWEST_SCORE = -1e6
# SentencePiece's own: what a character without a piece costs, below the lowest score.
_UNKNOWN_PENALTY = 10.0


@dataclass(frozen=True)
class Vocabulary:
    """A vocabulary in the order of the zoo.

    Attributes:
        model: A SentencePiece model.
        rows: Row of the checkpoint's vocabulary of each id, (V,).
        is_repeated: True for ids whose row is that of another id too, boolean (V,): no target is
            ever written with them, and they have no share of its probability.
        kind: Kind of the pieces: bpe, unigram, word or char.
    """

    model: bytes
    rows: np.ndarray
    is_repeated: np.ndarray
    kind: str


@dataclass(frozen=True)
class SpecialRows:
    """Rows of the special tokens in a checkpoint's vocabulary.

    Attributes:
        padding: Of padding.
        unknown: Of whatever has no piece.
        start: Of what a target begins with.
        end: Of the end.
    """

    padding: int
    unknown: int
    start: int
    end: int


def read_model(model: bytes, where: object) -> protos.ModelProto:
    """Reads a SentencePiece model.

    Raises:
        ConfigError: It is something else.
    """
    proto = protos.ModelProto()
    try:
        proto.ParseFromString(model)
    except Exception as error:
        raise ConfigError(f"{where} is no SentencePiece model: {error}") from error
    if not proto.pieces:
        raise ConfigError(f"{where} is no SentencePiece model: it has no pieces.")
    return proto


def rearranged(
    proto: protos.ModelProto,
    row_of: Mapping[str, int],
    special: SpecialRows,
    num_rows: int | None = None,
    controls: Collection[str] = (),
    marks: Collection[str] = (),
) -> Vocabulary:
    """Puts the pieces of a SentencePiece model into the order of the zoo.

    Args:
        proto: The model.
        row_of: The checkpoint's number of each piece; pieces without one are unknown to it.
        special: Rows of the special tokens.
        num_rows: Rows of the checkpoint's vocabulary if all have to be there, as those that it can
            write have; `None` for the pieces of the model alone.
        controls: Names among `row_of` that are no text, such as those of languages.
        marks: Names among `row_of` that a text may begin with, as one token.

    Returns:
        The vocabulary.
    """
    specials = {
        PAD_ID: ("<pad>", _Piece.CONTROL, special.padding),
        UNKNOWN_ID: ("<unk>", _Piece.UNKNOWN, special.unknown),
        START_ID: ("<s>", _Piece.CONTROL, special.start),
        END_ID: ("</s>", _Piece.CONTROL, special.end),
    }
    found = [(name, kind, 0.0, row) for name, kind, row in (specials[i] for i in range(4))]
    taken = {name for name, *_ in found}
    reserved = (_Piece.UNKNOWN, _Piece.CONTROL)
    for piece in proto.pieces:
        if piece.type not in reserved and piece.piece not in taken:
            row = row_of.get(piece.piece, special.unknown)
            found.append((piece.piece, piece.type, piece.score, row))
            taken.add(piece.piece)
    # transformers looks up the text of an unknown piece too: a character may be known all the same.
    normal = [piece.score for piece in proto.pieces if piece.type == _Piece.NORMAL]
    score = min(normal, default=0.0) - _UNKNOWN_PENALTY
    for name, row in row_of.items():
        if len(name) == 1 and name not in taken:
            found.append((name, _Piece.NORMAL, score, row))
            taken.add(name)
    for name in marks:
        # With the space that SentencePiece puts in front of every text.
        found.append((WHITE_SPACE_MARK + name, _Piece.USER_DEFINED, 0.0, row_of[name]))
        taken.add(WHITE_SPACE_MARK + name)
    controls = {*controls, *(p.piece for p in proto.pieces if p.type in reserved)}
    names = {row: name for name, row in row_of.items()}
    wanted = range(num_rows or 0)
    there = {row for *_, row in found}
    for row in wanted:
        if row in there:
            continue
        name = names.get(row, f"<row {row}>")
        is_text = name in row_of and name not in controls
        name = f"<row {row}>" if name in taken else name
        # Written, but no text is split into it.
        kind = _Piece.UNUSED if is_text else _Piece.CONTROL
        found.append((name, kind, _LOWEST_SCORE if is_text else 0.0, row))
    rows = np.array([row for *_, row in found])
    repeated = np.ones(len(rows), bool)
    repeated[_first_of_each(rows)] = False
    return Vocabulary(_model(proto, found), rows, repeated, _KINDS[proto.trainer_spec.model_type])


_KINDS = {1: "unigram", 2: "bpe", 3: "word", 4: "char"}


def _first_of_each(rows: np.ndarray) -> np.ndarray:
    """The first id of each row; the start is the last choice, as it is never written."""
    order = np.array([i for i in range(len(rows)) if i != START_ID] + [START_ID])
    return order[np.unique(rows[order], return_index=True)[1]]


def _model(proto: protos.ModelProto, pieces: list[tuple[str, int, float, int]]) -> bytes:
    """The SentencePiece model with other pieces."""
    made = protos.ModelProto()
    made.CopyFrom(proto)
    del made.pieces[:]
    made.pieces.extend(
        _Piece(piece=name, type=kind, score=score) for name, kind, score, _ in pieces
    )
    spec = made.trainer_spec
    spec.vocab_size = len(pieces)
    spec.pad_id, spec.unk_id, spec.bos_id, spec.eos_id = PAD_ID, UNKNOWN_ID, START_ID, END_ID
    spec.pad_piece, spec.unk_piece, spec.bos_piece, spec.eos_piece = (p[0] for p in pieces[:4])
    return made.SerializeToString()


@dataclass(frozen=True)
class Vocabularies:
    """The vocabularies of a checkpoint.

    Attributes:
        target: That of the target.
        source: That of the source, `None` where both sides share one.
        source_tag: Piece that stands in front of each source, if there is one.
        target_tag: Piece that each target begins with, if there is one.
    """

    target: Vocabulary
    source: Vocabulary | None = None
    source_tag: str | None = None
    target_tag: str | None = None


def read_vocabularies(
    folder: Path,
    kind: str,
    config: Mapping[str, Any],
    source_language: str | None = None,
    target_language: str | None = None,
) -> Vocabularies:
    """Reads the vocabularies of a checkpoint.

    Args:
        folder: Has the SentencePiece models.
        kind: The `model_type` of the checkpoint.
        config: Its `config.json`.
        source_language: Code of the language of the sources, for a model with a token for each.
        target_language: The same of the targets.

    Raises:
        ConfigError: A file is missing or damaged, or a language is unknown or not said.
        KeyError: The config does not say what every model of this kind does.
    """
    padding, end = config["pad_token_id"], config["eos_token_id"]
    start = config.get("decoder_start_token_id")
    start = padding if start is None else start

    def special(unknown: int) -> SpecialRows:
        return SpecialRows(padding, unknown, start, end)

    num_rows = config.get("decoder_vocab_size") or config["vocab_size"]
    if kind != "m2m_100" and (source_language or target_language):
        raise ConfigError(
            f"A language is said to a model with a token for each; this one is of type {kind!r}. "
            "Leave out the languages; where a model has signs such as >>fra<<, a text begins "
            "with one."
        )
    if kind == "marian":
        models = [_read(folder / f"{side}.spm") for side in ("source", "target")]
        ids = [read_json(folder / "vocab.json")] * 2
        if (folder / "target_vocab.json").is_file():
            ids[1] = read_json(folder / "target_vocab.json")
        signs = [name for name in ids[0] if name.startswith(">>") and name.endswith("<<")]
        source = rearranged(models[0], ids[0], special(ids[0]["<unk>"]), marks=signs)
        target = rearranged(models[1], ids[1], special(ids[1]["<unk>"]), num_rows, controls=signs)
        return Vocabularies(target, source)
    if kind == "m2m_100":
        model = _read(folder / "sentencepiece.bpe.model")
        row_of, languages = _rows_of_m2m(folder, model)
        tags = [
            _tag(folder, languages, side, code)
            for side, code in (("source", source_language), ("target", target_language))
        ]
        target = rearranged(model, row_of, special(3), num_rows, controls=languages)
        return Vocabularies(target, None, *tags)
    model = _read(folder / "spiece.model")
    moved = 0
    if kind == "pegasus":
        path = folder / "tokenizer_config.json"
        moved = (read_json(path) if path.is_file() else {}).get("offset", 103)
    row_of = {piece.piece: i + moved for i, piece in enumerate(model.pieces)}
    unknown = next(i for i, piece in enumerate(model.pieces) if piece.type == _Piece.UNKNOWN)
    return Vocabularies(rearranged(model, row_of, special(unknown + moved), num_rows))


def _read(path: Path) -> protos.ModelProto:
    if not path.is_file():
        raise ConfigError(
            f"{path.parent} has no {path.name}, the SentencePiece model of its tokenizer. Copy it "
            "from the checkpoint that this one was trained from."
        )
    return read_model(path.read_bytes(), path)


def _rows_of_m2m(folder: Path, model: protos.ModelProto) -> tuple[dict[str, int], list[str]]:
    """The row of each piece, and the names of the languages among them."""
    if (folder / "vocab.json").is_file():  # M2M100
        row_of = read_json(folder / "vocab.json")
        first, usual = len(row_of), [f"__{code}__" for code in M2M100]
    else:  # NLLB, whose special tokens are one more than SentencePiece's
        row_of = {piece.piece: i + 1 for i, piece in enumerate(model.pieces)}
        row_of |= {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3}
        first, usual = len(model.pieces) + 1, NLLB
    files = ("special_tokens_map.json", "tokenizer_config.json", "tokenizer.json")
    settings = [read_json(folder / name) for name in files if (folder / name).is_file()]
    said = [values.get("additional_special_tokens") or [] for values in settings]
    names = [x if isinstance(x, str) else x["content"] for x in next(filter(None, said), usual)]
    added = [token for values in settings for token in values.get("added_tokens", [])]
    numbered = {token["content"]: token["id"] for token in added}
    names = [name for name in names if name not in row_of]
    counted = {name: first + i for i, name in enumerate(names)}
    return {**row_of, **{name: numbered.get(name, row) for name, row in counted.items()}}, names


def _tag(folder: Path, languages: list[str], side: str, code: str | None) -> str:
    """The piece of a language."""
    for name in (f"__{code}__", code):
        if name in languages:
            return str(name)
    codes = ", ".join(name.strip("_") for name in languages)
    said = "is not said" if code is None else f"is {code!r}"
    raise ConfigError(
        f"The {side} language of {folder} {said}; give --{side}-language, one of {codes}."
    )
