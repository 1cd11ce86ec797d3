"""Explanations of many texts as files for other programs: alignments, tokens, arrays."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from .explanation import Explanation
from .layered_explanation import LayeredExplanation

_END = "</s>"


def align(explanation: Explanation) -> list[tuple[int, int]]:
    """Reads an alignment of tokens off the attention.

    Args:
        explanation: An output with its attention.

    Returns:
        For each target token the source token that it attended to most, as pairs of numbers from 0,
        source first. The ends of both sides are in none, nor is a token without attention.

    Reference: Bahdanau et al. 2015, https://arxiv.org/abs/1409.0473
    """
    weights = explanation.attention[:, : _length(explanation.source_tokens)]
    if not weights.size:
        return []
    best = weights.argmax(axis=1)
    steps = range(_length(explanation.target_tokens))
    return [(int(best[step]), step) for step in steps if weights[step].any()]


def write_alignments(
    path: Path,
    explanations: Iterable[Explanation | LayeredExplanation],
    named: Path | None = None,
) -> None:
    """Writes explanations one by one, in the kind of file that a suffix names.

    | suffix | what is in it |
    |---|---|
    | `.pharaoh` | a line of pairs `source-target` for each text, such as `0-0 1-2` |
    | `.jsonl` | an object for each text: both texts, their tokens, the pairs, the score |
    | `.npz` | arrays by number of the text from 0, as `0/attention`: [T, S] and tokens, and of \
every layer and head `0/cross` [L, H, T, S], `0/encoder` and `0/decoder`, where there are several |

    Args:
        path: The file.
        explanations: Outputs with their attention.
        named: A path with that suffix, if `path` has another for now.
    """
    suffix = (named or path).suffix.lower()
    if suffix == ".npz":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for number, found in enumerate(explanations):
                for name, array in _arrays(found).items():
                    with archive.open(f"{number}/{name}.npy", "w", force_zip64=True) as member:
                        np.lib.format.write_array(member, array, allow_pickle=False)
        return
    write = _pharaoh if suffix == ".pharaoh" else _json
    with open(path, "w", encoding="utf-8") as file:
        for found in explanations:
            file.write(f"{write(_plain(found))}\n")


def _plain(found: Explanation | LayeredExplanation) -> Explanation:
    return found.explanation if isinstance(found, LayeredExplanation) else found


def _pharaoh(found: Explanation) -> str:
    return " ".join(f"{source}-{target}" for source, target in align(found))


def _json(found: Explanation) -> str:
    values = {
        "text": found.text,
        "target": found.target,
        "source_tokens": found.source_tokens,
        "target_tokens": found.target_tokens,
        "alignment": align(found),
        "score": found.score,
    }
    return json.dumps(values, ensure_ascii=False)


def _arrays(found: Explanation | LayeredExplanation) -> dict[str, np.ndarray]:
    plain = _plain(found)
    arrays = {
        "attention": plain.attention,
        "source_tokens": np.array(plain.source_tokens, dtype=np.str_),
        "target_tokens": np.array(plain.target_tokens, dtype=np.str_),
    }
    if isinstance(found, LayeredExplanation):
        layers = {"cross": found.cross, "encoder": found.encoder, "decoder": found.decoder}
        arrays |= {name: array for name, array in layers.items() if array is not None}
    return arrays


def _length(tokens: list[str]) -> int:
    """The number of tokens before the end."""
    return len(tokens) - (tokens[-1:] == [_END])
