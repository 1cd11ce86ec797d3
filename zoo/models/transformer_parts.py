"""Encoder and decoder of self-attention. Shapes: B batch, S source, T target, N beams, D width."""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
from keras import ops

from ...layers.attention.memory import Memory
from ...layers.ops.arguments import positive_int
from ...layers.ops.dropout import Dropout
from ...layers.ops.normalization import make_norm, scale_and_shift
from ...layers.transformer.blocks import TransformerDecoderBlock, TransformerEncoderBlock
from ...layers.transformer.step import StepMemory, standardized, subtract_mean
from .backend import take_rows
from .parts import Decoder, Encoded, Encoder, Nest, check_rate, masked_mean
from .transformer_positions import AddedPositions, attention_positions


class TransformerMemory(NamedTuple):
    """Memory of the source that the decoder reads while it writes.

    Attributes:
        blocks: Keys, values and mask of the source for each block. For the steps of a loop one
            `StepMemory`, its keys and values those of all blocks, (L, B, 1, H, S, K).
        mask: True for states that may be attended to, (B, S).
    """

    blocks: Any
    mask: Any


class TransformerWeights(NamedTuple):
    """The weights of the decoder for its steps.

    Attributes:
        blocks: Of each block.
        norm: Scale and shift (D,) of the norm after the last, () where there is none.
    """

    blocks: tuple[Nest, ...]
    norm: tuple


class TransformerState(NamedTuple):
    """The keys and values of what was written.

    Attributes:
        caches: Of each block, with B N rows. They grow; those with room for a number of steps that
            is known beforehand have a mask as well, and stay as they are.
        index: The number of steps that were made.
        positions: What is added to the embeddings, of each step to come, (max_steps, D); () where
            nothing is.
    """

    caches: tuple[Nest, ...]
    index: Any
    positions: Any


class _Stack(keras.layers.Layer):
    """Base of encoder and decoder of self-attention: a stack of blocks, and positions."""

    block_class: Any

    def __init__(
        self,
        num_layers: int,
        num_heads: int,
        feedforward_dim: int,
        dropout: float = 0.1,
        attention_dropout: float = 0.0,
        activation_dropout: float = 0.0,
        norm_first: bool = True,
        positions: str = "sinusoidal",
        max_length: int = 512,
        first_position: int = 0,
        activation: str = "relu",
        gated: bool = False,
        key_dim: int | None = None,
        norm: str = "layer",
        norm_epsilon: float = 1e-6,
        **kwargs,
    ):
        attentions = {name: kwargs.pop(name, None) for name in self.block_class.attention_names}
        super().__init__(**kwargs)
        rates = {
            "dropout": dropout,
            "attention_dropout": attention_dropout,
            "activation_dropout": activation_dropout,
        }
        for name, rate in rates.items():
            check_rate(name, rate)
        block: dict[str, Any] = {
            "activation": activation,
            "gated": gated,
            "key_dim": key_dim,
            "norm": norm,
            "norm_epsilon": norm_epsilon,
        }
        self._config = {
            "num_layers": positive_int("num_layers", num_layers),
            "num_heads": positive_int("num_heads", num_heads),
            "feedforward_dim": positive_int("feedforward_dim", feedforward_dim),
            **rates,
            "norm_first": norm_first,
            "positions": positions,
            "max_length": max_length,
            "first_position": first_position,
            **block,
            **{name: keras.saving.serialize_keras_object(x) for name, x in attentions.items()},
        }
        self.norm_first = norm_first
        self.zero_mean = norm_first and norm == "layer"  # of what the decoder's steps add up
        dtype = self.dtype_policy
        self.positions = AddedPositions(
            positions, max_length, first_position, name="positions", dtype=dtype
        )
        self.max_positions = self.positions.max_positions
        looks_ahead = self.block_class is TransformerEncoderBlock
        own = attentions["self_attention"]
        if own is not None and own.takes_one_sequence:
            causal = {**own.get_config(), "causal": not looks_ahead}
            attentions["self_attention"] = type(own).from_config(causal)
        self.blocks = [
            self.block_class(
                num_heads,
                feedforward_dim,
                dropout,
                attention_dropout,
                activation_dropout,
                norm_first,
                positions=attention_positions(positions, looks_ahead, dtype),
                name=f"block_{i}",
                dtype=dtype,
                **block,
                **attentions,
            )
            for i in range(num_layers)
        ]
        # Of the whole stack; with post-norm each block has normalised what it gives.
        self.norm: Any = None
        if norm_first:
            self.norm = make_norm(norm, norm_epsilon, name="norm", dtype=dtype)
        self._dropout = Dropout(dropout, dtype=dtype)

    def _build_stack(self, width: int, *shapes) -> None:
        """Makes the weights of all that reads vectors of this width."""
        for layer in [self.positions, *([self.norm] if self.norm_first else [])]:
            layer.build((None, None, width))
        for block in self.blocks:
            block.build((None, None, width), *shapes)
        self.built = True

    def _read(self, inputs, training=False):
        """Inputs of the first block."""
        return self._dropout(self.positions(inputs), training=training)

    def _normalized(self, x):
        return self.norm(x) if self.norm_first else x

    def get_config(self):
        return {**super().get_config(), **self._config}

    @classmethod
    def from_config(cls, config):
        names = cls.block_class.attention_names
        layers = {name: keras.saving.deserialize_keras_object(config[name]) for name in names}
        return cls(**{**config, **layers})


