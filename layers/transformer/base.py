"""Arguments and sublayers that the blocks of a Transformer share."""

from __future__ import annotations

import functools

import keras
from keras import ops

from ..attention.base import Attention
from ..attention.self_attention import SelfAttention
from ..ops.arguments import optional_positive_int, positive_int
from ..ops.dense import Dense
from ..ops.dropout import Dropout
from ..ops.masks import softmax_dtype
from ..ops.normalization import make_norm
from ..ops.positions import Positions, check_positions

# An approximation of "gelu" that T5 and BERT's heirs were trained with; Keras has no name for it.
_GELU_TANH = functools.partial(keras.activations.gelu, approximate=True)
_DENSE = ("expand", "contract", "gate")


class TransformerBlock(keras.layers.Layer):
    """Base of encoder and decoder blocks: their arguments, and the residual connection.

    `quantize` makes the layers of the feed-forward network small, and `quantized` in a config says
    what they have become; attention stays as it is.

    Attributes:
        attention_names: those of the arguments and attributes for attention layers.
    """

    attention_names: tuple[str, ...] = ("self_attention",)

    def __init__(
        self,
        num_heads: int,
        feedforward_dim: int,
        dropout: float = 0.1,
        attention_dropout: float = 0.0,
        activation_dropout: float = 0.0,
        norm_first: bool = True,
        activation: str = "relu",
        positions: Positions | None = None,
        self_attention: Attention | None = None,
        key_dim: int | None = None,
        gated: bool = False,
        norm: str = "layer",
        norm_epsilon: float = 1e-6,
        quantized: dict | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.supports_masking = True
        self.num_heads = positive_int("num_heads", num_heads)
        self.key_dim = optional_positive_int("key_dim", key_dim)
        self.feedforward_dim = positive_int("feedforward_dim", feedforward_dim)
        is_tanh = activation == "gelu_tanh"
        self._activation = _GELU_TANH if is_tanh else keras.activations.get(activation)
        rates = {
            "dropout": dropout,
            "attention_dropout": attention_dropout,
            "activation_dropout": activation_dropout,
        }
        for name, rate in rates.items():
            if isinstance(rate, bool) or not 0 <= rate < 1:
                raise ValueError(
                    f"`{name}` is the share that is set to zero and must be at least 0 and below "
                    f"1. Received: {name}={rate}"
                )
        self.dropout = dropout
        self.attention_dropout = attention_dropout
        self.activation_dropout = activation_dropout
        self.norm_first = norm_first
        self.activation = activation
        self.gated = gated
        make_norm(norm, norm_epsilon, name="norm")  # refuses an unknown one
        self.norm = norm
        self.norm_epsilon = norm_epsilon
        check_positions(positions)
        self.positions = positions
        if positions is not None and self_attention is not None:
            raise ValueError(
                "`positions` are those of the self-attention that the block makes: pass them to "
                "the attention itself. Received: both positions and self_attention"
            )
        self._quantized = {
            name: keras.dtype_policies.get(policy) for name, policy in (quantized or {}).items()
        }
        self._given: tuple[str, ...] = ()
        self._take("self_attention", self_attention)
        self._residual_dropout = Dropout(dropout, dtype=self.dtype_policy)
        self._activation_dropout = Dropout(activation_dropout, dtype=self.dtype_policy)

    def _take(self, name: str, attention: Attention | None) -> None:
        """Makes a copy of an attention layer for this block alone, in its type."""
        if attention is None:
            return
        if not isinstance(attention, Attention):
            raise ValueError(
                f"`{name}` must be an attention layer such as LuongAttention('dot'), or None. "
                f"Received: {name}={attention!r}"
            )
        if not attention.queries_are_independent:
            raise ValueError(
                f"`{name}` must be an attention whose queries are independent of one another. "
                f"Received: {name} of type {type(attention).__name__}, whose weights depend on "
                "those of the queries before"
            )
        config = {**attention.get_config(), "name": name, "dtype": self.dtype_policy}
        setattr(self, name, type(attention).from_config(config))
        self._given = (*self._given, name)

    def _make_self_attention(self, width: int, **options) -> SelfAttention:
        return SelfAttention(
            self.num_heads,
            self._key_dim(width),
            dropout=self.attention_dropout,
            positions=self.positions,
            name="self_attention",
            dtype=self.dtype_policy,
            **options,
        )

    def _build_self_attention(self, shape) -> None:
        once = self.self_attention.takes_one_sequence
        self._build_attention("self_attention", *([shape] if once else [shape, shape]))

    def _build_attention(self, name: str, *shapes) -> None:
        attention = getattr(self, name)
        attention.build(*shapes)
        width = shapes[0][-1]
        found = attention.compute_output_shape(*shapes)[-1]
        if found != width:
            raise ValueError(
                f"{self.name}: the output of `{name}` must be as wide as the inputs, to be added "
                "to them; attention without a projection of its output is as wide as the values. "
                f"Received: {width} for the inputs, {found} for {type(attention).__name__}"
            )

    def _attend_to_itself(self, x, causal, with_weights, mask=None, training=None):
        """Applies self-attention to `x`; its weights come beside the result where asked for."""
        attention = self.self_attention
        options = {"return_attention_scores": with_weights, "training": training}
        if attention.takes_one_sequence:
            found = attention(x, mask=mask, **options)
        else:
            masks = {"query_mask": mask, "value_mask": mask, "use_causal_mask": causal}
            found = attention(x, x, **masks, **options)
        return (found[0], with_heads(found[1])) if with_weights else (found,)

    def _key_dim(self, width: int) -> int:
        if self.key_dim is not None:
            return self.key_dim
        if width % self.num_heads:
            raise ValueError(
                "The width must be a multiple of num_heads, so that the heads side by side are as "
                f"wide as the input. Received: width={width}, num_heads={self.num_heads}"
            )
        return width // self.num_heads

    def _build_feed_forward(self, width: int) -> None:
        dtypes = {name: self._quantized.get(name, self.dtype_policy) for name in _DENSE}
        self.expand = Dense(
            self.feedforward_dim, self._activation, name="expand", dtype=dtypes["expand"]
        )
        self.contract = Dense(width, name="contract", dtype=dtypes["contract"])
        self.expand.build((None, width))
        self.contract.build((None, self.feedforward_dim))
        if self.gated:
            self.gate = Dense(self.feedforward_dim, name="gate", dtype=dtypes["gate"])
            self.gate.build((None, width))

    def _build_norms(self, width: int, names: tuple[str, ...]) -> None:
        for name in names:
            options = {"name": f"{name}_norm", "dtype": self.dtype_policy}
            norm = make_norm(self.norm, self.norm_epsilon, **options)
            norm.build((None, width))
            setattr(self, f"{name}_norm", norm)

    def _feed_forward(self, x, training):
        hidden = self.expand(x) * self.gate(x) if self.gated else self.expand(x)
        return self.contract(self._activation_dropout(hidden, training=training))

    def residual(self, x, norm, sublayer, training):
        """Adds the first result of the sublayer to `x`; returns its other results beside it."""
        added, *others = sublayer(norm(x) if self.norm_first else x)
        x = x + self._residual_dropout(added, training=training)
        return (x if self.norm_first else norm(x), *others)

    def get_config(self):
        quantized = {
            name: keras.dtype_policies.serialize(getattr(self, name).dtype_policy)
            for name in _DENSE
            if self.built and getattr(getattr(self, name, None), "quantization_mode", None)
        }
        return {
            **super().get_config(),
            **({"quantized": quantized} if quantized else {}),
            "num_heads": self.num_heads,
            "feedforward_dim": self.feedforward_dim,
            "dropout": self.dropout,
            "attention_dropout": self.attention_dropout,
            "activation_dropout": self.activation_dropout,
            "norm_first": self.norm_first,
            "activation": self.activation,
            "key_dim": self.key_dim,
            "gated": self.gated,
            "norm": self.norm,
            "norm_epsilon": self.norm_epsilon,
            "positions": keras.saving.serialize_keras_object(self.positions),
            **{
                name: keras.saving.serialize_keras_object(getattr(self, name))
                if name in self._given
                else None
                for name in self.attention_names
            },
        }

    @classmethod
    def from_config(cls, config):
        parts = {
            name: keras.saving.deserialize_keras_object(config.get(name))
            for name in ("positions", *cls.attention_names)
        }
        return cls(**{**config, **parts})


def with_heads(weights):
    """Weights `(B, T, S)` as `(B, 1, T, S)`; those with heads as they are."""
    return ops.expand_dims(weights, 1) if len(weights.shape) == 3 else weights


def scores_spec(attention, query_shape, value_shape, dtype):
    """The symbolic weights `(B, H, T, S)` of an attention layer."""
    batch, *heads, queries, keys = attention.compute_scores_shape(query_shape, value_shape)
    return keras.KerasTensor((batch, *(heads or (1,)), queries, keys), dtype=softmax_dtype(dtype))
