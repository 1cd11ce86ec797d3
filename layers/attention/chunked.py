"""Dot-product attention in memory that grows with the length of a sequence, not with its square.

Shapes: B batch, H heads, G heads of keys and values, T queries, S keys, K and V head widths.
"""

import dataclasses
from typing import Any

from keras import ops

from ..ops.broadcasting import sum_to_batch
from ..ops.masks import combine_masks, masked_softmax, position_mask, softmax_dtype
from ..ops.partition import depends_on, partition_slices
from .heads import compare_heads, sum_queries, sum_values

# Of a sequence whose length is not known when the graph is made.
PARTS = 16


@dataclasses.dataclass
class MaskSpec:
    """Masks of the scores, and biases that positions add to them.

    Attributes:
        query_positions: whole numbers `(T,)`.
        key_positions: whole numbers `(S,)`.
        mask: boolean of rank 3 or 4, any dimension may be 1, or `None`.
        causal: whether keys after the query are masked.
        sliding_window: distance from which on keys are masked, or `None`.
        positions: whose bias is added to the scores, or `None`.
        same_positions: whether keys and queries have the same positions, 0 to T - 1.
    """

    query_positions: Any
    key_positions: Any
    mask: Any = None
    causal: bool = False
    sliding_window: int | None = None
    positions: Any = None
    same_positions: bool = False

    def table(self):
        """Returns the table of the positions, or a zero that stands for it."""
        table = None if self.positions is None else self.positions.table
        return ops.zeros(()) if table is None else table * 1  # a tensor, not the variable

    def arrays(self):
        """Returns the positions and the mask, if there is one."""
        positions = (
            ops.convert_to_tensor(self.query_positions),
            ops.convert_to_tensor(self.key_positions),
        )
        return positions if self.mask is None else (*positions, ops.convert_to_tensor(self.mask))

    def with_arrays(self, arrays):
        """Returns a copy with other `arrays()`."""
        query_positions, key_positions, *mask = arrays
        return dataclasses.replace(
            self,
            query_positions=query_positions,
            key_positions=key_positions,
            mask=mask[0] if mask else None,
        )

    def with_known_sizes(self, queries, keys):
        """Returns a copy whose mask has dimensions of 1 only where that is known beforehand."""
        if self.mask is None or None not in self.mask.shape[-2:]:
            return self
        lengths = zip(self.mask.shape[-2:], (queries, keys), strict=True)
        sizes = [1 if size == 1 else length for size, length in lengths]
        mask = ops.broadcast_to(self.mask, (*ops.shape(self.mask)[:-2], *sizes))
        return dataclasses.replace(self, mask=mask)

    def apply(self, scores, rows=slice(None), columns=slice(None), table=None):
        """Adds the bias to scores `(B, H, T, S)`; returns them and the mask, of these positions."""
        query_positions, key_positions = self.query_positions[rows], self.key_positions[columns]
        if self.positions is not None:
            bias = self.positions.bias(query_positions, key_positions, table)
            if bias is not None:
                dtype = softmax_dtype(scores.dtype)
                scores = ops.cast(scores, dtype) + ops.cast(bias, dtype)
        causal = position_mask(query_positions, key_positions, self.causal, self.sliding_window)
        mask = self.mask
        if mask is not None:
            mask = mask if mask.shape[-2] == 1 else mask[..., rows, :]
            mask = mask if mask.shape[-1] == 1 else mask[..., columns]
        return scores, combine_masks(attention_mask=mask, causal=causal)


