"""The Transformer as a sequence-to-sequence model: self-attention in place of recurrence."""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
import tensorflow as tf

from ...layers.attention.base import Memory
from ...layers.ops.affine import Affine
from ...layers.ops.dense import add_bias
from ...layers.ops.dropout import Dropout
from ...layers.ops.normalization import LayerNormalization
from ...layers.transformer.blocks import TransformerDecoderBlock, TransformerEncoderBlock
from ...layers.transformer.step import StepWeights, subtract_mean
from ..text.tokenizer import PAD_ID
from .attention_maps import AttentionMaps
from .base import Nest, check_arguments, check_source_vocabulary
from .copying import CopyingSeq2Seq, Decoded
from .embedding import ScaledEmbedding
from .transformer_positions import ADDED, POSITIONS, attention_positions, first_learned, sinusoids


class TransformerMemory(NamedTuple):
    """What the decoder reads while it writes.

    Attributes:
        blocks: keys, values and mask of the source for each block of the decoder.
        mask: True where the source is not padding, (B, S).
        copies: the source as a model copies from it, or ().
    """

    blocks: tuple[Nest, ...]
    mask: tf.Tensor
    copies: Nest = ()


class TransformerState(NamedTuple):
    """Where the decoder stands.

    Attributes:
        caches: keys and values of what was written, for each block, with B N rows; they grow.
        index: how many steps were made.
        positions: what is added to the embeddings, of each step to come, (max_steps, D); () where
            nothing is.
    """

    caches: tuple[Nest, ...]
    index: tf.Tensor
    positions: Any


class TransformerWeights(NamedTuple):
    """What a step reads of the variables.

    Attributes:
        blocks: of each block of the decoder.
        vocabulary: from the last hidden state to logits.
    """

    blocks: tuple[StepWeights, ...]
    vocabulary: Affine


