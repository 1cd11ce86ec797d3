"""The recurrent family: four models that differ by one argument, the attention."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import keras
import tensorflow as tf

from ..layers import BahdanauAttention, LuongAttention, QKVAttention
from ..layers.recurrent import AttentionGRUCell, StepWeights
from .model import Nest, Seq2SeqModel
from .tokenizer import PAD_ID

ATTENTIONS = ("none", "bahdanau", "luong", "qkv")


class RecurrentMemory(NamedTuple):
    """What the decoder reads while it writes.

    Attributes:
        attended: the projected source for the attention, or the fixed context (B, 1, C).
        start: state of the decoder before the first step, (B, D).
        mask: True where the source is not padding, (B, S).
    """

    attended: Nest
    start: tf.Tensor
    mask: tf.Tensor


@keras.saving.register_keras_serializable(package="attention_zoo")
class RecurrentSeq2Seq(Seq2SeqModel):
    """Bidirectional GRU encoder, GRU decoder, and one choice of attention.

    - `"none"`: the source is squeezed into one fixed vector C that every step of the decoder
      reads (Cho et al. 2014).
    - `"bahdanau"`: a context of its own for every step, additive scores (Bahdanau et al. 2015).
    - `"luong"`: multiplicative scores and input feeding (Luong et al. 2015).
    - `"qkv"`: scaled dot products of a query with keys that weight values (Vaswani et al. 2017),
      in the decoder of Bahdanau.

    Args:
        vocab_size: subwords V of the one vocabulary of source and target.
        attention: `"none"`, `"bahdanau"`, `"luong"` or `"qkv"`.
        embedding_dim: width of the embeddings.
        encoder_units: width of the encoder, in each direction.
        decoder_units: width D of the decoder's state.
        attention_units: width of the space in which query and key are compared.
        readout_units: width from which the vocabulary is read; `embedding_dim` if `None`.
        tie_embeddings: read the vocabulary with the embedding itself (Press and Wolf 2017);
            needs `readout_units` equal to `embedding_dim`.
        dropout: rate on embeddings, source states and readout.

    Example:

    >>> model = RecurrentSeq2Seq(vocab_size=8000, attention="bahdanau")
    >>> model.compile(optimizer="adam", loss=SmoothedCrossEntropy(0.1))
    >>> model.fit(batches)      # of ({"source": (B, S), "target": (B, T)}, labels (B, T))

    References: https://arxiv.org/abs/1406.1078, https://arxiv.org/abs/1409.0473,
    https://arxiv.org/abs/1508.04025, https://arxiv.org/abs/1706.03762
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
        **kwargs,
    ):
        super().__init__(**kwargs)
        if attention not in ATTENTIONS:
            raise ValueError(
                f"attention is one of {', '.join(ATTENTIONS)}. Received: attention={attention!r}"
            )
        readout_units = readout_units or embedding_dim
        if tie_embeddings and readout_units != embedding_dim:
            raise ValueError(
                "Tied embeddings read the vocabulary from vectors as wide as an embedding: leave "
                "readout_units out or set tie_embeddings=False. Received: "
                f"readout_units={readout_units}, embedding_dim={embedding_dim}"
            )
        self.config = {
            "vocab_size": vocab_size,
            "attention": attention,
            "embedding_dim": embedding_dim,
            "encoder_units": encoder_units,
            "decoder_units": decoder_units,
            "attention_units": attention_units,
            "readout_units": readout_units,
            "tie_embeddings": tie_embeddings,
            "dropout": dropout,
        }
        self.attention = attention
        self.tie_embeddings = tie_embeddings
        source_dim = 2 * encoder_units
        # The variance of a tied embedding is that of a kernel read from it.
        near = keras.initializers.RandomNormal(stddev=embedding_dim**-0.5)
        self.embedding = keras.layers.Embedding(vocab_size, embedding_dim, near, name="embedding")
        self.forward_encoder = keras.layers.GRU(
            encoder_units, return_sequences=True, name="forward_encoder"
        )
        self.backward_encoder = keras.layers.GRU(
            encoder_units, return_sequences=True, name="backward_encoder"
        )
        self.bridge = keras.layers.Dense(decoder_units, "tanh", name="bridge")
        self.cell = AttentionGRUCell(
            decoder_units,
            context_dim=source_dim,
            attention=self._attention_layer(attention, attention_units, source_dim),
            input_feeding=attention == "luong",
            output_dim=readout_units if attention == "luong" else None,
            name="decoder",
        )
        # Luong's attentional vector is a readout already.
        self.readout = (
            None
            if attention == "luong"
            else keras.layers.Dense(readout_units, "tanh", name="readout")
        )
        self.dropout = keras.layers.Dropout(dropout, name="dropout")

    @staticmethod
    def _attention_layer(attention: str, units: int, source_dim: int):
        if attention == "bahdanau":
            return BahdanauAttention(units, name="attention")
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
        self.forward_encoder.build(embedded)
        self.backward_encoder.build(embedded)
        self.bridge.build((None, source_dim))
        self.cell.build()
        self.cell.input_projection.build(embedded)
        if self.readout is not None:
            self.readout.build((None, None, self.cell.output_width + config["embedding_dim"]))
        self.built = True

    def vocabulary_weights(self):
        kernel = self.embedding.embeddings if self.tie_embeddings else self.vocabulary_kernel
        return tf.convert_to_tensor(kernel), tf.convert_to_tensor(self.vocabulary_bias)

    def encode(self, source, training=False):
        mask = tf.not_equal(source, PAD_ID)
        embedded = self.dropout(self.embedding(source), training=training)
        lengths = tf.maximum(tf.reduce_sum(tf.cast(mask, tf.int32), axis=1), 1)
        states, last = self._read_both_ways(embedded, lengths)
        states = self.dropout(states, training=training)
        attended = (
            last[:, None]
            if self.cell.attention is None
            else self.cell.attention.project(states, mask=mask)
        )
        return RecurrentMemory(attended, self.bridge(last), mask)

    def _read_both_ways(self, embedded, lengths):
        """States (B, S, 2 E) of a reading in each direction, and the last of each (B, 2 E).

        Padding comes last, so a reading from the left never meets it before the text ends, nor
        does one of the reversed text: no mask is needed at each step, which is where it costs.
        """
        reverse = partial(tf.reverse_sequence, seq_lengths=lengths, seq_axis=1)
        forward = self.forward_encoder(embedded)
        backward = reverse(self.backward_encoder(reverse(embedded)))
        last = tf.gather(forward, lengths - 1, batch_dims=1)
        return tf.concat([forward, backward], -1), tf.concat([last, backward[:, 0]], -1)

    def start(self, memory, num_beams=1):
        start = tf.repeat(memory.start[:, None], num_beams, axis=1)
        return self.cell.initial_states(start)

    def step(self, token_ids, state, memory):
        embedded = self.embedding(token_ids)
        given = self.cell.input_projection(embedded)
        output, state, scores = self.cell(given, state, memory.attended)
        if scores is None:
            scores = tf.zeros((*tf.unstack(tf.shape(token_ids)), tf.shape(memory.mask)[1]))
        return self.logits(self._read_out(output, embedded)), state, scores

    def hidden(self, inputs, training=False):
        memory = self.encode(inputs["source"], training=training)
        embedded = self.dropout(self.embedding(inputs["target"]), training=training)
        given = self.cell.input_projection(embedded)
        outputs = self._unroll(given, self.start(memory), memory.attended)
        return self.dropout(self._read_out(outputs, embedded), training=training)

    def _read_out(self, outputs, embedded):
        if self.readout is None:
            return outputs
        return self.readout(tf.concat([outputs, embedded], axis=-1))

    def _unroll(self, given, states, attended):
        """Outputs (B, T, output width) of the cell over all steps of `given` (B, T, 3 D)."""
        shape = tf.shape(given)
        weights = self.cell.step_weights()
        unroller = _Unroller(weights, tf.transpose(given, (1, 0, 2)))
        outputs = tf.TensorArray(given.dtype, size=shape[1])
        hidden = tf.TensorArray(given.dtype, size=shape[1])

        def body(t, states, outputs, hidden):
            inputs, weights = unroller.at(t)
            output, states, _ = self.cell(inputs, states, attended, weights)
            outputs = outputs.write(t, tf.squeeze(output, 1))
            return t + 1, states, outputs, hidden.write(t, tf.squeeze(states[0], 1))

        _, _, outputs, hidden = tf.while_loop(
            lambda t, *_: t < shape[1],
            body,
            (0, states, outputs, hidden),
            maximum_iterations=shape[1],
        )
        outputs = outputs.stack()  # (T, B, output width)
        unroller.tell(outputs, hidden.stack(), states[0], self.cell)
        return tf.ensure_shape(
            tf.transpose(outputs, (1, 0, 2)), (None, None, self.cell.output_width)
        )

    def get_config(self):
        return {**super().get_config(), **self.config}