def attend_in_chunks(query, keys, values, spec, chunk_size):
    """Computes `softmax(query . keys) . values` for `chunk_size` queries at a time.

    Scores and weights exist for one chunk at a time; the gradient computes them anew. Chunks that
    a causal mask or a window masks as a whole are left out, if keys and queries have the same
    positions.

    Args:
        query: `(B, H, T, K)`, already scaled.
        keys: `(B, G, S, K)`.
        values: `(B, G, S, V)`.
        spec: a `MaskSpec`.
        chunk_size: number of queries at a time. A length that is not known when the graph is made
            is divided into 16 chunks instead.

    Returns:
        `(B, H, T, V)`.
    """
    spec = spec.with_known_sizes(ops.shape(query)[2], ops.shape(keys)[2])
    chunks = _chunks(ops.shape(query)[2], chunk_size, spec)
    arrays = spec.arrays()

    # All arrays are arguments: JAX refuses a gradient that closes over one of a function around it.
    @ops.custom_gradient
    def attend(query, keys, values, table, *arrays):
        local_spec = spec.with_arrays(arrays)
        outputs: list[Any] = []
        for rows, columns in chunks:
            query_part = depends_on(_corner(outputs[-1] if outputs else None), query[:, :, rows])
            weights = _weights(query_part, keys[:, :, columns], local_spec, rows, columns, table)
            weights = ops.cast(weights, values.dtype)
            outputs.append(sum_values(weights, values[:, :, columns]))
        output = ops.concatenate(outputs, axis=2)

        def gradient(*arguments, upstream=None):
            # Backends differ in how they hand in the gradient of the output, (B, H, T, V).
            upstream = arguments[0] if upstream is None else upstream
            gradients = _gradients(query, keys, values, table, output, upstream, local_spec, chunks)
            return *gradients, *(None for _ in arrays)

        return output, gradient

    return attend(query, keys, values, spec.table(), *arrays)


def _gradients(query, keys, values, table, output, upstream, spec, chunks):
    query_gradients, table_gradient = [], ops.zeros_like(table)
    to_keys, to_values = _Overlapping(), _Overlapping()
    groups = keys.shape[1]
    for rows, columns in reversed(chunks):
        earlier = _corner(to_keys.open, to_values.open)
        query_part = depends_on(earlier, query[:, :, rows])
        upstream_part = depends_on(earlier, upstream[:, :, rows])
        visible_keys = keys[:, :, columns]
        weights = _weights(query_part, visible_keys, spec, rows, columns, table)  # (B, H, T, S)
        to_values.add(columns, sum_queries(ops.cast(weights, values.dtype), upstream_part, groups))
        # Through the softmax: what a weight contributes beyond the weighted mean of the row.
        mean = ops.sum(upstream_part * output[:, :, rows], axis=-1, keepdims=True)
        change = compare_heads(upstream_part, values[:, :, columns]) - mean
        change = weights * ops.cast(change, weights.dtype)
        if spec.positions is not None and spec.positions.table is not None:
            positions = spec.query_positions[rows], spec.key_positions[columns]
            summed = ops.sum(change, axis=0)  # (H, T, S)
            added = spec.positions.table_gradient(summed, *positions)
            table_gradient = table_gradient + ops.cast(added, table.dtype)
        change = ops.cast(change, query.dtype)
        query_gradients.append(sum_values(change, visible_keys))
        to_keys.add(columns, sum_queries(change, query_part, groups))
    query_gradient = ops.concatenate(query_gradients[::-1], axis=2)
    # A batch of 1 goes with every row of the others.
    return (
        sum_to_batch(query_gradient, query),
        sum_to_batch(to_keys.total(), keys),
        sum_to_batch(to_values.total(), values),
        table_gradient,
    )


def _weights(query, keys, spec, rows, columns, table):
    return masked_softmax(*spec.apply(compare_heads(query, keys), rows, columns, table))


def _chunks(length, chunk_size, spec):
    """Returns, for each chunk of queries, its rows and the columns visible to it, as slices."""
    count = max(1, -(-length // chunk_size)) if isinstance(length, int) else PARTS
    all_rows = partition_slices(length, count)
    everything = not spec.causal and spec.sliding_window is None
    if everything or not spec.same_positions:
        return [(rows, slice(None)) for rows in all_rows]
    before = None if spec.sliding_window is None else spec.sliding_window - 1
    chunks = []
    for rows in all_rows:
        start = 0 if before is None else _extreme(max, rows.start - before, 0)
        stop = rows.stop
        if not spec.causal:
            stop = length if before is None else _extreme(min, rows.stop + before, length)
        chunks.append((rows, slice(start, stop)))
    return chunks


def _extreme(choose, one, other):
    if isinstance(one, int) and isinstance(other, int):
        return choose(one, other)
    return (ops.maximum if choose is max else ops.minimum)(one, other)


def _corner(*tensors):
    """Takes a number out of each, to wait for."""
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
