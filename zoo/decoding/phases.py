"""The loop over steps in which sentences that are done leave the batch.

Sentences of a batch end at different steps. With half of them done, half of the work of a step is
for nothing; so the loop runs in phases, and between two phases only the rows that go on are kept.
Shapes: B all rows, R rows that go on, N hypotheses.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from ..models.encoder_decoder import EncoderDecoder
from ..models.parts import Nest

# A phase ends when this share of its rows is done.
_DONE_SHARE = 0.125


def run_in_phases(
    model: EncoderDecoder,
    memory: Nest,
    state: Nest,
    rows: Nest,
    history: Nest,
    steps: tf.Tensor,
    advance: Callable[..., tuple[Nest, Nest, Nest]],
    is_live: Callable[[Nest], tf.Tensor],
    result_of: Callable[[Nest], Nest],
) -> tuple[tf.Tensor, Nest, Nest]:
    """Runs `advance` until no row is live or all steps are made.

    Args:
        model: gives and selects the state.
        memory: what the model reads, of B sources.
        state: the model's state before the first step.
        rows: a nest of tensors (B, ...), what the search knows of each row.
        history: a nest of tensor arrays to be written at each step.
        steps: how many at most.
        advance: `advance(step, places, memory, state, rows, history) -> state, rows, history`,
            where `places` (R,) are the numbers of the rows in the whole batch.
        is_live: `is_live(rows) -> boolean (R,)`, whether a row has something to go on with.
        result_of: `result_of(rows)`, the part of them that is wanted in the end.

    Returns:
        How many steps were made, the result of each row (B, ...), and the history.
    """
    batch = tf.shape(tf.nest.flatten(rows)[0])[0]

    def phase(t, places, memory, state, rows, results, history):
        enough = tf.cast(
            tf.math.ceil((1 - _DONE_SHARE) * tf.cast(tf.size(places), tf.float32)), tf.int32
        )

        def goes_on(now, state, rows, history):
            live = tf.math.count_nonzero(is_live(rows), dtype=tf.int32)
            return (now == t) | ((now < steps) & (live >= tf.maximum(enough, 1)))

        def step(now, state, rows, history):
            return now + 1, *advance(now, places, memory, state, rows, history)

        t, state, rows, history = _while(goes_on, step, (t, state, rows, history), steps)
        # The results of rows that are done are final; those of the others are written again.
        results = tf.nest.map_structure(
            lambda whole, part: tf.tensor_scatter_nd_update(whole, places[:, None], part),
            results,
            result_of(rows),
        )
        keep = tf.cast(tf.where(is_live(rows))[:, 0], tf.int32)
        memory, state = model.gather_rows(memory, state, keep)
        return t, tf.gather(places, keep), memory, state, _gather(rows, keep), results, history

    # At least one step, also of a batch without rows, so that the history has its shapes.
    t, *_, results, history = _while(
        lambda t, places, *_: (t == 0) | ((t < steps) & (tf.size(places) > 0)),
        phase,
        (tf.constant(0), tf.range(batch), memory, state, rows, result_of(rows), history),
        steps,
    )
    return t, results, history


def scatter_rows(part: tf.Tensor, places: tf.Tensor, batch: tf.Tensor) -> tf.Tensor:
    """Rows (R, ...) in their places among B rows, the others zero."""
    shape = tf.concat([[batch], tf.shape(part)[1:]], axis=0)
    return tf.scatter_nd(places[:, None], part, shape)


def _gather(nest: Nest, keep: tf.Tensor) -> Nest:
    return tf.nest.map_structure(lambda x: tf.gather(x, keep), nest)


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
