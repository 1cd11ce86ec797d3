"""Beam search: finished hypotheses kept apart from live ones, histories as back pointers.

Shapes: B all rows, R rows that go on, N beams, T target length, S source length, V vocabulary.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import tensorflow as tf

from ..models.encoder_decoder import EncoderDecoder
from ..text.tokenizer import END_ID, PAD_ID, START_ID
from ..text.unknown import known_ids, name_unknown
from .candidates import Candidates, candidates, nameable_rows, without_repeated_ngrams
from .options import IMPOSSIBLE, GenerationOptions, Hypotheses
from .phases import run_in_phases, scatter_rows
from .prefixes import forced_ids, with_room_for


class _Live(NamedTuple):
    """The hypotheses that go on."""

    tokens: tf.Tensor  # (R, N), what each wrote last
    log_p: tf.Tensor  # (R, N)
    written: Any  # (R, N, T), all that each wrote, or () where nobody asks
    covered: Any  # (R, N, S), the attention each paid so far, or ()


class _Finished(NamedTuple):
    """The N best that have ended: their scores, the step of their end, the beam they came from."""

    scores: tf.Tensor  # (R, N)
    ends: tf.Tensor  # (R, N)
    beams: tf.Tensor  # (R, N)


class _Rows(NamedTuple):
    """What the search knows of each sentence."""

    live: _Live
    finished: _Finished
    limits: tf.Tensor  # (R,), most subwords
    fewest: tf.Tensor  # (R,), before the end
    prefix: Any  # (R, P), ids to begin with, or ()
    source: tf.Tensor  # (R, S)


class _History(NamedTuple):
    """For every step the subword of each beam, the beam it goes back to, and what was looked at."""

    tokens: tf.TensorArray  # T times (B, N)
    parents: tf.TensorArray  # T times (B, N)
    attention: tf.TensorArray  # T times (B, N, S), or nothing


def beam_search(
    model: EncoderDecoder,
    source: tf.Tensor,
    options: GenerationOptions,
    return_attention: bool = False,
    prefix: tf.Tensor | None = None,
) -> Hypotheses:
    """The N best targets of each source (B, S) under the model, as far as N beams can find them.

    At every step each live hypothesis is offered its end, which competes in the finished set by
    score, and the N best continuations of all live ones go on. A sentence is done, and leaves the
    batch, when its length limit is reached or no live hypothesis is worth going on with
    (`options.early_stopping`). The result of a row does not depend on the other rows.

    Reference: Wu et al. 2016, https://arxiv.org/abs/1609.08144, section 7
    """
    batch = tf.shape(source)[0]
    limits = with_room_for(prefix, options.length_limits(source))
    steps = tf.maximum(tf.reduce_max(limits), 1)  # also of a batch without rows
    memory, weights = model.encode(known_ids(source)), model.step_weights()

    def advance(t, places, memory, state, rows: _Rows, history: _History):
        logits, state, attention = model.step(known_ids(rows.live.tokens), state, memory, weights)
        found = _candidates(logits, t, rows, options)
        if prefix is not None:
            found = _force(found, logits, rows, t)
        finished = _add_finished(rows, found.end_log_p, attention, t, options)
        live, parents = _go_on(rows, found, options.beam_size)
        if options.replace_unknown:
            looked_at = tf.gather(attention, parents, batch_dims=1)
            live = live._replace(tokens=name_unknown(live.tokens, looked_at, rows.source))
        live = _remember(live, rows.live, parents, attention, t)
        rows = rows._replace(live=live, finished=finished)
        live = live._replace(log_p=_without_hope(rows, t, options))
        state = model.reorder_state(state, parents)
        history = _write(history, t, live.tokens, parents, attention, places, batch)
        return state, rows._replace(live=live), history

    tokens = tf.TensorArray(tf.int32, size=steps)
    parents = tf.TensorArray(tf.int32, size=steps)
    looked_at = tf.TensorArray(tf.float32, size=steps if return_attention else 0)
    rows = _first_rows(source, options, limits, steps, prefix)
    t, finished, history = run_in_phases(
        model,
        memory,
        model.initial_state(memory, options.beam_size, steps),
        rows,
        _History(tokens, parents, looked_at if return_attention else ()),
        steps,
        advance,
        lambda rows: tf.reduce_any(rows.live.log_p > IMPOSSIBLE / 2, axis=1),
        lambda rows: rows.finished,
    )
    return _read_back(t, finished, history)


def _first_rows(source, options: GenerationOptions, limits, steps, prefix) -> _Rows:
    batch, beams = tf.shape(source)[0], options.beam_size
    # All beams start alike, so all but the first are ruled out: they would only repeat it.
    log_p = tf.one_hot(tf.zeros([batch], tf.int32), beams, on_value=0.0, off_value=IMPOSSIBLE)
    zeros = tf.zeros([batch, beams], tf.int32)
    live = _Live(
        tf.fill([batch, beams], START_ID),
        log_p,
        tf.zeros([batch, beams, steps], tf.int32) if options.no_repeat_ngram else (),
        tf.zeros([batch, beams, tf.shape(source)[1]]) if options.coverage_penalty else (),
    )
    finished = _Finished(tf.fill([batch, beams], IMPOSSIBLE), zeros, zeros)
    prefix = () if prefix is None else prefix
    return _Rows(live, finished, limits, options.fewest(source), prefix, source)


def _candidates(logits, t, rows: _Rows, options: GenerationOptions) -> Candidates:
    logits = tf.cast(logits, tf.float32)
    allowed = None
    if options.no_repeat_ngram:
        allowed = without_repeated_ngrams(logits, rows.live.written, t, options.no_repeat_ngram)
    nameable = nameable_rows(rows.source, options)
    return candidates(logits, options.beam_size, t >= rows.fewest, options, allowed, nameable)


def _force(found: Candidates, logits, rows: _Rows, t) -> Candidates:
    """Where a prefix goes on, its subword is the one candidate of each hypothesis."""
    ids, is_forced = forced_ids(rows.prefix, t)
    here = is_forced[:, None]
    log_p = tf.cast(tf.gather(logits, ids, axis=2, batch_dims=1), tf.float32) - found.log_total
    first = tf.range(found.tokens.shape[-1]) == 0
    return found._replace(
        tokens=tf.where(here[..., None], ids[:, None, None], found.tokens),
        log_p=tf.where(here[..., None], tf.where(first, log_p[..., None], IMPOSSIBLE), found.log_p),
        end_log_p=tf.where(here, IMPOSSIBLE, found.end_log_p),
    )


def _add_finished(rows: _Rows, end_log_p, attention, t, options: GenerationOptions) -> _Finished:
    """The N best of those finished before and the N live ones ended now."""
    finished, beams = rows.finished, options.beam_size
    log_p = end_log_p + rows.live.log_p
    scores = log_p / options.penalty(t + 1)
    if options.coverage_penalty:
        covered = rows.live.covered + tf.cast(attention, tf.float32)
        scores += options.coverage_penalty * _coverage(covered, rows.source != PAD_ID)
    # What was ruled out must stay below all that was not, whatever it is divided by.
    scores = tf.where(log_p > IMPOSSIBLE / 2, scores, IMPOSSIBLE)
    scores, best = tf.math.top_k(tf.concat([finished.scores, scores], axis=1), beams)
    ends = tf.concat([finished.ends, tf.fill(tf.shape(log_p), t)], axis=1)
    came_from = tf.zeros_like(finished.beams) + tf.range(beams)
    came_from = tf.concat([finished.beams, came_from], axis=1)
    return _Finished(
        scores, tf.gather(ends, best, batch_dims=1), tf.gather(came_from, best, batch_dims=1)
    )


def _coverage(covered: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    """Sum over the source of log min(1, attention paid): (R, N), 0 where all was looked at."""
    logs = tf.math.log(tf.clip_by_value(covered, 1e-6, 1.0))
    return tf.reduce_sum(tf.where(mask[:, None], logs, 0.0), axis=-1)


def _go_on(rows: _Rows, found: Candidates, beams: int) -> tuple[_Live, tf.Tensor]:
    """The N best continuations of all live hypotheses, and the beam that each continues."""
    each = found.tokens.shape[-1]
    log_p = tf.reshape(found.log_p + rows.live.log_p[..., None], (-1, beams * each))
    log_p, chosen = tf.math.top_k(log_p, beams)
    tokens = tf.gather(tf.reshape(found.tokens, (-1, beams * each)), chosen, batch_dims=1)
    return rows.live._replace(tokens=tokens, log_p=tf.maximum(log_p, IMPOSSIBLE)), chosen // each


def _remember(live: _Live, before: _Live, parents, attention, t) -> _Live:
    """What the chosen beams wrote and looked at until now."""
    if not isinstance(live.written, tuple):
        written = tf.gather(before.written, parents, batch_dims=1)
        now = tf.range(tf.shape(written)[2]) == t
        newest = known_ids(live.tokens)[..., None]
        live = live._replace(written=tf.where(now, newest, written))
    if not isinstance(live.covered, tuple):
        covered = before.covered + tf.cast(attention, tf.float32)
        live = live._replace(covered=tf.gather(covered, parents, batch_dims=1))
    return live


def _without_hope(rows: _Rows, t, options: GenerationOptions) -> tf.Tensor:
    """Log p (R, N) of the live hypotheses, `IMPOSSIBLE` where none is worth going on with."""
    # Log probabilities only fall, and the coverage penalty is never above 0. The best a live
    # hypothesis can come to is its present log p, over the largest penalty there is; what it will
    # likely come to, over that of its next length.
    log_p = rows.live.log_p
    length = t + 2 if options.early_stopping else rows.limits
    hope = tf.reduce_max(log_p, axis=1) / options.penalty(length)
    # At the limit of a sentence all that goes on has lost.
    done = (hope <= tf.reduce_min(rows.finished.scores, axis=1)) | (t + 1 >= rows.limits)
    return tf.where(done[:, None], IMPOSSIBLE, log_p)


def _write(history: _History, t, tokens, parents, attention, places, batch) -> _History:
    """The step in its place; only rows that go on are read back so far."""
    looked_at = history.attention
    if not isinstance(looked_at, tuple):
        attention = scatter_rows(tf.cast(attention, tf.float32), places, batch)
        looked_at = looked_at.write(t, attention)
    return _History(
        history.tokens.write(t, scatter_rows(tokens, places, batch)),
        history.parents.write(t, scatter_rows(parents, places, batch)),
        looked_at,
    )


def _read_back(steps: tf.Tensor, finished: _Finished, history: _History) -> Hypotheses:
    """Follows the back pointers of the finished hypotheses from their ends."""
    with_attention = not isinstance(history.attention, tuple)

    def body(t, beams, ids, looked_at):
        here = t == finished.ends
        before = t < finished.ends
        token = tf.gather(history.tokens.read(t), beams, batch_dims=1)
        parents = tf.gather(history.parents.read(t), beams, batch_dims=1)
        ids = ids.write(t, tf.where(here, END_ID, tf.where(before, token, PAD_ID)))
        beams = tf.where(before, parents, beams)  # the beam that asked at step t
        if with_attention:
            scores = tf.gather(history.attention.read(t), beams, batch_dims=1)  # (B, N, S)
            looked_at = looked_at.write(t, tf.where((here | before)[..., None], scores, 0.0))
        return t - 1, beams, ids, looked_at

    _, _, ids, looked_at = tf.while_loop(
        lambda t, *_: t >= 0,
        body,
        (
            steps - 1,
            finished.beams,
            tf.TensorArray(tf.int32, size=steps),
            tf.TensorArray(tf.float32, size=steps if with_attention else 0),
        ),
        parallel_iterations=1,
    )
    longest = tf.maximum(tf.reduce_max(finished.ends) + 1, 1)
    ids = tf.transpose(ids.stack(), (1, 2, 0))[..., :longest]  # (B, N, T)
    attention = None
    if with_attention:
        attention = tf.transpose(looked_at.stack(), (1, 2, 0, 3))[:, :, :longest]  # (B, N, T, S)
    return Hypotheses(ids, finished.scores, attention)
