"""Attention of a sequence to itself, with a cache for decoding step by step."""

import math

import keras
from keras import ops

from ..ops.broadcasting import free_batch
from ..ops.masks import check_mask, combine_masks, position_ids
from .dot_product import QKVAttention
from .heads import split_heads
from .memory import Memory


@keras.saving.register_keras_serializable(package="attention_zoo")
class SelfAttention(QKVAttention):
    """Self-attention: query, key and value from one sequence.

    The calculation is that of `QKVAttention` with the sequence as query and value; the three
    projections are one matrix product. What a position saw earlier need not be computed again: a
    causal layer decodes from a cache which is handed in and out.

    ```python
    layer.build(x.shape)  # if it was not called yet
    cache = layer.initial_cache(batch_size, max_length)
    for index in range(max_length):
        outputs, weights, cache = layer.step(x[:, index : index + 1], cache, index)
    ```

    Args:
        num_heads: H, the number of query heads.
        key_dim: width of a head of queries and keys.
        causal: whether a position attends only to itself and to those before it.
        *args: the others of `QKVAttention` in the same order.
        **kwargs: the same by name, and those of every Keras layer.

    Call arguments:
        inputs: `(B, T, D)`.
        mask: boolean `(B, T)`, False for padding, which neither attends nor is attended to. Filled
            in by Keras from the inputs (`Embedding(mask_zero=True)`).
        inputs_mask: the same; the name under which Keras fills it in if `attention_mask` is given.
        attention_mask: boolean `(T, T)`, `(B, T, T)` or `(B, H, T, T)`, True for *attend*.
        return_attention_scores: whether the weights are returned too.
        training: whether dropout is on; Keras fills it in.

    Returns:
        `(B, T, output_dim)`; with `return_attention_scores` also the weights `(B, H, T, T)`.

    Example:

    ```python
    attention = SelfAttention(num_heads=8, key_dim=64, causal=True)
    outputs, weights = attention(inputs, return_attention_scores=True)
    ```

    Reference: "Attention Is All You Need", Vaswani et al., 2017, https://arxiv.org/abs/1706.03762
    """

    takes_one_sequence = True

    def __init__(self, num_heads: int, key_dim: int, *args, causal: bool = False, **kwargs):
        super().__init__(num_heads, key_dim, *args, **kwargs)
        self.causal = causal

    def build(self, inputs_shape):
        self._check_shapes(inputs_shape, inputs_shape, inputs=inputs_shape[-1])
        width = inputs_shape[-1]
        self._add_projection("qkv", width, *self._widths())
        output_dim = self.output_dim or width
        self._add_projection("output", self.num_heads * self.value_dim, output_dim)
        self._build_positions()
        self.built = True

    def call(
        self,
        inputs,
        mask=None,
        inputs_mask=None,
        attention_mask=None,
        return_attention_scores=False,
        training=None,
    ):
        self._check_sequence_masks(inputs.shape, mask, inputs_mask, attention_mask)
        mask = inputs_mask if mask is None else mask
        query, memory = self._project_all(inputs, mask)
        attention_mask = combine_masks(mask, attention_mask=attention_mask)
        spec = self._mask_spec(query, memory, attention_mask, self.causal, same_positions=True)
        context, weights = self._attend_with(
            query, memory, spec, training, weights_needed=return_attention_scores
        )
        return (context, weights) if return_attention_scores else context

    def initial_cache(self, batch_size, max_length=None) -> Memory:
        """Returns a cache without any step.

        Every part has the batch first, so that beams are reordered by a gather along axis 0.

        Args:
            batch_size: B, the number of sequences.
            max_length: S, the largest number of steps, where all shapes have to stay the same, as
                under XLA. If `None` the cache begins empty and grows with the steps: no step
                reads or moves positions that are empty yet.

        Returns:
            A `Memory` with keys `(B, Hkv, S, K)` and values `(B, Hkv, S, V)`.

        Raises:
            ValueError: if the layer is not causal.
        """
        if not self.causal:
            raise ValueError(
                f"{self.name} is not causal: what comes later changes every step, so there is "
                "nothing to keep. Decoding needs SelfAttention(..., causal=True). Received: "
                "causal=False"
            )
        shape = (batch_size, self.num_kv_heads, max_length or 0)
        return Memory(
            ops.zeros((*shape, self.key_dim), dtype=self.compute_dtype),
            ops.zeros((*shape, self.value_dim), dtype=self.compute_dtype),
            None if max_length is None else ops.zeros((batch_size, max_length), dtype="bool"),
        )

    def step(self, inputs, cache: Memory, index=None, mask=None, training=None):
        """Goes on from `cache` by the positions of `inputs`, usually one.

        Args:
            inputs: `(B, T, D)`, the positions `index` to `index + T - 1`.
            cache: what `initial_cache` or the step before returned.
            index: the number of positions before, an integer or a scalar tensor. The caller keeps
                `index + T` within the `max_length` of the cache. `None` for a cache that grows,
                which knows it.
            mask: boolean `(B, T)`, False for padding.
            training: whether dropout is on.

        Returns:
            `(outputs, weights, cache)`: `(B, T, output_dim)`, `(B, H, T, S)` with S the positions
            of the cache, and the cache for the next step.

        Raises:
            ValueError: if the cache is known to be too short for the step.
        """
        self._check_sequence_masks(inputs.shape, mask)
        if index is None:
            start = ops.shape(cache.keys)[2]
            query, new = self._project_all(inputs, mask, start)
            cache = _grown(cache, new)
        else:
            start = index
            query, new = self._project_all(inputs, mask, start)
            cache = self.write(cache, new, index)
        length = ops.shape(query)[2]
        spec = self._mask_spec(
            query,
            cache,
            combine_masks(mask),
            # One position needs no causal mask: the cache holds nothing that comes after it.
            causal=not _is_one(length),
            query_positions=position_ids(length, start),
        )
        context, weights = self._attend_with(query, cache, spec, training)
        return context, weights, cache

    def write(self, cache: Memory, new: Memory, index) -> Memory:
        """Writes new positions into a cache of fixed length.

        Args:
            cache: with room for `max_length` positions, see `initial_cache`.
            new: keys `(B, Hkv, T, K)`, values and mask of the new positions.
            index: the position of the first of them.

        Returns:
            The cache with the new positions in it; `cache` stays as it is.

        Raises:
            ValueError: if the cache is known to be too short.
        """
        length, max_length = ops.shape(new.keys)[2], ops.shape(cache.keys)[2]
        if isinstance(index, int) and isinstance(length, int) and index + length > max_length:
            raise ValueError(
                f"{self.name}: the cache is too short for this step; ask `initial_cache` for more "
                f"positions. Received: index={index}, steps={length}, max_length={max_length}"
            )
        batch_size = ops.shape(new.keys)[0]
        valid = ops.ones((batch_size, length), dtype="bool") if new.mask is None else new.mask
        return Memory(
            _write(cache.keys, new.keys, index, axis=2),
            _write(cache.values, new.values, index, axis=2),
            _write(cache.mask, valid, index, axis=1),
        )

    def compute_output_shape(self, inputs_shape, *other_shapes):
        return super().compute_output_shape(inputs_shape, inputs_shape)

    def compute_output_spec(
        self,
        inputs,
        mask=None,
        inputs_mask=None,
        attention_mask=None,
        return_attention_scores=False,
        training=None,
    ):
        self._check_sequence_masks(inputs.shape, mask, inputs_mask, attention_mask)
        return self._output_spec(inputs.shape, inputs.shape, None, return_attention_scores)

    def get_config(self):
        return {**super().get_config(), "causal": self.causal}

    def _check_sequence_masks(self, shape, mask, inputs_mask=None, attention_mask=None):
        check_mask(self.name, "mask", mask, free_batch(shape)[:2])
        check_mask(self.name, "inputs_mask", inputs_mask, free_batch(shape)[:2])
        self._check_attention_mask(shape, shape, attention_mask)

    def _widths(self):
        """Returns widths of query, key and value, in their order in the common kernel."""
        return (
            self.num_heads * self.key_dim,
            self.num_kv_heads * self.key_dim,
            self.num_kv_heads * self.value_dim,
        )

    def _project_all(self, inputs, mask, start=0):
        """Makes scaled query `(B, H, T, K)` and memory of one sequence by one product."""
        inputs = self._as_input("inputs", inputs)
        query_width, key_width, _ = self._widths()
        query, keys, values = ops.split(
            self._project_to("qkv", inputs), [query_width, query_width + key_width], axis=-1
        )
        query = split_heads(query, self.num_heads) * (1 / math.sqrt(self.key_dim))
        return query, self._memory(keys, values, mask, position_ids(ops.shape(inputs)[1], start))

    def _projection(self, name):
        """Takes columns of the common kernel, for `project` and `attend` on a sequence apart."""
        if name not in ("query", "key", "value"):
            return super()._projection(name)
        order = ("query", "key", "value").index(name)
        start = sum(self._widths()[:order])
        columns = slice(start, start + self._widths()[order])
        kernel, bias = super()._projection("qkv")
        return kernel[:, columns], None if bias is None else bias[columns]


