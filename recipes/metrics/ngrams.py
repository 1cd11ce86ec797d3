"""Unigram and bigram models of tokens, as a baseline of replies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from ...zoo.text.tokenizer import END_ID, START_ID, UNKNOWN_ID


class NgramModel:
    """A bigram model interpolated with a unigram model and the uniform distribution.

    Each order gives a share of its probability to the order below, larger the more different tokens
    have followed (Witten and Bell 1991), so that no token is impossible.

    Args:
        rows: Token ids of each text, without start and end.
        vocab_size: Number of tokens of the vocabulary.

    Example:

    >>> model = NgramModel(tokenizer.encode(texts), tokenizer.vocab_size)
    >>> model.log_probability(tokenizer.encode(["a house"])[0], order=2)

    Reference: Witten and Bell 1991, https://doi.org/10.1109/18.87000
    """

    def __init__(self, rows: Sequence[np.ndarray], vocab_size: int):
        ended = [np.append(row, END_ID) for row in rows]
        counts = np.bincount(np.concatenate(ended), minlength=vocab_size)
        kinds = np.count_nonzero(counts)
        self.unigram = (counts + kinds / vocab_size) / (counts.sum() + kinds)
        self._pairs: Counter[tuple[int, int]] = Counter()
        for row in ended:
            ids = row.tolist()
            self._pairs.update(zip([START_ID, *ids[:-1]], ids, strict=True))
        self._totals = np.zeros(vocab_size)
        self._kinds = np.zeros(vocab_size)
        for (before, _), count in self._pairs.items():
            self._totals[before] += count
            self._kinds[before] += 1

    def log_probability(self, row: np.ndarray, order: int, count_unknown: bool = True) -> float:
        """Natural log of the probability of a text, its end included.

        Args:
            row: Token ids of the text, without start and end.
            order: 1 for the unigram model, 2 for the bigram model.
            count_unknown: Whether unknown tokens count, or only the tokens after them.

        Returns:
            A number below 0.
        """
        ids = np.append(row, END_ID)
        counted = (ids != UNKNOWN_ID) | count_unknown
        unigram = self.unigram[ids]
        if order == 1:
            return float(np.log(unigram[counted]).sum())
        before = np.append(START_ID, row).astype(int)
        seen = [self._pairs[pair] for pair in zip(before.tolist(), ids.tolist(), strict=True)]
        totals, kinds = self._totals[before], self._kinds[before]
        below = np.where(totals > 0, kinds, 1.0)  # after what was never seen: the unigram alone
        found = (np.array(seen) + below * unigram) / (totals + below)
        return float(np.log(found[counted]).sum())
