"""The blocks of a Transformer. Shapes: B batch, S source, T target, N beams, D width, H heads."""

from __future__ import annotations

import keras

from ..attention.base import Memory
from ..attention.dot_product import QKVAttention
from ..attention.self_attention import SelfAttention
from ..ops.arguments import positive_int
from ..ops.dropout import Dropout
from ..ops.normalization import LayerNormalization
from ..ops.positions import Positions, check_positions
from .step import StepWeights, step, step_weights


class _Block(keras.layers.Layer):
    """Base of encoder and decoder blocks: their arguments, and the residual connection."""

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
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.supports_masking = True
        self.num_heads = positive_int("num_heads", num_heads)
        self.feedforward_dim = positive_int("feedforward_dim", feedforward_dim)
        keras.activations.get(activation)  # refuses an unknown one
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
        check_positions(positions)
        self.positions = positions
        self._residual_dropout = Dropout(dropout, dtype=self.dtype_policy)
        self._activation_dropout = Dropout(activation_dropout, dtype=self.dtype_policy)

    def _key_dim(self, width: int) -> int:
        if width % self.num_heads:
            raise ValueError(
                "The width must be a multiple of num_heads, so that the heads side by side are as "
                f"wide as the input. Received: width={width}, num_heads={self.num_heads}"
            )
        return width // self.num_heads

    def _build_feed_forward(self, width: int) -> None:
        dtype = self.dtype_policy
        self.expand = keras.layers.Dense(
            self.feedforward_dim, self.activation, name="expand", dtype=dtype
        )
        self.contract = keras.layers.Dense(width, name="contract", dtype=dtype)
        self.expand.build((None, width))
        self.contract.build((None, self.feedforward_dim))

    def _build_norms(self, width: int, names: tuple[str, ...]) -> None:
        for name in names:
            norm = LayerNormalization(epsilon=1e-6, name=f"{name}_norm", dtype=self.dtype_policy)
            norm.build((None, width))
            setattr(self, f"{name}_norm", norm)

    def _feed_forward(self, x, training):
        hidden = self._activation_dropout(self.expand(x), training=training)
        return self.contract(hidden)

    def _residual(self, x, norm, sublayer, training):
        """Adds the first result of the sublayer to `x`; returns its other results beside it."""
        added, *others = sublayer(norm(x) if self.norm_first else x)
        x = x + self._residual_dropout(added, training=training)
        return (x if self.norm_first else norm(x), *others)

    def get_config(self):
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "feedforward_dim": self.feedforward_dim,
            "dropout": self.dropout,
            "attention_dropout": self.attention_dropout,
            "activation_dropout": self.activation_dropout,
            "norm_first": self.norm_first,
            "activation": self.activation,
            "positions": keras.saving.serialize_keras_object(self.positions),
        }

    @classmethod
    def from_config(cls, config):
        positions = keras.saving.deserialize_keras_object(config.get("positions"))
        return cls(**{**config, "positions": positions})


