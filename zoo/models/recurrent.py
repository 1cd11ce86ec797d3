"""The recurrent family: models that differ by one argument, the attention, and copying ones."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from ...layers import BahdanauAttention, CoverageAttention, LuongAttention, QKVAttention
from ..text.tokenizer import PAD_ID
from .recurrent_decoder import RecurrentDecoderSeq2Seq, RecurrentMemory
from .unroll import BidirectionalGRU

ATTENTIONS = ("none", "bahdanau", "luong", "qkv")


@keras.saving.register_keras_serializable(package="attention_zoo")
class RecurrentSeq2Seq(RecurrentDecoderSeq2Seq):
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
        location_window: how many subwords around the one that was attended to last the coverage
            tells apart, see `CoverageAttention`; with 1 a word is copied on more surely.
        coverage_weight: factor of the coverage loss.
        coverage_start: step of the training from which the coverage loss counts; below 1, the
            share of its budget that is spent by then, see `set_spent`.

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
        location_window: int = 0,
        coverage_weight: float = 1.0,
        coverage_start: float = 0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if attention not in ATTENTIONS:
            raise ValueError(
                f"attention is one of {', '.join(ATTENTIONS)}. Received: attention={attention!r}"
            )
        if coverage and attention != "bahdanau":
            raise ValueError(
                "Coverage is a part of additive attention: use attention='bahdanau' with it. "
                f"Received: attention={attention!r}, coverage={coverage}"
            )
        if location_window and not coverage:
            raise ValueError(
                "location_window is a part of coverage: set it to 0, or coverage to True. "
                f"Received: location_window={location_window}, coverage={coverage}"
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
            "embedding_dim": embedding_dim,
            "encoder_units": encoder_units,
            "decoder_units": decoder_units,
            "attention_units": attention_units,
            "readout_units": readout_units,
            "encoder_layers": encoder_layers,
            "tie_embeddings": tie_embeddings,
            "dropout": dropout,
            "embedding_power": embedding_power,
            "source_vocab_size": source_vocab_size,
            "location_window": location_window,
            **self.switch_copying(copying, coverage, coverage_weight, coverage_start),
        }
        self.check_config(("encoder_units", "encoder_layers"), copying)
        self.attention = attention
        self.make_embeddings()

        def encoder(name):
            return BidirectionalGRU(encoder_units, name=name, dtype=self.dtype_policy)

        self.encoder = encoder("encoder")
        self.upper_encoders = [encoder(f"encoder_{i}") for i in range(1, encoder_layers)]
        if wiring is None:
            wiring = {"none": "before", "luong": "input_feeding"}.get(attention, "after")
        context_dim = 2 * encoder_units
        self.make_decoder(
            self._attention_layer(attention, attention_units, context_dim), wiring, context_dim
        )

    def _attention_layer(self, attention: str, units: int, source_dim: int):
        common: dict[str, Any] = {"name": "attention", "dtype": self.dtype_policy}
        if self.coverage:
            return CoverageAttention(units, self.config["location_window"], **common)
        if attention == "bahdanau":
            return BahdanauAttention(units, **common)
        if attention == "luong":
            return LuongAttention("general", **common)
        if attention == "qkv":
            return QKVAttention(1, key_dim=units, output_dim=source_dim, **common)
        return None

    def build(self, input_shape=None):
        source_dim = 2 * self.config["encoder_units"]
        self.encoder.build((None, None, self.config["embedding_dim"]))
        for layer in self.upper_encoders:
            layer.build((None, None, source_dim))
        self.build_decoder(source_dim)
        self.built = True

    def encode(self, source, training=False):
        mask = tf.not_equal(source, PAD_ID)
        embedded = self.embed_source(source, training)
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
