"""Scaled dot-product attention with several heads (Vaswani et al. 2017)."""

import math

import keras
from keras import ops

from ..ops.affine import linear
from ..ops.arguments import optional_positive_int, positive_int
from ..ops.broadcasting import broadcast_rows, free_batch
from ..ops.fused import attend_fused, can_fuse
from ..ops.masks import as_mask, check_mask, combine_masks, position_ids
from ..ops.positions import Positions, check_positions
from .chunked import MaskSpec, attend_in_chunks
from .heads import compare_heads, merge_heads, split_heads, sum_values
from .kernels import KernelAttention
from .memory import Memory


@keras.saving.register_keras_serializable(package="attention_zoo")
class QKVAttention(KernelAttention):
    """Query, key and value: scaled dot-product attention with several heads.

    1. Query, key and value are projected to `H` heads of width `key_dim` (values: `value_dim`).
    2. The score of query `q` and key `k` of a head is `q . k / sqrt(key_dim)`.
    3. Mask, softmax and weighted sum as in `Attention`, for each head apart.
    4. The heads are put side by side and projected to `output_dim`.

    With fewer heads for keys and values than for queries, neighboring query heads share them
    (grouped-query attention; one for all is multi-query attention): the memory gets smaller by
    that factor, and it is never repeated in memory.

    Where PyTorch is the backend its fused kernel computes what needs neither the weights nor
    dropout, positions that add to the scores, or shared heads: the scores are never in memory.

    Positions count from 0, for queries and for keys.

    Args:
        num_heads: H, the number of query heads.
        key_dim: width of a head of queries and keys.
        value_dim: width of a head of values, `key_dim` if `None`.
        num_kv_heads: number of heads of keys and values, a divisor of `num_heads`; `num_heads`
            if `None`.
        dropout: share of the weights set to zero while training.
        use_bias: whether the four projections have a bias.
        output_dim: width of the output, that of the query if `None`.
        positions: `RotaryPositions()`, `AlibiPositions()`, `RelativePositions()` or a kind of
            your own; `None` for scores that do not depend on positions.
        sliding_window: distance from which on keys are masked, on either side; none if `None`.
        chunk_size: number of queries for which scores exist at a time, wherever the weights are
            not asked for. Memory then grows with the length of the sequence rather than its
            square, at the price of computing the scores again in the backward pass. All at once
            if `None`.
        kernel_initializer: initializer of the four projections.
        seed: seed of the dropout.
        bias_initializer: initializer of the biases.
        bias_regularizer: regularizer of the biases.
        bias_constraint: constraint of the biases.
        **kwargs: `kernel_regularizer` and `kernel_constraint` of the projections, and those of
            every Keras layer.

    Call arguments, masks, weights: see `Attention`. The weights are `(B, H, T, S)`. In a row with
    nothing to attend to the weighted sum is zero, so the output is the bias of the output
    projection.

    Raises:
        ValueError: for numbers that are not positive, a `num_kv_heads` that does not divide
            `num_heads`, `positions` of another type or not for this `key_dim`, or `chunk_size`
            together with `dropout`.

    Example:

    ```python
    attention = QKVAttention(num_heads=8, key_dim=64)
    attention.build(query.shape, source.shape)  # or call it once
    memory = attention.project(source, mask=source_mask)
    context, weights = attention.attend(query, memory)  # (B, T, D), (B, 8, T, S)
    ```

    References: "Attention Is All You Need", Vaswani et al., 2017, https://arxiv.org/abs/1706.03762;
    "GQA", Ainslie et al., 2023, https://arxiv.org/abs/2305.13245
    """

    def __init__(
        self,
        num_heads: int,
        key_dim: int,
        value_dim: int | None = None,
        num_kv_heads: int | None = None,
        dropout: float = 0.0,
        use_bias: bool = True,
        output_dim: int | None = None,
        positions: Positions | None = None,
        sliding_window: int | None = None,
        chunk_size: int | None = None,
        kernel_initializer="glorot_uniform",
        seed: int | None = None,
        bias_initializer="zeros",
        bias_regularizer=None,
        bias_constraint=None,
        **kwargs,
    ):
        super().__init__(dropout, kernel_initializer, seed, **kwargs)
        self._set_options(
            bias_initializer=bias_initializer,
            bias_regularizer=bias_regularizer,
            bias_constraint=bias_constraint,
        )
        self.num_heads = positive_int("num_heads", num_heads)
        self.key_dim = positive_int("key_dim", key_dim)
        self.value_dim = positive_int("value_dim", key_dim if value_dim is None else value_dim)
        self.num_kv_heads = positive_int(
            "num_kv_heads", num_heads if num_kv_heads is None else num_kv_heads
        )
        if num_heads % self.num_kv_heads:
            raise ValueError(
                "`num_kv_heads` must divide `num_heads`, since each is shared by as many query "
                f"heads. Received: num_heads={num_heads}, num_kv_heads={num_kv_heads}"
            )
        self.use_bias = use_bias
        self.output_dim = optional_positive_int("output_dim", output_dim)
        check_positions(positions, self.key_dim)
        self.positions = positions
        self.sliding_window = optional_positive_int("sliding_window", sliding_window)
        self.chunk_size = optional_positive_int("chunk_size", chunk_size)
        if chunk_size and dropout:
            raise ValueError(
                "In chunks the weights are computed twice, in the backward pass again, so none can "
                "be dropped: use either `chunk_size` or `dropout`. Received: "
                f"chunk_size={chunk_size}, dropout={dropout}"
            )

    def build(self, query_shape, value_shape, key_shape=None):
        super().build(query_shape, value_shape, key_shape)
        key_width = (key_shape or value_shape)[-1]
        self._add_projection("query", query_shape[-1], self.num_heads * self.key_dim)
        self._add_projection("key", key_width, self.num_kv_heads * self.key_dim)
        self._add_projection("value", value_shape[-1], self.num_kv_heads * self.value_dim)
        self._add_projection(
            "output", self.num_heads * self.value_dim, self.output_dim or query_shape[-1]
        )
        self._build_positions()
        self.built = True

    def project(self, value, key=None, mask=None) -> Memory:
        value = self._as_input("value", value)
        key = value if key is None else self._as_input("key", key)
        check_mask(self.name, "mask", mask, free_batch(value.shape)[:2])
        keys = self._project_to("key", key)
        values = self._project_to("value", value)
        return self._memory(keys, values, mask, position_ids(ops.shape(keys)[1]))

    def project_query(self, query):
        """Projects queries to heads, and scales them by `1 / sqrt(K)`.

        Args:
            query: `(B, T, Dq)`.

        Returns:
            `(B, H, T, K)`.
        """
        query = split_heads(self._project_to("query", query), self.num_heads)
        # Scaled before the product, which then stays in the range of float16.
        return ops.multiply(query, 1 / math.sqrt(self.key_dim))

    def score(self, query, keys):
        return compare_heads(query, keys)  # (B, H, T, S)

    def read(self, weights, values):
        return self._project_to("output", merge_heads(sum_values(weights, values)))

    def attend(
        self, query, memory: Memory, attention_mask=None, training=None, query_positions=None
    ):
        """Attends to a projected memory, with any number of queries; see `Attention.attend`.

        Args:
            query: `(B, T, Dq)`.
            memory: what `project` returned.
            attention_mask: boolean, any rank that `call` takes.
            training: whether dropout is on.
            query_positions: whole numbers `(T,)`, 0 to T - 1 if `None`. Only for a layer with
                `positions` or `sliding_window`.

        Returns:
            `(context, weights)`: `(B, T, output_dim)` and `(B, H, T, S)`.
        """
        query = self._check_attend(query, memory, attention_mask)
        query = self.project_query(query)
        spec = self._mask_spec(query, memory, attention_mask, query_positions=query_positions)
        return self._attend_with(query, memory, spec, training)

    def step(self, inputs, cache: Memory, training=None):
        inputs = self._as_input("inputs", inputs)
        here = position_ids(1, ops.shape(cache.keys)[2])
        keys, values = (self._project_to(name, inputs) for name in ("key", "value"))
        cache = self._appended(cache, self._memory(keys, values, None, here))
        context, weights = self.attend(inputs, cache, training=training, query_positions=here)
        return context, weights, cache

    def _attend_to_all(self, query, memory, mask, causal, training, weights_needed):
        query = self.project_query(self._as_input("query", query))
        spec = self._mask_spec(query, memory, mask, causal)
        return self._attend_with(query, memory, spec, training, weights_needed)

    def _attend_with(self, query, memory, spec, training, weights_needed=True):
        """Attends with projected queries `(B, H, T, K)` to what is visible."""
        if self.positions is not None:
            query = self.positions.rotate(query, spec.query_positions)
        if self.chunk_size is not None and not weights_needed:
            heads = attend_in_chunks(query, memory.keys, memory.values, spec, self.chunk_size)
            return self._project_to("output", merge_heads(heads)), None
        if not weights_needed and self._can_fuse(query, memory, spec, training):
            heads = attend_fused(query, memory.keys, memory.values, spec)
            return self._project_to("output", merge_heads(heads)), None
        scores, mask = spec.apply(self.score(query, memory.keys))
        return self._weigh(scores, mask, memory.values, training)

    def _can_fuse(self, query, memory, spec, training):
        # A subclass may compare or weigh in a way of its own.
        own = type(self).score, type(self)._weigh
        drops = self.dropout and training is not False
        return (
            own == (QKVAttention.score, QKVAttention._weigh)
            and not drops
            and can_fuse(query, memory.keys, spec)
        )

    def _mask_spec(self, query, memory, mask, causal=False, query_positions=None, **options):
        return MaskSpec(
            query_positions=position_ids(ops.shape(query)[2])
            if query_positions is None
            else query_positions,
            key_positions=position_ids(ops.shape(memory.keys)[2]),
            mask=combine_masks(memory_mask=memory.mask, attention_mask=mask),
            causal=causal,
            sliding_window=self.sliding_window,
            positions=self.positions,
            **options,
        )

    def _memory(self, keys, values, mask, key_positions):
        """Makes the memory of keys `(B, S, G*K)` and values `(B, S, G*V)`."""
        keys = split_heads(keys, self.num_kv_heads)  # (B, G, S, K)
        if self.positions is not None:
            keys = self.positions.rotate(keys, key_positions)
        values = split_heads(values, self.num_kv_heads)  # (B, G, S, V)
        return Memory(keys, values, None if mask is None else as_mask(mask))

    def compute_output_shape(self, query_shape, value_shape, key_shape=None):
        return (*broadcast_rows(query_shape, value_shape), self.output_dim or query_shape[-1])

    def compute_scores_shape(self, query_shape, value_shape):
        batch, length = broadcast_rows(query_shape, value_shape)
        return (batch, self.num_heads, length, value_shape[1])

    def get_config(self):
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "key_dim": self.key_dim,
            "value_dim": self.value_dim,
            "num_kv_heads": self.num_kv_heads,
            "use_bias": self.use_bias,
            "output_dim": self.output_dim,
            "positions": keras.saving.serialize_keras_object(self.positions),
            "sliding_window": self.sliding_window,
            "chunk_size": self.chunk_size,
        }

    @classmethod
    def from_config(cls, config):
        positions = keras.saving.deserialize_keras_object(config.get("positions"))
        return cls(**{**config, "positions": positions})

    def _build_positions(self):
        if self.positions is not None:
            self.positions.belong_to(self)
            if not self.positions.built:
                self.positions.build((None, self.num_heads, None, self.key_dim))

    def _add_projection(self, name, width, *parts):
        """Adds `NAME_kernel` and `NAME_bias`, which `_project_to(NAME, ...)` applies.

        With several parts, widths that lie side by side in the kernel, each is initialized apart.
        """
        units = sum(parts)

        def initialize(shape, dtype=None):
            kernels = [self.kernel_initializer.clone()((width, n), dtype) for n in parts]
            return ops.concatenate(kernels, axis=-1)

        kernel = self._add_kernel(f"{name}_kernel", (width, units), initialize)
        bias = None
        if self.use_bias:
            bias = self.add_weight(
                name=f"{name}_bias",
                shape=(units,),
                initializer=self.bias_initializer.clone(),
                regularizer=self.bias_regularizer,
                constraint=self.bias_constraint,
            )
        setattr(self, f"{name}_kernel", kernel)
        setattr(self, f"{name}_bias", bias)

    def _project_to(self, name, inputs):
        return linear(inputs, *self._projection(name))

    def _projection(self, name):
        kernel, bias = getattr(self, f"{name}_kernel"), getattr(self, f"{name}_bias")
        return self._cast(kernel), None if bias is None else self._cast(bias)
