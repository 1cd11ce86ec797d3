"""Memory networks: models that remember sentences, and look several times before they answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...layers import MultiHopAttention
from ...layers.ops.arguments import check_sizes
from ..text.special_ids import END_ID
from .embedding import make_embeddings
from .encoder_decoder import EncoderDecoder
from .outputs import VocabularyOutput
from .recurrent_decoder import RecurrentDecoder
from .sentences import SentenceEncoder


def memory_network(
    vocab_size: int,
    embedding_dim: int = 128,
    encoder_units: int = 64,
    decoder_units: int = 128,
    attention_units: int = 128,
    hops: int = 3,
    sentence_marks: Sequence[int] = (),
    separator_ids: Sequence[int] = (END_ID,),
    max_sentence_length: int = 32,
    readout_units: int | None = None,
    tie_embeddings: bool = True,
    dropout: float = 0.1,
    source_vocab_size: int | None = None,
    embedding_scale_power: float = 0.5,
    name: str | None = None,
    dtype: Any = None,
) -> EncoderDecoder:
    """Sentences as a memory that is attended to in several hops (Xiong et al. 2016).

    A source is split into sentences; a GRU reads each, another one reads them in their order, and
    a GRU decoder looks at them with `MultiHopAttention` at every step. An answer that needs two
    facts or three is found by one look after the other, each at a whole fact, where attention to
    words has to find all that it needs at once. The last sentence of the source, in question
    answering the question, is what is looked for in the others.

    The attention that a step returns is the mean of the hops, spread over the tokens of a sentence;
    `attention_maps` has each hop as a head.

    Args:
        vocab_size: Tokens of the target, and of the source if they share one vocabulary.
        embedding_dim: Width of the embeddings.
        encoder_units: Width of both encoders, in each direction.
        decoder_units: Width D of the decoder's state.
        attention_units: Width of the space in which sentences are compared.
        hops: The number of looks at each step.
        sentence_marks: Ids of the source that are the end of a sentence, such as the full stop's.
        separator_ids: Ids that stand between sentences; training takes them from the tokenizer, as
            its texts come split into sentences.
        max_sentence_length: What has no end for that many tokens is split.
        readout_units: Width from which the vocabulary is read; `embedding_dim` if `None`.
        tie_embeddings: Read the vocabulary with the embedding itself (Press and Wolf 2017);
            needs `readout_units` equal to `embedding_dim`.
        dropout: Rate on embeddings, sentences and readout.
        source_vocab_size: Tokens of the source, if it has a vocabulary and an embedding of its
            own; it shares those of the target if `None`.
        embedding_scale_power: How much larger embeddings are read than they are kept, see
            `ScaledEmbedding`.
        name: Name of the model.
        dtype: Policy of all layers; Keras's if `None`.

    With static shapes, as TPUs want them, there is room for as many sentences as tokens, which
    takes many times the memory.

    Returns:
        An untrained model.

    Raises:
        ValueError: An argument is impossible.

    Example:

    >>> from attention_zoo.zoo.training.loss import SmoothedCrossEntropy
    >>> model = memory_network(vocab_size=1000, sentence_marks=[7, 9])
    >>> model.compile(optimizer="adam", loss=SmoothedCrossEntropy())
    >>> model.fit(batches)      # of ({"source": (B, S), "target": (B, T)}, labels (B, T))

    References: https://arxiv.org/abs/1503.08895, https://arxiv.org/abs/1603.01417
    """
    if readout_units is None:
        readout_units = embedding_dim
    check_sizes(
        embedding_dim=embedding_dim,
        encoder_units=encoder_units,
        decoder_units=decoder_units,
        attention_units=attention_units,
        hops=hops,
        readout_units=readout_units,
    )
    target_embedding, source_embedding = make_embeddings(
        vocab_size, embedding_dim, embedding_scale_power, source_vocab_size, dtype=dtype
    )
    attention = MultiHopAttention(attention_units, hops, query_initializer="zeros")
    return EncoderDecoder(
        SentenceEncoder(
            encoder_units,
            sentence_marks,
            separator_ids,
            max_sentence_length,
            dropout,
            name="encoder",
            dtype=dtype,
        ),
        RecurrentDecoder(decoder_units, attention, dropout=dropout, name="decoder", dtype=dtype),
        VocabularyOutput(
            vocab_size,
            tied=tie_embeddings,
            readout_units=readout_units,
            # An episode has been through a network, and is learnt from sooner without another.
            readout_activation=None,
            dropout=dropout,
            name="output",
            dtype=dtype,
        ),
        target_embedding,
        source_embedding,
        name=name,
        dtype=dtype,
    )