@keras.saving.register_keras_serializable(package="attention_zoo")
class TransformerEncoder(_Stack, Encoder):
    """Reads the source with self-attention; its summary is the mean of the states.

    Args:
        num_layers: Blocks.
        num_heads: Heads H of each attention; divides the width.
        feedforward_dim: Width of the middle of each feed-forward layer.
        dropout: Rate on embeddings and on what each sublayer adds.
        attention_dropout: Rate on attention weights.
        activation_dropout: Rate in the middle of the feed-forward layers.
        norm_first: Pre-norm if true, post-norm as first published if not.
        positions: `"sinusoidal"`, `"sinusoidal-published"` with the wavelengths of the paper to the
            letter, or `"learned"` and then of at most `max_length`, are added to the embeddings.
            `"rotary"`, `"relative"` and `"alibi"` are known to all self-attention in their place,
            each block with its own, see `RotaryPositions`, `RelativePositions` and
            `AlibiPositions`. All but the learned ones are of any length.
        max_length: Longest source or target with learned positions.
        first_position: The number of the first position, where sinusoids are added.
        activation: As for the blocks, see `TransformerEncoderBlock`; so are the next four.
        gated: Whether the feed-forward layers have a gate.
        key_dim: Width of a head, that of the states over `num_heads` if `None`.
        norm: `"layer"` or `"rms"`.
        norm_epsilon: Added to the variance, or the mean square.
        self_attention: An `Attention` layer of any kind, of which each block takes a copy, in
            place of scaled dot products with `num_heads`. It knows of positions what is added to
            the embeddings, and what it has itself.

    Raises:
        ValueError: An argument is impossible.

    Reference: Vaswani et al. 2017, https://arxiv.org/abs/1706.03762
    """

    has_attention_maps = True
    block_class = TransformerEncoderBlock

    def build(self, inputs_shape, mask_shape=None):
        self._build_stack(inputs_shape[-1])

    def call(self, inputs, mask, training=False):
        x = self._read(inputs, training)
        for block in self.blocks:
            x = block(x, mask=mask, training=training)
        x = self._normalized(x)
        return Encoded(x, mask, masked_mean(x, mask))

    def attention_maps(self, inputs, mask):
        x, maps = self._read(inputs), []
        for block in self.blocks:
            x, weights = block(x, mask=mask, return_attention_scores=True)
            maps.append(weights)
        x = self._normalized(x)
        return Encoded(x, mask, masked_mean(x, mask)), ops.stack(maps, axis=1)