@keras.saving.register_keras_serializable(package="attention_zoo")
class TransformerEncoderBlock(_Block):
    """Self-attention, then a feed-forward layer, each with a residual connection.

    Args:
        num_heads: H, the number of heads of each attention.
        feedforward_dim: width of the middle of the feed-forward layer.
        dropout: rate on what each sublayer adds.
        attention_dropout: rate on attention weights.
        activation_dropout: rate in the middle of the feed-forward layer.
        norm_first: whether the inputs of the sublayers are normalized (pre-norm, easier to train)
            rather than the sums after them (post-norm, as first published).
        activation: that of the feed-forward layer.
        positions: those of the self-attention, such as `RotaryPositions()`; none if `None`. They
            belong to one sequence, so the attention to another has none.
        **kwargs: as for every Keras layer.

    Call arguments:
        inputs: (B, S, D).
        mask: boolean (B, S), False for padding.
        return_attention_scores: whether the weights are returned too.

    Returns:
        (B, S, D); with `return_attention_scores` also the weights (B, H, S, S). With `norm_first`
        the output of the last block still has to be normalized.

    Raises:
        ValueError: for sizes that are not positive, rates outside of [0, 1), an unknown activation,
            and a width that is not a multiple of `num_heads`.

    Example:

    >>> x = TransformerEncoderBlock(num_heads=4, feedforward_dim=256)(x, mask=mask)

    Reference: Vaswani et al. 2017, https://arxiv.org/abs/1706.03762
    """

    def build(self, inputs_shape):
        width = inputs_shape[-1]
        self.self_attention = SelfAttention(
            self.num_heads,
            self._key_dim(width),
            dropout=self.attention_dropout,
            positions=self.positions,
            name="self_attention",
            dtype=self.dtype_policy,
        )
        self.self_attention.build(inputs_shape)
        self._build_feed_forward(width)
        self._build_norms(width, ("attention", "feed_forward"))
        self.built = True

    def call(self, inputs, mask=None, return_attention_scores=False, training=None):
        def attend(x):
            return _attend_to_itself(
                self.self_attention, x, return_attention_scores, mask=mask, training=training
            )

        def feed_forward(x):
            return (self._feed_forward(x, training),)

        x, *weights = self._residual(inputs, self.attention_norm, attend, training)
        (x,) = self._residual(x, self.feed_forward_norm, feed_forward, training)
        return (x, *weights) if return_attention_scores else x

    def compute_output_shape(self, inputs_shape):
        return inputs_shape

    def compute_output_spec(self, inputs, mask=None, return_attention_scores=False, training=None):
        return self.self_attention.compute_output_spec(
            inputs, return_attention_scores=return_attention_scores
        )


