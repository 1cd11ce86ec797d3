"""The base of every attention layer. Shapes: B batch, S source, T target, D width, H heads."""

import keras
from keras import ops

from ..ops.arguments import check_input, check_shapes, refuse_symbolic
from ..ops.broadcasting import broadcast_rows, free_batch
from ..ops.dropout import Dropout
from ..ops.masks import (
    as_mask,
    causal_mask,
    check_mask,
    combine_masks,
    masked_softmax,
    merge_memory_masks,
    softmax_dtype,
)
from .memory import Memory, memory_shape


class Attention(keras.layers.Layer):
    """Attention over (key, value) pairs; a kind of attention is a score function.

    The calculation, for queries `(B, T, Dq)` and a memory of `S` pairs:

    1. `project` prepares keys and values, which stay the same for every query;
    2. `score` compares each query, as `project_query` prepares it, with each key;
    3. a softmax in float32 turns the scores into weights, zero where the mask is False;
    4. `read` sums the values with those weights.

    A subclass says `score`, and what of `build`, `project_query`, `project_keys` and `read` its
    weights are for. Nothing is stored on the layer: the memory is a value that is handed around,
    so that a decoder projects it once and attends to it at every step, and the beams of a beam
    search are merely further queries on the same memory.

    ```python
    layer.build(query.shape, source.shape)  # if it was not called yet
    memory = layer.project(source, mask=source_mask)
    context, weights = layer.attend(query, memory)  # at each step, as often as needed
    context = layer(query, source, value_mask=source_mask)  # both at once
    ```

    Args:
        dropout: share of the weights set to zero while training, at least 0 and below 1.
        seed: seed of the dropout.
        **kwargs: `name`, `dtype` and `trainable`, as for every Keras layer.

    Call arguments:
        query: `(B, T, Dq)`.
        value: `(B, S, Dv)`.
        key: `(B, S, Dk)`, `value` if it is left out.
        query_mask: boolean `(B, T)`; a row that is False attends to nothing: zero weights.
        value_mask: boolean `(B, S)`, False for padding.
        key_mask: boolean `(B, S)`, False for padding.
        attention_mask: boolean `(T, S)` or `(B, T, S)`, with heads also `(B, H, T, S)`.
        use_causal_mask: whether query `i` attends to the keys `0` to `i` alone.
        return_attention_scores: whether the weights are returned too.
        training: whether dropout is on; Keras fills it in.

    Masks say True for *attend* and may be combined freely. Masks that Keras attaches to its
    tensors (`Embedding(mask_zero=True)`) are used without being passed. A query with nothing to
    attend to has zero weights and a zero weighted sum. A batch of 1 on either side goes with every
    row of the other: one learned query for all rows, or one memory for all queries.

    Inputs of more axes are reshaped: pictures `(B, Y, X, D)` to all regions of each, `(B, Y X, D)`.

    Returns:
        The context `(B, T, Dv)` in the compute type; with `return_attention_scores` also the
        weights before dropout, `(B, T, S)` or, with heads, `(B, H, T, S)`, in float32.

    Raises:
        ValueError: `dropout` is out of range, or a mask does not fit the inputs.

    Attributes:
        takes_one_sequence: whether the layer is called with one sequence, `layer(inputs)`, as
            `SelfAttention` is. Layers around this one rely on it.
        queries_are_independent: whether the weights of a query depend on no other query. Else it
            cannot be used step by step by a Transformer block.

    Example: attention by distance in a dozen lines.

    ```python
    class DistanceAttention(Attention):
        def score(self, query, keys):
            difference = query[:, :, None] - keys[:, None]  # (B, T, S, D)
            return -ops.sum(ops.square(difference), axis=-1)
    ```
    """

    takes_one_sequence = False
    queries_are_independent = True

    def __init__(self, dropout: float = 0.0, seed: int | None = None, **kwargs):
        super().__init__(**kwargs)
        if isinstance(dropout, bool) or not 0 <= dropout < 1:
            raise ValueError(
                "`dropout` is the share of weights to set to zero and must be at least 0 and "
                f"below 1. Received: dropout={dropout}"
            )
        self.supports_masking = True
        self.dropout = dropout
        self.seed = seed
        self._dropout_layer = None
        if dropout:
            self._dropout_layer = Dropout(dropout, seed=seed, dtype=self.dtype_policy)

    def build(self, query_shape, value_shape, key_shape=None):
        self._check_shapes(query_shape, value_shape, key_shape)

    def _check_shapes(self, query_shape, value_shape, key_shape=None, **widths):
        check_shapes(self.name, query_shape, value_shape, key_shape)
        self._widths_built = {
            "query": query_shape[-1],
            "value": value_shape[-1],
            "key": (key_shape or value_shape)[-1],
            **widths,
        }

    def project(self, value, key=None, mask=None) -> Memory:
        """Prepares values `(B, S, Dv)` and keys `(B, S, Dk)` for `attend`.

        Args:
            value: `(B, S, Dv)`.
            key: `(B, S, Dk)`, `value` if it is left out.
            mask: boolean `(B, S)`, False for padding.

        Returns:
            A `Memory`, for any number of calls of `attend`.
        """
        value = self._as_input("value", value)
        key = value if key is None else self._as_input("key", key)
        check_mask(self.name, "mask", mask, free_batch(value.shape)[:2])
        return Memory(self.project_keys(key), value, None if mask is None else as_mask(mask))

    def project_keys(self, key):
        """Projects keys to those that `score` takes: here themselves.

        Args:
            key: `(B, S, Dk)`.

        Returns:
            Keys in the layout of the layer.
        """
        return key

    def project_query(self, query):
        """Projects queries to those that `score` takes: here themselves.

        Args:
            query: `(B, T, Dq)`.

        Returns:
            Queries in the layout of the layer.
        """
        return query

    def score(self, query, keys):
        """Compares queries with keys.

        Args:
            query: what `project_query` returned.
            keys: what `project_keys` returned.

        Returns:
            Scores `(B, T, S)` or, with heads, `(B, H, T, S)`.
        """
        raise NotImplementedError(f"{type(self).__name__} has no `score` function.")

    def read(self, weights, values):
        """Sums the values with the weights.

        Args:
            weights: `(B, T, S)`, in the compute type.
            values: `(B, S, Dv)`.

        Returns:
            `(B, T, Dv)`.
        """
        return ops.matmul(weights, values)  # (B, T, Dv)

    def attend(self, query, memory: Memory, attention_mask=None, training=None):
        """Attends to a projected memory, with any number of queries.

        Args:
            query: `(B, T, Dq)`; T may be the steps of a sequence or the beams of one step.
            memory: what `project` returned.
            attention_mask: boolean, any rank that `call` takes.
            training: whether dropout is on.

        Returns:
            `(context, weights)`, always both: `(B, T, Dv)` and `(B, T, S)` or `(B, H, T, S)`.
        """
        query = self._check_attend(query, memory, attention_mask)
        mask = combine_masks(memory_mask=memory.mask, attention_mask=attention_mask)
        scores = self.score(self.project_query(query), memory.keys)
        return self._weigh(scores, mask, memory.values, training)

    def step(self, inputs, cache: Memory, training=None):
        """Goes on by one position with a sequence that attends to itself.

        It attends to the positions of the cache and to itself, so it is causal by construction.

        Args:
            inputs: `(B, 1, D)`, the position after those of the cache.
            cache: that of the step before; at first the result of `project` of `(B, 0, D)`.
            training: whether dropout is on.

        Returns:
            `(context, weights, cache)`: those of `attend`, and the cache for the next step.
        """
        cache = self._appended(cache, self.project(inputs))
        return *self.attend(inputs, cache, training=training), cache

    def call(
        self,
        query,
        value,
        key=None,
        query_mask=None,
        value_mask=None,
        key_mask=None,
        attention_mask=None,
        use_causal_mask=False,
        return_attention_scores=False,
        training=None,
    ):
        self._check_masks(
            query.shape, value.shape, query_mask, value_mask, key_mask, attention_mask
        )
        memory = self.project(value, key, mask=merge_memory_masks(value_mask, key_mask))
        mask = combine_masks(query_mask, attention_mask=attention_mask)
        context, weights = self._attend_to_all(
            query, memory, mask, use_causal_mask, training, return_attention_scores
        )
        return (context, weights) if return_attention_scores else context

    def compute_output_shape(self, query_shape, value_shape, key_shape=None):
        return (*broadcast_rows(query_shape, value_shape), value_shape[-1])

    def compute_scores_shape(self, query_shape, value_shape):
        """Computes the shape of the weights.

        Args:
            query_shape: `(B, T, Dq)`.
            value_shape: `(B, S, Dv)`.

        Returns:
            `(B, T, S)` or, with heads, `(B, H, T, S)`; `None` for what is not known.
        """
        return (*broadcast_rows(query_shape, value_shape), value_shape[1])

    def compute_output_spec(
        self,
        query,
        value,
        key=None,
        query_mask=None,
        value_mask=None,
        key_mask=None,
        attention_mask=None,
        use_causal_mask=False,
        return_attention_scores=False,
        training=None,
    ):
        self._check_masks(
            query.shape, value.shape, query_mask, value_mask, key_mask, attention_mask
        )
        key_shape = None if key is None else key.shape
        return self._output_spec(query.shape, value.shape, key_shape, return_attention_scores)

    def get_config(self):
        return {**super().get_config(), "dropout": self.dropout, "seed": self.seed}

    def _check_masks(
        self, query_shape, value_shape, query_mask, value_mask, key_mask, attention_mask
    ):
        check_mask(self.name, "query_mask", query_mask, free_batch(query_shape)[:2])
        check_mask(self.name, "value_mask", value_mask, free_batch(value_shape)[:2])
        check_mask(self.name, "key_mask", key_mask, free_batch(value_shape)[:2])
        self._check_attention_mask(query_shape, value_shape, attention_mask)

    def _check_attend(self, query, memory, attention_mask):
        """Returns the query of `attend` in the compute type, if it and the others fit."""
        query = self._as_input("query", query)
        refuse_symbolic(self.name, "memory", memory.values)
        self._check_attention_mask(query.shape, memory_shape(memory), attention_mask)
        return query

    def _check_attention_mask(self, query_shape, value_shape, mask):
        """Refuses a mask that does not fit the scores of such queries and values."""
        if mask is None:
            return
        scores_shape = self.compute_scores_shape(query_shape, value_shape)
        batch, *heads, queries, keys = free_batch(scores_shape)
        shapes = [(queries, keys), (batch, queries, keys)]
        if heads:
            shapes.append((batch, *heads, queries, keys))
        check_mask(self.name, "attention_mask", mask, *shapes)

    def _attend_to_all(self, query, memory, mask, causal, training, weights_needed):
        """Attends with a whole sequence; a layer that can do without weights does it here."""
        if causal:
            lengths = ops.shape(query)[1], ops.shape(memory.values)[-2]
            mask = combine_masks(attention_mask=mask, causal=causal_mask(*lengths))
        return self.attend(query, memory, attention_mask=mask, training=training)

    def _appended(self, cache, new):
        """Appends projected positions to a cache, along the axis before the last."""
        keys = ops.concatenate([cache.keys, new.keys], axis=-2)
        return Memory(keys, ops.concatenate([cache.values, new.values], axis=-2))

    def _weigh(self, scores, mask, values, training):
        """Turns scores into context and weights."""
        weights = masked_softmax(scores, mask)
        return self._sum(weights, values, training), weights

    def _sum(self, weights, values, training):
        """Sums the values with the weights, of which dropout leaves out some."""
        kept = ops.cast(weights, self.compute_dtype)
        if self._dropout_layer is not None:
            # Keras takes `training=None` for an answer; left out, the layer around this one says.
            given = {} if training is None else {"training": training}
            kept = self._dropout_layer(kept, **given)
        return self.read(kept, values)

    def _output_spec(self, query_shape, value_shape, key_shape, with_scores):
        shape = self.compute_output_shape(query_shape, value_shape, key_shape)
        context = keras.KerasTensor(shape, dtype=self.compute_dtype)
        if not with_scores:
            return context
        shape = self.compute_scores_shape(query_shape, value_shape)
        return context, keras.KerasTensor(shape, dtype=softmax_dtype(self.compute_dtype))

    def _as_input(self, name, tensor):
        """Casts explicitly: Keras casts only what goes through `__call__`."""
        if not self.built:
            raise ValueError(
                f"{self.name} has no weights yet: call it once, or "
                f"`build(query_shape, value_shape)` it, before `project` and `attend`."
            )
        refuse_symbolic(self.name, name, tensor)
        tensor = ops.convert_to_tensor(tensor, dtype=self.compute_dtype)
        width = getattr(self, "_widths_built", {}).get(name)  # a subclass may build by itself
        check_input(self.name, name, tensor.shape, width)
        return tensor

    def _cast(self, variable):
        """Returns a weight in the compute type, outside of `__call__` too."""
        return ops.cast(variable, self.compute_dtype)
