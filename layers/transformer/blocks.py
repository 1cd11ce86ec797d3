"""The blocks of a Transformer. Shapes: B batch, S source, T target, N beams, D width, H heads."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from ..attention.base import Attention
from ..attention.dot_product import QKVAttention
from ..attention.memory import Memory
from .base import TransformerBlock, scores_spec, with_heads
from .step import (
    GenericStepWeights,
    StepMemory,
    StepWeights,
    generic_step,
    step,
    step_memory,
    step_weights,
)


@keras.saving.register_keras_serializable(package="attention_zoo")
class TransformerEncoderBlock(TransformerBlock):
    """Self-attention, then a feed-forward layer, each with a residual connection.

    Args:
        num_heads: H, the number of heads of each attention.
        feedforward_dim: width of the middle of the feed-forward layer.
        dropout: rate on what each sublayer adds.
        attention_dropout: rate on attention weights.
        activation_dropout: rate in the middle of the feed-forward layer.
        norm_first: whether the inputs of the sublayers are normalized (pre-norm, easier to train)
            rather than the sums after them (post-norm, as first published).
        activation: that of the feed-forward layer: a name of Keras's, or `"gelu_tanh"`.
        positions: those of the self-attention, such as `RotaryPositions()`; none if `None`. They
            belong to one sequence, so the attention to another has none.
        self_attention: an `Attention` layer of any kind, of which the block takes a copy, in place
            of the `SelfAttention` that it makes. `num_heads` and `attention_dropout` are arguments
            of the attention that the block makes.
        key_dim: K, width of a head; the width of the inputs over `num_heads` if `None`.
        gated: whether the middle of the feed-forward layer is multiplied by a second projection of
            its input (Shazeer 2020).
        norm: `"layer"` for layer normalization, `"rms"` for one without a mean and a shift.
        norm_epsilon: added to the variance, or the mean square.
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
            a width that is not a multiple of `num_heads`, and an attention that does not fit.

    Example:

    >>> x = TransformerEncoderBlock(num_heads=4, feedforward_dim=256)(x, mask=mask)

    or, with an attention layer of another kind,

    >>> block = TransformerEncoderBlock(4, 256, self_attention=LuongAttention("general"))

    References: Vaswani et al. 2017, https://arxiv.org/abs/1706.03762; on gates Shazeer 2020,
    https://arxiv.org/abs/2002.05202
    """

    def build(self, inputs_shape):
        width = inputs_shape[-1]
        if "self_attention" not in self._given:
            self.self_attention = self._make_self_attention(width)
        self._build_self_attention(inputs_shape)
        self._build_feed_forward(width)
        self._build_norms(width, ("attention", "feed_forward"))
        self.built = True

    def call(self, inputs, mask=None, return_attention_scores=False, training=None):
        def attend(x):
            return self._attend_to_itself(x, False, return_attention_scores, mask, training)

        def feed_forward(x):
            return (self._feed_forward(x, training),)

        x, *weights = self.residual(inputs, self.attention_norm, attend, training)
        (x,) = self.residual(x, self.feed_forward_norm, feed_forward, training)
        return (x, *weights) if return_attention_scores else x

    def compute_output_shape(self, inputs_shape):
        return inputs_shape

    def compute_output_spec(self, inputs, mask=None, return_attention_scores=False, training=None):
        outputs = keras.KerasTensor(inputs.shape, dtype=self.compute_dtype)
        if not return_attention_scores:
            return outputs
        shape = inputs.shape
        return outputs, scores_spec(self.self_attention, shape, shape, self.compute_dtype)


@keras.saving.register_keras_serializable(package="attention_zoo")
class TransformerDecoderBlock(TransformerBlock):
    """Causal self-attention, attention to a source, then a feed-forward layer.

    Args:
        num_heads: H, the number of heads of each attention.
        feedforward_dim: width of the middle of the feed-forward layer.
        self_attention: as for `TransformerEncoderBlock`; a `SelfAttention` has to be causal, any
            other gets a causal mask.
        cross_attention: an `Attention` layer of any kind, of which the block takes a copy, in place
            of the `QKVAttention` that it makes.
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

    >>> memory = block.project(source_states, mask=source_mask)       # once for a source
    >>> x, weights = block(target, memory)                            # all steps, or
    >>> x, weights, cache = block.step(target[:, :1], block.initial_cache(B), memory)  # one by one

    Reference: Vaswani et al. 2017, https://arxiv.org/abs/1706.03762
    """

    attention_names = ("self_attention", "cross_attention")

    def __init__(
        self,
        num_heads: int,
        feedforward_dim: int,
        *args,
        cross_attention: Attention | None = None,
        **kwargs,
    ):
        super().__init__(num_heads, feedforward_dim, *args, **kwargs)
        self._take("cross_attention", cross_attention)
        own = self.self_attention if "self_attention" in self._given else None
        if own is not None and own.takes_one_sequence and not own.causal:
            raise ValueError(
                "The self-attention of a decoder must not attend to later positions: use "
                "SelfAttention(..., causal=True). Received: causal=False"
            )
        if cross_attention is not None and cross_attention.takes_one_sequence:
            raise ValueError(
                "`cross_attention` attends from one sequence to another. Received: "
                f"cross_attention of type {type(cross_attention).__name__}, for one sequence"
            )

    def build(self, inputs_shape, memory_shape=None):
        width = inputs_shape[-1]
        projected = memory_shape is None or not isinstance(memory_shape[-1], int)
        source_width = width if projected else memory_shape[-1]
        if "self_attention" not in self._given:
            self.self_attention = self._make_self_attention(width, causal=True)
        if "cross_attention" not in self._given:
            self.cross_attention = QKVAttention(
                self.num_heads,
                self._key_dim(width),
                dropout=self.attention_dropout,
                name="cross_attention",
                dtype=self.dtype_policy,
            )
        self._build_self_attention(inputs_shape)
        self._build_attention("cross_attention", inputs_shape, (None, None, source_width))
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
        elif memory_mask is not None and not isinstance(memory_mask, (tuple, list)):
            raise ValueError(
                f"{self.name} has projected this source with its mask: pass the mask to `project`, "
                "or the states of the source in place of its result."
            )
        else:
            # In a model that was saved it is a list. Masks that Keras found on its parts, which may
            # be the states themselves, are the one that it has.
            memory = Memory(*memory)

        def attend(x):
            return self._attend_to_itself(x, True, return_attention_scores, training=training)

        x, *own_weights = self.residual(inputs, self.attention_norm, attend, training)
        x, weights = self.attend_and_feed(x, memory, training)
        return x, weights, *own_weights

    def compute_output_spec(
        self, inputs, memory, memory_mask=None, return_attention_scores=False, training=None
    ):
        projected = isinstance(memory, (tuple, list))
        source_shape = (None, memory[1].shape[-2] if projected else memory.shape[1])
        shape, dtype = inputs.shape, self.compute_dtype
        specs = [
            keras.KerasTensor(shape, dtype=dtype),
            scores_spec(self.cross_attention, shape, source_shape, dtype),
        ]
        if return_attention_scores:
            specs.append(scores_spec(self.self_attention, shape, shape, dtype))
        return tuple(specs)

    def initial_cache(self, batch_size, max_length=None) -> Memory:
        """Makes an empty cache.

        Args:
            batch_size: the number of sequences; B N for N hypotheses of each source.
            max_length: the number of steps to have room for, where a `SelfAttention` takes that.
                If `None`, and of any other attention, the cache grows with the steps.

        Returns:
            The cache that the first `step` takes.
        """
        if self.self_attention.takes_one_sequence:
            return self.self_attention.initial_cache(batch_size, max_length)
        width = self.contract.units
        return self.self_attention.project(ops.zeros((batch_size, 0, width), self.compute_dtype))

    def step_weights(self, zero_mean: bool = False) -> StepWeights | GenericStepWeights:
        """Reads the weights of a step, to be used for all steps of a loop.

        Args:
            zero_mean: for steps whose inputs (.., D) have mean 0. Their outputs are then those of
                a step less their mean, which a normalization subtracts in any case. Only of
                pre-norm blocks.

        Returns:
            The `weights` that `step` takes.

        Raises:
            ValueError: for `zero_mean` of a block that takes no mean from its inputs.
        """
        if zero_mean and not (self.norm_first and self.norm == "layer"):
            raise ValueError(
                f"{self.name} does not subtract the mean of its inputs, so it matters: zero_mean "
                "needs norm_first=True and norm='layer'. Received: "
                f"norm_first={self.norm_first}, norm={self.norm!r}"
            )
        return GenericStepWeights(zero_mean) if self._given else step_weights(self, zero_mean)

    def step_memory(self, memory: Memory) -> Memory | StepMemory:
        """Prepares a source for all steps of a loop.

        Args:
            memory: what `project` returned.

        Returns:
            A memory that `step` takes in its place and reads in less time.
        """
        return memory if self._given else step_memory(memory)

    def step(
        self,
        inputs,
        cache: Memory,
        memory: Memory | StepMemory,
        weights: Any = None,
        index: Any = None,
    ):
        """Makes one step of the N hypotheses of each source, without dropout.

        Args:
            inputs: (B, N, D), the new position of each hypothesis.
            cache: of B N sequences, hypotheses of one source side by side.
            memory: of B sources, as `project` or `step_memory` returned it.
            weights: the result of `step_weights()`, read here if `None`.
            index: the number of steps before; `None` for a cache that grows, which knows it.

        Returns:
            (B, N, D), the weights over the source (B, H, N, S), and the cache for the next step.
        """
        weights = self.step_weights() if weights is None else weights
        advance = generic_step if self._given else step
        return advance(self, weights, inputs, cache, memory, index)

    def attend_and_feed(self, x, memory: Memory, training):
        def attend(x):
            context, weights = self.cross_attention.attend(x, memory, training=training)
            return context, with_heads(weights)

        def feed_forward(x):
            return (self._feed_forward(x, training),)

        x, weights = self.residual(x, self.cross_attention_norm, attend, training)
        (x,) = self.residual(x, self.feed_forward_norm, feed_forward, training)
        return x, weights