@keras.saving.register_keras_serializable(package="attention_zoo")
class TransformerDecoderBlock(_Block):
    """Causal self-attention, attention to a source, then a feed-forward layer.

    Args:
        num_heads: H, the number of heads of each attention.
        feedforward_dim: width of the middle of the feed-forward layer.
        **kwargs: the others of `TransformerEncoderBlock`.

    Call arguments:
        inputs: (B, T, D).
        memory: the states of the source (B, S, width of the source), or the result of
            `project(source_states, mask)`, which many calls and steps can share.
        memory_mask: boolean (B, S), False for padding of the source. Filled in by Keras from states
            that have a mask. The result of `project` has its own.
        return_attention_scores: whether the weights over the target are returned too.

    Returns:
        (B, T, D) and the weights over the source (B, H, T, S), always both; with
        `return_attention_scores` also those of the self-attention (B, H, T, T).

    Raises:
        ValueError: as for `TransformerEncoderBlock`, and for a `memory_mask` beside the result of
            `project`.

    Example:

    >>> block = TransformerDecoderBlock(num_heads=4, feedforward_dim=256)
    >>> x, weights = block(target, source_states, memory_mask=source_mask)

    or, where a target is decoded step by step,

    >>> block.build(target.shape, source_states.shape)                # if it was not called yet
    >>> memory = block.project(source_states, mask=source_mask)       # once for a source
    >>> x, weights = block(target, memory)                            # all steps, or
    >>> x, weights, cache = block.step(x, block.initial_cache(B), memory)   # one by one

    Reference: Vaswani et al. 2017, https://arxiv.org/abs/1706.03762
    """

    def build(self, inputs_shape, memory_shape=None):
        width = inputs_shape[-1]
        projected = memory_shape is None or not isinstance(memory_shape[-1], int)
        source_width = width if projected else memory_shape[-1]
        sizes = (self.num_heads, self._key_dim(width))
        self.self_attention = SelfAttention(
            *sizes,
            dropout=self.attention_dropout,
            causal=True,
            positions=self.positions,
            name="self_attention",
            dtype=self.dtype_policy,
        )
        self.cross_attention = QKVAttention(
            *sizes,
            dropout=self.attention_dropout,
            name="cross_attention",
            dtype=self.dtype_policy,
        )
        self.self_attention.build(inputs_shape)
        self.cross_attention.build(inputs_shape, (None, None, source_width))
        self._build_feed_forward(width)
        self._build_norms(width, ("attention", "cross_attention", "feed_forward"))
        self.built = True

    def project(self, source_states, mask=None) -> Memory:
        """Projects the states of the source to keys and values, to be used at every step.

        Args:
            source_states: (B, S, width of the source).
            mask: boolean (B, S), False for padding.

        Returns:
            The memory that `call` and `step` take.
        """
        return self.cross_attention.project(source_states, mask=mask)

    def call(self, inputs, memory, memory_mask=None, return_attention_scores=False, training=None):
        if not isinstance(memory, (tuple, list)):
            memory = self.project(memory, memory_mask)
        elif any(part is not None for part in keras.tree.flatten(memory_mask)):
            raise ValueError(
                f"{self.name} has projected this source with its mask: pass the mask to `project`, "
                "or the states of the source in place of its result."
            )
        else:
            memory = Memory(*memory)  # in a model that was saved it is a list

        def attend(x):
            return _attend_to_itself(
                self.self_attention, x, return_attention_scores, training=training
            )

        x, *own_weights = self._residual(inputs, self.attention_norm, attend, training)
        x, weights = self._attend_and_feed(x, memory, training)
        return x, weights, *own_weights

    def compute_output_spec(
        self, inputs, memory, memory_mask=None, return_attention_scores=False, training=None
    ):
        length = memory[1].shape[2] if isinstance(memory, (tuple, list)) else memory.shape[1]
        outputs, own_weights = self.self_attention.compute_output_spec(
            inputs, return_attention_scores=True
        )
        shape = self.cross_attention.compute_scores_shape(inputs.shape, (None, length))
        weights = keras.KerasTensor(shape, dtype=own_weights.dtype)
        return outputs, weights, *([own_weights] if return_attention_scores else [])

    def initial_cache(self, batch_size) -> Memory:
        """Returns an empty cache for `batch_size` sequences, which grows with the steps."""
        return self.self_attention.initial_cache(batch_size)

    def step_weights(self, zero_mean: bool = False) -> StepWeights:
        """Reads the weights of a step, to be used for all steps of a loop.

        Args:
            zero_mean: for steps whose inputs (.., D) have mean 0. Their outputs are then those of
                a step less their mean, which a normalization subtracts in any case. Only of
                pre-norm blocks.

        Returns:
            The `weights` that `step` takes.

        Raises:
            ValueError: for `zero_mean` of a post-norm block.
        """
        if zero_mean and not self.norm_first:
            raise ValueError(
                f"{self.name} normalizes its output, so the mean matters: zero_mean needs "
                f"norm_first=True. Received: zero_mean={zero_mean}, norm_first={self.norm_first}"
            )
        return step_weights(self, zero_mean)

    def step(self, inputs, cache: Memory, memory: Memory, weights: StepWeights | None = None):
        """Makes one step of the N hypotheses of each source, without dropout.

        Args:
            inputs: (B, N, D), the new position of each hypothesis.
            cache: of B N sequences, hypotheses of one source side by side.
            memory: of B sources.
            weights: the result of `step_weights()`, read here if `None`.

        Returns:
            (B, N, D), the weights over the source (B, H, N, S), and the cache for the next step.
        """
        return step(self, weights or self.step_weights(), inputs, cache, memory)

    def _attend_and_feed(self, x, memory: Memory, training):
        def attend(x):
            return self.cross_attention.attend(x, memory, training=training)

        def feed_forward(x):
            return (self._feed_forward(x, training),)

        x, weights = self._residual(x, self.cross_attention_norm, attend, training)
        (x,) = self._residual(x, self.feed_forward_norm, feed_forward, training)
        return x, weights


def _attend_to_itself(attention, x, return_attention_scores, **arguments):
    """Applies self-attention to `x`; its weights come beside the result where asked for."""
    if return_attention_scores:
        return attention(x, return_attention_scores=True, **arguments)
    return (attention(x, **arguments),)
