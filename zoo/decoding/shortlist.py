"""Vocabulary shortlists: the few tokens that a target is likely made of, given its source.

A step of decoding computes a logit for each token of the vocabulary, nearly all of which have
nothing to do with the source. With a shortlist it computes those of some hundred tokens. Which
they are follows from the tokens of the source, by a table that is learned from the training corpus.
Shapes: B rows, S source length, V vocabulary, V' that of the source, C likely tokens of one of the
source, A tokens of any target, K tokens of all shortlists of a batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from ..models.encoder_decoder import EncoderDecoder
from ..models.parts import SourceMemory, StepWeights, known_ids
from ..tensor_files import read_tensors, write_tensors
from ..text.special_ids import PAD_ID
from .options import NEG_INF

# Tokens of targets that are on every shortlist. A model writes pieces of words where no row of the
# training has them: with half as many 95 outputs of a hundred stayed what they were, not 99.
FREQUENT = 2048
_SPECIAL = 4  # ids below are no text
# Tokens whose mean logit stands for those of all that are on no list, and what the log of the mean
# of e to the logits is above the mean: half of the variance. It was 1.0 in a model of sentences.
_OTHERS, _ABOVE_MEAN = 256, 0.5
_PASSES = 4  # of expectation maximization; the best tokens hardly change after three
# Pairs of a token of the source and one of the target, in all of the rows that are looked at.
_MOST_PAIRS = 2**24


class Shortlist:
    """The target tokens that are likely for each token of a source, and those of any target.

    Args:
        likely: Ids (V', C), of each token of the source the most likely first; 0 where there are
            fewer. Those of padding are of no use.
        always: Ids (A,).

    Raises:
        ValueError: These are no such arrays.

    Example:

    >>> sources = tokenizer.source.encode(["a house", "a house by the sea"])
    >>> targets = tokenizer.encode(["ein Haus", "ein Haus am Meer"])
    >>> sizes = tokenizer.source.vocab_size, model.vocab_size
    >>> shortlist = Shortlist.learn(sources, targets, sizes, 32)
    >>> options = attention_zoo.GenerationOptions(shortlist=32)
    >>> attention_zoo.generate(model, source, options, shortlist=shortlist)
    """

    def __init__(self, likely: np.ndarray, always: np.ndarray):
        ids = [np.asarray(x) for x in (likely, always)]
        shapes = [x.shape for x in ids]
        if [x.ndim for x in ids] != [2, 1] or any(x.dtype.kind not in "iu" for x in ids):
            raise ValueError(
                "A shortlist is whole numbers of shape (tokens of the source, likely tokens) and "
                f"(tokens of any target,). Received: {shapes[0]} and {shapes[1]}"
            )
        self.likely = ids[0].astype(np.int32)
        self.likely[:1] = 0  # of padding, which other rows have
        self.always = np.union1d(range(_SPECIAL), ids[1]).astype(np.int32)
        with tf.init_scope():
            # A variable, of which an export has one for all signatures.
            self.table = tf.Variable(self.likely, trainable=False, name="shortlist")

    @classmethod
    def learn(
        cls,
        sources: Sequence[np.ndarray],
        targets: Sequence[np.ndarray],
        sizes: tuple[int, int],
        count: int,
        always: Sequence[int] = (),
        frequent: int = FREQUENT,
    ) -> Shortlist:
        """Learns from pairs which target tokens each token of a source is translated to.

        Args:
            sources: Ids of each row.
            targets: The same of its target.
            sizes: The tokens of the vocabularies, V' and V.
            count: C, the most tokens for one of the source.
            always: Ids that are on every shortlist if a target has them.
            frequent: So many of the most frequent ones are too.

        Returns:
            The shortlist.

        Reference: model 1 of Brown et al. 1993, https://aclanthology.org/J93-2003
        """
        counts = np.bincount(np.concatenate([*targets, [0]]).clip(0), minlength=sizes[1])
        counts[:_SPECIAL] = 0
        most = np.argsort(-counts, kind="stable")[:frequent]
        every = np.array([i for i in (*most, *always) if counts[i]], np.int32)
        is_rare = np.ones(sizes[1], bool)
        is_rare[:_SPECIAL] = is_rare[every] = False
        # Each source has a token 0 before it, which what is a translation of nothing is made of.
        read = [np.append(0, row).clip(0).astype(np.int64) for row in sources]
        written = [row[is_rare[row.clip(0)]].astype(np.int64) for row in targets]
        lengths = np.array([list(map(len, side)) for side in (read, written)]).reshape(2, -1)
        pairs = lengths.prod(axis=0)
        # Rows from all of the corpus, of which there are as many as there is room for.
        step = max(1, -(-int(pairs.sum()) // _MOST_PAIRS))
        likely = np.zeros((sizes[0], count), np.int32)
        if not pairs[::step].any():
            return cls(likely, every)
        from_, to = (np.concatenate(side[::step]) for side in (read, written))
        lengths = lengths[:, ::step]
        # Of each token of a target its pairs with all tokens of the source, one after the other.
        group = np.repeat(lengths[0], lengths[1])
        starts = np.cumsum(group) - group
        first = np.repeat(np.cumsum(lengths[0]) - lengths[0], lengths[1])
        position = np.arange(group.sum()) + np.repeat(first - starts, group)
        keys, which = np.unique(
            from_[position] * sizes[1] + np.repeat(to, group), return_inverse=True
        )
        source, target = np.divmod(keys, sizes[1])
        p: Any = np.ones(len(keys))
        for _ in range(_PASSES):
            share = p[which]
            share /= np.repeat(np.add.reduceat(share, starts), group)
            p = np.bincount(which, share)
            p /= np.bincount(source, p)[source]
        order = np.lexsort((-p, source))
        source, target = source[order], target[order]
        rank = np.arange(len(source)) - np.searchsorted(source, source)
        kept = rank < count
        likely[source[kept], rank[kept]] = target[kept]
        return cls(likely, every)

    @classmethod
    def from_bytes(cls, data: bytes) -> Shortlist:
        """Reads what `to_bytes` wrote.

        Args:
            data: The bytes.

        Returns:
            The shortlist.

        Raises:
            ValueError: The bytes are something else.
        """
        arrays = read_tensors(data)
        if set(arrays) != {"likely", "always"}:
            raise ValueError(
                "Expected the tensors likely and always of a shortlist. Received: "
                f"{', '.join(arrays)}"
            )
        return cls(**arrays)

    def to_bytes(self) -> bytes:
        """Writes the shortlist as tensors in one block.

        Returns:
            The bytes.
        """
        return write_tensors({"likely": self.likely, "always": self.always})


def checked(model: EncoderDecoder, shortlist: Shortlist | None, count: int) -> Shortlist:
    """Returns the shortlist, if a search can choose among so many likely tokens of it.

    Raises:
        ValueError: It has fewer, there is none, or the model has no use of one.
    """
    if not model.output_layer.supports_shortlist:
        raise ValueError(
            f"{type(model.output_layer).__name__} gives the logits of all tokens or none: set "
            f"shortlist=0. Received: shortlist={count}"
        )
    if shortlist is None or shortlist.likely.shape[1] < count:
        has = "none" if shortlist is None else f"{shortlist.likely.shape[1]} tokens"
        raise ValueError(
            "shortlist is the number of likely tokens of each token of the source, at most "
            "as many as were learned from the training corpus, with `--set shortlist=` in a "
            f"training: set a smaller one or 0. Received: shortlist={count}, of {has}"
        )
    return shortlist


class ShortlistedModel:
    """A model that writes the tokens of the shortlists of a batch alone, and numbers them anew.

    It has all of a model that decoding uses. A row gives other tokens than those of its own
    shortlist no probability, so that it does not depend on the other rows.

    Args:
        model: The model.
        shortlist: The likely tokens.
        source: Ids (B, S), negative for unknown pieces.
        count: Likely tokens of each one of the source.
        prefix: Ids that targets begin with (B, P), if they do.

    Attributes:
        ids: The tokens, int32 (K,), rising; the special ones are the first.
        vocab_size: K.

    Raises:
        ValueError: There is no shortlist for this model, or it has fewer tokens.
    """

    def __init__(
        self,
        model: EncoderDecoder,
        shortlist: Shortlist | None,
        source: tf.Tensor,
        count: int,
        prefix: tf.Tensor | None = None,
    ):
        shortlist = checked(model, shortlist, count)
        self._model, self._source = model, source
        rows, size = tf.shape(source)[0], model.vocab_size
        embedding: Any = model.source_embedding
        largest = max(shortlist.likely.max(initial=0), shortlist.always[-1])
        if shortlist.likely.shape[0] != embedding.input_dim or largest >= size:
            raise ValueError(
                "A shortlist is of the tokens of a model. Received: one of "
                f"{shortlist.likely.shape[0]} tokens of sources, and one with the token {largest} "
                f"for a model with {embedding.input_dim} and {size}"
            )
        likely = tf.gather(shortlist.table, known_ids(source))[..., :count]
        found = [tf.reshape(likely, (rows, count * tf.shape(source)[1]))]
        if embedding is model.target_embedding:
            found.append(known_ids(source))
        if prefix is not None:
            found.append(known_ids(prefix))
        found = tf.concat(found, axis=1) + size * tf.range(rows)[:, None]
        unlikely = np.full(size, NEG_INF, np.float32)
        unlikely[shortlist.always] = 0
        penalty = tf.tensor_scatter_nd_update(
            tf.tile(unlikely, [rows]), tf.reshape(found, (-1, 1)), tf.zeros(tf.size(found))
        )
        penalty = tf.reshape(penalty, (rows, size))
        there = tf.maximum(tf.reduce_max(penalty, axis=0), unlikely) == 0  # of no rows, too
        self.ids = tf.cast(tf.where(there)[:, 0], tf.int32)
        self.vocab_size = tf.size(self.ids)
        # Without the others all probabilities would be larger, in some steps more than in others,
        # and a search with beams would find other targets.
        others = np.append(PAD_ID, np.flatnonzero(unlikely))
        others = others[:: max(1, len(others) // _OTHERS)]
        self._weights = model.output_layer.shortlisted_weights(self.ids, others)
        count = 1 + tf.math.count_nonzero(penalty, axis=1, keepdims=True, dtype=tf.float32)
        penalty = tf.gather(penalty, self.ids[1:], axis=1)
        # Of one other, that is padding, it is known.
        log_count = tf.math.log(count) + tf.where(count > 1, _ABOVE_MEAN, 0.0)
        self._penalty = tf.concat([log_count, penalty], axis=1)[:, None]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def columns(self, ids: tf.Tensor) -> tf.Tensor:
        """The numbers of tokens (B, T) of the shortlists; unknown pieces stay."""
        found = tf.searchsorted(self.ids, tf.reshape(ids, (-1,)))
        return tf.where(ids < 0, ids, tf.reshape(found, tf.shape(ids)))

    def tokens(self, columns: tf.Tensor) -> tf.Tensor:
        """The tokens of their numbers (...); unknown pieces stay."""
        return tf.where(columns < 0, columns, tf.gather(self.ids, tf.maximum(columns, 0)))

    def encode(self, source: Any, mask: Any = None, num_unknown: Any = None) -> SourceMemory:
        """As the model's, with the shortlists of the rows."""
        memory = self._model.encode(source, mask, num_unknown=num_unknown)
        columns = self.columns(self._source)
        prepare = self._model.output_layer.shortlisted_source
        return memory._replace(output=prepare(memory.output, columns, self._penalty))

    def step(self, token_ids: Any, state: Any, memory: SourceMemory, weights: StepWeights) -> Any:
        """As the model's; tokens and logits are those of the shortlists."""
        output = weights.output._replace(vocabulary=self._weights)
        weights = weights._replace(output=output)
        return self._model.step(tf.gather(self.ids, token_ids), state, memory, weights)
