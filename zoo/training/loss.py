"""Cross entropy over a vocabulary: label smoothing without one-hot targets, padding left out."""

from __future__ import annotations

import math

import keras
import tensorflow as tf

from ...layers.ops.dense import add_bias
from ..text.tokenizer import PAD_ID
from .replicas import sum_over_replicas


@keras.saving.register_keras_serializable(package="attention_zoo")
class SmoothedCrossEntropy(keras.losses.Loss):
    """Label-smoothed cross entropy of integer targets, averaged over the tokens that count.

    With smoothing e, the target distribution is 1 - e on the right token plus e / V on each of
    the V tokens. As this is linear in the logits, the smoothed loss is the plain one plus
    e (target logit - mean logit): no (B, T, V) target is ever made.

    The loss is the sum over all tokens with a weight, divided by the sum of the weights, so that
    a padded batch and the same batch without padding have the same loss. Targets equal to
    `ignore_class` have weight 0. Under a `tf.distribute` strategy the weights are those of all
    replicas: each replica gets its share of the mean, and the shares add up to it.

    With `r_drop`, models of the zoo read each batch twice in training, with dropouts of their own,
    and learn to give the same distribution both times: `r_drop` / 2 times the symmetric divergence
    of the two is added to the mean of both losses (half of the sum in the paper, so that the other
    settings mean what they mean without it). Called on logits, the loss is that of one reading.

    Args:
        smoothing: share of the target distribution that is spread evenly, in [0, 1).
        ignore_class: target id that does not count, of the vocabulary or not, such as -100; padding
            by default. All targets count if `None`.
        r_drop: weight of the divergence, called alpha in the paper; 0 for one reading.
        name: name of the loss.

    Call arguments:
        y_true: int targets, shape (B, T).
        y_pred: float logits, shape (B, T, V).
        sample_weight: optional weights that broadcast to (B, T).

    Example:

    >>> loss = SmoothedCrossEntropy(0.1)
    >>> model.compile(optimizer="adam", loss=loss)

    References: Szegedy et al. 2016, https://arxiv.org/abs/1512.00567; on R-Drop Liang et al. 2021,
    https://arxiv.org/abs/2106.14448
    """

    def __init__(
        self,
        smoothing: float = 0.1,
        ignore_class: int | None = PAD_ID,
        r_drop: float = 0.0,
        name: str = "smoothed_cross_entropy",
    ):
        super().__init__(name=name, reduction="none")
        if not 0.0 <= smoothing < 1.0:
            raise ValueError(f"smoothing must lie in [0, 1). Received: smoothing={smoothing}")
        if not 0.0 <= r_drop < math.inf:
            raise ValueError(f"r_drop must not be negative. Received: r_drop={r_drop}")
        self.smoothing = smoothing
        self.ignore_class = ignore_class
        self.r_drop = r_drop

    def counted(self, y_true: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Which targets count, and the targets with 0, which any vocabulary has, for all others."""
        y_true = tf.convert_to_tensor(y_true)
        if self.ignore_class is None:
            return tf.ones_like(y_true, tf.bool), y_true
        counts = tf.not_equal(y_true, self.ignore_class)
        return counts, tf.where(counts, y_true, tf.zeros_like(y_true))

    def weights(self, y_true: tf.Tensor, sample_weight: tf.Tensor | None = None) -> tf.Tensor:
        """float32 weight of every target; sample weights are of rows (B,), or of each (B, T)."""
        weights = tf.cast(self.counted(y_true)[0], tf.float32)
        if sample_weight is None:
            return weights
        sample_weight = tf.cast(sample_weight, tf.float32)
        if len(sample_weight.shape) == 1 < len(weights.shape):
            sample_weight = sample_weight[:, None]
        return weights * sample_weight

    def __call__(self, y_true, y_pred, sample_weight=None):
        y_true = tf.cast(y_true, tf.int32)
        weights = self.weights(y_true, sample_weight)
        return tf.math.divide_no_nan(
            tf.reduce_sum(self.call(y_true, y_pred) * weights),
            sum_over_replicas(tf.reduce_sum(weights)),
        )

    def call(self, y_true, y_pred):
        _, y_true = self.counted(y_true)
        logits = tf.cast(y_pred, tf.float32)
        loss = tf.nn.sparse_softmax_cross_entropy_with_logits(y_true, logits)
        if not self.smoothing:
            return loss
        target = tf.gather(logits, y_true, batch_dims=len(y_true.shape))
        return loss + self.smoothing * (target - tf.reduce_mean(logits, axis=-1))

    def from_hidden(
        self, y_true: tf.Tensor, hidden: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Loss of the logits `hidden @ kernel.T + bias` in as few passes over (N, V) as it takes.

        The mean logit is the product with the mean row of the kernel; for the rest see
        `total_and_target_logits`.

        Args:
            y_true: int targets, shape (N,).
            hidden: shape (N, D).
            kernel: one row for each token of the vocabulary, shape (V, D).
            bias: shape (V,).

        Returns:
            The smoothed loss and the plain negative log likelihood of each row, float32 (N,).
        """
        total, target = total_and_target_logits(y_true, hidden, kernel, bias)
        plain = total - target
        if not self.smoothing:
            return plain, plain
        return plain + self.smoothing * (target - mean_logits(hidden, kernel, bias)), plain

    def from_two_readings(
        self, y_true: tf.Tensor, hidden: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """The same of `hidden` (2 N, D), all rows of one reading and then of the other.

        Returns:
            The mean of both smoothed losses with `r_drop` / 2 times the divergence, and the mean of
            both negative log likelihoods, of each row, float32 (N,).
        """
        logits = add_bias(tf.matmul(hidden, kernel, transpose_b=True), bias)
        twice = tf.tile(y_true, [2])
        plain = tf.nn.sparse_softmax_cross_entropy_with_logits(twice, tf.cast(logits, tf.float32))
        smoothed = plain
        if self.smoothing:
            target, mean = target_and_mean_logits(twice, hidden, kernel, bias)
            smoothed += self.smoothing * (target - mean)
        smoothed, plain = (tf.add_n(tf.split(loss, 2)) / 2 for loss in (smoothed, plain))
        first, second = tf.split(logits, 2)
        return smoothed + 0.5 * self.r_drop * symmetric_divergence(first, second), plain

    def get_config(self):
        return {
            "name": self.name,
            "smoothing": self.smoothing,
            "ignore_class": self.ignore_class,
            "r_drop": self.r_drop,
        }


@tf.custom_gradient
def total_and_target_logits(
    y_true: tf.Tensor, hidden: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Log of the sum of e to each logit, and the logit of each target, float32 (N,).

    Of the logits `hidden @ kernel.T + bias` only e to each of them is kept, less the largest of its
    row. The gradient of a logit is that times a factor of its row, which is put into the thin
    matrices that the gradients are products of, and for the target a gradient of its own.
    """
    logits = tf.matmul(hidden, kernel, transpose_b=True) + bias
    target = tf.cast(tf.gather(logits, y_true, batch_dims=1), tf.float32)
    logits = tf.cast(logits, tf.float32)
    largest = tf.reduce_max(logits, axis=-1, keepdims=True)
    exponentials = tf.exp(logits - largest)
    sums = tf.reduce_sum(exponentials, axis=-1)

    def gradient(of_total, of_target):
        dtype = hidden.dtype
        kept = tf.cast(exponentials, dtype)
        factor = tf.expand_dims(of_total / sums, 1)
        of_target = tf.expand_dims(of_target, 1)
        rows = tf.cast(hidden, tf.float32)
        to_hidden = factor * tf.cast(tf.matmul(kept, kernel), tf.float32)
        to_hidden += of_target * tf.cast(tf.gather(kernel, y_true), tf.float32)
        to_kernel = tf.matmul(kept, tf.cast(factor * rows, dtype), transpose_a=True)
        to_bias = tf.linalg.matvec(kept, tf.cast(factor[:, 0], dtype), transpose_a=True)
        # A frequent target has a term in thousands of rows: a sum of so many equal terms stops
        # growing in half precision, at 256 times the term in bfloat16.
        to_kernel, to_bias = (tf.cast(x, tf.float32) for x in (to_kernel, to_bias))
        places = tf.expand_dims(y_true, 1)
        to_kernel = tf.tensor_scatter_nd_add(to_kernel, places, of_target * rows)
        to_bias = tf.tensor_scatter_nd_add(to_bias, places, of_target[:, 0])
        return None, *(tf.cast(x, dtype) for x in (to_hidden, to_kernel, to_bias))

    return (largest[:, 0] + tf.math.log(sums), target), gradient


def target_and_mean_logits(
    y_true: tf.Tensor, hidden: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """The logit of each target, by a thin product, and the mean logit: float32 (N,)."""
    target = tf.reduce_sum(hidden * rows_of(kernel, y_true), -1) + rows_of(bias, y_true)
    return tf.cast(target, tf.float32), mean_logits(hidden, kernel, bias)


@tf.custom_gradient
def rows_of(table: tf.Tensor, ids: tf.Tensor) -> tf.Tensor:
    """Rows (..., D) of a table (V, D), whose gradient adds up those of a frequent id in float32."""

    def gradient(upstream):
        terms = tf.cast(upstream, tf.float32)
        sums = tf.math.unsorted_segment_sum(terms, ids, table.shape[0])
        return tf.cast(sums, table.dtype), None

    return tf.gather(table, ids), gradient


def mean_logits(hidden: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
    """The mean of the logits of each row, by a thin product: float32 (N,)."""
    # A sum over a vocabulary is not one for half precision.
    of_kernel, of_bias = (tf.reduce_mean(tf.cast(x, tf.float32), 0) for x in (kernel, bias))
    mean = tf.linalg.matvec(hidden, tf.cast(of_kernel, hidden.dtype))
    return tf.cast(mean, tf.float32) + of_bias


def symmetric_divergence(first: tf.Tensor, second: tf.Tensor) -> tf.Tensor:
    """(KL(P || Q) + KL(Q || P)) / 2 of the softmax of logits (..., V), float32 (...).

    The sum of both is that of (p - q) (log p - log q), in which the normalisers of the logarithms
    cancel, as p - q adds up to zero: the differences of the logits will do.
    """
    first, second = tf.cast(first, tf.float32), tf.cast(second, tf.float32)
    apart = tf.nn.softmax(first) - tf.nn.softmax(second)
    return 0.5 * tf.reduce_sum(apart * (first - second), axis=-1)
