"""A source as sentences: where they end, and what a vector says of each.

Shapes: B batch, S source length, M sentences, L tokens of a sentence, E embedding, D units.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from ...layers.ops.arguments import positive_int
from ...layers.ops.dropout import Dropout
from ..text.source_format import SEPARATOR
from ..text.tokenizer import END_ID, PAD_ID, SubwordTokenizer
from .parts import Encoded, Encoder, check_rate
from .unroll import BidirectionalGRU

MARKS = (".", "!", "?", "…", "。", "！", "？", "؟", "।")  # that sentences end with


class Sentences(NamedTuple):
    """The sentences of sources.

    Attributes:
        ids: tokens, (B, M, L).
        positions: their positions in the source, 0 for none, (B, M, L).
        lengths: how many tokens each has, 0 where there is none, (B, M).
        of: the number of the sentence that each subword of the source is in, -1 for padding and
            separators, (B, S).
    """

    ids: tf.Tensor
    positions: tf.Tensor
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


class Boundaries(NamedTuple):
    """The ids that sentences end with.

    Attributes:
        marks: tokens that are the end of a sentence.
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
    """Splits sources at separators, and after each run of tokens that end a sentence.

    What has none of them for long is split after `longest` tokens.

    Args:
        source: ids, (B, S), padded at the end.
        boundaries: where sentences end.
        longest: most tokens of a sentence, L.
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
    begun = tf.gather(_first_positions(place, of, length), tf.maximum(of, 0), batch_dims=1)
    of = _numbers(begins | (text & tf.equal((place - begun) % longest, 0)), text)
    count = length if static_shapes else tf.maximum(tf.reduce_max(of) + 1, 1)
    lengths = _by_sentence(tf.math.unsorted_segment_sum, tf.cast(text, tf.int32), of, count)
    width = longest if static_shapes else tf.maximum(tf.reduce_max(lengths), 1)
    inside = tf.range(width) < lengths[..., None]
    positions = _first_positions(place, of, count)[..., None] + tf.range(width)
    positions = tf.where(inside, positions, 0)
    ids = tf.gather(source, positions, batch_dims=1)
    return Sentences(tf.where(inside, ids, PAD_ID), positions, lengths, of)


def _is_any(ids: tf.Tensor, wanted: list[int]) -> tf.Tensor:
    return tf.reduce_any(tf.equal(ids[..., None], tf.constant(wanted, ids.dtype)), axis=-1)


def _numbers(begins: tf.Tensor, text: tf.Tensor) -> tf.Tensor:
    """The number of the sentence at each place, -1 where there is no text."""
    return tf.where(text, tf.cumsum(tf.cast(begins, tf.int32), axis=1) - 1, -1)


def _first_positions(place: tf.Tensor, of: tf.Tensor, count: Any) -> tf.Tensor:
    return _by_sentence(tf.math.unsorted_segment_min, place, of, count)


def _by_sentence(reduce: Any, values: tf.Tensor, of: tf.Tensor, count: Any) -> tf.Tensor:
    """Values of tokens (B, S) reduced to one for each sentence, (B, M)."""
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
class SentenceEncoder(Encoder):
    """Reads the words of each sentence, then the sentences in their order.

    A bidirectional GRU over the words of a sentence ends in a vector of it; another one over
    these vectors adds what the sentences before and after it say (the input fusion of Xiong et
    al. 2016). Sentences are read side by side, so a text of many takes as many steps as its
    longest sentence and the number of sentences, not as it has words.

    The states are those of the sentences but the last, which is what is asked of the others; the
    summary is the last sentence alone and the last states of the reading of all, side by side.

    Args:
        units: Width D of a state in each direction, of both.
        sentence_marks: Ids that are the end of a sentence.
        separator_ids: Ids that stand between sentences.
        max_sentence_length: What has no end for that many tokens is split.
        dropout: Rate on embeddings and on what is attended to.

    Raises:
        ValueError: An argument is impossible.

    References: https://arxiv.org/abs/1603.01417; Yang et al. 2016,
    https://aclanthology.org/N16-1174
    """

    reads_ids = True
    loops_over_time = True

    def __init__(
        self,
        units: int,
        sentence_marks: Sequence[int] = (),
        separator_ids: Sequence[int] = (END_ID,),
        max_sentence_length: int = 32,
        dropout: float = 0.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.units = positive_int("units", units)
        self.boundaries = Boundaries(
            _ids("sentence_marks", sentence_marks), _ids("separator_ids", separator_ids)
        )
        self.max_sentence_length = positive_int("max_sentence_length", max_sentence_length)
        self.dropout = check_rate("dropout", dropout)
        self._dropout = Dropout(dropout, dtype=self.dtype_policy)
        self.words = BidirectionalGRU(units, name="words", dtype=self.dtype_policy)
        self.sentences = BidirectionalGRU(units, name="sentences", dtype=self.dtype_policy)

    def build(self, inputs_shape, mask_shape=None, ids_shape=None):
        self.words.build((None, None, inputs_shape[-1]))
        self.sentences.build((None, None, 2 * self.units))
        self.built = True

    def call(self, inputs, mask, ids, training=False):
        found = split_sentences(ids, self.boundaries, self.max_sentence_length, self.static_shapes)
        embedded = tf.gather(
            self._dropout(inputs, training=training), found.positions, batch_dims=1
        )
        batch, sentences, words, width = _shape(embedded)
        flat = tf.reshape(embedded, (-1, words, width))
        _, read = self.words(flat, tf.maximum(tf.reshape(found.lengths, [-1]), 1))
        alone = tf.reshape(read, (batch, sentences, 2 * self.units))
        context, last = self.sentences(alone, found.counts)
        question = tf.gather(alone, found.counts - 1, batch_dims=1)
        return Encoded(
            self._dropout(alone + context, training=training),
            found.but_the_last(),
            tf.concat([question, last], axis=-1),
            found.of,
        )

    def get_config(self):
        return {
            **super().get_config(),
            "units": self.units,
            "sentence_marks": self.boundaries.marks,
            "separator_ids": self.boundaries.separators,
            "max_sentence_length": self.max_sentence_length,
            "dropout": self.dropout,
        }


def kwargs_from_tokenizer(tokenizer: SubwordTokenizer) -> dict[str, Any]:
    """Arguments of `memory_network` that follow from the tokens of a source."""
    marks, separators = Boundaries.of(tokenizer)
    return {"sentence_marks": marks, "separator_ids": separators}


def _ids(name: str, ids: Any) -> list[int]:
    """A list of token ids, refused if it is something else."""
    listed: list[Any] = (
        list(ids) if isinstance(ids, Sequence) and not isinstance(ids, str) else [None]
    )
    if not all(type(index) is int and index >= 0 for index in listed):
        raise ValueError(f"{name} is a list of token ids. Received: {name}={ids!r}")
    return listed
