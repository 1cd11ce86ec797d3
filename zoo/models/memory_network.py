"""Memory networks: models that remember sentences, and look several times before they answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import keras
import tensorflow as tf

from ...layers import Memory, MultiHopAttention
from ..text.tokenizer import END_ID, PAD_ID, SubwordTokenizer
from .attention_maps import AttentionMaps
from .recurrent_decoder import RecurrentDecoderSeq2Seq
from .sentences import Boundaries, SentenceEncoder, Sentences, split_sentences


class SentenceMemory(NamedTuple):
    """What the decoder reads while it writes.

    Attributes:
        attended: the sentences, projected for the attention.
        start: state of the decoder before the first step, (B, D).
        mask: True where the source is not padding, (B, S).
        sentences: where they are in the source.
        copies: nothing, as nothing is copied.
    """

    attended: Memory
    start: tf.Tensor
    mask: tf.Tensor
    sentences: Sentences
    copies: tuple[()] = ()


@keras.saving.register_keras_serializable(package="attention_zoo")
class MemoryNetworkSeq2Seq(RecurrentDecoderSeq2Seq):
    """Sentences as a memory that is attended to in several hops (Xiong et al. 2016).

    A source is split into sentences; a GRU reads each, another one reads them in their order, and
    a GRU decoder looks at them with `MultiHopAttention` at every step. An answer that needs two
    facts or three is found by one look after the other, each at a whole fact, where attention to
    words has to find all that it needs at once. The last sentence of the source, in question
    answering the question, is what is looked for in the others.

    The attention that a step returns is the mean of the hops, spread over the words of a sentence;
    `attention_maps` has each hop as a head.

    Args:
        vocab_size: subwords V of the target, and of the source if they share one vocabulary.
        embedding_dim: width of the embeddings.
        encoder_units: width of both encoders, in each direction.
        decoder_units: width D of the decoder's state.
        attention_units: width of the space in which sentences are compared.
        hops: how often it looks at each step.
        sentence_marks: ids of the source that are the end of a sentence, such as the full stop's;
            training takes them from the tokenizer, and the separators too.
        separators: ids that stand between sentences.
        longest_sentence: what has no end for so many subwords is split.
        readout_units: width from which the vocabulary is read; `embedding_dim` if `None`.
        tie_embeddings: read the vocabulary with the embedding itself (Press and Wolf 2017);
            needs `readout_units` equal to `embedding_dim`.
        dropout: rate on embeddings, sentences and readout.
        source_vocab_size: subwords of the source, if it has a vocabulary and an embedding of its
            own; it shares those of the target if `None`.
        embedding_power: how much larger embeddings are read than they are kept, see
            `ScaledEmbedding`.

    With static shapes, as TPUs want them, there is room for as many sentences as subwords, which
    takes many times the memory.

    Example:

    >>> model = MemoryNetworkSeq2Seq(vocab_size=1000, sentence_marks=[7, 9])
    >>> model.compile(optimizer="adam", loss=SmoothedCrossEntropy())
    >>> model.fit(batches)      # of ({"source": (B, S), "target": (B, T)}, labels (B, T))

    References: https://arxiv.org/abs/1503.08895, https://arxiv.org/abs/1603.01417
    """

    def __init__(
        self,
        vocab_size: int,
        embedding_dim: int = 128,
        encoder_units: int = 64,
        decoder_units: int = 128,
        attention_units: int = 128,
        hops: int = 3,
        sentence_marks: Sequence[int] = (),
        separators: Sequence[int] = (END_ID,),
        longest_sentence: int = 32,
        readout_units: int | None = None,
        tie_embeddings: bool = True,
        dropout: float = 0.1,
        source_vocab_size: int | None = None,
        embedding_power: float = 0.5,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.config: dict[str, Any] = {
            "vocab_size": vocab_size,
            "embedding_dim": embedding_dim,
            "encoder_units": encoder_units,
            "decoder_units": decoder_units,
            "attention_units": attention_units,
            "hops": hops,
            "sentence_marks": _ids("sentence_marks", sentence_marks),
            "separators": _ids("separators", separators),
            "longest_sentence": longest_sentence,
            "readout_units": readout_units,
            "tie_embeddings": tie_embeddings,
            "dropout": dropout,
            "source_vocab_size": source_vocab_size,
            "embedding_power": embedding_power,
        }
        self.check_config(("encoder_units", "hops", "longest_sentence"))
        self.make_embeddings()
        self.encoder = SentenceEncoder(encoder_units, name="encoder", dtype=self.dtype_policy)
        attention = MultiHopAttention(
            attention_units,
            hops,
            query_initializer="zeros",
            name="attention",
            dtype=self.dtype_policy,
        )
        # An episode has been through a network already, and is learnt from sooner without another.
        self.make_decoder(attention, "after", 2 * encoder_units, readout_activation=None)

    @classmethod
    def options_of(cls, tokenizer: SubwordTokenizer) -> dict[str, Any]:
        marks, separators = Boundaries.of(tokenizer)
        return {"sentence_marks": marks, "separators": separators}

    def build(self, input_shape=None):
        self.encoder.build((None, None, None, self.config["embedding_dim"]))
        self.build_decoder(4 * self.config["encoder_units"])
        self.built = True

    def encode(self, source, training=False):
        sentences = split_sentences(
            source,
            Boundaries(self.config["sentence_marks"], self.config["separators"]),
            self.config["longest_sentence"],
            self.static_shapes,
        )
        embedded = self.embed_source(sentences.ids, training)
        states, last = self.encoder(embedded, sentences.lengths, sentences.counts)
        states = self.dropout(states, training=training)
        attended = self._attention.project(
            states, mask=sentences.but_the_last(), question=last[:, : states.shape[-1]]
        )
        return SentenceMemory(attended, self.bridge(last), tf.not_equal(source, PAD_ID), sentences)

    def step(self, token_ids, state, memory, weights=None):
        logits, state, scores = super().step(token_ids, state, memory, weights)
        return logits, state, memory.sentences.of_subwords(scores)

    def attention_maps(self, inputs: dict[str, tf.Tensor]) -> AttentionMaps:
        """The looks of every step: one layer, each hop a head of it."""
        memory = self.encode(inputs["source"])
        given = self.cell.input_projection(self.embedding(inputs["target"]))
        outputs, _ = self._unroll(given, self.start(memory), memory.attended)
        # The state after a step, the first part of its output, is what the step looked with.
        states = outputs[..., : self.config["decoder_units"]]
        _, looks = self._attention.attend(states, memory.attended)  # (B, H, T, M)
        by_hop = [memory.sentences.of_subwords(look) for look in tf.unstack(looks, axis=1)]
        return AttentionMaps(tf.stack(by_hop, axis=1)[:, None])

    @property
    def _attention(self) -> MultiHopAttention:
        return cast(MultiHopAttention, self.cell.attention)


def _ids(name: str, ids: Any) -> list[int]:
    """A list of subword ids, refused if it is something else."""
    listed: list[Any] = (
        list(ids) if isinstance(ids, Sequence) and not isinstance(ids, str) else [None]
    )
    if not all(type(index) is int and index >= 0 for index in listed):
        raise ValueError(f"{name} is a list of subword ids. Received: {name}={ids!r}")
    return listed
