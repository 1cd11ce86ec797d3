"""One step of training: the gradients of the mean loss of all tokens, in one batch or in several.

Shapes: B rows, S source length, T target length.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import keras
import tensorflow as tf

from .replicas import number_of_replicas, sum_over_replicas

if TYPE_CHECKING:
    from ..models.base import Seq2SeqModel

Batch = tuple[dict[str, tf.Tensor], tf.Tensor]  # source (B, S) and target (B, T), labels (B, T)


class StepSums(NamedTuple):
    """Sums over the tokens of a step, on all replicas.

    Attributes:
        loss: of the loss that is descended.
        cross_entropy: of the negative log likelihood.
        tokens: how many there are.
    """

    loss: tf.Tensor
    cross_entropy: tf.Tensor
    tokens: tf.Tensor


class TokenMetrics:
    """What an epoch comes to over all its tokens, beside the mean loss that Keras has itself.

    No Keras object: what Keras finds in a model it writes into the file of the model.
    """

    NAMES = ("cross_entropy", "tokens")

    def __init__(self) -> None:
        cross_entropy, tokens = self.NAMES
        self.cross_entropy = keras.metrics.Mean(cross_entropy)
        self.tokens = keras.metrics.Sum(tokens)

    def update(self, loss: keras.metrics.Mean, sums: StepSums) -> dict[str, tf.Tensor]:
        """Takes in a step, and gives what is told of it alone.

        Args:
            loss: the metric of the loss that Keras has.
            sums: of the step.
        """
        step = {
            "loss": _mean(sums.loss, sums.tokens),
            "cross_entropy": _mean(sums.cross_entropy, sums.tokens),
            "tokens": sums.tokens,
        }
        loss.update_state(step["loss"], sample_weight=sums.tokens)
        self.cross_entropy.update_state(step["cross_entropy"], sample_weight=sums.tokens)
        # Of all replicas each adds its share.
        self.tokens.update_state(sums.tokens / number_of_replicas())
        return step


def batch_gradients(model: Seq2SeqModel, batch: Batch) -> tuple[list[tf.Tensor], StepSums]:
    """Gradients of a replica's share of the mean loss of a batch; the optimizer sums the shares."""
    with tf.GradientTape() as tape:
        smoothed, sums = _batch_sums(model, batch, True)
        scaled = model.optimizer.scale_loss(_mean(smoothed, sums.tokens))
    return tape.gradient(scaled, model.trainable_weights), sums


def evaluated_sums(model: Seq2SeqModel, batch: Batch) -> StepSums:
    """The sums of a batch that is not learnt from."""
    return _batch_sums(model, batch, False)[1]


def _batch_sums(model: Seq2SeqModel, batch: Batch, training: bool) -> tuple[tf.Tensor, StepSums]:
    """The summed loss of a replica's batch, and the sums of those of all replicas."""
    inputs, labels = batch
    smoothed, plain = (tf.reduce_sum(x) for x in model.token_losses(inputs, labels, training))
    # In one message.
    sums = sum_over_replicas(tf.stack([smoothed, plain, _count_tokens(model, labels)]))
    return smoothed, StepSums(*tf.unstack(sums))


def accumulated_gradients(
    model: Seq2SeqModel, batches: Sequence[Batch]
) -> tuple[list[tf.Tensor], StepSums]:
    """The same of several batches, which are taken one after the other in the memory of one.

    The mean is over the tokens of all of them: a batch counts for as many as it has.
    """
    counts = [_count_tokens(model, labels) for _, labels in batches]
    tokens = sum_over_replicas(tf.add_n(counts))
    weights = model.trainable_weights

    def body(i, sums, gradients):
        inputs, labels = tf.switch_case(i, [lambda batch=batch: batch for batch in batches])
        with tf.GradientTape() as tape:
            smoothed, plain = (tf.reduce_sum(x) for x in model.token_losses(inputs, labels, True))
            scaled = model.optimizer.scale_loss(_mean(smoothed, tokens))
        found = tape.gradient(scaled, weights, unconnected_gradients="zero")
        gradients = [
            one + tf.convert_to_tensor(other) for one, other in zip(gradients, found, strict=True)
        ]
        return i + 1, sums + tf.stack([smoothed, plain]), gradients

    zeros = [tf.zeros(weight.shape, weight.dtype) for weight in weights]
    _, sums, gradients = tf.while_loop(
        lambda i, *_: i < len(batches),
        body,
        (tf.constant(0), tf.zeros(2), zeros),
        parallel_iterations=1,
    )
    sums = sum_over_replicas(sums)
    return gradients, StepSums(sums[0], sums[1], tokens)


def _mean(total: tf.Tensor, tokens: tf.Tensor) -> tf.Tensor:
    """A sum over tokens divided by their number; 0 where there are none."""
    return total / tf.maximum(tokens, 1.0)


def _count_tokens(model: Seq2SeqModel, labels: tf.Tensor) -> tf.Tensor:
    return tf.math.count_nonzero(model.loss.counted(labels)[0], dtype=tf.float32)
