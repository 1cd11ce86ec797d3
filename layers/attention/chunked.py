"""Dot-product attention in memory that grows with the length of a sequence, not with its square.

Shapes: B batch, H heads, G heads of keys and values, T queries, S keys, K and V head widths.
"""

import dataclasses
from typing import Any

from keras import ops

from ..ops.broadcasting import sum_to_batch
from ..ops.masks import combine_masks, masked_softmax, places_mask, softmax_dtype
from ..ops.partition import depends_on, partition_slices
from .heads import compare_heads, sum_queries, sum_values

# Of a sequence whose length is not known when the graph is made.
PARTS = 16


@dataclasses.dataclass
class Sight:
    """What queries see of the keys, and how their places change the scores.

    Attributes:
        query_places: whole numbers `(T,)`.
        key_places: whole numbers `(S,)`.
        mask: boolean of rank 3 or 4, any dimension may be 1, or `None`.
        causal: whether keys after the query are hidden.
        sliding_window: whether keys so far away or further are hidden, or `None`.
        positions: whose bias is added to the scores, or `None`.
        same_places: whether keys and queries have the same places, 0 to T - 1.
    """

    query_places: Any
    key_places: Any
    mask: Any = None
    causal: bool = False
    sliding_window: int | None = None
    positions: Any = None
    same_places: bool = False

    def table(self):
        """Of the positions, or a zero that stands for it."""
        table = None if self.positions is None else self.positions.table
        return ops.zeros(()) if table is None else table * 1  # a tensor, not the variable

    def arrays(self):
        """The places and the mask, if there is one."""
        places = (ops.convert_to_tensor(self.query_places), ops.convert_to_tensor(self.key_places))
        return places if self.mask is None else (*places, ops.convert_to_tensor(self.mask))

    def with_arrays(self, arrays):
        """The same with other `arrays()`."""
        query_places, key_places, *mask = arrays
        return dataclasses.replace(
            self, query_places=query_places, key_places=key_places, mask=mask[0] if mask else None
        )

    def with_known_sizes(self, queries, keys):
        """The same with a mask whose dimensions are 1 only where that is known beforehand."""
        if self.mask is None or None not in self.mask.shape[-2:]:
            return self
        lengths = zip(self.mask.shape[-2:], (queries, keys), strict=True)
        sizes = [1 if size == 1 else length for size, length in lengths]
        mask = ops.broadcast_to(self.mask, (*ops.shape(self.mask)[:-2], *sizes))
        return dataclasses.replace(self, mask=mask)

    def apply(self, scores, rows=slice(None), columns=slice(None), table=None):
        """Adds the bias to scores `(B, H, T, S)`; returns them and the mask, of these places."""
        query_places, key_places = self.query_places[rows], self.key_places[columns]
        if self.positions is not None:
            bias = self.positions.bias(query_places, key_places, table)
            if bias is not None:
                dtype = softmax_dtype(scores.dtype)
                scores = ops.cast(scores, dtype) + ops.cast(bias, dtype)
        causal = places_mask(query_places, key_places, self.causal, self.sliding_window)
        mask = self.mask
        if mask is not None:
            mask = mask if mask.shape[-2] == 1 else mask[..., rows, :]
            mask = mask if mask.shape[-1] == 1 else mask[..., columns]
        return scores, combine_masks(attention_mask=mask, causal=causal)


def attend_in_chunks(query, keys, values, sight, chunk_size):
    """`softmax(query . keys) . values` for `chunk_size` queries at a time.

    Scores and weights exist for one chunk at a time; the gradient computes them anew. Chunks that
    a causal mask or a window hides as a whole are left out, if keys and queries have the same
    places.

    Args:
        query: `(B, H, T, K)`, already scaled.
        keys: `(B, G, S, K)`.
        values: `(B, G, S, V)`.
        sight: a `Sight`.
        chunk_size: number of queries at a time. A length that is not known when the graph is made
            is divided into 16 chunks instead.

    Returns:
        `(B, H, T, V)`.
    """
    sight = sight.with_known_sizes(ops.shape(query)[2], ops.shape(keys)[2])
    chunks = _chunks(ops.shape(query)[2], chunk_size, sight)
    arrays = sight.arrays()

    # All arrays are arguments: JAX refuses a gradient that closes over one of a function around it.
    @ops.custom_gradient
    def attend(query, keys, values, table, *arrays):
        sight_here = sight.with_arrays(arrays)
        outputs: list[Any] = []
        for rows, columns in chunks:
            query_part = depends_on(_corner(outputs[-1] if outputs else None), query[:, :, rows])
            weights = _weights(query_part, keys[:, :, columns], sight_here, rows, columns, table)
            weights = ops.cast(weights, values.dtype)
            outputs.append(sum_values(weights, values[:, :, columns]))
        output = ops.concatenate(outputs, axis=2)

        def gradient(*arguments, upstream=None):
            # Backends differ in how they hand in the gradient of the output, (B, H, T, V).
            upstream = arguments[0] if upstream is None else upstream
            gradients = _gradients(query, keys, values, table, output, upstream, sight_here, chunks)
            return *gradients, *(None for _ in arrays)

        return output, gradient

    return attend(query, keys, values, sight.table(), *arrays)


