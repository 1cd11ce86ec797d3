"""Cross entropy over a vocabulary: label smoothing without one-hot targets, padding left out."""

from __future__ import annotations

import keras
import tensorflow as tf

from .replicas import sum_over_replicas
from .tokenizer import PAD_ID


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

    Args:
        smoothing: share of the target distribution that is spread evenly, in [0, 1).
        ignore_class: target id that does not count; padding by default.
        name: name of the loss.

    Call arguments:
        y_true: int targets, shape (B, T).
        y_pred: float logits, shape (B, T, V).
        sample_weight: optional weights that broadcast to (B, T).

    Example:

    >>> loss = SmoothedCrossEntropy(0.1)
    >>> model.compile(optimizer="adam", loss=loss)

    Reference: Szegedy et al. 2016, https://arxiv.org/abs/1512.00567
    """

    def __init__(
        self,
        smoothing: float = 0.1,
        ignore_class: int | None = PAD_ID,
        name: str = "smoothed_cross_entropy",
    ):
        super().__init__(name=name, reduction="none")
        if not 0.0 <= smoothing < 1.0:
            raise ValueError(f"smoothing must lie in [0, 1). Received: smoothing={smoothing}")
        self.smoothing = smoothing
        self.ignore_class = ignore_class

    def weights(self, y_true: tf.Tensor, sample_weight: tf.Tensor | None = None) -> tf.Tensor:
        """float32 weight of every target."""
        if self.ignore_class is None:
            weights = tf.ones(tf.shape(y_true), tf.float32)
        else:
            weights = tf.cast(tf.not_equal(y_true, self.ignore_class), tf.float32)
        return weights if sample_weight is None else weights * tf.cast(sample_weight, tf.float32)

    def __call__(self, y_true, y_pred, sample_weight=None):
        y_true = tf.cast(y_true, tf.int32)
        weights = self.weights(y_true, sample_weight)
        return tf.math.divide_no_nan(
            tf.reduce_sum(self.call(y_true, y_pred) * weights),
            sum_over_replicas(tf.reduce_sum(weights)),
        )

    def call(self, y_true, y_pred):
        logits = tf.cast(y_pred, tf.float32)
        loss = tf.nn.sparse_softmax_cross_entropy_with_logits(y_true, logits)
        if not self.smoothing:
            return loss
        target = tf.gather(logits, y_true, batch_dims=len(y_true.shape))
        return loss + self.smoothing * (target - tf.reduce_mean(logits, axis=-1))

    def from_hidden(
        self, y_true: tf.Tensor, hidden: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Loss of the logits `hidden @ kernel.T + bias` without their mean being taken.

        The mean logit is the product with the mean row of the kernel and the target's logit the
        product with its own row: two thin products in place of two passes over (N, V).

        Args:
            y_true: int targets, shape (N,).
            hidden: shape (N, D).
            kernel: one row for each token of the vocabulary, shape (V, D).
            bias: shape (V,).

        Returns:
            The smoothed loss and the plain negative log likelihood of each row, float32 (N,).
        """
        logits = tf.matmul(hidden, kernel, transpose_b=True) + bias
        plain = tf.nn.sparse_softmax_cross_entropy_with_logits(y_true, tf.cast(logits, tf.float32))
        if not self.smoothing:
            return plain, plain
        target = tf.reduce_sum(hidden * tf.gather(kernel, y_true), -1) + tf.gather(bias, y_true)
        mean = tf.linalg.matvec(hidden, tf.reduce_mean(kernel, 0)) + tf.reduce_mean(bias)
        return plain + self.smoothing * tf.cast(target - mean, tf.float32), plain

    def get_config(self):
        return {
            "name": self.name,
            "smoothing": self.smoothing,
            "ignore_class": self.ignore_class,
        }
