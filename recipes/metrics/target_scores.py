"""Log probabilities of given targets, in batches of bounded size.

Shapes: N rows, B batch, T target length, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ...zoo.pipeline.text_to_text import TextToText
    from ...zoo.text.source_format import Source
    from ...zoo.text.tokenizer import SubwordTokenizer

# Subwords of the targets of a batch, padded: their logits (B, T, V) are half a gigabyte where V is
# 32,000.
SCORED_TOKENS = 4096
SCORED_ROWS = 64  # of a batch, at most


def target_lengths(tokenizer: SubwordTokenizer, targets: Sequence[str]) -> np.ndarray:
    """Subwords of each target, its end included, int (N,)."""
    return np.array([len(ids) + 1 for ids in tokenizer.encode(targets)], np.int64)


def score_targets(
    model: TextToText, sources: Sequence[Source], targets: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Log probability of each target and its number of subwords, end included, (N,) each.

    Targets that are longer than the model writes, `max_length` of its generation, are not scored:
    it has not learnt any of this length, and one of them may need more memory than there is.

    Args:
        model: the model.
        sources: one for each target.
        targets: texts.

    Returns:
        float32 and int32; both are 0 for a target that is not scored.
    """
    lengths, longest = target_lengths(model.tokenizer, targets), model.generation.max_length
    log_p, tokens = np.zeros(len(lengths), np.float32), np.zeros(len(lengths), np.int32)
    # Batches of as many rows as the longest of them allows: up to twice the length, half the rows.
    above, limit = 0, SCORED_TOKENS // SCORED_ROWS
    while above < longest:
        rows = np.flatnonzero((lengths > above) & (lengths <= min(limit, longest)))
        if len(rows):
            log_p[rows], tokens[rows] = model.score(
                [sources[int(row)] for row in rows],
                [targets[int(row)] for row in rows],
                batch_size=max(1, SCORED_TOKENS // limit),
            )
        above, limit = limit, 2 * limit
    return log_p, tokens
