"""The mixture of writing and copying.

Shapes: B batch, S source length, T target length, D width, V vocabulary, R labels that count.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import keras
from keras import ops

from ...layers import PointerGenerator
from ...layers.ops.dense import add_bias
from ...layers.pointer_generator import (
    copied_attention,
    copy_gains,
    first_positions,
    log_copied_alone,
    log_mixture,
    log_or_nothing,
    log_shares,
    pool_attention,
)
from ..text.special_ids import END_ID, UNKNOWN_ID
from ..training.loss import SmoothedCrossEntropy, rows_of, target_and_mean_logits
from .outputs import VocabularyOutput
from .parts import known_ids

if TYPE_CHECKING:
    from ..training.training_step import KeptRows


class CopySource(NamedTuple):
    """The source as it is copied from.

    Attributes:
        ids: (B, S), negative for unknown words.
        first: For each position the first position of the same id, (B, S).
        copyable: Whether it is a piece of text, not padding or the end, (B, S).
        unknown: The positions of each of U unknown words, boolean (B, S, U), where their log p is
            wanted too.
        penalty: Added to the logits of the vocabulary, (B, 1, K), for a shortlist.
    """

    ids: Any
    first: Any
    copyable: Any
    unknown: Any = ()
    penalty: Any = ()


@keras.saving.register_keras_serializable(package="attention_zoo")
class PointerGeneratorOutput(VocabularyOutput):
    """Writes a token of the vocabulary or copies one of the source (See et al. 2017).

    A token has the probability that the vocabulary gives it times p_gen, plus the attention to
    all of its positions in the source times 1 - p_gen, where p_gen is a function of the hidden
    state. The end of the source is not copied: attention to it is left to the vocabulary as well.
    The logits are the logarithms of these probabilities.

    Tokens are copied, not words: a name that the vocabulary has no token for is copied piece by
    piece, letter by letter if need be. What has no token is unknown: a run of characters that
    were never seen in training, or a word where tokens are words. Each unknown word of a source
    has an id of its own, -1, -2 and so on, by which labels ask for that very word, and beside the
    vocabulary a column of its own in the logits: the extended vocabulary of the paper.

    Args:
        vocab_size: Tokens V, the same for source and target.
        **kwargs: The others of `VocabularyOutput`.

    Example:

    >>> output = PointerGeneratorOutput(8000, readout_units=256)
    >>> log_p = output(hidden, attention, output.prepare_source(source_ids))    # (B, T, 8000)

    Reference: https://arxiv.org/abs/1704.04368
    """

    reads_attention = True
    copies = True
    supports_r_drop = False

    def __init__(self, vocab_size: int, **kwargs):
        super().__init__(vocab_size, **kwargs)
        self.pointer = PointerGenerator(name="pointer", dtype=self.dtype_policy)

    def build(self, hidden_shape, *other_shapes):
        super().build(hidden_shape)
        self.pointer.build_gate(hidden_shape[-1])

    def prepare_source(self, ids, unknown=()):
        return CopySource(ids, first_positions(ids), is_copyable(ids), unknown)

    def shortlisted_source(self, source, columns, penalty):
        return source._replace(ids=columns, penalty=penalty)

    def call(self, hidden, attention=None, source=(), weights=None, training=False):
        logits = super().call(hidden, weights=weights, source=source.penalty, training=training)
        unknown = None if isinstance(source.unknown, tuple) else source.unknown
        ids, first, copyable = source[:3]
        gate = self.pointer.gate(hidden)
        return log_mixture(logits, gate, attention, ids, first, copyable, unknown)

    def p_gen(self, hidden):
        """Computes the share of the vocabulary in each token; the rest is copied.

        Args:
            hidden: (B, T, D).

        Returns:
            From 0 to 1, (B, T).
        """
        return ops.sigmoid(self.pointer.gate(hidden))

    def token_losses(self, loss, labels, hidden, attention, source, kept, training):
        read, gate = self._read_out(hidden, training), self.pointer.gate(hidden)
        weights = self.vocabulary_weights()
        return mixture_losses(loss, labels, source, read, attention, gate, weights, kept)


def is_copyable(source):
    """The positions of a source (B, S) that are text. The end would end a summary at once."""
    return ops.logical_or(source > END_ID, ops.logical_or(source < 0, source == UNKNOWN_ID))


def mixture_losses(
    loss: SmoothedCrossEntropy,
    labels: Any,
    source: CopySource,
    read: Any,
    attention: Any,
    gate: Any,
    weights: tuple[Any, Any],
    kept: KeptRows,
) -> tuple[Any, Any]:
    """Loss of the mixture of writing and copying, whose (B, T, V) is never made.

    Of a label the mixture needs no more than its own log p by writing, and the attention to its
    positions. Label smoothing needs the mean of log p over the vocabulary: that of writing, which
    is a product with the mean row of the kernel, and what copying adds to the tokens of the
    source, whose logits are a product (B, T, S). So it is the smoothed loss of the mixture itself.

    Args:
        loss: Says how much is smoothed.
        labels: (B, T), negative for unknown words of the source, which are copied or not at all.
        source: What is copied from.
        read: What the vocabulary is read from, (B, T, D).
        attention: (B, T, S).
        gate: The logit of p_gen, (B, T).
        weights: Kernel (V, D) and bias (V,) of the vocabulary.
        kept: The labels that count.

    Returns:
        The smoothed loss and the plain negative log likelihood of each label, float32 (R,).
    """
    kernel, bias = weights
    attention = ops.cast(attention, "float32")
    log_written, log_copied = log_shares(ops.cast(gate, "float32"), attention, source.copyable)
    attention = copied_attention(attention, source.copyable)
    unknown = kept.rows(labels < 0)
    rows, classes = kept.rows(read), kept.rows(known_ids(labels))
    logits = ops.cast(add_bias(ops.matmul(rows, ops.transpose(kernel)), bias), "float32")
    # log (sum of e to each logit) - logit of the label
    cross_entropy = ops.sparse_categorical_crossentropy(classes, logits, from_logits=True)
    is_label = ops.equal(ops.expand_dims(labels, -1), ops.expand_dims(source.ids, 1))
    paid = ops.sum(ops.where(is_label, attention, 0.0), axis=-1)
    log_copy = log_copied + log_or_nothing(paid)  # (B, T)
    written = kept.rows(log_written) - cross_entropy
    # log (p by writing + p by copying), with what copying adds
    plain = -(written + ops.softplus(kept.rows(log_copy) - written))
    plain = ops.where(unknown, -kept.rows(log_copied_alone(log_copied, paid)), plain)
    if not loss.smoothing:
        return plain, plain
    target, mean = target_and_mean_logits(classes, rows, kernel, bias)
    log_total = cross_entropy + target
    ids = known_ids(source.ids)
    of_source = ops.einsum("btd,bsd->bts", read, rows_of(kernel, ids))
    of_source = ops.cast(of_source + ops.expand_dims(rows_of(bias, ids), 1), "float32")
    before = of_source + ops.expand_dims(log_written - kept.scatter(log_total), -1)
    attention = copied_attention(attention, source.ids >= 0)  # the mean is over the vocabulary
    gains = copy_gains(before, log_copied, pool_attention(attention, source.first))
    mean_gain = ops.sum(gains, axis=-1) / kernel.shape[0]
    mean_log_p = mean - log_total + kept.rows(log_written + mean_gain)
    return (1 - loss.smoothing) * plain - loss.smoothing * mean_log_p, plain
