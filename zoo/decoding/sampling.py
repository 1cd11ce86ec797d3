"""Writing one subword after another: the most probable one, or one drawn from the distribution.

Shapes: B all rows, R rows that go on, N targets of a row, T target length, S source length.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import tensorflow as tf

from ..models.encoder_decoder import EncoderDecoder
from ..text.tokenizer import END_ID, PAD_ID, START_ID
from ..text.unknown import known_ids, name_unknown
from .candidates import (
    SPECIAL,
    candidates,
    log_of_total,
    nameable_rows,
    ruled_out,
    widened,
    without_repeated_ngrams,
)
from .options import IMPOSSIBLE, GenerationOptions, Hypotheses
from .phases import run_in_phases, scatter_rows
from .prefixes import forced_ids, with_room_for


class _Rows(NamedTuple):
    """What is known of each sentence."""

    tokens: tf.Tensor  # (R, N), what was written last
    log_p: tf.Tensor  # (R, N), under the model
    lengths: tf.Tensor  # (R, N), subwords of those that ended; 0 while they go on
    written: Any  # (R, N, T), or () where nobody asks
    limits: tf.Tensor  # (R,), most subwords
    fewest: tf.Tensor  # (R,), before the end
    prefix: Any  # (R, P), ids to begin with, or ()
    source: tf.Tensor  # (R, S)


def write_one_by_one(
    model: EncoderDecoder,
    source: tf.Tensor,
    options: GenerationOptions,
    return_attention: bool = False,
    prefix: tf.Tensor | None = None,
) -> Hypotheses:
    """Writes the most probable subword at every step, or with `do_sample` N targets by chance.

    Of the N targets of a sentence the one with the highest score comes first. Log probabilities
    are those of the model, whatever the temperature is.
    """
    count = options.beam_size if options.do_sample else 1
    batch = tf.shape(source)[0]
    limits = with_room_for(prefix, options.length_limits(source))
    steps = tf.maximum(tf.reduce_max(limits), 1)  # also of a batch without rows
    memory, weights = model.encode(known_ids(source)), model.step_weights()

    def advance(t, places, memory, state, rows: _Rows, history):
        logits, state, attention = model.step(known_ids(rows.tokens), state, memory, weights)
        tokens, log_p = _next(tf.cast(logits, tf.float32), t, rows, options)
        live = rows.lengths == 0
        tokens = tf.where(live, tokens, PAD_ID)
        written = rows.written
        if not isinstance(written, tuple):
            now = tf.range(tf.shape(written)[2]) == t
            written = tf.where(now, tokens[..., None], written)
        if options.replace_unknown:
            tokens = name_unknown(tokens, attention, rows.source)
        ids, looked_at = history
        ids = ids.write(t, scatter_rows(tokens, places, batch))
        if return_attention:
            seen = tf.where(live[..., None], tf.cast(attention, tf.float32), 0.0)
            looked_at = looked_at.write(t, scatter_rows(seen, places, batch))
        rows = rows._replace(
            tokens=tokens,
            log_p=rows.log_p + tf.where(live, log_p, 0.0),
            lengths=tf.where(live & (tokens == END_ID), t + 1, rows.lengths),
            written=written,
        )
        return state, rows, (ids, looked_at)

    zeros = tf.zeros([batch, count], tf.int32)
    rows = _Rows(
        zeros + START_ID,
        tf.zeros([batch, count]),
        zeros,
        tf.zeros([batch, count, steps], tf.int32) if options.no_repeat_ngram else (),
        limits,
        options.fewest(source),
        () if prefix is None else prefix,
        source,
    )
    looked_at = tf.TensorArray(tf.float32, size=steps) if return_attention else ()
    t, (log_p, lengths), (ids, looked_at) = run_in_phases(
        model,
        memory,
        model.initial_state(memory, count, steps),
        rows,
        (tf.TensorArray(tf.int32, size=steps), looked_at),
        steps,
        advance,
        lambda rows: tf.reduce_any(rows.lengths == 0, axis=1),
        lambda rows: (rows.log_p, rows.lengths),
    )
    ids = tf.transpose(ids.stack()[:t], (1, 2, 0))  # (B, N, T)
    scores = log_p / options.penalty(lengths)
    attention = None
    if return_attention:
        attention = tf.transpose(looked_at.stack()[:t], (1, 2, 0, 3))  # (B, N, T, S)
    if count > 1:
        scores, order = tf.math.top_k(scores, count)
        ids = tf.gather(ids, order, batch_dims=1)
        if return_attention:
            attention = tf.gather(attention, order, batch_dims=1)
    return Hypotheses(ids, scores, attention)


def _next(logits, t, rows: _Rows, options: GenerationOptions) -> tuple[tf.Tensor, tf.Tensor]:
    """The next subword of each target (R, N), and its log probability."""
    if options.do_sample:
        chosen, log_total = _drawn(logits, t, rows, options)
    else:
        chosen, log_total = _most_probable(logits, t, rows, options)
    chosen = tf.where((t + 1 >= rows.limits)[:, None], END_ID, chosen)
    if not isinstance(rows.prefix, tuple):
        forced, is_forced = forced_ids(rows.prefix, t)
        chosen = tf.where(is_forced[:, None], forced[:, None], chosen)
    return chosen, tf.gather(logits, chosen, batch_dims=2) - log_total


def _most_probable(logits, t, rows: _Rows, options: GenerationOptions):
    allowed = None
    if options.no_repeat_ngram:
        allowed = without_repeated_ngrams(logits, rows.written, t, options.no_repeat_ngram)
    may_end = t >= rows.fewest
    found = candidates(logits, 1, may_end, options, allowed, nameable_rows(rows.source, options))
    # Where neither may be written, a target ends.
    chosen = tf.where(found.end_log_p >= found.log_p[..., 0], END_ID, found.tokens[..., 0])
    return chosen, found.log_total


def _drawn(logits, t, rows: _Rows, options: GenerationOptions):
    may_end = (tf.range(SPECIAL) == END_ID) & (t >= rows.fewest)[:, None, None]
    special = tf.where(may_end, 0.0, ruled_out(options, nameable_rows(rows.source, options)))
    allowed = logits + widened(special, logits.shape[-1])
    if options.no_repeat_ngram:
        allowed = without_repeated_ngrams(allowed, rows.written, t, options.no_repeat_ngram)
    chosen = draw(allowed, options)
    if options.no_repeat_ngram:  # it can rule out all there is, and then a target ends
        possible = tf.gather(allowed, chosen, batch_dims=2) > IMPOSSIBLE / 2
        chosen = tf.where(possible, chosen, END_ID)
    return chosen, log_of_total(logits)


def draw(logits: tf.Tensor, options: GenerationOptions) -> tf.Tensor:
    """Ids (R, N) drawn from logits (R, N, V) as temperature, top k and top p say.

    Of equal logits at the border of top k, the first are kept.
    """
    vocab_size = logits.shape[-1]
    ids = None
    if options.top_k or options.top_p < 1:
        logits, ids = tf.math.top_k(logits, min(options.top_k or vocab_size, vocab_size))
    logits = _tempered(logits, options.temperature)
    if options.top_p < 1:
        # A subword stays if those before it do not have the probability yet: one always does.
        probabilities = tf.nn.softmax(logits)
        before = tf.cumsum(probabilities, axis=-1, exclusive=True)
        logits = tf.where(before < options.top_p, logits, IMPOSSIBLE)
    # The largest of logits with Gumbel noise is a draw from their softmax.
    uniform = tf.random.uniform(tf.shape(logits), minval=1e-20, seed=options.seed)
    chosen = tf.argmax(logits - tf.math.log(-tf.math.log(uniform)), -1, tf.int32)
    return chosen if ids is None else tf.gather(ids, chosen, batch_dims=2)


def _tempered(logits: tf.Tensor, temperature: float) -> tf.Tensor:
    """Logits (R, N, V) over any temperature, the largest 0: none is ruled out, or in, by it."""
    below = logits - tf.reduce_max(logits, axis=-1, keepdims=True)
    # Float32 has the inverse of no temperature that is next to 0.
    tempered = below * min(1 / temperature, float(tf.float32.max))
    return tf.where(logits > IMPOSSIBLE / 2, tempered, IMPOSSIBLE)
