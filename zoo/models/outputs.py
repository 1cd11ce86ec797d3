"""The output that writes tokens of a vocabulary.

Shapes: B batch, S source length, T target length, D width, V vocabulary.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
from keras import ops

from ...layers.ops.affine import Affine
from ...layers.ops.arguments import positive_int
from ...layers.ops.dense import Dense, add_bias
from ...layers.ops.dropout import Dropout
from ...layers.ops.masks import softmax_dtype
from ...layers.pointer_generator import LOG_OF_NOTHING, log_or_nothing
from ..text.special_ids import UNKNOWN_ID
from .parts import Output, check_rate, check_vocabulary


class OutputWeights(NamedTuple):
    """Values that a step reads of the variables.

    Attributes:
        readout: To what the vocabulary is read from, or ().
        vocabulary: From there to logits.
    """

    readout: Any
    vocabulary: Affine


@keras.saving.register_keras_serializable(package="attention_zoo")
class VocabularyOutput(Output):
    """Logits of a vocabulary, as a linear function of the hidden states.

    Args:
        vocab_size: Tokens V of the target.
        tied: Whether the weights are those of the embedding of the target (Press and Wolf 2017).
            What the vocabulary is read from is as wide as the embedding then.
        readout_units: Width of a dense layer between the hidden states and the vocabulary, as the
            deep output of Bahdanau et al. 2015 has one; none if `None`.
        readout_activation: Activation of that layer.
        dropout: Rate on what the vocabulary is read from.
        **kwargs: As for every Keras layer.

    Raises:
        ValueError: An argument is impossible, or, when the weights are made, what is read from is
            not as wide as a tied embedding.

    Example:

    >>> output = VocabularyOutput(8000, tied=False)
    >>> output(hidden)     # (B, T, D) to (B, T, 8000)

    References: https://arxiv.org/abs/1608.05859, https://arxiv.org/abs/1409.0473
    """

    supports_r_drop = True
    supports_shortlist = True

    def __init__(
        self,
        vocab_size: int,
        tied: bool = True,
        readout_units: int | None = None,
        readout_activation: str | None = "tanh",
        dropout: float = 0.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.vocab_size = check_vocabulary("vocab_size", vocab_size)
        self.tied = tied
        self.readout_units = readout_units
        self.readout_activation = readout_activation
        self.dropout = check_rate("dropout", dropout)
        self.readout = None
        if readout_units is not None:
            self.readout = Dense(
                positive_int("readout_units", readout_units),
                readout_activation,
                name="readout",
                dtype=self.dtype_policy,
            )
        self._dropout = Dropout(dropout, dtype=self.dtype_policy)

    def build(self, hidden_shape, *other_shapes):
        width = hidden_shape[-1] if self.readout_units is None else self.readout_units
        self._check_width(width)
        if self.readout is not None:
            self.readout.build(hidden_shape)
        if not self.tied:
            self.kernel = self.add_weight((self.vocab_size, width), "glorot_uniform", name="kernel")
        self.bias = self.add_weight((self.vocab_size,), "zeros", name="bias")
        self.built = True

    def tie(self, embedding):
        super().tie(embedding)
        if self.readout_units is not None:
            self._check_width(self.readout_units)

    def _check_width(self, width: int) -> None:
        if self.tied and self.embedding.output_dim != width:
            raise ValueError(
                "Tied embeddings read the vocabulary from vectors as wide as an embedding: give "
                "readout_units of that width or do not tie them. Received: "
                f"readout_units={width}, embedding_dim={self.embedding.output_dim}"
            )

    def vocabulary_weights(self) -> tuple[Any, Any]:
        """Looks up what turns a hidden state, or the readout of one, into logits.

        Returns:
            The kernel (V, D) and the bias (V,), in the compute type.
        """
        kernel = self.embedding.embeddings if self.tied else self.kernel
        return tuple(ops.cast(x, self.compute_dtype) for x in (kernel, self.bias))

    def step_weights(self):
        kernel, bias = self.vocabulary_weights()
        readout = () if self.readout is None else Affine.from_layer(self.readout)
        return OutputWeights(readout, Affine(ops.transpose(kernel), bias))

    def shortlisted_weights(self, ids, others):
        """Maps to the logits of a shortlist alone.

        Args:
            ids: The tokens (K,). Padding, the first, is never written: its logit is the mean of
                those of `others`.
            others: Ids of tokens that stand for all that are on no shortlist.

        Returns:
            `Affine`, from what the vocabulary is read from to K logits.
        """
        kernel, bias = (
            ops.concatenate([mean, ops.take(x, ids[1:], axis=0)])
            for x in self.vocabulary_weights()
            for mean in [ops.mean(ops.take(x, others, axis=0), axis=0, keepdims=True)]
        )
        return Affine(ops.transpose(kernel), bias)

    def shortlisted_source(self, source, columns, penalty):
        """Prepares a source for a step with `shortlisted_weights`.

        Args:
            source: What `prepare_source` returned.
            columns: The numbers (B, S) of its tokens among those of the shortlist.
            penalty: Added to the logits, (B, 1, K).

        Returns:
            What takes its place.
        """
        return penalty

    def _read_out(self, hidden, training: bool = False):
        """Projects hidden states (B, T, D) to what the vocabulary is read from, (B, T, D')."""
        read = hidden if self.readout is None else self.readout(hidden)
        return self._dropout(read, training=training)

    def vocabulary_logits(self, hidden, weights: OutputWeights | None = None, training=False):
        """Computes the logits of the vocabulary, before anything is mixed in.

        Args:
            hidden: (B, T, D).
            weights: The result of `step_weights()`, in a step.
            training: Whether dropout is on.

        Returns:
            (B, T, V).
        """
        if weights is None:
            kernel, bias = self.vocabulary_weights()
            read = self._read_out(hidden, training)
            # One product of all rows: a batched one would go through the kernel for each sentence.
            rows = ops.reshape(read, (-1, read.shape[-1]))
            logits = add_bias(ops.matmul(rows, ops.transpose(kernel)), bias)
            return ops.reshape(logits, (*ops.shape(hidden)[:-1], self.vocab_size))
        if self.readout is not None:
            hidden = self.readout.activation(weights.readout(hidden))
        return weights.vocabulary(hidden)

    def call(self, hidden, attention=None, source=(), weights=None, training=False):
        logits = self.vocabulary_logits(hidden, weights, training)
        return logits if isinstance(source, tuple) else ops.cast(logits, source.dtype) + source

    def token_losses(self, loss, labels, hidden, attention, source, kept, training):
        read = self._read_out(hidden, training)
        twice = training and loss.r_drop > 0
        losses = loss.from_two_readings if twice else loss.from_hidden
        rows = kept.rows(read, readings=2 if twice else 1)
        return losses(kept.rows(labels), rows, *self.vocabulary_weights())


def share_unknown(logits, attention, unknown):
    """Shares the unknown token among the unknown words of the source, by the attention to them.

    Args:
        logits: (B, T, V), of an output that does not copy.
        attention: (B, T, S).
        unknown: The positions of each word, boolean (B, S, U), or ().

    Returns:
        (B, T, V + U): a source with unknown words has them in place of the unknown token.
    """
    if isinstance(unknown, tuple):
        return logits
    there = ops.expand_dims(ops.any(unknown, axis=1), 1)  # (B, 1, U)
    dtype = softmax_dtype(logits.dtype)
    paid = ops.matmul(ops.cast(attention, dtype), ops.cast(unknown, dtype))
    paid = ops.where(there, ops.maximum(paid, 1e-30), 0.0)
    share = log_or_nothing(paid) - log_or_nothing(ops.sum(paid, axis=-1, keepdims=True))
    logits = ops.cast(logits, dtype)
    words = logits[..., UNKNOWN_ID : UNKNOWN_ID + 1] + share
    words = ops.where(there, words, LOG_OF_NOTHING)
    columns = ops.arange(ops.shape(logits)[-1])
    replaced = ops.any(there, axis=-1, keepdims=True) & (columns == UNKNOWN_ID)
    return ops.concatenate([ops.where(replaced, LOG_OF_NOTHING, logits), words], axis=-1)
