"""Explanations of a model's own outputs, with the attention of every layer and head."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from ..text.source_format import Source
from ..text.special_ids import END_ID, PAD_ID, START_ID, UNKNOWN_ID
from ..text.tokenizer import Tokenizer
from ..visualization.explanation import Explanation
from ..visualization.layered_explanation import LayeredExplanation
from .text_to_text import TextToText


def explain(
    model: TextToText, texts: Sequence[Source], batch_size: int = 16
) -> list[LayeredExplanation]:
    """Explains the outputs of a model with the attention of every layer and head.

    The target is written by the model's own search and then read once more as a whole, which gives
    all weights at once. A recurrent model has one map: one layer with one head.

    Args:
        model: A trained model, such as `attention_zoo.load("runs/en-de")`.
        texts: Sources.
        batch_size: Number of texts that are read at once.

    Returns:
        A record for each text.

    Example:

    >>> attention_zoo.explain(translator, ["a house"])[0]     # draws itself in a notebook

    Reference: Vaswani et al. 2017, https://arxiv.org/abs/1706.03762; on rollout Abnar and Zuidema
    2020, https://arxiv.org/abs/2005.00928
    """
    found = []
    explanations = model.explain(texts, batch_size)
    for start in range(0, len(explanations), batch_size):
        found += _explain_batch(model, explanations[start : start + batch_size])
    return found


def _explain_batch(model: TextToText, explanations: list[Explanation]) -> list[LayeredExplanation]:
    maps = model.model.attention_maps(reading_inputs(model.tokenizer, explanations))
    arrays = {
        kind: tf.cast(values, "float32").numpy()
        for kind, values in maps._asdict().items()
        if values is not None
    }
    found = []
    for row, explanation in enumerate(explanations):
        s, t = len(explanation.source_tokens), len(explanation.target_tokens)
        sizes = {"cross": (t, s), "encoder": (s, s), "decoder": (t, t)}
        own = {
            kind: array[row, :, :, : sizes[kind][0], : sizes[kind][1]]
            for kind, array in arrays.items()
        }
        found.append(LayeredExplanation(explanation, **own))
    return found


def reading_inputs(
    tokenizer: Tokenizer, explanations: Sequence[Explanation], padding: int = 0
) -> dict[str, tf.Tensor]:
    """Inputs of a model that reads its own outputs once more.

    Args:
        tokenizer: The tokenizer of the model.
        explanations: The outputs with their tokens.
        padding: Positions of padding after the longest source and the longest target.

    Returns:
        `source` (B, S), and `target` (B, T), whose row t was read when token t was written. An
        output without tokens, that of a blank text, is read as if it had an end and nothing else.
    """
    sources = [_ids(tokenizer.source, e.source_tokens) or [END_ID] for e in explanations]
    targets = [[START_ID, *_ids(tokenizer, e.target_tokens)[:-1]] for e in explanations]
    return {"source": _padded(sources, padding), "target": _padded(targets, padding)}


def _ids(tokenizer: Tokenizer, tokens: list[str]) -> list[int]:
    """Ids of tokens; text that looks like a control symbol is unknown to the model."""
    ids = tokenizer.ids(tokens)
    return [
        UNKNOWN_ID if i in (PAD_ID, START_ID) or (i == END_ID and position < len(ids) - 1) else i
        for position, i in enumerate(ids)
    ]


def _padded(rows: list[list[int]], padding: int) -> tf.Tensor:
    length = max(map(len, rows), default=0) + padding
    return tf.constant([row + [PAD_ID] * (length - len(row)) for row in rows], tf.int32)
