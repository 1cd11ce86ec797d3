"""Models that copy from their source, and learn not to look at the same place twice.

Shapes: B batch, S source length, T target length, D width, V vocabulary, N beams.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from ...layers import PointerGenerator, coverage_loss
from ...layers.ops.affine import Affine
from ...layers.ops.dense import add_bias
from ...layers.pointer_generator import (
    copied_attention,
    copy_gains,
    first_positions,
    log_mixture,
    log_or_nothing,
    log_shares,
    pool_attention,
)
from ..text.tokenizer import END_ID, UNKNOWN_ID
from ..training.loss import SmoothedCrossEntropy, rows_of, target_and_mean_logits
from .base import Seq2SeqModel
from .embedding import ScaledEmbedding


class CopySource(NamedTuple):
    """The source as it is copied from.

    Attributes:
        ids: (B, S).
        first: for each place the first place of the same id, (B, S).
        copyable: whether it is a piece of text, not padding or the end, (B, S).
    """

    ids: tf.Tensor
    first: tf.Tensor
    copyable: tf.Tensor


class Decoded(NamedTuple):
    """A target read as a whole.

    Attributes:
        hidden: what the vocabulary is read from, (B, T, D).
        attention: over the source, (B, T, S); () where nobody asks for it.
        gate: the logit of p_gen, (B, T); () in a model that does not copy.
    """

    hidden: tf.Tensor
    attention: Any = ()
    gate: Any = ()


class _Spent:
    """How much of a training's budget is spent: known to a model, and none of its weights."""

    def __init__(self) -> None:
        self.share = keras.Variable(0.0, trainable=False, dtype="float32", name="spent")


