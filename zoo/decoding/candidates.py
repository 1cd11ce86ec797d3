"""State of a search, the candidates for the next token, and what restricts them.

Over a vocabulary every pass counts, so each is made once and only if it is asked for: the best
tokens are found without sorting, and only for them log probabilities are computed.
Shapes: R rows that go on, N hypotheses of a row, T target length, S source length, P prefix length,
V vocabulary, U unknown pieces of a source.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import tensorflow as tf

from ..models.parts import Nest
from ..text.special_ids import END_ID, PAD_ID, UNKNOWN_ID
from .options import NEG_INF, GenerationOptions

# So many tokens, or nearly, have their maximum looked at in place of them.
_BLOCK, _BLOCKS = 32, range(16, 65)
SPECIAL = 4  # ids below are no text
_ZERO, _NEG_INF = np.float32(0), np.float32(NEG_INF)


class Search(NamedTuple):
    """State of a search before a step.

    Attributes:
        step: int32 (), the number of tokens that each live hypothesis has.
        rows: int32 (R,), the indices of the rows in the whole batch.
        source: int32 (R, S), negative for unknown pieces.
        limits: int32 (R,), the most tokens of a target, end included.
        min_lengths: int32 (R,), the fewest tokens before the end; () without such a limit.
        prefix: int32 (R, P), tokens to begin with, then padding; () without prefixes.
        tokens: int32 (R, N), the last token of each hypothesis; from V on unknown pieces.
        log_p: float32 (R, N), log probability of each.
        live: boolean (R, N), True for hypotheses that go on. A row without one is done.
        written: int32 (R, N, T), all tokens of each, padding from `step` on; () unless a logits
            processor or the strategy reads them.
        own: Nest of tensors (R, ...), state of the strategy.
    """

    step: tf.Tensor
    rows: tf.Tensor
    source: tf.Tensor
    limits: tf.Tensor
    min_lengths: Any
    prefix: Any
    tokens: tf.Tensor
    log_p: tf.Tensor
    live: tf.Tensor
    written: Any
    own: Nest = ()


class LogitsProcessor(Protocol):
    """A function that changes the logits of the next token: any callable with these arguments.

    Args:
        logits: float32 (R, N, V), of the model or of the processor before. With `replace_unknown`
            there are U more columns, for the unknown pieces of the source.
        search: The `Search` so far.

    Returns:
        Logits of the same shape; `NEG_INF` forbids a token. Anything else that is added to a logit
        is added to the log p of the hypothesis that goes on with it.

    Example: tokens that are never written.

    >>> def forbid(*tokens):
    ...     def processor(logits, search):
    ...         forbidden = tf.reduce_any(tf.range(logits.shape[-1])[:, None] == tokens, axis=1)
    ...         return tf.where(forbidden, NEG_INF, logits)
    ...     return processor
    >>> attention_zoo.generate(model, source, options, logits_processors=[forbid(17, 123)])
    """

    def __call__(self, logits: tf.Tensor, search: Search) -> tf.Tensor: ...


@dataclass(frozen=True)
class NoRepeatNgram:
    """Logits processor that forbids each token that would write a run of words a second time.

    Args:
        size: The number of words, at least 1.
        word_starts: For each token, whether it begins a word, (V,); each is a word if `None`. The
            word that is being written may still become another, so it is the last token of the
            earlier one that is forbidden.

    Reference: Paulus et al. 2018, https://arxiv.org/abs/1705.04304
    """

    size: int
    word_starts: Sequence[bool] | tf.Tensor | None = None

    def __call__(self, logits: tf.Tensor, search: Search) -> tf.Tensor:
        hypotheses, longest = tf.shape(search.written)[1], tf.shape(search.written)[2]
        written, positions = tf.reshape(search.written, (-1, longest)), tf.range(longest)
        starts = tf.ones_like(written, tf.bool)
        if self.word_starts is not None:
            word_starts = tf.convert_to_tensor(self.word_starts)
            last = tf.size(word_starts) - 1
            starts = tf.gather(word_starts, tf.minimum(written, last))
            starts |= written > last  # an unknown piece of the source
        begins = starts | (positions == 0)
        # Each token that ends a word ends a run, and so many tokens of that stand before it.
        word = tf.cumsum(tf.cast(begins, tf.int32), axis=1)
        first = tf.searchsorted(word, word - self.size + 1)
        before = positions - first
        # Of the newest word nothing is known but that the same single token again would end it.
        is_newest = positions == search.step - 1
        ends = tf.where(is_newest, starts, tf.roll(begins, -1, axis=1))
        ends &= (word >= self.size) & (positions < search.step)
        ends &= tf.gather(starts, first, batch_dims=1)  # a later word begins with no other token
        # They are compared with as many that were written last.
        back = tf.range(tf.maximum(tf.reduce_max(tf.where(ends, before, 0)), 0))  # of no rows, too
        theirs, ours = positions[:, None] - 1 - back, search.step - 1 - back
        equal = (
            tf.gather(written, tf.maximum(theirs, 0), axis=1)
            == tf.gather(written, tf.maximum(ours, 0), axis=1)[:, None]
        )
        differ = ~equal & (back < before[..., None])
        repeats = tf.cast(tf.where(ends & ~tf.reduce_any(differ, axis=-1)), tf.int32)
        row, position = repeats[:, 0], repeats[:, 1]
        token = tf.gather_nd(written, tf.stack([row, position], axis=1))
        ids = tf.stack([row // hypotheses, row % hypotheses, token], axis=1)
        return tf.tensor_scatter_nd_update(logits, ids, tf.fill(tf.shape(ids)[:1], NEG_INF))


@dataclass(eq=False)
class Candidates:
    """The tokens that each hypothesis can go on with, the end among them.

    Args:
        model_logits: float32 (R, N, V), the model's own; with unknown pieces (R, N, V + U).
        processed: The same after the logits processors.
        special: (..., 4), added to the logits of the special ids: `NEG_INF` for all that may not
            be written. An array where it is the same in every step.
        without_end: The same with the end ruled out, which only a prefix makes another in a step.
        attention: float32 (R, N, S) over the source in this step.
        vocab_size: V; of a shortlist a tensor.
        has_unknown: Whether there are unknown pieces.
    """

    model_logits: tf.Tensor
    processed: tf.Tensor
    special: Any
    without_end: Any
    attention: tf.Tensor
    vocab_size: Any
    has_unknown: bool

    @property
    def are_processed(self) -> bool:
        """True where more is ruled out than special ids, which can be all there is."""
        return self.processed is not self.model_logits

    @functools.cached_property
    def logits(self) -> tf.Tensor:
        """Logits (R, N, V), below `NEG_INF / 2` for all that may not be written."""
        return self.processed + _widened(self.special, tf.shape(self.processed)[-1])

    def best(self, count: int, with_end: bool = True) -> tuple[tf.Tensor, tf.Tensor]:
        """The most probable tokens, as far as there are that many.

        Args:
            count: How many.
            with_end: Whether the end may be among them.

        Returns:
            Ids int32 and log probabilities float32, both (R, N, count), the best first; `NEG_INF`
            for what may not be written.
        """
        special = self.special if with_end else self.without_end
        known = self.processed[..., : self.vocab_size] if self.has_unknown else self.processed
        size = tf.get_static_value(self.vocab_size)
        if size is not None:
            count = min(count, int(size))
            known.set_shape((None, None, size))
        elif count > 1:
            count = tf.minimum(count, self.vocab_size)
        tokens, values = best_tokens(known, count, special)
        if self.has_unknown:
            values = tf.concat([values, self.processed[..., self.vocab_size :]], axis=-1)
            values, order = tf.math.top_k(values, count)
            unknown = self.vocab_size + order - count
            found = tf.gather(tokens, tf.minimum(order, count - 1), batch_dims=2)
            tokens = tf.where(order < count, found, unknown)
        if self.are_processed:
            log_p = values - self.log_total[..., None]
        else:
            log_p = tf.gather(self.log_probabilities, tokens, batch_dims=2)
        return tokens, tf.where(values > NEG_INF / 2, log_p, NEG_INF)

    def end_log_p(self) -> tf.Tensor:
        """Computes the log probability of ending here.

        Returns:
            float32 (R, N), `NEG_INF` where the end may not be written.
        """
        if self.are_processed:
            log_p = self.processed[..., END_ID] - self.log_total
        else:
            log_p = self.log_probabilities[..., END_ID]
        if isinstance(self.special, np.ndarray) and not self.are_processed:
            return log_p
        end = self.processed[..., END_ID] + self.special[..., END_ID]
        return tf.where(end > NEG_INF / 2, log_p, NEG_INF)

    def log_p(self, tokens: tf.Tensor) -> tf.Tensor:
        """Looks up the log probability of one token of each hypothesis.

        Args:
            tokens: int32 (R, N).

        Returns:
            float32 (R, N); of a forbidden token what the model itself gives it.
        """
        log_p = tf.gather(self.log_probabilities, tokens, batch_dims=2)
        if self.are_processed:
            processed = tf.gather(self.processed, tokens, batch_dims=2)
            log_p = tf.where(processed > NEG_INF / 2, processed - self.log_total, log_p)
        return log_p

    @functools.cached_property
    def log_probabilities(self) -> tf.Tensor:
        """Those of the model, (R, N, V) as its logits: whatever may not be written counts too."""
        # Not by oneDNN, whose softmax takes longer to begin than this one takes for one row.
        return tf.nn.log_softmax(self.model_logits)

    @functools.cached_property
    def log_total(self) -> tf.Tensor:
        """Log of the sum of e to each of the model's logits, (R, N)."""
        return tf.reduce_max(self.model_logits, -1) - tf.reduce_max(self.log_probabilities, -1)


