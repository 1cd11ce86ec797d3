"""Additive attention (Bahdanau et al. 2015)."""

import math
from typing import Any

import keras
from keras import ops

from ..ops.affine import linear
from ..ops.arguments import positive_int
from ..ops.broadcasting import broadcast_batch, common_batch, sum_to_batch
from ..ops.partition import concat, depends_on, partition
from .kernels import KernelAttention

# How the batch is divided, see `additive_score`; measured on processors with 16 to 32 MB of cache.
PARTS = 8
SMALL = 2**20  # elements of (B, T, S, U) that are not worth dividing
FEW_QUERIES = 16  # so many queries are a step of a decoder


@keras.saving.register_keras_serializable(package="attention_zoo")
class BahdanauAttention(KernelAttention):
    """Additive attention: a small network compares each query with each key.

    The score of query `q` and key `k` is `v . tanh(W_q q + W_k k)`; `W_k k` does not depend on
    the query and is computed once in `project`. Queries and keys may have different widths. The
    context has the width of the values, which are not projected.

    Args:
        units: U, the width in which queries and keys are compared.
        dropout: share of the weights set to zero while training.
        kernel_initializer: initializer of `W_q`, `W_k` and `v`.
        seed: seed of the dropout.
        **kwargs: `kernel_regularizer` and `kernel_constraint` of the same, and those of every Keras
            layer.

    Call arguments, masks, weights: see `Attention`.

    Raises:
        ValueError: if `units` is not a positive number or `dropout` is not in [0, 1).

    Example:

    ```python
    attention = BahdanauAttention(256)
    context, weights = attention(
        decoder_states,  # (B, T, 512)
        encoder_states,  # (B, S, 1024)
        value_mask=source_ids != 0,
        return_attention_scores=True,
    )  # (B, T, 1024), (B, T, S)
    ```

    Reference: "Neural Machine Translation by Jointly Learning to Align and Translate", Bahdanau,
    Cho, Bengio, 2015, https://arxiv.org/abs/1409.0473
    """

    def __init__(self, units: int, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.units = positive_int("units", units)

    def build(self, query_shape, value_shape, key_shape=None):
        super().build(query_shape, value_shape, key_shape)
        key_width = (key_shape or value_shape)[-1]
        self.query_kernel = self._add_kernel("query_kernel", (query_shape[-1], self.units))
        self.key_kernel = self._add_kernel("key_kernel", (key_width, self.units))
        self.scale = self._add_kernel("scale", (self.units,))
        self.built = True

    def project_keys(self, key):
        return linear(key, self._cast(self.key_kernel))  # (B, S, U)

    def project_query(self, query):
        return linear(query, self._cast(self.query_kernel))  # (B, T, U)

    def score(self, query, keys):
        return additive_score(query, keys, self._cast(self.scale))  # (B, T, S)

    def get_config(self):
        return {**super().get_config(), "units": self.units}


@ops.custom_gradient
def additive_score(query, keys, scale):
    """Computes `scale . tanh(query + key)` for every pair.


    The tensor over all pairs and units, `(B, T, S, U)`, is by far the largest here. It is never
    made as a whole: the batch is taken in parts that stay in the processor's cache, and the
    gradient computes them anew rather than keep them. That is several times faster than writing
    and reading the whole, and needs a fraction of the memory.

    Args:
        query: `(B, T, U)`, or `(1, T, U)` for all rows.
        keys: `(B, S, U)`, or `(1, S, U)` for all rows.
        scale: `(U,)`.

    Returns:
        `(B, T, S)`.
    """
    parts = _parts(query, keys)
    rows = (query, keys)
    if parts > 1:  # of one row there are no parts
        batch = common_batch(query, keys)
        rows = (broadcast_batch(query, batch), broadcast_batch(keys, batch))
    scores: list[Any] = []
    for query_part, keys_part in zip(*(partition(tensor, parts) for tensor in rows), strict=True):
        query_part = depends_on(scores[-1] if scores else None, query_part)
        hidden = _hidden(query_part, keys_part)
        flat = ops.matmul(ops.reshape(hidden, (-1, scale.shape[0])), ops.expand_dims(scale, -1))
        scores.append(ops.reshape(flat, ops.shape(hidden)[:3]))

    def gradient(*arguments, upstream=None):
        # Backends differ in how they hand in the gradient of the scores, (B, T, S).
        upstream = arguments[0] if upstream is None else upstream
        to_query: list[Any] = []
        to_keys: list[Any] = []
        to_scale: list[Any] = []
        for part in zip(*(partition(tensor, parts) for tensor in (*rows, upstream)), strict=True):
            query_part = depends_on(to_keys[-1] if to_keys else None, part[0])
            gradients = _part_gradients(query_part, *part[1:])
            for collected, gradient_part in zip(
                (to_query, to_keys, to_scale), gradients, strict=True
            ):
                collected.append(gradient_part)
        query_gradient = sum_to_batch(concat(to_query), query) * scale
        keys_gradient = sum_to_batch(concat(to_keys), keys) * scale
        return query_gradient, keys_gradient, sum(to_scale)

    return concat(scores), gradient


def _hidden(query, keys):
    return ops.tanh(ops.expand_dims(query, 2) + ops.expand_dims(keys, 1))  # (B, T, S, U)


def _part_gradients(query, keys, upstream):
    """Gradients for query and keys, both still without the factor `scale`, and for `scale`."""
    hidden = _hidden(query, keys)
    units = hidden.shape[-1]
    to_scale = ops.matmul(ops.reshape(upstream, (1, -1)), ops.reshape(hidden, (-1, units)))
    # With 1 - tanh^2 as the derivative of tanh, the sum over the 1 needs no large tensor.
    squares = ops.square(hidden) * ops.expand_dims(upstream, -1)  # (B, T, S, U)
    to_query = ops.sum(upstream, axis=2, keepdims=True) - ops.sum(squares, axis=2)  # (B, T, U)
    to_keys = ops.expand_dims(ops.sum(upstream, axis=1), -1) - ops.sum(squares, axis=1)
    return to_query, to_keys, ops.reshape(to_scale, (units,))


def _parts(query, keys):
    """Returns the number of parts in which the batch is taken."""
    batch = keys.shape[0] if query.shape[0] == 1 else query.shape[0]
    shape = (batch, *query.shape[1:], keys.shape[1])
    if not isinstance(batch, (int, type(None))):
        return 1  # a symbol, of which JAX makes no parts
    length = shape[1]
    if isinstance(length, int) and length <= FEW_QUERIES:
        return 1  # a step of a decoder: small, and the number of operations counts
    if all(isinstance(size, int) for size in shape) and math.prod(shape) <= SMALL:
        return 1
    return PARTS if batch is None else min(PARTS, batch)
