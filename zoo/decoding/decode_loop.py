"""The loop over steps that all searches share.

Sentences of a batch end at different steps. With half of them done, half of the work of a step is
for nothing; so the batch is compacted now and then: only the rows that go on are kept. Where no
shape may depend on values, as under XLA, all rows go on until the last one ends.
Shapes: B all rows, R rows that go on, N hypotheses, T target length, S source length.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from ..models.encoder_decoder import EncoderDecoder
from ..models.parts import Nest
from ..text.special_ids import END_ID, PAD_ID, UNKNOWN_ID
from .candidates import LogitsProcessor, Search, make_candidates
from .options import NEG_INF, Hypotheses
from .shortlist import ShortlistedModel
from .strategies import Ended, Strategy

# The batch is compacted when this share of its rows is done.
_DONE_SHARE = 0.125
# Numbers of a tensor that is put together with others, see `pack`.
_LARGEST = 2**16


def decode_loop(
    model: EncoderDecoder | ShortlistedModel,
    memory: Nest,
    search: Search,
    strategy: Strategy,
    logits_processors: Sequence[LogitsProcessor],
    return_attention: bool,
    static_steps: int | None = None,
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
        static_steps: T, where no shape may depend on values: at least the largest of the limits.
    """
    batch, limit = tf.size(search.rows), tf.maximum(tf.reduce_max(search.limits), 1)
    steps: Any = limit if static_steps is None else static_steps
    options, vocab_size = strategy.options, model.vocab_size
    weights = pack(model.step_weights())
    # XLA would take them apart by copying them, in every step.
    unpacked = None if static_steps is None else unpack(weights)

    def step(memory, search: Search, state, history):
        read = search.tokens
        if options.replace_unknown:  # no other search writes what comes after the vocabulary
            read = tf.where(read < vocab_size, read, UNKNOWN_ID)
        logits, state, attention = model.step(read, state, memory, unpacked or unpack(weights))
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
        history = {name: array.write(search.step, parts[name]) for name, array in history.items()}
        return after._replace(step=search.step + 1), state, history

    def make_steps(search: Search, memory, state, history, enough):
        """Makes steps as long as so many rows are live; their part of the history is in arrays."""
        began, prepared = search, model.step_memory(memory)

        def goes_on(moving, state, arrays):
            live = tf.reduce_sum(tf.cast(tf.reduce_any(moving.live, axis=1), tf.int32))
            return (moving.step < limit) & (live >= enough)

        def body(moving, state, arrays):
            after, state, arrays = step(prepared, _joined(began, moving), state, arrays)
            return _moving(after), state, arrays

        arrays = {
            name: tf.TensorArray(whole.dtype, size=steps, element_shape=[None, *whole.shape[2:]])
            for name, whole in history.items()
        }
        moving, state, arrays = _while(goes_on, body, (_moving(search), state, arrays))
        return _joined(search, moving), state, arrays

    def until_compaction(search: Search, memory, state, ended, history):
        count, began = tf.cast(tf.size(search.rows), tf.float32), search.step
        enough = tf.cast(tf.math.ceil((1 - _DONE_SHARE) * count), tf.int32)
        search, state, arrays = make_steps(search, memory, state, history, enough)
        # What of rows that are done is final; that of the others is written again.
        ended = tf.nest.map_structure(
            lambda whole, part: tf.tensor_scatter_nd_update(whole, search.rows[:, None], part),
            ended,
            strategy.ended(search),
        )
        now = tf.range(began, search.step)
        history = {
            name: tf.concat([whole, _scatter_rows(arrays[name].gather(now), search, batch)], axis=1)
            for name, whole in history.items()
        }
        keep = tf.cast(tf.where(tf.reduce_any(search.live, axis=1))[:, 0], tf.int32)
        memory, state = model.gather_rows(memory, state, keep)
        search = tf.nest.map_structure(lambda x: tf.gather(x, keep) if len(x.shape) else x, search)
        return search, memory, state, ended, history

    # Of all rows and of the steps that were made, (B, T, N, ...).
    nothing = tf.zeros([batch, 0, strategy.num_hypotheses], tf.int32)
    history = {"tokens": nothing}
    if strategy.reorders:
        history["parents"] = nothing
    if return_attention:
        length = tf.shape(search.source)[1]
        history["attention"] = tf.zeros([batch, 0, strategy.num_hypotheses, length])
    search = strategy.begin(search)
    state = model.initial_state(memory, strategy.num_hypotheses, steps)
    if static_steps is None:
        # At least one step, also of a batch without rows, so that the history has its shapes.
        *_, ended, history = _while(
            lambda s, *_: (s.step == 0) | ((s.step < limit) & (tf.size(s.rows) > 0)),
            until_compaction,
            (search, memory, state, strategy.ended(search), history),
        )
    else:
        search, _, arrays = make_steps(search, memory, state, history, enough=1)
        ended = strategy.ended(search)
        history = {name: _rows_first(array.stack()) for name, array in arrays.items()}
    found = _hypotheses(ended, search.limits, history, static_steps)
    # What comes after the vocabulary are the unknown pieces of a source.
    ids = tf.where(found.ids < vocab_size, found.ids, vocab_size - 1 - found.ids)
    return found._replace(ids=ids)


