"""Cross entropy over a vocabulary: label smoothing without one-hot targets, padding left out."""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops

from ...layers.ops.dense import add_bias
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
        ignore_class: target id that does not count, of the vocabulary or not, such as -100; 0,
            which is padding, by default. All targets count if `None`.
        r_drop: weight of the divergence, called alpha in the paper; 0 for one reading.
        name: name of the loss.

    Call arguments:
        y_true: int targets, shape (B, T).
        y_pred: float logits, shape (B, T, V).
        sample_weight: optional weights that broadcast to (B, T).

    Raises:
        ValueError: `smoothing` is not in [0, 1), or `r_drop` is negative or not finite.

    Example:

    >>> loss = SmoothedCrossEntropy(0.1)
    >>> model.compile(optimizer="adam", loss=loss)

    References: Szegedy et al. 2016, https://arxiv.org/abs/1512.00567; on R-Drop Liang et al. 2021,
    https://arxiv.org/abs/2106.14448
    """

    def __init__(
        self,
        smoothing: float = 0.1,
        ignore_class: int | None = 0,
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

    def counted(self, y_true: Any) -> tuple[Any, Any]:
        """Tells the targets that count from those that do not.

        Args:
            y_true: int targets, any shape.

        Returns:
            A boolean mask of the targets that count, and the targets with 0 in place of all others.
        """
        y_true = ops.convert_to_tensor(y_true)
        if self.ignore_class is None:
            return ops.ones_like(y_true, dtype="bool"), y_true
        counts = ops.not_equal(y_true, self.ignore_class)
        return counts, ops.where(counts, y_true, ops.zeros_like(y_true))

    def weights(self, y_true: Any, sample_weight: Any = None) -> Any:
        """Computes the weight of every target in the mean.

        Args:
            y_true: int targets, shape (B, T).
            sample_weight: weights of rows (B,), or of each target (B, T); 1 if `None`.

        Returns:
            float32 (B, T), 0 for the targets that do not count.
        """
        weights = ops.cast(self.counted(y_true)[0], "float32")
        if sample_weight is None:
            return weights
        sample_weight = ops.convert_to_tensor(sample_weight, dtype="float32")
        if len(sample_weight.shape) == 1 < len(weights.shape):
            sample_weight = ops.expand_dims(sample_weight, 1)
        return weights * sample_weight

    def __call__(self, y_true, y_pred, sample_weight=None):
        y_true = ops.cast(y_true, "int32")
        weights = self.weights(y_true, sample_weight)
        return ops.divide_no_nan(
            ops.sum(self.call(y_true, y_pred) * weights), sum_over_replicas(ops.sum(weights))
        )

    def call(self, y_true, y_pred):
        _, y_true = self.counted(y_true)
        logits = ops.cast(y_pred, "float32")
        loss = ops.sparse_categorical_crossentropy(y_true, logits, from_logits=True)
        if not self.smoothing:
            return loss
        return loss + self.smoothing * (target_logits(y_true, logits) - ops.mean(logits, axis=-1))

    def from_hidden(self, y_true: Any, hidden: Any, kernel: Any, bias: Any) -> tuple[Any, Any]:
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
        tensors = (ops.convert_to_tensor(x) for x in (y_true, hidden, kernel, bias))
        y_true, hidden, kernel, bias = tensors
        total, target = total_and_target_logits(y_true, hidden, kernel, bias)
        plain = total - target
        if not self.smoothing:
            return plain, plain
        return plain + self.smoothing * (target - mean_logits(hidden, kernel, bias)), plain

    def from_two_readings(
        self, y_true: Any, hidden: Any, kernel: Any, bias: Any
    ) -> tuple[Any, Any]:
        """Computes the loss of two readings of the same targets, see R-Drop.

        Args:
            y_true: int targets, shape (N,).
            hidden: shape (2 N, D), all rows of one reading, then of the other.
            kernel: one row for each token of the vocabulary, shape (V, D).
            bias: shape (V,).

        Returns:
            The mean of both smoothed losses with `r_drop` / 2 times the divergence, and the mean of
            both negative log likelihoods, of each row, float32 (N,).
        """
        tensors = (ops.convert_to_tensor(x) for x in (y_true, hidden, kernel, bias))
        y_true, hidden, kernel, bias = tensors
        logits = add_bias(ops.matmul(hidden, ops.transpose(kernel)), bias)
        twice = ops.concatenate([y_true, y_true])
        plain = ops.sparse_categorical_crossentropy(
            twice, ops.cast(logits, "float32"), from_logits=True
        )
        smoothed = plain
        if self.smoothing:
            target, mean = target_and_mean_logits(twice, hidden, kernel, bias)
            smoothed = plain + self.smoothing * (target - mean)
        smoothed, plain = (sum(ops.split(loss, 2)) / 2 for loss in (smoothed, plain))
        first, second = ops.split(logits, 2)
        return smoothed + 0.5 * self.r_drop * symmetric_divergence(first, second), plain

    def get_config(self):
        return {
            "name": self.name,
            "smoothing": self.smoothing,
            "ignore_class": self.ignore_class,
            "r_drop": self.r_drop,
        }


def total_and_target_logits(y_true: Any, hidden: Any, kernel: Any, bias: Any) -> tuple[Any, Any]:
    """Log of the sum of e to each logit, and the logit of each target, float32 (N,).

    On TensorFlow the gradient is written by hand, see `_total_and_target_logits`.
    """
    if keras.backend.backend() == "tensorflow":
        return _total_and_target_logits(y_true, hidden, kernel, bias)
    logits = ops.cast(ops.matmul(hidden, ops.transpose(kernel)) + bias, "float32")
    return ops.logsumexp(logits, axis=-1), target_logits(y_true, logits)


@ops.custom_gradient
def _total_and_target_logits(y_true, hidden, kernel, bias):
    """Computes `total_and_target_logits` with a gradient in few passes over (N, V).

    Of the logits `hidden @ kernel.T + bias` only e to each of them is kept, less the largest of its
    row. The gradient of a logit is that times a factor of its row, which is put into the thin
    matrices that the gradients are products of, and for the target a gradient of its own.
    """
    logits = ops.matmul(hidden, ops.transpose(kernel)) + bias
    target = ops.cast(target_logits(y_true, logits), "float32")
    logits = ops.cast(logits, "float32")
    # Without an initial value Keras refuses a batch of padding alone, which has no rows.
    largest = ops.max(logits, axis=-1, keepdims=True, initial=-math.inf)
    exponentials = ops.exp(logits - largest)
    sums = ops.sum(exponentials, axis=-1)

    def gradient(of_total, of_target):
        dtype = hidden.dtype
        kept = ops.cast(exponentials, dtype)
        factor = ops.expand_dims(of_total / sums, 1)
        of_target = ops.expand_dims(of_target, 1)
        rows = ops.cast(hidden, "float32")
        to_hidden = factor * ops.cast(ops.matmul(kept, kernel), "float32")
        to_hidden += of_target * ops.cast(ops.take(kernel, y_true, axis=0), "float32")
        to_kernel = ops.matmul(ops.transpose(kept), ops.cast(factor * rows, dtype))
        to_bias = ops.matmul(ops.transpose(kept), ops.cast(factor, dtype))[:, 0]
        # A frequent target has a term in thousands of rows: a sum of so many equal terms stops
        # growing in half precision, at 256 times the term in bfloat16.
        to_kernel, to_bias = (ops.cast(x, "float32") for x in (to_kernel, to_bias))
        size = kernel.shape[0]
        to_kernel += ops.segment_sum(of_target * rows, y_true, num_segments=size)
        to_bias += ops.segment_sum(of_target[:, 0], y_true, num_segments=size)
        return None, *(ops.cast(x, dtype) for x in (to_hidden, to_kernel, to_bias))

    return (largest[:, 0] + ops.log(sums), target), gradient


def target_logits(y_true: Any, logits: Any) -> Any:
    """The logit of each target: (...) of ids (...) and logits (..., V)."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf  # it is there, as Keras runs on it

        # Keras's operation broadcasts the logits, which copies them.
        return tf.gather(logits, y_true, batch_dims=len(y_true.shape))
    ids = ops.expand_dims(ops.cast(y_true, "int32"), -1)
    return ops.squeeze(ops.take_along_axis(logits, ids, axis=-1), -1)


