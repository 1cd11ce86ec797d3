"""Log probabilities of given targets, in batches of bounded size.

Shapes: N rows, B batch, T target length, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ...zoo.text.special_ids import UNKNOWN_ID

if TYPE_CHECKING:
    from ...zoo.pipeline.text_to_text import TextToText
    from ...zoo.text.source_format import Source
    from ...zoo.text.tokenizer import Tokenizer

# Tokens of the targets of a batch, padded: their logits (B, T, V) are half a gigabyte where V is
# 32,000.
SCORED_TOKENS = 4096
SCORED_ROWS = 64  # of a batch, at most


def target_lengths(tokenizer: Tokenizer, targets: Sequence[str]) -> np.ndarray:
    """The number of tokens of each target with its end, int64 (N,).

    Args:
        tokenizer: The tokenizer of the model.
        targets: N texts.
    """
    return np.array([len(ids) + 1 for ids in tokenizer.encode(targets)], np.int64)


def score_targets(
    model: TextToText, sources: Sequence[Source], targets: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Log probability and number of tokens of each target, its end included.

    Unknown tokens that no search of the model writes are left out of both. Targets longer than the
    model writes, `max_length` of its generation, are not scored: it has not learned that length,
    and one of them may need more memory than there is.

    Args:
        model: A trained model.
        sources: One for each target.
        targets: N texts.

    Returns:
        Log probabilities, float32 (N,), and numbers of tokens, int32 (N,); both are 0 for a target
        that is not scored.
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
                written_only=True,
            )
        above, limit = limit, 2 * limit
    return log_p, tokens


def counted_words(text: str, unknown: int) -> int:
    """The number of words that the log probability of a target covers, with the end of the text.

    Args:
        text: The target.
        unknown: Number of unknown tokens that were left out, each of which is taken for a word.

    Returns:
        A number of words, at least 1.
    """
    from .text_scores import words

    return max(1, len(words(text)) + 1 - unknown)


@dataclass(frozen=True)
class UnknownTokens:
    """Unknown tokens on one side of a corpus.

    Attributes:
        count: Number of unknown tokens.
        total: Number of all tokens.
        rows: Number of rows with an unknown token.
    """

    count: int
    total: int
    rows: int

    @classmethod
    def of(cls, side: Sequence[np.ndarray]) -> UnknownTokens:
        """Counts unknown tokens in the ids of each row, without ends."""
        ends = np.cumsum([len(row) for row in side])
        # Numbers below 0 are unknown pieces of a source, and a row has no padding.
        positions = np.flatnonzero(np.concatenate([*side, []]) <= UNKNOWN_ID)
        rows = np.unique(np.searchsorted(ends, positions, side="right"))
        return cls(len(positions), int(ends[-1]) if len(ends) else 0, len(rows))

    @property
    def share(self) -> float:
        return self.count / max(1, self.total)

    def __str__(self) -> str:
        return f"{self.count:,} of {self.total:,} ({self.share:.2%}, in {self.rows:,} rows)"


def unknown_line(sources: UnknownTokens, targets: UnknownTokens, copied: bool) -> str | None:
    """A line that reports the unknown tokens of a corpus; `None` if there are none.

    Args:
        sources: Unknown tokens of the sources.
        targets: Unknown tokens of the targets.
        copied: Whether a search may write them for unknown tokens of the source.

    Returns:
        The line.
    """
    sides = {"targets": targets, "sources": sources}
    found = [f"{side} in {name}" for name, side in sides.items() if side.count]
    if not found:
        return None
    line = f"unknown tokens: {', '.join(found)}"
    if not targets.count:
        return line
    but = " but where the source has one to copy" if copied else ""
    return f"{line}; no output has them, loss and perplexity leave out those of targets{but}"