def _hypotheses(
    ended: Ended, limits: tf.Tensor, history: dict[str, tf.Tensor], length: Any = None
) -> Hypotheses:
    """Reads the hypotheses that have ended off the history, T as the longest if not given."""
    if length is None:
        length = tf.maximum(tf.reduce_max(ended.ends) + 1, 1)
    steps = tf.range(length)[:, None, None]
    # By steps: (T, B, N, ...).
    written = {name: _rows_first(x)[:length] for name, x in history.items()}
    before = _beams_before(ended, written, length)
    after = tf.concat([before[1:], before[-1:]], axis=0)
    ids = tf.gather(written["tokens"], after, batch_dims=2)
    ids = tf.where(steps < ended.ends, ids, tf.where(steps == ended.ends, END_ID, PAD_ID))
    attention = None
    if "attention" in written:
        attention = tf.gather(written["attention"], before, batch_dims=2)
        attention = tf.where((steps <= ended.ends)[..., None], attention, 0.0)
        attention = tf.transpose(attention, (1, 2, 0, 3))
    finished = (ended.ends + 1 < limits[:, None]) & (ended.scores > NEG_INF / 2)
    return Hypotheses(tf.transpose(ids, (1, 2, 0)), ended.scores, attention, finished)


def _beams_before(ended: Ended, written: dict[str, tf.Tensor], length: tf.Tensor):
    """Indices (T, B, N) of what the hypotheses were before each step, by their back pointers."""
    if "parents" not in written:
        return tf.repeat(ended.beams[None], length, axis=0)

    def body(t, beams, found):
        parents = tf.gather(written["parents"][t], beams, batch_dims=1)
        beams = tf.where(t < ended.ends, parents, beams)
        return t - 1, beams, found.write(t, beams)

    found = tf.TensorArray(tf.int32, size=length)
    *_, found = tf.while_loop(
        lambda t, *_: t >= 0, body, (length - 1, ended.beams, found), parallel_iterations=1
    )
    return found.stack()


def _scatter_rows(part: tf.Tensor, search: Search, batch: tf.Tensor) -> tf.Tensor:
    """Rows (T, R, ...) of a search at their indices among B, (B, T, ...), the others zero."""
    part = _rows_first(part)
    shape = tf.concat([[batch], tf.shape(part)[1:]], axis=0)
    return tf.scatter_nd(search.rows[:, None], part, shape)


def _rows_first(x: tf.Tensor) -> tf.Tensor:
    """(T, B, ...) as (B, T, ...), and the other way round."""
    return tf.transpose(x, (1, 0, *range(2, len(x.shape))))


def _moving(search: Search) -> Search:
    """The search with nothing but what a step changes."""
    return search._replace(rows=(), source=(), limits=(), min_lengths=(), prefix=())


def _joined(search: Search, moving: Search) -> Search:
    """The search with what `_moving` has kept of a later one."""
    kept = ("rows", "source", "limits", "min_lengths", "prefix")
    return moving._replace(**{name: getattr(search, name) for name in kept})


def _while(condition: Callable, body: Callable, variables: tuple) -> Any:
    return tf.while_loop(
        condition,
        body,
        variables,
        shape_invariants=tf.nest.map_structure(_invariant, variables),
        parallel_iterations=1,
    )


def _invariant(x: Any) -> tf.TensorShape:
    """Rows leave, and what begins empty grows; all other dimensions stay, where they are known."""
    if isinstance(x, tf.TensorArray) or not len(x.shape):
        return tf.TensorShape([])
    return tf.TensorShape([None, *(size or None for size in x.shape[1:])])


class Packed(NamedTuple):
    """A nest of tensors as few tensors.

    Attributes:
        nest: The same nest, with numbers in place of tensors.
        slots: Of each number, the index of a tensor of `tensors`, and that of a row of it or
            `None` for all of it.
        tensors: Those of the nest that have one shape in common, as one.
    """

    nest: Nest
    slots: tuple[tuple[int, int | None], ...]
    tensors: tuple[tf.Tensor, ...]


def pack(nest: Nest) -> Packed:
    """Puts small tensors of one shape together.

    Four operations of a step hand each tensor from outside of a loop on to the next step, which
    takes as long as a small product; a single one takes many tensors apart again, without copying
    any. Large ones, whose products take longer, are not copied for that.

    Args:
        nest: Tensors, and whatever else is to stay beside them.

    Returns:
        What `unpack` makes the nest of again; the same if it is packed already.
    """
    if isinstance(nest, Packed):
        return nest
    leaves = tf.nest.flatten(nest)
    alike: dict[Any, list[int]] = {}
    for number, x in enumerate(leaves):
        count = x.shape.num_elements() if tf.is_tensor(x) else None
        # What is not a multiple of a cache line would be copied in every step.
        is_small = count is not None and count <= _LARGEST and count * x.dtype.size % 64 == 0
        alike.setdefault((x.dtype, tuple(x.shape)) if is_small else number, []).append(number)
    slots: dict[int, tuple[int, int | None]] = {}
    tensors: list[Any] = []
    for numbers in alike.values():
        one = len(numbers) == 1
        slots |= {n: (len(tensors), None if one else row) for row, n in enumerate(numbers)}
        tensors.append(leaves[numbers[0]] if one else tf.stack([leaves[n] for n in numbers]))
    numbered = tf.nest.pack_sequence_as(nest, list(range(len(leaves))))
    return Packed(numbered, tuple(slots[n] for n in range(len(leaves))), tuple(tensors))


def unpack(packed: Packed) -> Nest:
    """Returns the nest that `pack` was given."""
    rows = {
        index: tf.unstack(packed.tensors[index]) for index, row in packed.slots if row is not None
    }
    leaves = [
        packed.tensors[index] if row is None else rows[index][row] for index, row in packed.slots
    ]
    return tf.nest.pack_sequence_as(packed.nest, leaves)
