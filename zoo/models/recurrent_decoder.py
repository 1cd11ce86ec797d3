"""A recurrent decoder that attends, over whatever an encoder made of the source.

Shapes: B batch, S source length, T target length, D state, C width of what is attended to.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
import tensorflow as tf

from ...layers.attention_gru_cell import AttentionGRUCell, StepWeights, query_options
from ...layers.ops.affine import Affine
from ...layers.ops.dense import Dense
from ...layers.ops.dropout import Dropout
from ...layers.ops.masks import softmax_dtype
from .base import Nest, check_arguments, check_source_vocabulary
from .copying import CopyingSeq2Seq, Decoded
from .embedding import ScaledEmbedding
from .unroll import StepInputs


class RecurrentMemory(NamedTuple):
    """What the decoder reads while it writes.

    Attributes:
        attended: the projected source for the attention, or the fixed context (B, 1, C).
        start: state of the decoder before the first step, (B, D).
        mask: True where the source is not padding, (B, S).
        copies: the source as a model copies from it, or ().
    """

    attended: Nest
    start: tf.Tensor
    mask: tf.Tensor
    copies: Nest = ()


class RecurrentWeights(NamedTuple):
    """What a step reads of the variables.

    Attributes:
        cell: of the decoder's cell.
        inputs: from an embedding to what the cell is given.
        readout: to what the vocabulary is read from, or ().
        vocabulary: from what was read out to logits.
    """

    cell: StepWeights
    inputs: Affine
    readout: Any
    vocabulary: Affine


class RecurrentDecoderSeq2Seq(CopyingSeq2Seq):
    """What the families with a recurrent decoder share: all but the encoder.

    A subclass makes `make_embeddings`, its encoder and `make_decoder` in its constructor, in
    `build` its encoder's weights and `build_decoder`, and says what a source is in `encode`.
    Its `config` has `vocab_size`, `source_vocab_size`, `embedding_dim`, `embedding_power`,
    `decoder_units`, `readout_units`, `tie_embeddings` and `dropout`.
    """

    source_embedding: ScaledEmbedding | None = None
    readout: keras.layers.Dense | None = None

    def check_config(self, sizes: tuple[str, ...], copying: bool = False) -> None:
        """Refuses what no model can be made of; of an unknown readout it takes the embedding's.

        Args:
            sizes: names of the config that are positive whole numbers, beside those of a decoder.
            copying: whether subwords of the source are copied.
        """
        config = self.config
        if config["readout_units"] is None:
            config["readout_units"] = config["embedding_dim"]
        names = ("embedding_dim", "decoder_units", "attention_units", "readout_units", *sizes)
        check_arguments(
            config["vocab_size"],
            {name: config[name] for name in names},
            {"dropout": config["dropout"]},
        )
        check_source_vocabulary(config["source_vocab_size"], copying)
        if config["tie_embeddings"] and config["readout_units"] != config["embedding_dim"]:
            raise ValueError(
                "Tied embeddings read the vocabulary from vectors as wide as an embedding: leave "
                "readout_units out or set tie_embeddings=False. Received: "
                f"readout_units={config['readout_units']}, embedding_dim={config['embedding_dim']}"
            )

    def make_embeddings(self) -> None:
        width, power = self.config["embedding_dim"], self.config["embedding_power"]

        def embedding(size, name):
            return ScaledEmbedding(size, width, power, name=name, dtype=self.dtype_policy)

        self.embedding = embedding(self.config["vocab_size"], "embedding")
        source_size = self.config["source_vocab_size"]
        if source_size is not None:
            self.source_embedding = embedding(source_size, "source_embedding")

    def make_decoder(
        self,
        attention: Any,
        wiring: str,
        context_dim: int,
        readout_activation: str | None = "tanh",
    ) -> None:
        """Makes the layers of the decoder.

        Args:
            attention: a layer, or `None` for one fixed context.
            wiring: when it looks, see `AttentionGRUCell`.
            context_dim: width C of the context.
            readout_activation: of the layer from which the vocabulary is read.
        """
        config, dtype = self.config, self.dtype_policy
        self.bridge = Dense(config["decoder_units"], "tanh", name="bridge", dtype=dtype)
        self.cell = AttentionGRUCell(
            config["decoder_units"],
            context_dim=context_dim,
            attention=attention,
            **query_options(wiring),
            output_dim=config["readout_units"] if wiring == "input_feeding" else None,
            name="decoder",
            dtype=dtype,
        )
        # Luong's attentional vector is a readout already.
        if not self.cell.input_feeding:
            self.readout = Dense(
                config["readout_units"], readout_activation, name="readout", dtype=dtype
            )
        self.dropout = Dropout(config["dropout"], name="dropout", dtype=dtype)

    def build_decoder(self, summary_dim: int) -> None:
        """Makes the weights of embeddings and decoder; what the bridge reads is so wide."""
        config = self.config
        self.build_vocabulary(config["readout_units"])
        embedded = (None, None, config["embedding_dim"])
        self.embedding.build((None, None))
        if self.source_embedding is not None:
            self.source_embedding.build((None, None))
        self.bridge.build((None, summary_dim))
        self.cell.build()
        self.cell.input_projection.build(embedded)
        features = self.cell.output_width + config["embedding_dim"]
        if self.readout is not None:
            self.readout.build((None, None, features))
        if self.pointer is not None:
            self.pointer.build_gate(features)

    def embed_source(self, ids: tf.Tensor, training: bool) -> tf.Tensor:
        """Vectors (..., E) of subwords of the source."""
        embedding = self.source_embedding or self.embedding
        return self.dropout(embedding(ids), training=training)

    def start(self, memory, num_beams=1, max_steps=None):
        start = tf.repeat(memory.start[:, None], num_beams, axis=1)
        return self.cell.initial_states(start, memory.attended)

    def step_weights(self):
        return RecurrentWeights(
            self.cell.step_weights(),
            Affine.from_layer(self.cell.input_projection),
            () if self.readout is None else Affine.from_layer(self.readout),
            self.vocabulary_product(),
        )

    def step(self, token_ids, state, memory, weights=None):
        weights = weights or self.step_weights()
        embedded = self.embedding(token_ids)
        given = weights.inputs(embedded)
        output, state, scores = self.cell(given, state, memory.attended, weights.cell)
        if scores is None:
            scores = tf.zeros((*tf.unstack(tf.shape(token_ids)), tf.shape(memory.mask)[1]))
        features = tf.concat([output, embedded], axis=-1)
        hidden = output
        if self.readout is not None:
            hidden = self.readout.activation(weights.readout(features))
        logits = weights.vocabulary(hidden)
        return self.mixed(logits, features, scores, memory.copies), state, scores

    def decoded(self, inputs, training=False):
        memory = self.encode(inputs["source"], training=training)
        embedded = self.dropout(self.embedding(inputs["target"]), training=training)
        given = self.cell.input_projection(embedded)
        outputs, attention = self._unroll(given, self.start(memory), memory.attended)
        features = tf.concat([outputs, embedded], axis=-1)
        hidden = self.dropout(self._read_out(outputs, features), training=training)
        return Decoded(
            hidden, attention, () if self.pointer is None else self.pointer.gate(features)
        )

    def _read_out(self, outputs, features):
        return outputs if self.readout is None else self.readout(features)

    def _unroll(self, given, states, attended):
        """The cell over all steps of `given` (B, T, 3 D).

        Returns:
            Its outputs (B, T, output width), and its attention (B, T, S) in a model that copies or
            has coverage, () in others.
        """
        weights = self.cell.step_weights()
        steps = tf.shape(given)[1]
        inputs = StepInputs(
            tf.transpose(given, (1, 0, 2)),
            weights.candidate_bias,
            weights.recurrent_kernel,
            weights.context_kernel,
        )
        frozen = tf.nest.map_structure(tf.stop_gradient, weights)
        outputs = tf.TensorArray(given.dtype, size=steps)
        hidden = tf.TensorArray(given.dtype, size=steps)
        with_attention = self.pointer is not None or self.coverage
        dtype = softmax_dtype(given.dtype)
        looked_at = tf.TensorArray(dtype, size=steps) if with_attention else ()

        def body(t, states, outputs, hidden, looked_at):
            given, bias = inputs.at(t)
            weights = frozen._replace(candidate_bias=tf.expand_dims(bias, 1))
            output, states, scores = self.cell(tf.expand_dims(given, 1), states, attended, weights)
            outputs = outputs.write(t, tf.squeeze(output, 1))
            hidden = hidden.write(t, tf.squeeze(states[0], 1))
            if with_attention:
                looked_at = looked_at.write(t, tf.squeeze(scores, 1))
            return t + 1, states, outputs, hidden, looked_at

        _, _, outputs, hidden, looked_at = tf.while_loop(
            lambda t, *_: t < steps,
            body,
            (0, states, outputs, hidden, looked_at),
            maximum_iterations=steps,
        )
        outputs, hidden = outputs.stack(), hidden.stack()  # (T, B, output width), (T, B, D)
        before = tf.concat([tf.transpose(states[0], (1, 0, 2)), hidden[:-1]], axis=0)
        fed = outputs if self.cell.input_feeding else outputs[..., self.cell.units :]
        if self.cell.attention_query == "current_state":  # at the step after
            fed = tf.concat([tf.zeros_like(fed[:1]), fed[:-1]], axis=0)
        inputs.tell(before, fed)
        outputs = tf.ensure_shape(
            tf.transpose(outputs, (1, 0, 2)), (None, None, self.cell.output_width)
        )
        return outputs, tf.transpose(looked_at.stack(), (1, 0, 2)) if with_attention else ()