class CopyingSeq2Seq(Seq2SeqModel):
    """What the families share: how the vocabulary is read, and copying (See et al. 2017).

    With `copying` a model writes each subword with the probability that its vocabulary gives it
    times p_gen, plus the attention to all of its places in the source times 1 - p_gen. The end of
    the source is not copied: attention to it is left to the vocabulary as well. The logits, in
    training and in decoding, are the logarithms of these probabilities. With `coverage` the
    training also keeps it from attending to what it attended to before, from step `coverage_start`
    on. If that is below 1 it is a share of the budget, of which `set_spent` has to be told. That
    loss is added to `SmoothedCrossEntropy` without sample weights, not to other losses that Keras
    has.

    What is copied are subwords, not words: a name that the vocabulary has no piece for is copied
    piece by piece, letter by letter if need be. Only a character that was never seen in training
    has no piece. A run of such characters is one unknown piece of the source; it is copied as
    such, and `GenerationOptions.replace_unknown` writes its own characters.

    A subclass sets `config`, calls `switch_copying` and makes its `embedding` in its constructor,
    calls `build_vocabulary` in `build`, and says what a target read as a whole is, `decoded`.
    """

    config: dict[str, Any]
    embedding: ScaledEmbedding
    pointer: PointerGenerator | None = None
    coverage = False
    _spent: _Spent | None = None

    def switch_copying(
        self, copying: bool, coverage: bool, coverage_weight: float, coverage_start: float
    ) -> dict[str, Any]:
        """Checks the arguments, makes the layer, and hands out what goes into the config."""
        for name, value in (("copying", copying), ("coverage", coverage)):
            if not isinstance(value, bool):
                raise ValueError(f"{name} is true or false. Received: {name}={value!r}")
        for name, number in (
            ("coverage_weight", coverage_weight),
            ("coverage_start", coverage_start),
        ):
            is_number = isinstance(number, (int, float)) and not isinstance(number, bool)
            if not is_number or not 0 <= number < math.inf:
                raise ValueError(f"{name} is a number from 0 on. Received: {name}={number!r}")
        self.coverage = coverage
        if coverage and 0 < coverage_start < 1:
            self._spent = _Spent()
        if copying:
            self.pointer = PointerGenerator(name="pointer", dtype=self.dtype_policy)
        return {
            "copying": copying,
            "coverage": coverage,
            "coverage_weight": coverage_weight,
            "coverage_start": coverage_start,
        }

    def build_vocabulary(self, width: int) -> None:
        """Makes the weights that the vocabulary is read with, from vectors of this width."""
        shape = (self.config["vocab_size"], width)
        if not self.config["tie_embeddings"]:
            self.vocabulary_kernel = self.add_weight(
                shape, "glorot_uniform", name="vocabulary_kernel"
            )
        self.vocabulary_bias = self.add_weight(shape[:1], "zeros", name="vocabulary_bias")

    def vocabulary_weights(self):
        tied = self.config["tie_embeddings"]
        kernel = self.embedding.embeddings if tied else self.vocabulary_kernel
        return tf.convert_to_tensor(kernel), tf.convert_to_tensor(self.vocabulary_bias)

    def vocabulary_product(self) -> Affine:
        """The product that makes logits, in the type of computation."""
        kernel, bias = (tf.cast(x, self.compute_dtype) for x in self.vocabulary_weights())
        return Affine(tf.transpose(kernel), bias)

    def decoded(self, inputs: dict[str, tf.Tensor], training: bool = False) -> Decoded:
        raise NotImplementedError

    def hidden(self, inputs, training=False):
        return self.decoded(inputs, training=training).hidden

    def call(self, inputs, training=False):
        decoded = self.decoded(inputs, training=training)
        logits = self.logits(decoded.hidden)
        if self.pointer is None:
            return logits
        copies = self.copy_source(tf.convert_to_tensor(inputs["source"]))
        return log_mixture(logits, decoded.gate, decoded.attention, *copies)

    def p_gen(self, inputs: dict[str, tf.Tensor]) -> tf.Tensor:
        """The share of the vocabulary in each subword of a target, (B, T); the rest is copied."""
        return tf.sigmoid(self.decoded(inputs).gate)

    def copy_source(self, source: tf.Tensor) -> CopySource | tuple[()]:
        """What `mixed` needs of the source, once for all steps."""
        if self.pointer is None:
            return ()
        return CopySource(source, first_positions(source), is_copyable(source))

    def mixed(
        self, logits: tf.Tensor, features: tf.Tensor, attention: tf.Tensor, copies: Any
    ) -> tf.Tensor:
        """Log p (B, N, V) of a step; the logits themselves in a model that does not copy."""
        if self.pointer is None:
            return logits
        return log_mixture(logits, self.pointer.gate(features), attention, *copies)

    def token_losses(self, inputs, labels, training):
        if self.pointer is None and not self.coverage:
            return super().token_losses(inputs, labels, training)
        if self.loss.r_drop:
            raise ValueError(
                "R-Drop compares what two readings give the vocabulary, which is not all that a "
                "model with copying or coverage is trained by: leave out r_drop, or both of them. "
                f"Received: r_drop={self.loss.r_drop}"
            )
        decoded = self.decoded(inputs, training=training)
        kernel, bias = (tf.cast(x, decoded.hidden.dtype) for x in self.vocabulary_weights())
        keep, labels = self.loss.counted(labels)
        kept = _Kept(keep, self.static_shapes)
        if self.pointer is None:
            rows = (kept.rows(labels), kept.rows(decoded.hidden))
            smoothed, plain = self.loss.from_hidden(*rows, kernel, bias)
        else:
            source = inputs["source"]
            smoothed, plain = mixture_losses(self.loss, labels, source, decoded, kernel, bias, kept)
        if training and self.coverage:
            smoothed += self._coverage_weight() * kept.rows(coverage_loss(decoded.attention))
        if self.static_shapes:
            weights = tf.reshape(tf.cast(kept.keep, smoothed.dtype), (-1,))
            smoothed, plain = smoothed * weights, plain * weights
        return smoothed, plain

    def set_spent(self, share: float) -> None:
        if self._spent is not None:
            self._spent.share.assign(share)

    def _coverage_weight(self) -> tf.Tensor:
        weight, start = self.config["coverage_weight"], self.config["coverage_start"]
        if self._spent is not None:
            done = self._spent.share
        else:
            # TensorFlow compares whole numbers with whole numbers alone.
            done, start = self.optimizer.iterations, math.ceil(start)
        return tf.where(tf.convert_to_tensor(done) >= start, tf.constant(weight, tf.float32), 0.0)

    def get_config(self):
        return {**super().get_config(), **self.config}