@keras.saving.register_keras_serializable(package="attention_zoo")
class TransformerSeq2Seq(CopyingSeq2Seq):
    """Encoder and decoder of self-attention, joined by attention of the decoder to the source.

    Args:
        vocab_size: subwords V of the target, and of the source if they share one vocabulary.
        width: width D of all states.
        encoder_layers: blocks of the encoder.
        decoder_layers: blocks of the decoder.
        num_heads: heads H of each attention; divides `width`.
        feedforward_dim: width of the middle of each feed-forward layer.
        dropout: rate on embeddings and on what each sublayer adds.
        attention_dropout: rate on attention weights.
        activation_dropout: rate in the middle of the feed-forward layers.
        norm_first: pre-norm if true, post-norm as first published if not.
        positions: `"sinusoidal"`, or `"learned"` and then of at most `max_length`, are added to the
            embeddings. `"rotary"`, `"relative"` and `"alibi"` are known to all self-attention in
            their place, each block with its own, see `RotaryPositions`, `RelativePositions` and
            `AlibiPositions`. All but the learned ones are of any length.
        max_length: longest source or target with learned positions.
        tie_embeddings: read the vocabulary with the embedding of the target itself.
        source_vocab_size: subwords of the source, if it has a vocabulary and an embedding of its
            own; it shares those of the target if `None`.
        copying: write a subword of the vocabulary or copy one of the source, see
            `CopyingSeq2Seq`. The first head of the last block points at what is copied.
        coverage: train the attention over the source not to go where it was before. As all steps
            are computed at once, this is a loss alone, of the head that copies or the mean of all
            heads of the last block: no step is told what those before it attended to.
        coverage_weight: factor of the coverage loss.
        coverage_start: step of the training from which the coverage loss counts; below 1, the
            share of its budget that is spent by then, see `set_spent`.

    Example:

    >>> model = TransformerSeq2Seq(vocab_size=8000, width=128, num_heads=4)
    >>> model.compile(optimizer="adam", loss=SmoothedCrossEntropy(0.1))
    >>> model.fit(batches)      # of ({"source": (B, S), "target": (B, T)}, labels (B, T))

    References: Vaswani et al. 2017, https://arxiv.org/abs/1706.03762; on pre-norm Xiong et al.
    2020, https://arxiv.org/abs/2002.04745; on rotary positions Su et al. 2021,
    https://arxiv.org/abs/2104.09864; on copying See et al. 2017, https://arxiv.org/abs/1704.04368
    """

    def __init__(
        self,
        vocab_size: int,
        width: int = 128,
        encoder_layers: int = 4,
        decoder_layers: int = 4,
        num_heads: int = 4,
        feedforward_dim: int = 256,
        dropout: float = 0.1,
        attention_dropout: float = 0.0,
        activation_dropout: float = 0.0,
        norm_first: bool = True,
        positions: str = "sinusoidal",
        max_length: int = 512,
        tie_embeddings: bool = True,
        source_vocab_size: int | None = None,
        copying: bool = False,
        coverage: bool = False,
        coverage_weight: float = 1.0,
        coverage_start: float = 0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        sizes = {
            "width": width,
            "encoder_layers": encoder_layers,
            "decoder_layers": decoder_layers,
            "num_heads": num_heads,
            "feedforward_dim": feedforward_dim,
            "max_length": max_length,
        }
        rates = {
            "dropout": dropout,
            "attention_dropout": attention_dropout,
            "activation_dropout": activation_dropout,
        }
        check_arguments(vocab_size, sizes, rates)
        check_source_vocabulary(source_vocab_size, copying)
        if width % num_heads:
            raise ValueError(
                "width must be a multiple of num_heads. "
                f"Received: width={width}, num_heads={num_heads}"
            )
        if positions not in POSITIONS:
            raise ValueError(
                f"positions is one of {', '.join(POSITIONS)}. Received: positions={positions!r}"
            )
        if positions == "rotary" and (width // num_heads) % 2:
            raise ValueError(
                "Rotary positions turn pairs of numbers, so the width of a head, width / "
                f"num_heads, must be even. Received: width={width}, num_heads={num_heads}"
            )
        self.config: dict[str, Any] = {
            "vocab_size": vocab_size,
            **sizes,
            **rates,
            "norm_first": norm_first,
            "positions": positions,
            "tie_embeddings": tie_embeddings,
            "source_vocab_size": source_vocab_size,
            **self.switch_copying(copying, coverage, coverage_weight, coverage_start),
        }
        self.longest = max_length if positions == "learned" else None
        dtype = self.dtype_policy
        self.embedding = ScaledEmbedding(vocab_size, width, name="embedding", dtype=dtype)
        self.source_embedding = None
        if source_vocab_size is not None:
            self.source_embedding = ScaledEmbedding(
                source_vocab_size, width, name="source_embedding", dtype=dtype
            )

        def block(kind, name):
            looks_ahead = kind is TransformerEncoderBlock
            return kind(
                num_heads,
                feedforward_dim,
                dropout,
                attention_dropout,
                activation_dropout,
                norm_first,
                positions=attention_positions(positions, looks_ahead, dtype),
                name=name,
                dtype=dtype,
            )

        self.encoder_blocks = [
            block(TransformerEncoderBlock, f"encoder_{i}") for i in range(encoder_layers)
        ]
        self.decoder_blocks = [
            block(TransformerDecoderBlock, f"decoder_{i}") for i in range(decoder_layers)
        ]
        # Of a whole side; with post-norm each block has normalised what it gives.
        self.norms = [
            LayerNormalization(epsilon=1e-6, name=f"{side}_norm", dtype=dtype)
            for side in (("encoder", "decoder") if norm_first else ())
        ]
        self.dropout = Dropout(dropout, name="dropout", dtype=dtype)

    def build(self, input_shape=None):
        config = self.config
        shape = (None, None, config["width"])
        self.embedding.build((None, None))
        if self.source_embedding is not None:
            self.source_embedding.build((None, None))
        for layer in [*self.encoder_blocks, *self.decoder_blocks, *self.norms]:
            layer.build(shape)
        if self.pointer is not None:
            self.pointer.build_gate(2 * config["width"])
        self.build_vocabulary(config["width"])
        if config["positions"] == "learned":
            self.position_embedding = self.add_weight(
                (config["max_length"], config["width"]),
                keras.initializers.RandomNormal(stddev=0.02),
                name="position_embedding",
            )
        self.built = True

    def encode(self, source, training=False):
        mask = tf.not_equal(source, PAD_ID)
        x = self._embed(source, training, self.source_embedding)
        for block in self.encoder_blocks:
            x = block(x, mask=mask, training=training)
        x = self._normalized(x, 0)
        blocks = tuple(block.project(x, mask) for block in self.decoder_blocks)
        return TransformerMemory(blocks, mask, self.copy_source(source))

    def start(self, memory, num_beams=1, max_steps=None):
        rows = tf.shape(memory.mask)[0] * num_beams
        caches = tuple(block.initial_cache(rows)[:2] for block in self.decoder_blocks)
        steps = self.config["max_length"] if max_steps is None else max_steps
        positions = self._positions(steps) if self._adds_positions else ()
        return TransformerState(caches, tf.constant(0), positions)

    def step_weights(self):
        zero_mean = self.config["norm_first"]
        blocks = tuple(block.step_weights(zero_mean) for block in self.decoder_blocks)
        return TransformerWeights(blocks, self.vocabulary_product())

    def step(self, token_ids, state, memory, weights=None):
        weights = weights or self.step_weights()
        embedded = self.embedding(token_ids)
        if self._adds_positions:
            embedded += state.positions[state.index]
        x, caches = subtract_mean(embedded) if self.config["norm_first"] else embedded, []
        for block, cache, source, block_weights in zip(
            self.decoder_blocks, state.caches, memory.blocks, weights.blocks, strict=True
        ):
            x, scores, cache = block.step(x, Memory(*cache), source, block_weights)
            caches.append(cache[:2])
        hidden = self._normalized(x, 1)
        attention = self._one_attention(scores)
        logits = weights.vocabulary(hidden)
        if self.pointer is not None:
            features = tf.concat([hidden, embedded], axis=-1)
            logits = self.mixed(logits, features, attention, memory.copies)
        state = state._replace(caches=tuple(caches), index=state.index + 1)
        return logits, state, attention

    def reorder(self, state, beams):
        first = tf.range(tf.shape(beams)[0])[:, None] * beams.shape[1]
        rows = tf.reshape(first + beams, [-1])
        caches = tf.nest.map_structure(lambda x: tf.gather(x, rows), state.caches)
        return state._replace(caches=caches)

    def select(self, memory, state, rows):
        beams = tf.shape(state.caches[0][0])[0] // tf.maximum(tf.shape(memory.mask)[0], 1)
        memory = tf.nest.map_structure(lambda x: tf.gather(x, rows), memory)
        rows = tf.reshape(rows[:, None] * beams + tf.range(beams), [-1])
        caches = tf.nest.map_structure(lambda x: tf.gather(x, rows), state.caches)
        return memory, state._replace(caches=caches)

    def decoded(self, inputs, training=False):
        memory = self.encode(inputs["source"], training=training)
        target = inputs["target"]
        embedded = x = self._embed(target, training)
        for block, source in zip(self.decoder_blocks, memory.blocks, strict=True):
            x, weights = block(x, source, training=training)
        hidden = self._normalized(x, 1)
        attention = self._one_attention(weights)
        if self.pointer is None:
            return Decoded(hidden, attention)
        gate = self.pointer.gate(tf.concat([hidden, embedded], axis=-1))
        return Decoded(hidden, attention, gate)

    def _one_attention(self, weights):
        """(B, T, S) of the last block's heads (B, H, T, S): the one that copies, or their mean."""
        return tf.reduce_mean(weights, axis=1) if self.pointer is None else weights[:, 0]

    def attention_maps(self, inputs):
        """The weights of every layer and head in inference, as an `AttentionMaps`."""
        source, target = inputs["source"], inputs["target"]
        mask = tf.not_equal(source, PAD_ID)
        encoder, cross, decoder = [], [], []
        x = self._embed(source, False, self.source_embedding)
        for block in self.encoder_blocks:
            x, weights = block(x, mask=mask, return_attention_scores=True)
            encoder.append(weights)
        states = self._normalized(x, 0)
        x = self._embed(target, False)
        for block in self.decoder_blocks:
            memory = block.project(states, mask)
            x, over_source, over_target = block(x, memory, return_attention_scores=True)
            cross.append(over_source)
            decoder.append(over_target)
        return AttentionMaps(*(tf.stack(maps, axis=1) for maps in (cross, encoder, decoder)))

    def _embed(self, ids, training, embedding=None):
        """What the first block reads of (B, T) ids."""
        embedded = (embedding or self.embedding)(ids)
        if self._adds_positions:
            embedded = add_bias(embedded, self._positions(tf.shape(ids)[1]))
        return self.dropout(embedded, training=training)

    @property
    def _adds_positions(self):
        return self.config["positions"] in ADDED

    def _positions(self, count):
        """What is added to the embeddings of the first `count` subwords, (count, D)."""
        if self.config["positions"] == "learned":
            added = first_learned(tf.convert_to_tensor(self.position_embedding), count)
        else:
            added = sinusoids(tf.range(count), self.config["width"])
        return tf.cast(added, self.compute_dtype)

    def _normalized(self, x, side):
        return self.norms[side](x) if self.config["norm_first"] else x
