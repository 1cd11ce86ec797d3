"""A source as sentences: where they end, and what a vector says of each.

Shapes: B batch, S source length, M sentences, L tokens of a sentence, E embedding, D units.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import keras
from keras import ops

from ...layers.ops.arguments import positive_int
from ...layers.ops.dropout import Dropout
from ..text.source_format import SEPARATOR
from ..text.special_ids import END_ID, PAD_ID
from .backend import take_beams
from .parts import Encoded, Encoder, check_rate
from .unroll import BidirectionalGRU

if TYPE_CHECKING:
    from ..text.tokenizer import Tokenizer


class Sentences(NamedTuple):
    """The sentences of sources.

    Attributes:
        ids: Tokens, (B, M, L).
        positions: Their positions in the source, 0 for none, (B, M, L).
        lengths: The number of tokens of each, 0 where there is no sentence, (B, M).
        of: The number of the sentence that each token of the source is in, -1 for padding and
            separators, (B, S).
    """

    ids: Any
    positions: Any
    lengths: Any
    of: Any

    @property
    def counts(self):
        """The number of sentences of each source, at least 1: (B,)."""
        there = ops.sum(ops.cast(self.lengths > 0, "int32"), axis=1)
        return ops.maximum(there, 1)

    def but_the_last(self):
        """Mask of the sentences that are not the last one (B, M); of all if there is no other."""
        there = self.lengths > 0
        last = take_beams(self.ids, ops.expand_dims(self.counts - 1, 1))  # (B, 1, L)
        others = ops.logical_and(there, ops.any(ops.not_equal(self.ids, last), axis=-1))
        return ops.where(ops.any(others, axis=1, keepdims=True), others, there)


class Boundaries(NamedTuple):
    """The ids that sentences end with.

    Attributes:
        marks: tokens that are the end of a sentence.
        separators: ids that stand between sentences, such as the end of the source.
    """

    marks: list[int]
    separators: list[int]


def split_sentences(
    source: Any, boundaries: Boundaries, longest: int, static_shapes: bool = False
) -> Sentences:
    """Splits sources at separators, and after each run of tokens that end a sentence.

    What has none of them for long is split after `longest` tokens.

    Args:
        source: Ids, (B, S), padded at the end.
        boundaries: Where sentences end.
        longest: Most tokens of a sentence, L.
        static_shapes: Make room for as many and as long sentences as there can be, so that no
            shape depends on values.
    """
    source = ops.convert_to_tensor(source)
    batch, length = ops.shape(source)
    text = ops.logical_not(_is_any(source, [PAD_ID, *boundaries.separators]))
    mark = _is_any(source, boundaries.marks)
    ended = ops.logical_and(_before(mark), ops.logical_not(mark))
    begins = ops.logical_and(text, ops.logical_or(ended, ops.logical_not(_before(text))))
    here = ops.broadcast_to(ops.arange(length, dtype="int32"), (batch, length))
    of = _numbers(begins, text)
    begun = take_beams(_first_positions(here, of, length), ops.maximum(of, 0))
    full = ops.equal((here - begun) % longest, 0)
    of = _numbers(ops.logical_or(begins, ops.logical_and(text, full)), text)
    count = length if static_shapes else ops.maximum(ops.max(of) + 1, 1)
    lengths = _by_sentence(ops.segment_sum, ops.cast(text, "int32"), of, count)
    width = longest if static_shapes else ops.maximum(ops.max(lengths), 1)
    offsets = ops.arange(width, dtype="int32")
    inside = offsets < ops.expand_dims(lengths, -1)
    positions = ops.expand_dims(_first_positions(here, of, count), -1) + offsets
    positions = ops.where(inside, positions, 0)
    ids = ops.reshape(take_beams(source, ops.reshape(positions, (batch, -1))), ops.shape(inside))
    return Sentences(ops.where(inside, ids, PAD_ID), positions, lengths, of)


def _is_any(ids: Any, wanted: list[int]) -> Any:
    wanted = ops.convert_to_tensor(wanted or [-1], dtype=ids.dtype)
    return ops.any(ops.equal(ops.expand_dims(ids, -1), wanted), axis=-1)


def _before(flags: Any) -> Any:
    """Values of the position before; False at the first."""
    return ops.pad(flags[:, :-1], [[0, 0], [1, 0]])


def _numbers(begins: Any, text: Any) -> Any:
    """The number of the sentence at each position, -1 where there is no text."""
    return ops.where(text, ops.cumsum(ops.cast(begins, "int32"), axis=1) - 1, -1)


def _first_positions(here: Any, of: Any, count: Any) -> Any:
    return -_by_sentence(ops.segment_max, -here, of, count)


def _by_sentence(reduce: Any, values: Any, of: Any, count: Any) -> Any:
    """Values of tokens (B, S) reduced to one for each sentence, (B, M)."""
    batch = ops.shape(of)[0]
    rows = ops.expand_dims(ops.arange(batch, dtype="int32"), 1)
    # What is in no sentence has a segment of its own, the last.
    rows = ops.where(of < 0, batch * count, of + count * rows)
    found = reduce(ops.reshape(values, (-1,)), ops.reshape(rows, (-1,)), batch * count + 1)
    return ops.reshape(found[:-1], (batch, count))


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
        **kwargs: As for every Keras layer.

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
        batch, sentences, words = ops.shape(found.positions)
        embedded = take_beams(
            self._dropout(inputs, training=training), ops.reshape(found.positions, (batch, -1))
        )
        flat = ops.reshape(embedded, (-1, words, inputs.shape[-1]))
        _, read = self.words(flat, ops.maximum(ops.reshape(found.lengths, (-1,)), 1))
        alone = ops.reshape(read, (batch, sentences, 2 * self.units))
        context, last = self.sentences(alone, found.counts)
        question = take_beams(alone, ops.expand_dims(found.counts - 1, 1))[:, 0]
        return Encoded(
            self._dropout(alone + context, training=training),
            found.but_the_last(),
            ops.concatenate([question, last], axis=-1),
            found.of,
        )


def kwargs_from_tokenizer(tokenizer: Tokenizer) -> dict[str, Any]:
    """Arguments of `memory_network` that follow from the tokens of a source.

    Its texts are split into sentences before they are tokens, see `SourceFormat`, and a separator
    is what stands between them. Models of earlier versions know tokens that a sentence ends with.
    """
    return {"separator_ids": [END_ID, tokenizer.source.id_of(SEPARATOR)]}


def _ids(name: str, ids: Any) -> list[int]:
    """A list of token ids, refused if it is something else."""
    listed: list[Any] = (
        list(ids) if isinstance(ids, Sequence) and not isinstance(ids, str) else [None]
    )
    if not all(type(index) is int and index >= 0 for index in listed):
        raise ValueError(f"{name} is a list of token ids. Received: {name}={ids!r}")
    return listed