def target_and_mean_logits(y_true: Any, hidden: Any, kernel: Any, bias: Any) -> tuple[Any, Any]:
    """The logit of each target, by a thin product, and the mean logit: float32 (N,)."""
    target = ops.sum(hidden * rows_of(kernel, y_true), -1) + rows_of(bias, y_true)
    return ops.cast(target, "float32"), mean_logits(hidden, kernel, bias)


def rows_of(table: Any, ids: Any) -> Any:
    """Rows (..., D) of a table (V, D), whose gradient adds up those of a frequent id in float32."""
    if keras.backend.backend() != "tensorflow":
        return ops.cast(ops.take(ops.cast(table, "float32"), ids, axis=0), table.dtype)

    # TensorFlow keeps the terms apart, and casts them back before it adds them up.
    @ops.custom_gradient
    def take(table, ids):
        def gradient(upstream):
            width = table.shape[1:]
            terms = ops.reshape(ops.cast(upstream, "float32"), (-1, *width))
            sums = ops.segment_sum(terms, ops.reshape(ids, (-1,)), num_segments=table.shape[0])
            return ops.cast(sums, table.dtype), None

        return ops.take(table, ids, axis=0), gradient

    return take(table, ids)


def mean_logits(hidden: Any, kernel: Any, bias: Any) -> Any:
    """The mean of the logits of each row, by a thin product: float32 (N,)."""
    # A sum over a vocabulary is not one for half precision.
    of_kernel, of_bias = (ops.mean(ops.cast(x, "float32"), 0) for x in (kernel, bias))
    mean = ops.matmul(hidden, ops.expand_dims(ops.cast(of_kernel, hidden.dtype), 1))[:, 0]
    return ops.cast(mean, "float32") + of_bias


def symmetric_divergence(first: Any, second: Any) -> Any:
    """(KL(P || Q) + KL(Q || P)) / 2 of the softmax of logits (..., V), float32 (...).

    The sum of both is that of (p - q) (log p - log q), in which the normalisers of the logarithms
    cancel, as p - q adds up to zero: the differences of the logits will do.
    """
    first, second = ops.cast(first, "float32"), ops.cast(second, "float32")
    apart = ops.softmax(first) - ops.softmax(second)
    return 0.5 * ops.sum(apart * (first - second), axis=-1)