def _gradients(query, keys, values, table, output, upstream, sight, chunks):
    query_gradients, table_gradient = [], ops.zeros_like(table)
    to_keys, to_values = _Overlapping(), _Overlapping()
    groups = keys.shape[1]
    for rows, columns in reversed(chunks):
        earlier = _corner(to_keys.open, to_values.open)
        query_part = depends_on(earlier, query[:, :, rows])
        upstream_part = depends_on(earlier, upstream[:, :, rows])
        seen = keys[:, :, columns]
        weights = _weights(query_part, seen, sight, rows, columns, table)  # (B, H, T, S)
        to_values.add(columns, sum_queries(ops.cast(weights, values.dtype), upstream_part, groups))
        # Through the softmax: what a weight contributes beyond the weighted mean of the row.
        mean = ops.sum(upstream_part * output[:, :, rows], axis=-1, keepdims=True)
        change = compare_heads(upstream_part, values[:, :, columns]) - mean
        change = weights * ops.cast(change, weights.dtype)
        if sight.positions is not None and sight.positions.table is not None:
            places = sight.query_places[rows], sight.key_places[columns]
            summed = ops.sum(change, axis=0)  # (H, T, S)
            added = sight.positions.table_gradient(summed, *places)
            table_gradient = table_gradient + ops.cast(added, table.dtype)
        change = ops.cast(change, query.dtype)
        query_gradients.append(sum_values(change, seen))
        to_keys.add(columns, sum_queries(change, query_part, groups))
    query_gradient = ops.concatenate(query_gradients[::-1], axis=2)
    # A batch of 1 goes with every row of the others.
    return (
        sum_to_batch(query_gradient, query),
        sum_to_batch(to_keys.total(), keys),
        sum_to_batch(to_values.total(), values),
        table_gradient,
    )


def _weights(query, keys, sight, rows, columns, table):
    return masked_softmax(*sight.apply(compare_heads(query, keys), rows, columns, table))


def _chunks(length, chunk_size, sight):
    """For each chunk of queries its rows and the columns that it may see, as slices."""
    count = max(1, -(-length // chunk_size)) if isinstance(length, int) else PARTS
    all_rows = partition_slices(length, count)
    everything = not sight.causal and sight.sliding_window is None
    if everything or not sight.same_places:
        return [(rows, slice(None)) for rows in all_rows]
    before = None if sight.sliding_window is None else sight.sliding_window - 1
    chunks = []
    for rows in all_rows:
        start = 0 if before is None else _extreme(max, rows.start - before, 0)
        stop = rows.stop
        if not sight.causal:
            stop = length if before is None else _extreme(min, rows.stop + before, length)
        chunks.append((rows, slice(start, stop)))
    return chunks


def _extreme(choose, one, other):
    if isinstance(one, int) and isinstance(other, int):
        return choose(one, other)
    return (ops.maximum if choose is max else ops.minimum)(one, other)


def _corner(*tensors):
    """A number out of each, to wait for."""
    corners = [tensor[:1, :1, :1, :1] for tensor in tensors if tensor is not None]
    return sum(corners) if corners else None


class _Overlapping:
    """Adds up tensors `(B, G, S, X)` that belong to ranges of keys, the last range first.

    What no later range reaches any more is put aside, so that no tensor is ever padded.
    """

    def __init__(self):
        self.open = None
        self._start = None
        self._done = []

    def add(self, columns, tensor):
        if self.open is None:
            self.open = tensor
        elif columns.start is None:  # always all of them
            self.open = self.open + tensor
        else:
            new, shared = self._start - columns.start, columns.stop - self._start
            self._done.append(self.open[:, :, shared:])
            if isinstance(new, int) and new == 0:
                self.open = tensor + self.open[:, :, :shared]
            else:
                overlap = tensor[:, :, new:] + self.open[:, :, :shared]
                self.open = ops.concatenate([tensor[:, :, :new], overlap], axis=2)
        self._start = columns.start

    def total(self):
        return ops.concatenate([self.open, *reversed(self._done)], axis=2)