def _is_one(length):
    """Returns True for a length that is known to be 1 when the graph is made."""
    return isinstance(length, int) and length == 1


def _grown(cache, new):
    """Appends new positions to those of the cache; without a mask all are valid."""
    mask = None
    if cache.mask is not None or new.mask is not None:
        masks = [
            ops.ones((ops.shape(part.keys)[0], ops.shape(part.keys)[2]), dtype="bool")
            if part.mask is None
            else part.mask
            for part in (cache, new)
        ]
        mask = ops.concatenate(masks, axis=1)
    keys = ops.concatenate([cache.keys, new.keys], axis=2)
    return Memory(keys, ops.concatenate([cache.values, new.values], axis=2), mask)


def _write(cache, new, index, axis):
    """Writes `new` into `cache` from position `index` on along `axis`.

    Selected rather than scattered: every server has the operation, and it reads no more than the
    attention to the cache does.
    """
    length = ops.shape(new)[axis]
    shape = [1] * len(cache.shape)
    shape[axis] = -1
    positions = ops.arange(ops.shape(cache)[axis], dtype="int32") - ops.cast(index, "int32")
    written = ops.reshape(ops.logical_and(positions >= 0, positions < length), shape)
    if not _is_one(length):
        new = ops.take(new, ops.clip(positions, 0, length - 1), axis=axis)
    return ops.where(written, new, cache)
