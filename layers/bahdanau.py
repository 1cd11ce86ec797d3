"""Additive attention (Bahdanau et al. 2015)."""

import keras
from keras import initializers, ops

from .attention import Attention, linear, positive_int


@keras.saving.register_keras_serializable(package="attention_zoo")
class BahdanauAttention(Attention):
    """Additive attention: a small network compares each query with each key.

    The score of query `q` and key `k` is `v . tanh(W_q q + W_k k)`; `W_k k` does not depend on
    the query and is computed once in `project`. Queries and keys may have different widths. The
    context has the width of the values, which are not projected.

    Args:
        units: U, the width in which queries and keys are compared.
        dropout: share of the weights set to zero while training.
        kernel_initializer: initializer of `W_q`, `W_k` and `v`.
        seed: seed of the dropout.
        **kwargs: as for every Keras layer.

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

    Paper: "Neural Machine Translation by Jointly Learning to Align and Translate", Bahdanau,
    Cho, Bengio, 2015, https://arxiv.org/abs/1409.0473
    """

    def __init__(
        self,
        units: int,
        dropout: float = 0.0,
        kernel_initializer="glorot_uniform",
        seed: int | None = None,
        **kwargs,
    ):
        super().__init__(dropout=dropout, seed=seed, **kwargs)
        self.units = positive_int("units", units)
        self.kernel_initializer = initializers.get(kernel_initializer)

    def build(self, query_shape, value_shape, key_shape=None):
        super().build(query_shape, value_shape, key_shape)
        key_width = (key_shape or value_shape)[-1]

        def weight(name, shape):
            return self.add_weight(
                name=name, shape=shape, initializer=self.kernel_initializer.clone()
            )

        self.query_kernel = weight("query_kernel", (query_shape[-1], self.units))
        self.key_kernel = weight("key_kernel", (key_width, self.units))
        self.scale = weight("scale", (self.units,))
        self.built = True

    def project_keys(self, key):
        return linear(key, self._cast(self.key_kernel))  # (B, S, U)

    def score(self, query, keys):
        projected = linear(query, self._cast(self.query_kernel))  # (B, T, U)
        return additive_score(projected, keys, self._cast(self.scale))  # (B, T, S)

    def get_config(self):
        return {
            **super().get_config(),
            "units": self.units,
            "kernel_initializer": initializers.serialize(self.kernel_initializer),
        }


@ops.custom_gradient
def additive_score(query, keys, scale):
    """`scale . tanh(query + key)` for every pair; `(B, T, U)`, `(B, S, U)`, `(U,)` to `(B, T, S)`.

    The gradient is written out because the tensor over all pairs and units, `(B, T, S, U)`, is by
    far the largest here: one copy is kept from the forward pass and one is made in the backward
    pass, where differentiating step by step would make three.
    """
    hidden = ops.tanh(ops.expand_dims(query, 2) + ops.expand_dims(keys, 1))  # (B, T, S, U)
    scores = ops.squeeze(linear(hidden, ops.expand_dims(scale, -1)), -1)  # (B, T, S)

    def gradient(*upstream_args, upstream=None):
        upstream = upstream_args[0] if upstream is None else upstream  # (B, T, S)
        units = hidden.shape[-1]
        flat = ops.reshape(upstream, (1, -1))  # (1, B*T*S)
        scale_gradient = ops.reshape(ops.matmul(flat, ops.reshape(hidden, (-1, units))), (units,))
        # The derivative of tanh is 1 - tanh^2; `scale` is common to all pairs and comes last.
        slope = (1 - hidden * hidden) * ops.expand_dims(upstream, -1)  # (B, T, S, U)
        query_gradient = ops.sum(slope, axis=2) * scale  # (B, T, U)
        keys_gradient = ops.sum(slope, axis=1) * scale  # (B, S, U)
        return query_gradient, keys_gradient, scale_gradient

    return scores, gradient
