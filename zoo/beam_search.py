"""Beam search: finished hypotheses kept apart from live ones, histories as back pointers.

Shapes: B batch, N beams, T target length, S source length, V vocabulary.
"""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from .generation import IMPOSSIBLE, GenerationOptions, Hypotheses
from .model import Nest, Seq2SeqModel
from .tokenizer import END_ID, PAD_ID, START_ID


class _Live(NamedTuple):
    """The hypotheses that go on: what each wrote last, its log probability, the model's state."""

    tokens: tf.Tensor  # (B, N)
    log_p: tf.Tensor  # (B, N)
    state: Nest


class _Finished(NamedTuple):
    """The N best that have ended: their scores, the step of their end, the beam they came from."""

    scores: tf.Tensor  # (B, N)
    ends: tf.Tensor  # (B, N)
    beams: tf.Tensor  # (B, N)


class _History(NamedTuple):
    """For every step the subword of each beam, the beam it goes back to, and what was looked at."""

    tokens: tf.TensorArray  # T times (B, N)
    parents: tf.TensorArray  # T times (B, N)
    attention: tf.TensorArray  # T times (B, N, S), or nothing


def beam_search(
    model: Seq2SeqModel,
    source: tf.Tensor,
    options: GenerationOptions,
    return_attention: bool = False,
) -> Hypotheses:
    """The N best targets of each source (B, S) under the model, as far as N beams can find them.

    At every step each live hypothesis is offered its end, which competes in the finished set by
    score, and the N best continuations of all live ones go on. A sentence is done when its length
    limit is reached or no live hypothesis is worth going on with (`options.early_stopping`). The
    result of a row does not depend on the other rows.

    Reference: Wu et al. 2016, https://arxiv.org/abs/1609.08144, section 7
    """
    beams = options.beam_size
    limits = options.length_limits(source)
    steps = tf.maximum(tf.reduce_max(limits), 1)  # also of a batch without rows
    memory = model.encode(source)
    batch = tf.shape(source)[0]

    def body(t, live: _Live, finished: _Finished, history: _History):
        logits, state, attention = model.step(live.tokens, live.state, memory)
        log_p = options.log_probabilities(logits, t) + live.log_p[..., None]  # (B, N, V)
        finished = _add_finished(finished, log_p[..., END_ID], t, options)
        tokens, parents, log_p = _best_continuations(log_p, beams)
        # At the limit of a sentence all that goes on has lost.
        log_p = tf.where((t + 1 < limits)[:, None], log_p, IMPOSSIBLE)
        log_p = tf.where(_is_done(log_p, finished, t, limits, options)[:, None], IMPOSSIBLE, log_p)
        history = _History(
            history.tokens.write(t, tokens),
            history.parents.write(t, parents),
            history.attention.write(t, tf.cast(attention, tf.float32))
            if return_attention
            else history.attention,
        )
        return t + 1, _Live(tokens, log_p, model.reorder(state, parents)), finished, history

    # All beams start alike, so all but the first are ruled out: they would only repeat it.
    first = tf.one_hot(tf.zeros([batch], tf.int32), beams, on_value=0.0, off_value=IMPOSSIBLE)
    live = _Live(tf.fill([batch, beams], START_ID), first, model.start(memory, beams, steps))
    zeros = tf.zeros([batch, beams], tf.int32)
    finished = _Finished(tf.fill([batch, beams], IMPOSSIBLE), zeros, zeros)
    history = _History(
        tf.TensorArray(tf.int32, size=steps),
        tf.TensorArray(tf.int32, size=steps),
        tf.TensorArray(tf.float32, size=steps if return_attention else 0),
    )
    t, _, finished, history = tf.while_loop(
        lambda t, live, *_: (t == 0) | ((t < steps) & tf.reduce_any(live.log_p > IMPOSSIBLE / 2)),
        body,
        (0, live, finished, history),
        maximum_iterations=steps,
        parallel_iterations=1,
    )
    return _read_back(t, finished, history, return_attention)


def _add_finished(
    finished: _Finished, log_p: tf.Tensor, t: tf.Tensor, options: GenerationOptions
) -> _Finished:
    """The N best of those finished before and the N live ones ended now."""
    beams = log_p.shape[1]
    # What was ruled out must stay below all that was not, whatever it is divided by.
    scores = tf.where(log_p > IMPOSSIBLE / 2, log_p / options.penalty(t + 1), IMPOSSIBLE)
    candidates = _Finished(
        tf.concat([finished.scores, scores], axis=1),
        tf.concat([finished.ends, tf.fill(tf.shape(log_p), t)], axis=1),
        tf.concat([finished.beams, tf.zeros_like(log_p, tf.int32) + tf.range(beams)], axis=1),
    )
    scores, best = tf.math.top_k(candidates.scores, beams)
    return _Finished(
        scores,
        tf.gather(candidates.ends, best, batch_dims=1),
        tf.gather(candidates.beams, best, batch_dims=1),
    )


def _best_continuations(log_p: tf.Tensor, beams: int) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """The N best subwords over all beams (B, N, V) that do not end: ids, parents, log p (B, N)."""
    vocab_size = log_p.shape[-1]
    end = tf.one_hot(END_ID, vocab_size, on_value=IMPOSSIBLE, off_value=0.0)
    # The N best of all are among the N best of each: small rows are sorted, not (N V) ones.
    each = min(beams, vocab_size)
    log_p, tokens = tf.math.top_k(log_p + end, each)  # (B, N, N)
    shape = (-1, beams * each)
    log_p, chosen = tf.math.top_k(tf.reshape(log_p, shape), beams)
    return (
        tf.gather(tf.reshape(tokens, shape), chosen, batch_dims=1),
        chosen // each,
        tf.maximum(log_p, IMPOSSIBLE),
    )


def _is_done(
    log_p: tf.Tensor,
    finished: _Finished,
    t: tf.Tensor,
    limits: tf.Tensor,
    options: GenerationOptions,
) -> tf.Tensor:
    """True (B,) where no live hypothesis is worth going on with."""
    # Log probabilities only fall. The best a live hypothesis can come to is its present one,
    # over the largest penalty there is; what it will likely come to, over that of its next length.
    length = t + 2 if options.early_stopping else limits
    hope = tf.reduce_max(log_p, axis=1) / options.penalty(length)
    return hope <= tf.reduce_min(finished.scores, axis=1)


def _read_back(
    steps: tf.Tensor, finished: _Finished, history: _History, return_attention: bool
) -> Hypotheses:
    """Follows the back pointers of the finished hypotheses from their ends."""

    def body(t, beams, ids, looked_at):
        here = t == finished.ends
        before = t < finished.ends
        token = tf.gather(history.tokens.read(t), beams, batch_dims=1)
        parents = tf.gather(history.parents.read(t), beams, batch_dims=1)
        ids = ids.write(t, tf.where(here, END_ID, tf.where(before, token, PAD_ID)))
        beams = tf.where(before, parents, beams)  # the beam that asked at step t
        if return_attention:
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
            tf.TensorArray(tf.float32, size=steps if return_attention else 0),
        ),
        parallel_iterations=1,
    )
    attention = None
    if return_attention:
        attention = tf.transpose(looked_at.stack(), (1, 2, 0, 3))  # (B, N, T, S)
    longest = tf.maximum(tf.reduce_max(finished.ends) + 1, 1)
    ids = tf.transpose(ids.stack(), (1, 2, 0))[..., :longest]  # (B, N, T)
    if attention is not None:
        attention = attention[:, :, :longest]
    return Hypotheses(ids, finished.scores, attention)
