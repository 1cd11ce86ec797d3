"""The loop over steps that all searches share.

Sentences of a batch end at different steps. With half of them done, half of the work of a step is
for nothing; so the batch is compacted now and then: only the rows that go on are kept.
Shapes: B all rows, R rows that go on, N hypotheses, T target length, S source length.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from ..models.encoder_decoder import EncoderDecoder
from ..models.parts import Nest
from ..text.special_ids import END_ID, PAD_ID, UNKNOWN_ID
from .candidates import LogitsProcessor, Search, make_candidates
from .options import NEG_INF, Hypotheses
from .strategies import Ended, Strategy

# The batch is compacted when this share of its rows is done.
_DONE_SHARE = 0.125


def decode_loop(
    model: EncoderDecoder,
    memory: Nest,
    search: Search,
    strategy: Strategy,
    logits_processors: Sequence[LogitsProcessor],
    return_attention: bool,
) -> Hypotheses:
    """Makes steps until no row is live.

    The result of a row does not depend on the other rows.

    Args:
        model: Gives the logits of each step.
        memory: What it prepared of B sources.
        search: The search before the first step.
        strategy: Chooses the hypotheses of the next step.
        logits_processors: Functions that change what may be written.
        return_attention: Whether the attention over the source is wanted too.
    """
    batch, steps = tf.size(search.rows), tf.maximum(tf.reduce_max(search.limits), 1)
    weights, options, vocab_size = model.step_weights(), strategy.options, model.vocab_size

    def step(memory, search: Search, state, history):
        read = tf.where(search.tokens < vocab_size, search.tokens, UNKNOWN_ID)
        logits, state, attention = model.step(read, state, memory, weights)
        attention = tf.cast(attention, tf.float32)
        candidates = make_candidates(
            logits, attention, search, options, logits_processors, vocab_size
        )
        after, parents = strategy.choose(candidates, search)

        def of_parents(x):
            return x if parents is None else tf.gather(x, parents, batch_dims=1)

        if strategy.reorders:
            state = model.reorder_state(state, parents)
        if not isinstance(search.written, tuple):
            now = tf.range(tf.shape(search.written)[2]) == search.step
            newest, before = after.tokens[..., None], of_parents(search.written)
            after = after._replace(written=tf.where(now, newest, before))
        parts = {"tokens": after.tokens, "parents": parents, "attention": attention}
        history = {
            name: array.write(search.step, _scatter_rows(parts[name], search.rows, batch))
            for name, array in history.items()
        }
        return after._replace(step=search.step + 1), state, history

    def until_compaction(search: Search, memory, state, ended, history):
        count = tf.cast(tf.size(search.rows), tf.float32)
        enough = tf.maximum(tf.cast(tf.math.ceil((1 - _DONE_SHARE) * count), tf.int32), 1)
        began = search.step

        def goes_on(search: Search, state, history):
            live = tf.math.count_nonzero(tf.reduce_any(search.live, axis=1), dtype=tf.int32)
            return (search.step == began) | ((search.step < steps) & (live >= enough))

        search, state, history = _while(
            goes_on, functools.partial(step, memory), (search, state, history), steps
        )
        # What of rows that are done is final; that of the others is written again.
        ended = tf.nest.map_structure(
            lambda whole, part: tf.tensor_scatter_nd_update(whole, search.rows[:, None], part),
            ended,
            strategy.ended(search),
        )
        keep = tf.cast(tf.where(tf.reduce_any(search.live, axis=1))[:, 0], tf.int32)
        memory, state = model.gather_rows(memory, state, keep)
        search = tf.nest.map_structure(lambda x: tf.gather(x, keep) if len(x.shape) else x, search)
        return search, memory, state, ended, history

    history = {"tokens": tf.TensorArray(tf.int32, size=steps)}
    if strategy.reorders:
        history["parents"] = tf.TensorArray(tf.int32, size=steps)
    if return_attention:
        history["attention"] = tf.TensorArray(tf.float32, size=steps)
    search = strategy.begin(search)
    state = model.initial_state(memory, strategy.num_hypotheses, steps)
    # At least one step, also of a batch without rows, so that the history has its shapes.
    *_, ended, history = _while(
        lambda s, *_: (s.step == 0) | ((s.step < steps) & (tf.size(s.rows) > 0)),
        until_compaction,
        (search, memory, state, strategy.ended(search), history),
        steps,
    )
    found = _hypotheses(ended, search.limits, history)
    # What comes after the vocabulary are the unknown pieces of a source.
    ids = tf.where(found.ids < vocab_size, found.ids, vocab_size - 1 - found.ids)
    return found._replace(ids=ids)


def _hypotheses(ended: Ended, limits: tf.Tensor, history: dict[str, tf.TensorArray]) -> Hypotheses:
    """Reads the hypotheses that have ended off the history."""
    length = tf.maximum(tf.reduce_max(ended.ends) + 1, 1)
    steps = tf.range(length)[:, None, None]
    before = _beams_before(ended, history, length)
    after = tf.concat([before[1:], before[-1:]], axis=0)
    ids = tf.gather(history["tokens"].stack()[:length], after, batch_dims=2)  # (T, B, N)
    ids = tf.where(steps < ended.ends, ids, tf.where(steps == ended.ends, END_ID, PAD_ID))
    attention = None
    if "attention" in history:
        attention = tf.gather(history["attention"].stack()[:length], before, batch_dims=2)
        attention = tf.where((steps <= ended.ends)[..., None], attention, 0.0)
        attention = tf.transpose(attention, (1, 2, 0, 3))
    finished = (ended.ends + 1 < limits[:, None]) & (ended.scores > NEG_INF / 2)
    return Hypotheses(tf.transpose(ids, (1, 2, 0)), ended.scores, attention, finished)


def _beams_before(ended: Ended, history: dict[str, tf.TensorArray], length: tf.Tensor):
    """Indices (T, B, N) of what the hypotheses were before each step, by their back pointers."""
    if "parents" not in history:
        return tf.repeat(ended.beams[None], length, axis=0)

    def body(t, beams, found):
        parents = tf.gather(history["parents"].read(t), beams, batch_dims=1)
        beams = tf.where(t < ended.ends, parents, beams)
        return t - 1, beams, found.write(t, beams)

    found = tf.TensorArray(tf.int32, size=length)
    *_, found = tf.while_loop(
        lambda t, *_: t >= 0, body, (length - 1, ended.beams, found), parallel_iterations=1
    )
    return found.stack()


def _scatter_rows(part: tf.Tensor, rows: tf.Tensor, batch: tf.Tensor) -> tf.Tensor:
    """Rows (R, ...) at their indices among B rows, the others zero."""
    shape = tf.concat([[batch], tf.shape(part)[1:]], axis=0)
    return tf.scatter_nd(rows[:, None], part, shape)


def _while(condition: Callable, body: Callable, variables: tuple, steps: tf.Tensor) -> Any:
    return tf.while_loop(
        condition,
        body,
        variables,
        shape_invariants=tf.nest.map_structure(_invariant, variables),
        maximum_iterations=steps,
        parallel_iterations=1,
    )


def _invariant(x: Any) -> tf.TensorShape:
    """Rows leave, and what begins empty grows; all other dimensions stay, where they are known."""
    if isinstance(x, tf.TensorArray) or not len(x.shape):
        return tf.TensorShape([])
    return tf.TensorShape([None, *(size or None for size in x.shape[1:])])