def make_candidates(
    logits: tf.Tensor,
    attention: tf.Tensor,
    search: Search,
    options: GenerationOptions,
    processors: Sequence[LogitsProcessor],
    vocab_size: Any,
) -> Candidates:
    """Candidates of a step, by the options, processors and prefixes."""
    logits = processed = tf.cast(logits, tf.float32)
    for processor in processors:
        processed = tf.convert_to_tensor(processor(processed, search), tf.float32)
        if not processed.shape.is_compatible_with(logits.shape):
            raise ValueError(
                "A logits processor returns logits of the shape that it is given, "
                f"{tuple(logits.shape)}. Received: shape={tuple(processed.shape)} of {processor!r}"
            )
    ids = np.arange(SPECIAL)
    # None of them goes on with a target but the unknown token, where it is allowed.
    writes = (ids == UNKNOWN_ID) & (not options.forbid_unknown)
    special: Any = np.where(writes | (ids == END_ID), _ZERO, _NEG_INF)
    without_end: Any = np.where(writes, _ZERO, _NEG_INF)
    if not isinstance(search.min_lengths, tuple):
        may_end = (search.step >= search.min_lengths)[:, None, None]
        special = tf.where(may_end, special, without_end)
    if not isinstance(search.prefix, tuple):
        # Where a prefix goes on, its token is the one candidate.
        forced = search.prefix[:, search.step]
        is_forced = (forced != PAD_ID)[:, None, None]
        others = tf.one_hot(forced, tf.shape(logits)[-1], on_value=False, off_value=True)[:, None]
        processed = tf.where(is_forced, tf.where(others, NEG_INF, logits), processed)
        special, without_end = (tf.where(is_forced, 0.0, x) for x in (special, without_end))
    has_unknown = options.replace_unknown
    return Candidates(logits, processed, special, without_end, attention, vocab_size, has_unknown)


