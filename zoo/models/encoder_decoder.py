"""The model of the zoo: an encoder, a decoder and an output.

Shapes: B batch, S source length, T target length, N beams, D width, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from ..text.special_ids import PAD_ID
from ..training.training_step import KeptRows, TokenTrainer
from .coverage import CoverageLoss
from .outputs import share_unknown
from .parts import (
    AttentionMaps,
    Decoder,
    Encoded,
    Encoder,
    Nest,
    Output,
    SourceMemory,
    StepWeights,
    TeacherForced,
    known_ids,
)

_SHARED = "target_embedding"  # in a config, of a source with the embedding of the target
_PARTS = ("encoder", "decoder", "output", _SHARED, "source_embedding", "coverage")


@keras.saving.register_keras_serializable(package="attention_zoo")
class EncoderDecoder(TokenTrainer):
    """A sequence-to-sequence model made of three parts.

    Calling the model gives logits: `model({"source": (B, S), "target": (B, T)}) -> (B, T, V)`,
    where the target begins with the start id and padding is id 0 on both sides. It trains with
    `compile` and `fit` on `(inputs, labels)`, see `TokenTrainer`. Without an embedding of the
    source, the source is features (B, S, F); `inputs["source_mask"]`, boolean (B, S), says which
    of them are there, all if it is left out.

    Unknown words of a source may have ids of their own: -1, -2 and so on in each row. The model
    reads them as the unknown token. As labels they ask an output that copies for that very word,
    and with `inputs["num_unknown"]`, U, the logits have a column for each after the vocabulary,
    (B, T, V + U). An output that does not copy shares the unknown token among them, by attention.
    A model that copies has `p_gen(inputs)`, (B, T), the share of each token that is written.

    Decoding uses `encode`, `initial_state`, `step_weights`, `step_memory`, `step`, `reorder_state`
    and `gather_rows`, and nothing else of a model.

    Args:
        encoder: Any `Encoder`: reads the source.
        decoder: Any `Decoder`: reads what was written, and attends to the source.
        output: Any `Output`: gives the logits.
        target_embedding: The embedding of the target's tokens. A tied output reads it too.
        source_embedding: The embedding of the source's tokens, the same object for one that both
            share; `None` if the source is features.
        coverage: A term of the loss that keeps the attention from returning to where it was.
        **kwargs: As for every Keras model.

    Raises:
        ValueError: Two parts cannot be in one model.

    Example: a Transformer that reads, a recurrent decoder that writes.

    >>> embedding = ScaledEmbedding(8000, 128)
    >>> model = EncoderDecoder(
    ...     TransformerEncoder(num_layers=4, num_heads=4, feedforward_dim=256),
    ...     RecurrentDecoder(256, attention=BahdanauAttention(128)),
    ...     VocabularyOutput(8000, readout_units=128),
    ...     target_embedding=embedding,
    ...     source_embedding=embedding,
    ... )
    >>> model.compile(optimizer="adam", loss=SmoothedCrossEntropy(0.1))
    >>> model.fit(batches)      # of ({"source": (B, S), "target": (B, T)}, labels (B, T))
    """

    def __init__(
        self,
        encoder: Encoder,
        decoder: Decoder,
        output: Output,
        target_embedding: keras.layers.Embedding,
        source_embedding: keras.layers.Embedding | None = None,
        coverage: CoverageLoss | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if output.copies and source_embedding is not target_embedding:
            raise ValueError(
                "What is copied are tokens that source and target have in common: give both the "
                "same embedding, or an output that does not copy. "
                f"Received: output={output!r}, source_embedding={source_embedding!r}"
            )
        self.encoder = encoder
        self.decoder = decoder
        self.output_layer = output  # `output` is taken, by Keras
        self.target_embedding = target_embedding
        self.source_embedding = source_embedding
        self.coverage = coverage
        if output.tied:
            output.tie(target_embedding)

    @property
    def max_positions(self) -> int | None:
        """The most tokens of a source or a target, `None` where there is no limit."""
        limits = (self.encoder.max_positions, self.decoder.max_positions)
        return min(filter(None, limits), default=None)

    @property
    def loops_over_time(self) -> bool:
        """True where a part runs position by position, which XLA cannot speed up."""
        return self.encoder.loops_over_time or self.decoder.loops_over_time

    @property
    def has_attention_maps(self) -> bool:
        """True where there are several layers or heads to look at."""
        return self.encoder.has_attention_maps or self.decoder.has_attention_maps

    @property
    def vocab_size(self) -> int:
        """V, the number of tokens of the target."""
        return self.target_embedding.input_dim

    @property
    def copies(self) -> bool:
        """True where tokens of the source are copied."""
        return self.output_layer.copies

    @property
    def static_shapes(self) -> bool:
        """True where no shape may depend on values, as TPUs want it."""
        return self.encoder.static_shapes

    @static_shapes.setter
    def static_shapes(self, value: bool) -> None:
        self.encoder.static_shapes = value

    def set_progress(self, share: float) -> None:
        """Tells the terms of the loss how far the training is.

        Args:
            share: The spent share of the budget, from 0 to 1.
        """
        if self.coverage is not None:
            self.coverage.set_progress(share)

    def check_lengths(self, max_source_length: int, max_target_length: int) -> None:
        """Refuses limits of lengths that are beyond what the model can read or write.

        Args:
            max_source_length: The most tokens of a source.
            max_target_length: The most tokens of a target.

        Raises:
            ValueError: One is beyond the `max_positions` of the model.
        """
        longest = self.max_positions
        if longest is not None and max(max_source_length, max_target_length) > longest:
            raise ValueError(
                f"This model has learned positions for {longest} tokens and none beyond: "
                "lower max_source_length and max_target_length, or raise its max_length. Received: "
                f"max_source_length={max_source_length}, max_target_length={max_target_length}"
            )

    def build(self, input_shape=None):
        ids = source = ops.zeros((1, 2), "int32")  # two tokens to read
        if self.source_embedding is None and input_shape is None:
            raise ValueError(
                "The width of the features is not known: call the model on a batch, or build it "
                'with {"source": (None, None, width), "target": (None, None)}.'
            )
        if self.source_embedding is None:
            source = ops.zeros((1, input_shape["source"][1] or 2, input_shape["source"][2]))
        encoded = self._encoded({"source": source})
        if not self.decoder.built:
            parts = (self.target_embedding(ids), encoded.states, encoded.summary)
            self.decoder.build(*(tuple(x.shape) for x in parts))
        self.call({"source": source, "target": ids})
        self.built = True

    def encode(self, source, mask=None, training=False, num_unknown=None) -> SourceMemory:
        """Computes all that is fixed while a target is written.

        Args:
            source: Token ids (B, S), or features (B, S, F).
            mask: Boolean (B, S), of features; all are there if `None`.
            training: Whether dropout is on.
            num_unknown: U, where unknown words have logits; none have if `None`.

        Returns:
            A memory, never tiled or reordered: N beams of a source are N queries of the same one.
        """
        source = ops.convert_to_tensor(source)
        inputs = {"source": source, "source_mask": mask}
        return self._memory(self._encoded(inputs, training), source, num_unknown)

    def initial_state(self, memory: SourceMemory, num_beams: int = 1, max_steps: Any = None):
        return self.decoder.initial_state(memory.decoder, num_beams, max_steps)

    def step_weights(self) -> StepWeights:
        return StepWeights(self.decoder.step_weights(), self.output_layer.step_weights())

    def step_memory(self, memory: SourceMemory) -> SourceMemory:
        return memory._replace(decoder=self.decoder.step_memory(memory.decoder))

    def step(
        self, token_ids, state: Nest, memory: SourceMemory, weights: StepWeights | None = None
    ) -> tuple[Any, Nest, Any]:
        """A step of every hypothesis.

        Args:
            token_ids: What each wrote last, (B, N).
            state: What `initial_state` or the step before returned.
            memory: What `encode` or `step_memory` returned.
            weights: What `step_weights` returned, prepared here if `None`.

        Returns:
            Logits (B, N, V), or (B, N, V + U) with unknown words, the next state, and attention
            (B, N, S).
        """
        weights = weights or self.step_weights()
        inputs = self.target_embedding(known_ids(token_ids))
        hidden, state, attention = self.decoder.step(inputs, state, memory.decoder, weights.decoder)
        attention = memory.over_source(attention)
        logits = self.output_layer(hidden, attention, memory.output, weights.output)
        return share_unknown(logits, attention, memory.unknown), state, attention

    def reorder_state(self, state: Nest, beams) -> Nest:
        return self.decoder.reorder_state(state, beams)

    def gather_rows(self, memory: SourceMemory, state: Nest, rows) -> tuple[SourceMemory, Nest]:
        decoder, state = self.decoder.gather_rows(memory.decoder, state, rows)
        rest = keras.tree.map_structure(lambda x: ops.take(x, rows, axis=0), memory[1:])
        return SourceMemory(decoder, *rest), state

    def _teacher_forced(self, inputs, training: bool = False, attention: bool = False):
        """Reads a given target as a whole; with `attention` also where the output has no need."""
        source = ops.convert_to_tensor(inputs["source"])
        memory = self._memory(self._encoded(inputs, training), source, inputs.get("num_unknown"))
        wanted = attention or self.output_layer.reads_attention or "num_unknown" in inputs
        hidden, scores = self.decoder(
            self.target_embedding(known_ids(inputs["target"])),
            memory.decoder,
            return_attention_scores=wanted,
            training=training,
        )
        scores = memory.over_source(scores) if wanted else ()
        return TeacherForced(hidden, scores, memory)

    def call(self, inputs, training=False):
        hidden, attention, memory = self._teacher_forced(inputs, training)
        logits = self.output_layer(hidden, attention, memory.output, training=training)
        return share_unknown(logits, attention, memory.unknown)

    def p_gen(self, inputs):
        return self.output_layer.p_gen(self._teacher_forced(inputs).hidden)

    def attention_maps(self, inputs) -> AttentionMaps:
        """The attention weights of all layers and heads in inference.

        Args:
            inputs: `source` (B, S) and `target` (B, T), whose row t is what was read when label t
                was written: it begins with the start id.

        Returns:
            Maps with row t for label t; the rows of padding say nothing. A decoder without maps of
            its own gives one, its attention.
        """
        own = target_maps = None
        if self.encoder.has_attention_maps:
            encoded, own = self.encoder.attention_maps(*self._encoder_inputs(inputs))
        else:
            encoded = self._encoded(inputs)
        memory = self._memory(encoded, ops.convert_to_tensor(inputs["source"]))
        target = self.target_embedding(known_ids(inputs["target"]))
        if self.decoder.has_attention_maps:
            cross, target_maps = self.decoder.attention_maps(target, memory.decoder)
        else:
            _, cross = self.decoder(target, memory.decoder, return_attention_scores=True)
            cross = cross[:, None, None]
        return AttentionMaps(memory.over_source(cross), own, target_maps)

    def token_losses(self, inputs, labels, training):
        if training and self.loss.r_drop > 0:
            if self.coverage is not None or not self.output_layer.supports_r_drop:
                raise ValueError(
                    "R-Drop compares what two readings give the vocabulary, which is not all that "
                    "a model with copying or coverage is trained by: leave out r_drop, or both of "
                    f"them. Received: r_drop={self.loss.r_drop}"
                )
            inputs = {name: ops.concatenate([x, x]) for name, x in inputs.items()}
        read = self._teacher_forced(inputs, training, training and self.coverage is not None)
        keep, labels = self.loss.counted(labels)
        labels = labels if self.copies else known_ids(labels)
        kept = KeptRows(keep, self.static_shapes)
        smoothed, plain = self.output_layer.token_losses(
            self.loss, labels, read.hidden, read.attention, read.memory.output, kept, training
        )
        if training and self.coverage is not None:
            smoothed += kept.rows(self.coverage(read.attention, self.optimizer.iterations))
        return kept.without_padding(smoothed), kept.without_padding(plain)

    def _encoder_inputs(self, inputs):
        """The vectors (B, S, E) and the mask (B, S) of a source; also its ids, if they are read."""
        source, mask = ops.convert_to_tensor(inputs["source"]), inputs.get("source_mask")
        if self.source_embedding is None:
            return source, ops.ones(ops.shape(source)[:2], "bool") if mask is None else mask
        ids = known_ids(source)
        read = (ids,) if self.encoder.reads_ids else ()
        return self.source_embedding(ids), ops.not_equal(ids, PAD_ID), *read

    def _encoded(self, inputs, training: bool = False) -> Encoded:
        return self.encoder(*self._encoder_inputs(inputs), training=training)

    def _memory(self, encoded: Encoded, source, num_unknown: Any = None) -> SourceMemory:
        unknown, output = (), self.output_layer
        if num_unknown is not None:
            words = -1 - ops.arange(num_unknown, dtype="int32")
            unknown = ops.equal(ops.expand_dims(ops.cast(source, "int32"), -1), words)
        if self.copies:
            prepared, unknown = output.prepare_source(source, unknown), ()
        else:
            prepared = output.prepare_source(source)
        return SourceMemory(self.decoder.prepare(encoded), prepared, encoded.spread(), unknown)

    def get_config(self):
        serialize = keras.saving.serialize_keras_object
        shared = self.source_embedding is self.target_embedding
        return {
            **super().get_config(),
            "encoder": serialize(self.encoder),
            "decoder": serialize(self.decoder),
            "output": serialize(self.output_layer),
            "target_embedding": serialize(self.target_embedding),
            "source_embedding": _SHARED if shared else serialize(self.source_embedding),
            "coverage": serialize(self.coverage),
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        made = {
            name: keras.saving.deserialize_keras_object(config[name], custom_objects)
            for name in _PARTS
            if config[name] != _SHARED
        }
        made.setdefault("source_embedding", made[_SHARED])
        return cls(**{**config, **made})