def is_copyable(source: tf.Tensor) -> tf.Tensor:
    """Which places of a source (B, S) are text. The end would end a summary before it begins."""
    return (source > END_ID) | (source == UNKNOWN_ID)


class _Kept:
    """The places of labels that count, as rows; all of them if shapes are static."""

    def __init__(self, keep: tf.Tensor, static_shapes: bool):
        self.keep = keep
        self.static_shapes = static_shapes

    def rows(self, tensor: tf.Tensor) -> tf.Tensor:
        """(B, T, ...) to (R, ...)."""
        if self.static_shapes:
            return tf.reshape(tensor, (-1, *tensor.shape[2:]))
        return tf.boolean_mask(tensor, self.keep)

    def places(self, rows: tf.Tensor) -> tf.Tensor:
        """(R,) to (B, T), 0 at the others."""
        if self.static_shapes:
            return tf.reshape(rows, tf.shape(self.keep))
        return tf.scatter_nd(tf.where(self.keep), rows, tf.shape(self.keep, tf.int64))


def mixture_losses(
    loss: SmoothedCrossEntropy,
    labels: tf.Tensor,
    source: tf.Tensor,
    decoded: Decoded,
    kernel: tf.Tensor,
    bias: tf.Tensor,
    kept: _Kept,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Loss of the mixture of writing and copying, whose (B, T, V) is never made.

    Of a label the mixture needs no more than its own log p by writing, and the attention to its
    places. Label smoothing needs the mean of log p over the vocabulary: that of writing, which is
    a product with the mean row of the kernel, and what copying adds to the words of the source,
    whose logits are a product (B, T, S). So it is the smoothed loss of the mixture itself.

    Args:
        loss: says how much is smoothed.
        labels: (B, T).
        source: (B, S).
        decoded: of a model that copies.
        kernel: (V, D).
        bias: (V,).
        kept: which labels count.

    Returns:
        The smoothed loss and the plain negative log likelihood of each label, float32 (R,).
    """
    attention = tf.cast(decoded.attention, tf.float32)
    copyable = is_copyable(source)
    log_written, log_copied = log_shares(tf.cast(decoded.gate, tf.float32), attention, copyable)
    attention = copied_attention(attention, copyable)
    rows, classes = kept.rows(decoded.hidden), kept.rows(labels)
    logits = add_bias(tf.matmul(rows, kernel, transpose_b=True), bias)
    logits = tf.cast(logits, tf.float32)
    # log (sum of e to each logit) - logit of the label
    cross_entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(classes, logits)
    paid = tf.where(labels[..., None] == source[:, None], attention, 0.0)
    log_copy = log_copied + log_or_nothing(tf.reduce_sum(paid, axis=-1))  # (B, T)
    written = kept.rows(log_written) - cross_entropy
    # log (p by writing + p by copying), with what copying adds
    plain = -(written + tf.nn.softplus(kept.rows(log_copy) - written))
    if not loss.smoothing:
        return plain, plain
    target, mean = target_and_mean_logits(classes, rows, kernel, bias)
    log_total = cross_entropy + target
    of_source = tf.einsum("btd,bsd->bts", decoded.hidden, rows_of(kernel, source))
    of_source = tf.cast(of_source + rows_of(bias, source)[:, None], tf.float32)
    before = of_source + (log_written - kept.places(log_total))[..., None]
    gains = copy_gains(before, log_copied, pool_attention(attention, first_positions(source)))
    mean_gain = tf.reduce_sum(gains, axis=-1) / kernel.shape[0]
    mean_log_p = mean - log_total + kept.rows(log_written + mean_gain)
    return (1 - loss.smoothing) * plain - loss.smoothing * mean_log_p, plain
