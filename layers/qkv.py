"""Scaled dot-product attention with several heads (Vaswani et al. 2017)."""

import math

import keras
from keras import initializers, ops

from .attention import Attention, Memory, linear, positive_int
from .masks import as_mask


@keras.saving.register_keras_serializable(package="attention_zoo")
class QKVAttention(Attention):
    """Query, key and value: scaled dot-product attention with several heads.

    1. Query, key and value are projected to `H` heads of width `key_dim` (values: `value_dim`).
    2. The score of query `q` and key `k` of a head is `q . k / sqrt(key_dim)`.
    3. Mask, softmax and weighted sum as in `Attention`, for each head apart.
    4. The heads are put side by side and projected to `output_dim`.

    With fewer heads for keys and values than for queries, neighbouring query heads share them
    (grouped-query attention; one for all is multi-query attention): the memory gets smaller by
    that factor, and it is never repeated in memory.

    Args:
        num_heads: H, the number of query heads.
        key_dim: width of a head of queries and keys.
        value_dim: width of a head of values, `key_dim` if `None`.
        num_kv_heads: number of heads of keys and values, a divisor of `num_heads`; `num_heads`
            if `None`.
        dropout: share of the weights set to zero while training.
        use_bias: whether the four projections have a bias.
        output_dim: width of the output, that of the query if `None`.
        kernel_initializer: initializer of the four projections.
        seed: seed of the dropout.
        **kwargs: as for every Keras layer.

    Call arguments, masks, weights: see `Attention`. The weights are `(B, H, T, S)`. In a row with
    nothing to attend to the weighted sum is zero, so the output is the bias of the output
    projection.

    Raises:
        ValueError: for numbers that are not positive, or a `num_kv_heads` that does not divide
            `num_heads`.

    Example:

    ```python
    attention = QKVAttention(num_heads=8, key_dim=64)
    memory = attention.project(source, mask=source_mask)
    context, weights = attention.attend(query, memory)  # (B, T, D), (B, 8, T, S)
    ```

    Papers: "Attention Is All You Need", Vaswani et al., 2017, https://arxiv.org/abs/1706.03762;
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
        kernel_initializer="glorot_uniform",
        seed: int | None = None,
        **kwargs,
    ):
        super().__init__(dropout=dropout, seed=seed, **kwargs)
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
        self.output_dim = None if output_dim is None else positive_int("output_dim", output_dim)
        self.kernel_initializer = initializers.get(kernel_initializer)

    def build(self, query_shape, value_shape, key_shape=None):
        super().build(query_shape, value_shape, key_shape)
        key_width = (key_shape or value_shape)[-1]
        self._add_projection("query", query_shape[-1], self.num_heads * self.key_dim)
        self._add_projection("key", key_width, self.num_kv_heads * self.key_dim)
        self._add_projection("value", value_shape[-1], self.num_kv_heads * self.value_dim)
        self._add_projection(
            "output", self.num_heads * self.value_dim, self.output_dim or query_shape[-1]
        )
        self.built = True

    def project(self, value, key=None, mask=None) -> Memory:
        value = self._as_input("value", value)
        key = value if key is None else self._as_input("key", key)
        keys = self._project_to("key", key)
        values = self._project_to("value", value)
        return Memory(
            self._split_heads(keys, self.num_kv_heads),  # (B, Hkv, S, K)
            self._split_heads(values, self.num_kv_heads),  # (B, Hkv, S, V)
            None if mask is None else as_mask(mask),
        )

    def score(self, query, keys):
        query = self._project_to("query", query)  # (B, T, H*K)
        return self.compare(self._split_heads(query, self.num_heads), keys)

    def compare(self, query, keys):
        """Scores of projected queries `(B, H, T, K)` with keys `(B, Hkv, S, K)`: `(B, H, T, S)`."""
        # Scaled before the product, which then stays in the range of float16.
        query = ops.multiply(query, 1 / math.sqrt(self.key_dim))
        scores = ops.matmul(self._group(query), ops.swapaxes(keys, -1, -2))
        return self._ungroup(scores, ops.shape(query)[2])

    def read(self, weights, values):
        context = ops.matmul(self._group(weights), values)
        context = self._ungroup(context, ops.shape(weights)[2])  # (B, H, T, V)
        return self._project_to("output", self._merge_heads(context))

    def compute_output_shape(self, query_shape, value_shape, key_shape=None):
        return (*query_shape[:-1], self.output_dim or query_shape[-1])

    def compute_scores_shape(self, query_shape, value_shape):
        return (query_shape[0], self.num_heads, query_shape[1], value_shape[1])

    def get_config(self):
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "key_dim": self.key_dim,
            "value_dim": self.value_dim,
            "num_kv_heads": self.num_kv_heads,
            "use_bias": self.use_bias,
            "output_dim": self.output_dim,
            "kernel_initializer": initializers.serialize(self.kernel_initializer),
        }

    def _add_projection(self, name, width, *parts):
        """Adds `NAME_kernel` and `NAME_bias`, which `_project_to(NAME, ...)` applies.

        With several parts, widths that lie side by side in the kernel, each is initialised apart.
        """
        units = sum(parts)

        def initialize(shape, dtype=None):
            kernels = [self.kernel_initializer.clone()((width, n), dtype) for n in parts]
            return ops.concatenate(kernels, axis=-1)

        kernel = self.add_weight(
            name=f"{name}_kernel", shape=(width, units), initializer=initialize
        )
        bias = None
        if self.use_bias:
            bias = self.add_weight(name=f"{name}_bias", shape=(units,), initializer="zeros")
        setattr(self, f"{name}_kernel", kernel)
        setattr(self, f"{name}_bias", bias)

    def _project_to(self, name, inputs):
        kernel, bias = self._projection(name)
        return linear(inputs, self._cast(kernel), None if bias is None else self._cast(bias))

    def _projection(self, name):
        return getattr(self, f"{name}_kernel"), getattr(self, f"{name}_bias")

    def _split_heads(self, tensor, heads):
        """`(B, T, H*K)` to `(B, H, T, K)`."""
        length, width = ops.shape(tensor)[1], tensor.shape[-1] // heads
        return ops.transpose(ops.reshape(tensor, (-1, length, heads, width)), (0, 2, 1, 3))

    def _merge_heads(self, tensor):
        """`(B, H, T, V)` to `(B, T, H*V)`."""
        length, width = ops.shape(tensor)[2], tensor.shape[1] * tensor.shape[3]
        return ops.reshape(ops.transpose(tensor, (0, 2, 1, 3)), (-1, length, width))

    def _group(self, tensor):
        """Heads that share keys become rows of one: `(B, H, T, X)` to `(B, Hkv, H/Hkv*T, X)`."""
        if self.num_kv_heads == self.num_heads:
            return tensor
        _, _, length, width = ops.shape(tensor)
        rows = self.num_heads // self.num_kv_heads * length
        return ops.reshape(tensor, (-1, self.num_kv_heads, rows, width))

    def _ungroup(self, tensor, length):
        """The way back from `_group`."""
        if self.num_kv_heads == self.num_heads:
            return tensor
        return ops.reshape(tensor, (-1, self.num_heads, length, ops.shape(tensor)[-1]))