@keras.saving.register_keras_serializable(package="attention_zoo")
class TransformerDecoder(_Stack, Decoder):
    """Writes with self-attention over what was written, and attention of each block to the source.

    The attention of a step is that of the last block.

    Args:
        num_layers: Blocks.
        num_heads: Heads H of each attention; divides the width.
        feedforward_dim: Width of the middle of each feed-forward layer.
        cross_attention: An `Attention` layer of any kind for the attention to the source, of which
            each block takes a copy.
        attention_head: The head whose attention that of a step is, their mean if `None`.
        **kwargs: The others of `TransformerEncoder`.

    Raises:
        ValueError: An argument is impossible.

    Reference: Vaswani et al. 2017, https://arxiv.org/abs/1706.03762; on pre-norm Xiong et al.
    2020, https://arxiv.org/abs/2002.04745; on rotary positions Su et al. 2021,
    https://arxiv.org/abs/2104.09864
    """

    has_attention_maps = True
    block_class = TransformerDecoderBlock

    def __init__(self, *args, attention_head: int | None = None, **kwargs):
        super().__init__(*args, **kwargs)
        self.attention_head = attention_head

    def build(self, target_shape, states_shape, summary_shape):
        self._build_stack(target_shape[-1], (None, None, states_shape[-1]))

    def prepare(self, encoded):
        blocks = tuple(block.project(encoded.states, encoded.mask) for block in self.blocks)
        return TransformerMemory(blocks, encoded.mask)

    def initial_state(self, memory, num_beams=1, max_steps=None):
        rows = ops.shape(memory.mask)[0] * num_beams
        room = max_steps if isinstance(max_steps, int) else None
        made = [block.initial_cache(rows, room) for block in self.blocks]
        caches = tuple(cache[:2] if cache.mask is None else tuple(cache) for cache in made)
        steps = self.positions.max_length if max_steps is None else max_steps
        positions = self.positions.first(steps) if self.positions.is_added else ()
        return TransformerState(caches, ops.convert_to_tensor(0, "int32"), positions)

    def step_memory(self, memory):
        pairs = zip(self.blocks, memory.blocks, strict=True)
        sources = [block.step_memory(source) for block, source in pairs]
        if not all(isinstance(source, StepMemory) for source in sources):
            return memory._replace(blocks=tuple(sources))
        # As two tensors, which pass through the steps of a loop with less work than many.
        keys, values = (ops.stack([source[i] for source in sources]) for i in (0, 1))
        return memory._replace(blocks=StepMemory(keys, values, sources[0].penalty))

    def step_weights(self) -> TransformerWeights:
        blocks = tuple(block.step_weights(self.zero_mean) for block in self.blocks)
        norm = scale_and_shift(self.norm, self.compute_dtype) if self.norm_first else ()
        return TransformerWeights(blocks, norm)

    def step(self, embedded, state, memory, weights):
        if self.positions.is_added:
            embedded += take_rows(state.positions, state.index)
        x, caches = subtract_mean(embedded) if self.zero_mean else embedded, []
        sources = memory.blocks
        if isinstance(sources, StepMemory):
            pairs = zip(ops.unstack(sources.keys), ops.unstack(sources.values), strict=True)
            sources = tuple(StepMemory(*pair, sources.penalty) for pair in pairs)
        for block, cache, source, block_weights in zip(
            self.blocks, state.caches, sources, weights.blocks, strict=True
        ):
            index = state.index if len(cache) == 3 else None
            x, scores, new = block.step(x, Memory(*cache), source, block_weights, index)
            caches.append(tuple(new)[: len(cache)])
        state = state._replace(caches=tuple(caches), index=state.index + 1)
        if self.norm_first:
            scale, shift = weights.norm
            has_no_mean = self.zero_mean or self._config["norm"] == "rms"
            x = standardized(x, self._config["norm_epsilon"], has_no_mean) * scale + shift
        return x, state, self._one_attention(scores)

    def reorder_state(self, state, beams):
        first = ops.expand_dims(ops.arange(ops.shape(beams)[0], dtype="int32"), 1) * beams.shape[1]
        return self._gather_caches(state, ops.reshape(first + beams, (-1,)))

    def gather_rows(self, memory, state, rows):
        sentences = ops.shape(memory.mask)[0]
        beams = ops.shape(state.caches[0][0])[0] // ops.maximum(sentences, 1)
        memory = keras.tree.map_structure(lambda x: take_rows(x, rows), memory)
        rows = ops.expand_dims(rows * beams, 1) + ops.arange(beams, dtype="int32")
        return memory, self._gather_caches(state, ops.reshape(rows, (-1,)))

    def _gather_caches(self, state, rows):
        caches = keras.tree.map_structure(lambda x: take_rows(x, rows), state.caches)
        return state._replace(caches=caches)

    def call(self, target, memory, return_attention_scores=False, training=False):
        x = self._read(target, training)
        for block, source in zip(self.blocks, memory.blocks, strict=True):
            x, weights = block(x, source, training=training)
        return self._normalized(x), self._one_attention(weights)

    def attention_maps(self, target, memory):
        x, cross, own = self._read(target), [], []
        for block, source in zip(self.blocks, memory.blocks, strict=True):
            x, over_source, over_target = block(x, source, return_attention_scores=True)
            cross.append(over_source)
            own.append(over_target)
        return ops.stack(cross, axis=1), ops.stack(own, axis=1)

    def _one_attention(self, weights):
        """The attention (B, T, S) of the heads (B, H, T, S) of the last block."""
        if self.attention_head is None:
            return ops.mean(weights, axis=1)
        return weights[:, self.attention_head]

    def get_config(self):
        return {**super().get_config(), "attention_head": self.attention_head}
