"""The recurrent family: models that differ by one argument, the attention, and copying ones."""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
import tensorflow as tf

from ..layers import BahdanauAttention, CoverageAttention, LuongAttention, QKVAttention
from ..layers.dropout import Dropout
from ..layers.masks import softmax_dtype
from ..layers.product import Product
from ..layers.recurrent import AttentionGRUCell, StepWeights
from .copying import CopyingSeq2Seq, Decoded
from .embedding import ScaledEmbedding
from .model import Nest, check_arguments, check_source_vocabulary
from .tokenizer import PAD_ID
from .unroll import BidirectionalGRU, StepInputs

ATTENTIONS = ("none", "bahdanau", "luong", "qkv")


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
        vocabulary: from what was read out to logits.
    """

    cell: StepWeights
    vocabulary: Product


@keras.saving.register_keras_serializable(package="attention_zoo")
class RecurrentSeq2Seq(CopyingSeq2Seq):
    """Bidirectional GRU encoder, GRU decoder, and one choice of attention.

    - `"none"`: the source is squeezed into one fixed vector C that every step of the decoder
      reads (Cho et al. 2014).
    - `"bahdanau"`: a context of its own for every step, additive scores (Bahdanau et al. 2015).
    - `"luong"`: multiplicative scores and input feeding (Luong et al. 2015).
    - `"qkv"`: scaled dot products of a query with keys that weight values (Vaswani et al. 2017),
      in the same decoder.

    With any attention it can copy from the source; with both `copying` and `coverage` it is the
    pointer-generator of See et al. 2017.

    Args:
        vocab_size: subwords V of the target, and of the source if they share one vocabulary.
        attention: `"none"`, `"bahdanau"`, `"luong"` or `"qkv"`.
        embedding_dim: width of the embeddings.
        encoder_units: width of the encoder, in each direction.
        decoder_units: width D of the decoder's state.
        attention_units: width of the space in which query and key are compared.
        readout_units: width from which the vocabulary is read; `embedding_dim` if `None`.
        tie_embeddings: read the vocabulary with the embedding itself (Press and Wolf 2017);
            needs `readout_units` equal to `embedding_dim`.
        dropout: rate on embeddings, source states and readout.
        source_vocab_size: subwords of the source, if it has a vocabulary and an embedding of its
            own; it shares those of the target if `None`.
        wiring: when the decoder looks, as `AttentionGRUCell` says: `"before"` it reads the last
            subword, as in Bahdanau's paper, `"after"` that, or with Luong's `"input_feeding"`. If
            `None`, `"after"`, which learns faster; of `"luong"` its own.
        embedding_power: how much larger embeddings are read than they are kept, see
            `ScaledEmbedding`. With 0.25 most corpora are learnt as fast as with 0.5, and rare words
            disturb less; 0.5 helps where all words are frequent.
        encoder_layers: bidirectional layers of the encoder; each from the second on adds to what
            the one below it says of a subword (Wu et al. 2016).
        copying: write a subword of the vocabulary or copy one of the source, see
            `CopyingSeq2Seq`.
        coverage: let additive attention know what was attended to before, and train it not to
            attend to it again.
        coverage_weight: factor of the coverage loss.
        coverage_start: step of the training from which the coverage loss counts.

    Example:

    >>> model = RecurrentSeq2Seq(vocab_size=8000, attention="bahdanau")
    >>> model.compile(optimizer="adam", loss=SmoothedCrossEntropy(0.1))
    >>> model.fit(batches)      # of ({"source": (B, S), "target": (B, T)}, labels (B, T))

    References: https://arxiv.org/abs/1406.1078, https://arxiv.org/abs/1409.0473,
    https://arxiv.org/abs/1508.04025, https://arxiv.org/abs/1706.03762,
    https://arxiv.org/abs/1609.08144, https://arxiv.org/abs/1704.04368
    """

    def __init__(
        self,
        vocab_size: int,
        attention: str = "bahdanau",
        embedding_dim: int = 256,
        encoder_units: int = 256,
        decoder_units: int = 512,
        attention_units: int = 256,
        readout_units: int | None = None,
        tie_embeddings: bool = True,
        dropout: float = 0.3,
        source_vocab_size: int | None = None,
        wiring: str | None = None,
        embedding_power: float = 0.25,
        encoder_layers: int = 1,
        copying: bool = False,
        coverage: bool = False,
        coverage_weight: float = 1.0,
        coverage_start: int = 0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if attention not in ATTENTIONS:
            raise ValueError(
                f"attention is one of {', '.join(ATTENTIONS)}. Received: attention={attention!r}"
            )
        readout_units = embedding_dim if readout_units is None else readout_units
        sizes = {
            "embedding_dim": embedding_dim,
            "encoder_units": encoder_units,
            "decoder_units": decoder_units,
            "attention_units": attention_units,
            "readout_units": readout_units,
            "encoder_layers": encoder_layers,
        }
        check_arguments(vocab_size, sizes, {"dropout": dropout})
        check_source_vocabulary(source_vocab_size, copying)
        if tie_embeddings and readout_units != embedding_dim:
            raise ValueError(
                "Tied embeddings read the vocabulary from vectors as wide as an embedding: leave "
                "readout_units out or set tie_embeddings=False. Received: "
                f"readout_units={readout_units}, embedding_dim={embedding_dim}"
            )
        if coverage and attention != "bahdanau":
            raise ValueError(
                "Coverage is a part of additive attention: use attention='bahdanau' with it. "
                f"Received: attention={attention!r}, coverage={coverage}"
            )
        if copying and attention == "none":
            raise ValueError(
                "What is copied is what is attended to, so copying needs an attention. "
                f"Received: attention={attention!r}, copying={copying}"
            )
        self.config: dict[str, Any] = {
            "vocab_size": vocab_size,
            "attention": attention,
            "wiring": wiring,
            **sizes,
            "tie_embeddings": tie_embeddings,
            "dropout": dropout,
            "embedding_power": embedding_power,
            "source_vocab_size": source_vocab_size,
            **self.switch_copying(copying, coverage, coverage_weight, coverage_start),
        }
        if wiring is None:
            wiring = {"none": "before", "luong": "input_feeding"}.get(attention, "after")
        self.attention = attention
        self.tie_embeddings = tie_embeddings
        source_dim = 2 * encoder_units
        self.embedding = ScaledEmbedding(
            vocab_size, embedding_dim, embedding_power, name="embedding"
        )
        self.source_embedding = None
        if source_vocab_size is not None:
            self.source_embedding = ScaledEmbedding(
                source_vocab_size, embedding_dim, embedding_power, name="source_embedding"
            )
        self.encoder = BidirectionalGRU(encoder_units, name="encoder")
        self.upper_encoders = [
            BidirectionalGRU(encoder_units, name=f"encoder_{i}") for i in range(1, encoder_layers)
        ]
        self.bridge = keras.layers.Dense(decoder_units, "tanh", name="bridge")
        self.cell = AttentionGRUCell(
            decoder_units,
            context_dim=source_dim,
            attention=self._attention_layer(attention, attention_units, source_dim),
            wiring=wiring,
            output_dim=readout_units if wiring == "input_feeding" else None,
            name="decoder",
        )
        # Luong's attentional vector is a readout already.
        self.readout = None
        if wiring != "input_feeding":
            self.readout = keras.layers.Dense(readout_units, "tanh", name="readout")
        self.dropout = Dropout(dropout, name="dropout")

    def _attention_layer(self, attention: str, units: int, source_dim: int):
        if attention == "bahdanau":
            kind = CoverageAttention if self.coverage else BahdanauAttention
            return kind(units, name="attention")
        if attention == "luong":
            return LuongAttention("general", name="attention")
        if attention == "qkv":
            return QKVAttention(1, key_dim=units, output_dim=source_dim, name="attention")
        return None

    def build(self, input_shape=None):
        config = self.config
        if not self.tie_embeddings:
            self.vocabulary_kernel = self.add_weight(
                (config["vocab_size"], config["readout_units"]),
                "glorot_uniform",
                name="vocabulary_kernel",
            )
        self.vocabulary_bias = self.add_weight(
            (config["vocab_size"],), "zeros", name="vocabulary_bias"
        )
        embedded = (None, None, config["embedding_dim"])
        source_dim = 2 * config["encoder_units"]
        self.embedding.build((None, None))
        if self.source_embedding is not None:
            self.source_embedding.build((None, None))
        self.encoder.build(embedded)
        for layer in self.upper_encoders:
            layer.build((None, None, source_dim))
        self.bridge.build((None, source_dim))
        self.cell.build()
        self.cell.input_projection.build(embedded)
        features = self.cell.output_width + config["embedding_dim"]
        if self.readout is not None:
            self.readout.build((None, None, features))
        if self.pointer is not None:
            self.pointer.build_gate(features)
        self.built = True

    def vocabulary_weights(self):
        kernel = self.embedding.embeddings if self.tie_embeddings else self.vocabulary_kernel
        return tf.convert_to_tensor(kernel), tf.convert_to_tensor(self.vocabulary_bias)

    def encode(self, source, training=False):
        mask = tf.not_equal(source, PAD_ID)
        embedding = self.source_embedding or self.embedding
        embedded = self.dropout(embedding(source), training=training)
        lengths = tf.maximum(tf.reduce_sum(tf.cast(mask, tf.int32), axis=1), 1)
        states, last = self.encoder(embedded, lengths)
        for layer in self.upper_encoders:
            more = layer(self.dropout(states, training=training), lengths)
            states, last = states + more[0], last + more[1]
        states = self.dropout(states, training=training)
        attended = (
            last[:, None]
            if self.cell.attention is None
            else self.cell.attention.project(states, mask=mask)
        )
        return RecurrentMemory(attended, self.bridge(last), mask, self.copy_source(source))

    def start(self, memory, num_beams=1, max_steps=None):
        start = tf.repeat(memory.start[:, None], num_beams, axis=1)
        return self.cell.initial_states(start, memory.attended)

    def step_weights(self):
        kernel, bias = (tf.cast(x, self.compute_dtype) for x in self.vocabulary_weights())
        return RecurrentWeights(self.cell.step_weights(), Product(tf.transpose(kernel), bias))

    def step(self, token_ids, state, memory, weights=None):
        weights = weights or self.step_weights()
        embedded = self.embedding(token_ids)
        given = self.cell.input_projection(embedded)
        output, state, scores = self.cell(given, state, memory.attended, weights.cell)
        if scores is None:
            scores = tf.zeros((*tf.unstack(tf.shape(token_ids)), tf.shape(memory.mask)[1]))
        features = tf.concat([output, embedded], axis=-1)
        logits = weights.vocabulary.of_rows(self._read_out(output, features))
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
        wiring = self.cell.wiring
        fed = outputs if wiring == "input_feeding" else outputs[..., self.cell.units :]
        if wiring != "before":  # at the step after
            fed = tf.concat([tf.zeros_like(fed[:1]), fed[:-1]], axis=0)
        inputs.tell(before, fed)
        outputs = tf.ensure_shape(
            tf.transpose(outputs, (1, 0, 2)), (None, None, self.cell.output_width)
        )
        return outputs, tf.transpose(looked_at.stack(), (1, 0, 2)) if with_attention else ()

    def get_config(self):
        return {**super().get_config(), **self.config}
