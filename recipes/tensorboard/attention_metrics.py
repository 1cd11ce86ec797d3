"""Numbers that show from the outside whether attention is learning, for TensorBoard."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from ...zoo.pipeline.explain import reading_inputs
from ...zoo.pipeline.text_to_text import TextToText
from ...zoo.visualization import attention_statistics as statistics
from ...zoo.visualization.explanation import Explanation


def attention_metrics(model: TextToText, explanations: Sequence[Explanation]) -> dict[str, float]:
    """Means over some sentences and all heads, for each layer of each kind of attention.

    | name | what it says |
    |---|---|
    | `attention_entropy` | nats; falls as heads find what to look at |
    | `attention_coverage` | share of the places that were looked at |
    | `attention_diagonality` | 1 where the attention moves along with the text |
    | `attention_on_end` | share on the end of the sentence, where heads rest |
    | `attention_on_start` | the same of the target over itself, which rests on its start |
    | `attention_on_padding` | share on padding; anything but 0 is a mask that is missing |

    `attention_statistics` has the formulas.

    Args:
        model: the model with its tokenizer.
        explanations: what it wrote for the sentences.

    Returns:
        Values by names such as `attention_entropy/cross_1`, layers counted from 1; nothing for a
        model without attention.
    """
    explanations = [e for e in explanations if e.source_tokens and e.target_tokens]
    if not explanations:
        return {}
    longest = max(max(len(e.source_tokens), len(e.target_tokens)) for e in explanations)
    # With padding in every row, so that there is some to be looked at, if there is a place for it.
    padding = int((limit := model.model.max_positions) is None or longest < limit)
    maps = model.model.attention_maps(reading_inputs(model.tokenizer, explanations, padding))
    values: dict[str, list[float]] = {}
    for kind, tensor in maps._asdict().items():
        if tensor is None:
            continue
        weights = tf.cast(tensor, tf.float32).numpy()  # (B, L, H, rows, columns)
        if not weights.any():
            return {}  # the model without attention says zeros
        for row, explanation in enumerate(explanations):
            source, target = len(explanation.source_tokens), len(explanation.target_tokens)
            height = source if kind == "encoder" else target
            width = target if kind == "decoder" else source
            for layer, heads in enumerate(weights[row, :, :, :height], start=1):
                for name, value in _of_layer(kind, heads, width).items():
                    values.setdefault(f"attention_{name}/{kind}_{layer}", []).append(value)
    return {name: float(np.mean(found)) for name, found in sorted(values.items())}


def _of_layer(kind: str, heads: np.ndarray, width: int) -> dict[str, float]:
    """Means over the heads (H, rows, columns) of one sentence with so many real columns."""
    columns, real = np.arange(heads.shape[-1]), heads[..., :width]
    rest = ("on_start", 0) if kind == "decoder" else ("on_end", width - 1)
    found = {
        "entropy": statistics.entropy(real),
        "coverage": statistics.coverage(real),
        "diagonality": statistics.diagonality(real),
        rest[0]: statistics.column_share(heads, columns == rest[1]),
        "on_padding": statistics.column_share(heads, columns >= width),
    }
    return {name: float(np.mean(value)) for name, value in found.items()}
