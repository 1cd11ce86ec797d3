"""A source as sentences: where they end, and what a vector says of each.

Shapes: B batch, S source length, M sentences, L subwords of a sentence, E embedding, D units.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
import tensorflow as tf

from ..text.source_format import SEPARATOR
from ..text.tokenizer import END_ID, PAD_ID, SubwordTokenizer
from .unroll import BidirectionalGRU

MARKS = (".", "!", "?", "…", "。", "！", "？", "؟", "।")  # that sentences end with


class Sentences(NamedTuple):
    """The sentences of sources.

    Attributes:
        ids: subwords, (B, M, L).
        lengths: how many subwords each has, 0 where there is none, (B, M).
        of: the number of the sentence that each subword of the source is in, -1 for padding and
            separators, (B, S).
    """

    ids: tf.Tensor
    lengths: tf.Tensor
    of: tf.Tensor

    @property
    def counts(self) -> tf.Tensor:
        """How many sentences each source has, at least 1: (B,)."""
        there = tf.reduce_sum(tf.cast(self.lengths > 0, tf.int32), axis=1)
        return tf.maximum(there, 1)

    def but_the_last(self) -> tf.Tensor:
        """Which sentences are none that the source ends with, (B, M); all if there is no other."""
        there = self.lengths > 0
        last = tf.gather(self.ids, self.counts - 1, batch_dims=1)
        others = there & tf.reduce_any(tf.not_equal(self.ids, last[:, None]), axis=-1)
        return tf.where(tf.reduce_any(others, axis=1, keepdims=True), others, there)

    def of_subwords(self, weights: tf.Tensor) -> tf.Tensor:
        """Weights of sentences (B, N, M), shared out evenly among their subwords, (B, N, S)."""
        shares = weights / tf.cast(tf.maximum(self.lengths, 1), weights.dtype)[:, None]
        of = tf.broadcast_to(self.of[:, None], (*_shape(shares)[:2], _shape(self.of)[1]))
        return tf.gather(shares, tf.maximum(of, 0), batch_dims=2) * tf.cast(of >= 0, shares.dtype)


class Boundaries(NamedTuple):
    """The ids that sentences end with.

    Attributes:
        marks: subwords that are the end of a sentence.
        separators: ids that stand between sentences, such as the end of the source.
    """

    marks: list[int]
    separators: list[int]

    @classmethod
    def of(cls, tokenizer: SubwordTokenizer) -> Boundaries:
        """Those of the sources of a tokenizer."""
        pieces = tokenizer.source.pieces(range(tokenizer.source.vocab_size))
        marks = [index for index, piece in enumerate(pieces) if piece.endswith(MARKS)]
        between = [index for index, piece in enumerate(pieces) if piece == SEPARATOR]
        return cls(marks, [END_ID, *between])


def split_sentences(
    source: tf.Tensor, boundaries: Boundaries, longest: int, static_shapes: bool = False
) -> Sentences:
    """Splits sources at separators, and after each run of subwords that end a sentence.

    What has none of them for long is split after `longest` subwords.

    Args:
        source: ids, (B, S), padded at the end.
        boundaries: where sentences end.
        longest: most subwords of a sentence, L.
        static_shapes: make room for as many and as long sentences as there can be, so that no
            shape depends on values.
    """
    batch, length = _shape(source)
    text = ~_is_any(source, [PAD_ID, *boundaries.separators])
    mark = _is_any(source, boundaries.marks)
    ended = tf.pad(mark[:, :-1], [[0, 0], [1, 0]]) & ~mark
    begins = text & (ended | ~tf.pad(text[:, :-1], [[0, 0], [1, 0]]))
    place = tf.broadcast_to(tf.range(length), (batch, length))
    of = _numbers(begins, text)
    begun = tf.gather(_first_places(place, of, length), tf.maximum(of, 0), batch_dims=1)
    of = _numbers(begins | (text & tf.equal((place - begun) % longest, 0)), text)
    count = length if static_shapes else tf.maximum(tf.reduce_max(of) + 1, 1)
    lengths = _by_sentence(tf.math.unsorted_segment_sum, tf.cast(text, tf.int32), of, count)
    width = longest if static_shapes else tf.maximum(tf.reduce_max(lengths), 1)
    inside = tf.range(width) < lengths[..., None]
    places = _first_places(place, of, count)[..., None] + tf.range(width)
    ids = tf.gather(source, tf.where(inside, places, 0), batch_dims=1)
    return Sentences(tf.where(inside, ids, PAD_ID), lengths, of)


def _is_any(ids: tf.Tensor, wanted: list[int]) -> tf.Tensor:
    return tf.reduce_any(tf.equal(ids[..., None], tf.constant(wanted, ids.dtype)), axis=-1)


def _numbers(begins: tf.Tensor, text: tf.Tensor) -> tf.Tensor:
    """The number of the sentence at each place, -1 where there is no text."""
    return tf.where(text, tf.cumsum(tf.cast(begins, tf.int32), axis=1) - 1, -1)


def _first_places(place: tf.Tensor, of: tf.Tensor, count: Any) -> tf.Tensor:
    return _by_sentence(tf.math.unsorted_segment_min, place, of, count)


def _by_sentence(reduce: Any, values: tf.Tensor, of: tf.Tensor, count: Any) -> tf.Tensor:
    """Values of subwords (B, S) reduced to one for each sentence, (B, M)."""
    batch = tf.shape(of)[0]
    rows = tf.where(of < 0, -1, of + count * tf.range(batch)[:, None])  # -1 is left out
    flat = reduce(tf.reshape(values, [-1]), tf.reshape(rows, [-1]), batch * count)
    return tf.reshape(flat, (batch, count))


def _shape(tensor: tf.Tensor) -> list[Any]:
    """The sizes of a tensor, known ones as numbers."""
    return [
        tf.shape(tensor)[axis] if size is None else size for axis, size in enumerate(tensor.shape)
    ]


@keras.saving.register_keras_serializable(package="attention_zoo")
class SentenceEncoder(keras.layers.Layer):
    """Reads the words of each sentence, then the sentences in their order.

    A bidirectional GRU over the words of a sentence ends in a vector of it; another one over
    these vectors adds what the sentences before and after it say (the input fusion of Xiong et
    al. 2016). Sentences are read side by side, so a text of many takes as many steps as its
    longest sentence and the number of sentences, not as it has words.

    Args:
        units: width D of a state in each direction, of both.

    Call arguments:
        inputs: vectors of subwords, (B, M, L, E).
        lengths: how many of them each sentence has, 0 where there is none, (B, M).
        counts: how many sentences there are, at least 1, (B,).

    Returns:
        The sentences in their context (B, M, 2 D), meaningless where there is none; the last
        sentence alone and the last states of the reading of all, side by side (B, 4 D).

    Example:

    >>> sentences = split_sentences(source, Boundaries.of(tokenizer), longest=32)
    >>> encoder = SentenceEncoder(64)
    >>> states, last = encoder(embed(sentences.ids), sentences.lengths, sentences.counts)

    Papers: https://arxiv.org/abs/1603.01417; Yang et al. 2016, https://aclanthology.org/N16-1174
    """

    def __init__(self, units: int, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.words = BidirectionalGRU(units, name="words", dtype=self.dtype_policy)
        self.sentences = BidirectionalGRU(units, name="sentences", dtype=self.dtype_policy)

    def build(self, input_shape, lengths_shape=None, counts_shape=None):
        self.words.build((None, None, input_shape[-1]))
        self.sentences.build((None, None, 2 * self.units))

    def call(self, inputs, lengths, counts):
        batch, sentences, words, width = _shape(inputs)
        flat = tf.reshape(inputs, (-1, words, width))
        _, read = self.words(flat, tf.maximum(tf.reshape(lengths, [-1]), 1))
        alone = tf.reshape(read, (batch, sentences, 2 * self.units))
        context, last = self.sentences(alone, counts)
        return alone + context, tf.concat(
            [tf.gather(alone, counts - 1, batch_dims=1), last], axis=-1
        )

    def get_config(self):
        return {**super().get_config(), "units": self.units}
