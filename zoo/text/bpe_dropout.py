"""BPE-dropout: the same text in other tokens each time that it is learned from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .special_ids import UNKNOWN_ID
from .tokenizer import Tokenizer

_NONE = np.iinfo(np.int32).max  # the rank of two tokens that make no token together
_CHUNK = 8192  # rows at once, so that memory does not grow with a corpus


class BpeDropout:
    """Splits rows of token ids anew, leaving out random merges of byte-pair encoding.

    A row is taken apart into characters, which are merged again as the vocabulary says, the most
    frequent pair first; each possible merge is left out with a probability, drawn anew at each
    step. A model then reads many segmentations of a text and learns how its words are made up,
    which helps where there are few texts to learn from. Texts that are translated are never split
    so.

    SentencePiece can do the same, but its draws cannot be repeated, and a training that is resumed,
    or shared by several machines, has to read what it would have read.

    Args:
        tokenizer: A tokenizer of the kind `"bpe"`.
        dropout: Probability in [0, 1) that a merge is left out; 0.1 is usual. With 0 each row stays
            as it is.

    Raises:
        ValueError: The probability is out of range, or the tokenizer is of another kind.

    Example:

    >>> tokenizer = Tokenizer.train(["ein Haus", "ein Hausboot"] * 10, vocab_size=30)
    >>> resplit = BpeDropout(tokenizer, dropout=0.5)
    >>> rows = resplit(tokenizer.encode(["ein Hausboot"]), np.random.default_rng(1))
    >>> tokenizer.decode(rows)
    ['ein Hausboot']

    Reference: Provilkov et al. 2020, https://aclanthology.org/2020.acl-main.170
    """

    def __init__(self, tokenizer: Tokenizer, dropout: float):
        if not 0.0 <= dropout < 1.0:
            raise ValueError(f"dropout must be at least 0 and below 1. Received: dropout={dropout}")
        scores = tokenizer.scores()
        if np.any(scores != np.round(scores)):
            raise ValueError(
                "BPE-dropout is for tokens of the kind 'bpe', whose scores are whole numbers. "
                f"Received: a tokenizer with scores down to {scores.min():.3f}"
            )
        self.dropout = dropout
        pieces = tokenizer.pieces(range(tokenizer.vocab_size))
        # A byte is no text, though its name is.
        whole = np.logical_or(tokenizer.control_mask(), tokenizer.byte_mask())
        ids = {piece: i for i, piece in enumerate(pieces) if not whole[i] and i != UNKNOWN_ID}
        self._set_characters(pieces, ids)
        self._set_merges(pieces, ids, scores)

    def __call__(self, rows: Sequence[np.ndarray], random: np.random.Generator) -> list[np.ndarray]:
        """Rows of ids in other tokens; the text of each stays the same.

        Args:
            rows: int32 ids of each text, as the tokenizer gives them. Control symbols, bytes and
                unknown tokens stay as they are.
            random: Draws the merges that are left out; the same state gives the same rows.

        Returns:
            int32 ids of each text.
        """
        found: list[np.ndarray] = []
        for start in range(0, len(rows), _CHUNK):
            found += self._split_anew(rows[start : start + _CHUNK], random)
        return found

    def _set_characters(self, pieces: list[str], ids: dict[str, int]) -> None:
        """Sets the ids of the characters of each piece; symbols and bytes stand for themselves."""
        spelled = [
            [ids[character] for character in piece]
            if piece in ids and all(character in ids for character in piece)
            else [number]
            for number, piece in enumerate(pieces)
        ]
        self._counts = np.array([len(row) for row in spelled])
        self._starts = np.cumsum(self._counts) - self._counts
        self._characters = np.array([i for row in spelled for i in row], np.int32)

    def _set_merges(self, pieces: list[str], ids: dict[str, int], scores: np.ndarray) -> None:
        """Sets the merges: the pairs of ids that make a third one, and their ranks."""
        self._piece_of_rank = np.argsort(-scores, kind="stable").astype(np.int32)
        ranks = np.argsort(self._piece_of_rank).astype(np.int32)
        merges = {}
        for piece, number in ids.items():
            for position in range(1, len(piece)):
                left, right = ids.get(piece[:position]), ids.get(piece[position:])
                if left is not None and right is not None:
                    merges[left * len(pieces) + right] = ranks[number]
        keys = sorted(merges)
        # One key at the end that no two ids have, so that each search finds a position.
        self._keys = np.array([*keys, len(pieces) ** 2], np.int64)
        self._ranks = np.array([*(merges[key] for key in keys), _NONE], np.int32)
        # Words are worked at side by side: no merge goes over the start of one.
        self._begins = np.ones(len(pieces), bool)
        rights = self._keys[:-1] % len(pieces)
        self._begins[self._characters[self._starts[rights]]] = False

    def _split_anew(self, rows: Sequence[np.ndarray], random: np.random.Generator) -> list:
        lengths = np.array([len(row) for row in rows])
        ids = np.concatenate(rows).astype(np.int64)
        counts = self._counts[ids]
        ends = np.cumsum(counts)
        offsets = np.repeat(self._starts[ids] - (ends - counts), counts)
        characters = self._characters[np.arange(len(offsets)) + offsets]
        row = np.repeat(np.repeat(np.arange(len(rows)), lengths), counts)
        begins = self._begins[characters] | (np.diff(row, prepend=-1) > 0)
        merged = self._merge(characters, np.cumsum(begins), random)
        kept = merged >= 0
        lengths = np.bincount(row[kept], minlength=len(rows))
        return np.split(merged[kept], np.cumsum(lengths)[:-1])

    def _merge(self, ids: np.ndarray, word: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """Merges characters until no word has a merge left.

        Args:
            ids: Ids of characters, int32 (n,).
            word: Number of the word of each character, rising, int64 (n,).

        Returns:
            int32 (n,): each token in the position of its first character, -1 in its others.
        """
        merged = ids.copy()
        position = np.arange(len(ids))
        rank = self._rank(ids, word, position)
        while len(ids):
            drawn = rank
            if self.dropout:
                left_out = random.random(len(rank), np.float32) < self.dropout
                drawn = np.where(left_out, _NONE, rank)
            first = np.flatnonzero(np.diff(word, prepend=-1))
            best = np.minimum.reduceat(drawn, first)
            best = np.repeat(best, np.diff(first, append=len(ids)))
            going_on = best != _NONE
            at = np.flatnonzero((drawn == best) & going_on)
            at = at[np.diff(word[at], prepend=-1) > 0]  # in each word the leftmost
            ids[at] = self._piece_of_rank[best[at]]
            merged[position[at]], merged[position[at + 1]] = ids[at], -1
            going_on[at + 1] = False
            at = (np.cumsum(going_on) - 1)[at]
            ids, word, position, rank = (array[going_on] for array in (ids, word, position, rank))
            for changed in (at, at[at > 0] - 1):
                rank[changed] = self._rank(ids, word, changed)
        return merged

    def _rank(self, ids: np.ndarray, word: np.ndarray, at: np.ndarray) -> np.ndarray:
        """The rank of the merges of the ids in some positions with those after them."""
        after = np.minimum(at + 1, len(ids) - 1)
        keys = ids[at].astype(np.int64) * len(self._counts) + ids[after]
        found = np.searchsorted(self._keys, keys)
        inside = (self._keys[found] == keys) & (word[at] == word[after]) & (at != after)
        return np.where(inside, self._ranks[found], _NONE).astype(np.int32)