def best_tokens(logits: tf.Tensor, count: int, special: Any) -> tuple[tf.Tensor, tf.Tensor]:
    """Ids and logits (R, N, count) of the largest logits (R, N, V), the largest first.

    The `count` largest lie in the `count` blocks with the largest maxima, so only those are
    sorted. It takes a third of the time of a sort of the whole vocabulary, and gives the same.

    Args:
        logits: (R, N, V).
        count: How many.
        special: Addend to the logits of the special ids, (..., 4), not above 0.
    """
    _, hypotheses, vocab_size = logits.shape
    if vocab_size is None:  # of a shortlist, whose tokens are few
        values, ids = tf.math.top_k(logits + _widened(special, tf.shape(logits)[-1]), count)
        return ids, values
    if hypotheses is None:
        hypotheses = tf.shape(logits)[1]
    block = _block_size(vocab_size)
    blocks = vocab_size // block
    # For several tokens, it is added to those blocks alone, of which there is one more: the first
    # may owe its maximum to a special id.
    is_late = isinstance(special, np.ndarray) and count > 1 and blocks > 2 * (count + 1)
    chosen = count + is_late
    if not is_late:
        logits = logits + _widened(special, vocab_size)
    if blocks <= 2 * chosen:
        values, ids = tf.math.top_k(logits, count)
        return ids, values
    logits = tf.reshape(logits, (-1, vocab_size))
    rest = vocab_size % block
    in_blocks = logits[:, : vocab_size - rest] if rest else logits
    in_blocks = tf.reshape(in_blocks, (-1, blocks, block))
    largest = tf.reduce_max(in_blocks, axis=-1)
    # In rising order, so that of equal logits the first wins, as in a sort of all.
    if count == 1:
        best = tf.argmax(largest, axis=-1, output_type=tf.int32)[:, None]
    else:
        best = -tf.math.top_k(-tf.math.top_k(largest, chosen)[1], chosen)[0]
    values = tf.gather(in_blocks, best, batch_dims=1)
    if is_late:
        is_first = tf.cast(best == 0, values.dtype)[..., None]
        values += is_first * np.pad(special, (0, block - SPECIAL))
    values = tf.reshape(values, (-1, chosen * block))
    ids = tf.reshape(best[..., None] * block + tf.range(block), (-1, chosen * block))
    if rest:  # as one more block
        values = tf.concat([values, logits[:, vocab_size - rest :]], axis=-1)
        rest_ids = tf.zeros_like(best[:, :1]) + tf.range(vocab_size - rest, vocab_size)
        ids = tf.concat([ids, rest_ids], axis=-1)
    values, order = tf.math.top_k(values, count)
    ids = tf.gather(ids, order, batch_dims=1)
    return tuple(tf.reshape(x, (-1, hypotheses, count)) for x in (ids, values))


def _widened(special: Any, width: Any) -> Any:
    """(..., 4) with zeros after it, (..., width)."""
    before = [[0, 0]] * (len(special.shape) - 1)
    return tf.pad(special, [*before, [0, width - SPECIAL]])


def _block_size(vocab_size: int) -> int:
    """The best size that leaves no rest, for which all logits would have to be copied."""
    sizes = sorted(_BLOCKS, key=lambda size: abs(size - _BLOCK))
    return next((size for size in sizes if vocab_size % size == 0), _BLOCK)