class _Unroller:
    """Feeds a loop over time, and takes the gradients of its two large kernels out of it.

    Left to itself, the gradient of a loop makes the whole gradient of every weight at every step
    and adds it to a sum. What a kernel gets is x^T dy summed over the steps, one product over all
    of them once the x and the dy are known. So the loop runs on kernels that have no gradient, and
    the dy come back as gradients of two terms that are added to what the kernels give: the
    projected inputs and the recurrent bias, of which each step has its own.
    """

    def __init__(self, weights: StepWeights, given: tf.Tensor):
        self._contexts: tf.Tensor | None = None
        self._hidden: tf.Tensor | None = None
        self._frozen = tf.nest.map_structure(tf.stop_gradient, weights)

        @tf.custom_gradient
        def inputs(given, kernel):
            return tf.identity(given), lambda dy: (dy, _kernel_gradient(self._contexts, dy))

        @tf.custom_gradient
        def biases(bias, kernel):
            tiled = tf.broadcast_to(bias, tf.shape(given))
            return tiled, lambda dy: (
                tf.reduce_sum(dy, axis=(0, 1)),
                _kernel_gradient(self._hidden, dy),
            )

        steps = tf.shape(given)[0]
        self._inputs = tf.TensorArray(given.dtype, size=steps).unstack(
            inputs(given, weights.context_kernel)
        )
        self._biases = tf.TensorArray(given.dtype, size=steps).unstack(
            biases(weights.recurrent_bias, weights.recurrent_kernel)
        )

    def at(self, t: tf.Tensor) -> tuple[tf.Tensor, StepWeights]:
        """Projected inputs (B, 1, 3 D) and weights of step t."""
        bias = tf.expand_dims(self._biases.read(t), 1)
        weights = self._frozen._replace(recurrent_bias=bias)
        return tf.expand_dims(self._inputs.read(t), 1), weights

    def tell(
        self, outputs: tf.Tensor, hidden: tf.Tensor, start: tf.Tensor, cell: AttentionGRUCell
    ) -> None:
        """Says what the kernels were multiplied with: known only after the loop."""
        before = tf.concat([tf.transpose(start, (1, 0, 2)), hidden[:-1]], axis=0)
        if cell.input_feeding:
            contexts = tf.concat([tf.zeros_like(outputs[:1]), outputs[:-1]], axis=0)
        else:
            contexts = outputs[..., cell.units :]
        self._hidden, self._contexts = tf.stop_gradient(before), tf.stop_gradient(contexts)


def _kernel_gradient(inputs: tf.Tensor, dy: tf.Tensor) -> tf.Tensor:
    """x^T dy summed over steps and rows: (T, B, I) and (T, B, O) to (I, O)."""
    flat = tf.reshape(inputs, (-1, inputs.shape[-1]))
    return tf.matmul(flat, tf.reshape(dy, (-1, dy.shape[-1])), transpose_a=True)
