"""The recurrent family: models that differ by one argument, the attention, and copying ones."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from ...layers import Attention, CoverageAttention, LuongAttention
from ...layers.ops.arguments import check_flags, check_sizes, positive_int
from ...layers.ops.dropout import Dropout
from .attention_registry import make_attention
from .copying import PointerGeneratorOutput
from .coverage import CoverageLoss
from .embedding import make_embeddings
from .encoder_decoder import EncoderDecoder
from .outputs import VocabularyOutput
from .parts import Encoded, Encoder, check_rate
from .recurrent_decoder import RecurrentDecoder
from .unroll import BidirectionalGRU


@keras.saving.register_keras_serializable(package="attention_zoo")
class RecurrentEncoder(Encoder):
    """Gated recurrent units that read the source in both directions.

    Each layer from the second on adds to what the one below it says of a token (Wu et al. 2016).
    The summary is the last state of each direction, (B, 2 D), of all layers added up.

    Args:
        units: Width D of each direction.
        num_layers: That many, each over the states of the one before.
        dropout: Rate on embeddings, and on the states of each layer.
        **kwargs: As for every Keras layer.

    Raises:
        ValueError: An argument is impossible.

    References: https://arxiv.org/abs/1409.0473, https://arxiv.org/abs/1609.08144
    """

    loops_over_time = True

    def __init__(self, units: int, num_layers: int = 1, dropout: float = 0.0, **kwargs):
        super().__init__(**kwargs)
        self.units = positive_int("units", units)
        self.num_layers = positive_int("num_layers", num_layers)
        self.dropout = check_rate("dropout", dropout)
        self._dropout = Dropout(dropout, dtype=self.dtype_policy)
        self.layers = [
            BidirectionalGRU(units, name=f"layer_{i}", dtype=self.dtype_policy)
            for i in range(num_layers)
        ]

    def build(self, inputs_shape, mask_shape=None):
        for i, layer in enumerate(self.layers):
            layer.build((None, None, 2 * self.units if i else inputs_shape[-1]))
        self.built = True

    def call(self, inputs, mask, training=False):
        lengths = ops.maximum(ops.sum(ops.cast(mask, "int32"), axis=1), 1)
        states = last = None
        for layer in self.layers:
            read, ends = layer(
                self._dropout(inputs if states is None else states, training=training), lengths
            )
            states = read if states is None else states + read
            last = ends if last is None else last + ends
        return Encoded(self._dropout(states, training=training), mask, last)


def recurrent(
    vocab_size: int,
    attention: str | Attention = "bahdanau",
    embedding_dim: int = 256,
    encoder_units: int = 256,
    decoder_units: int = 512,
    attention_units: int = 256,
    num_heads: int = 1,
    readout_units: int | None = None,
    tie_embeddings: bool = True,
    dropout: float = 0.3,
    source_vocab_size: int | None = None,
    attention_query: str | None = None,
    input_feeding: bool | None = None,
    embedding_scale_power: float = 0.25,
    encoder_layers: int = 1,
    copying: bool = False,
    coverage: bool = False,
    location_window: int = 0,
    coverage_weight: float = 1.0,
    coverage_start: float = 0,
    name: str | None = None,
    dtype: Any = None,
) -> EncoderDecoder:
    """Bidirectional GRU encoder, GRU decoder, and one choice of attention.

    - `"none"`: the source is squeezed into one fixed vector C that every step of the decoder
      reads (Cho et al. 2014).
    - `"bahdanau"`: a context of its own for every step, additive scores (Bahdanau et al. 2015).
    - `"luong"`: multiplicative scores and input feeding (Luong et al. 2015), or `"luong-general"`,
      `"luong-dot"` and `"luong-concat"`.
    - `"qkv"`: scaled dot products of a query with keys that weight values (Vaswani et al. 2017),
      in the same decoder.
    - Any name of `register_attention`, or an `Attention` layer.

    With any attention it can copy from the source; with both `copying` and `coverage` it is the
    pointer-generator of See et al. 2017.

    Args:
        vocab_size: Tokens V of the target, and of the source if they share one vocabulary.
        attention: A name, or an `Attention` layer.
        embedding_dim: Width of the embeddings.
        encoder_units: Width of the encoder, in each direction.
        decoder_units: Width D of the decoder's state.
        attention_units: Width of the space in which query and key are compared.
        num_heads: Heads of `"qkv"`, which share that width.
        readout_units: Width from which the vocabulary is read; `embedding_dim` if `None`.
        tie_embeddings: Read the vocabulary with the embedding itself (Press and Wolf 2017);
            needs `readout_units` equal to `embedding_dim`.
        dropout: Rate on embeddings, source states and readout.
        source_vocab_size: Tokens of the source, if it has a vocabulary and an embedding of its
            own; it shares those of the target if `None`.
        attention_query: `"previous_state"`, as in Bahdanau's paper, or `"current_state"`, which
            has read the last token and learns faster; that one if `None`.
        input_feeding: Whether what was found is fed to the next step, see `RecurrentDecoder`; with
            Luong's attention if `None`.
        embedding_scale_power: How much larger embeddings are read than they are kept, see
            `ScaledEmbedding`. With 0.25 most corpora are learnt as fast as with 0.5, and rare words
            disturb less; 0.5 helps where all words are frequent.
        encoder_layers: Bidirectional layers of the encoder.
        copying: Write a token of the vocabulary or copy one of the source, see
            `PointerGeneratorOutput`.
        coverage: Let additive attention know what was attended to before, and train it not to
            attend to it again.
        location_window: How many tokens around the one that was attended to last the coverage
            tells apart, see `CoverageAttention`; with 1 a word is copied on more surely.
        coverage_weight: Factor of the coverage loss.
        coverage_start: Step of the training from which the coverage loss counts; below 1, the
            share of its budget that is spent by then, see `CoverageLoss`.
        name: Name of the model.
        dtype: Policy of all layers; Keras's if `None`.

    Returns:
        An untrained model.

    Raises:
        ValueError: An argument is impossible.

    Example:

    >>> from attention_zoo.zoo.training.loss import SmoothedCrossEntropy
    >>> model = recurrent(vocab_size=8000, attention="bahdanau")
    >>> model.compile(optimizer="adam", loss=SmoothedCrossEntropy(0.1))
    >>> model.fit(batches)      # of ({"source": (B, S), "target": (B, T)}, labels (B, T))

    References: https://arxiv.org/abs/1406.1078, https://arxiv.org/abs/1409.0473,
    https://arxiv.org/abs/1508.04025, https://arxiv.org/abs/1706.03762,
    https://arxiv.org/abs/1609.08144, https://arxiv.org/abs/1704.04368
    """
    check_flags(copying=copying, coverage=coverage)
    coverage_term = CoverageLoss(coverage_weight, coverage_start)
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
    if readout_units is None:
        readout_units = embedding_dim
    check_sizes(
        embedding_dim=embedding_dim,
        encoder_units=encoder_units,
        encoder_layers=encoder_layers,
        decoder_units=decoder_units,
        attention_units=attention_units,
        num_heads=num_heads,
        readout_units=readout_units,
    )
    layer: Attention | None
    if coverage:
        layer = CoverageAttention(attention_units, location_window)
    else:
        layer = make_attention(attention, attention_units, num_heads, 2 * encoder_units)
    if copying and layer is None:
        raise ValueError(
            "What is copied is what is attended to, so copying needs an attention. "
            f"Received: attention={attention!r}, copying={copying}"
        )
    if input_feeding is None:
        input_feeding = isinstance(layer, LuongAttention) and attention_query != "previous_state"
    target_embedding, source_embedding = make_embeddings(
        vocab_size, embedding_dim, embedding_scale_power, source_vocab_size, copying, dtype
    )
    output = PointerGeneratorOutput if copying else VocabularyOutput
    return EncoderDecoder(
        RecurrentEncoder(encoder_units, encoder_layers, dropout, name="encoder", dtype=dtype),
        RecurrentDecoder(
            decoder_units,
            layer,
            attention_query or "current_state",
            input_feeding,
            readout_units if input_feeding else None,
            dropout,
            name="decoder",
            dtype=dtype,
        ),
        output(
            vocab_size,
            tied=tie_embeddings,
            # Luong's attentional vector is a readout already.
            readout_units=None if input_feeding else readout_units,
            dropout=dropout,
            name="output",
            dtype=dtype,
        ),
        target_embedding,
        source_embedding,
        coverage_term if coverage else None,
        name=name,
        dtype=dtype,
    )
