"""The training step of a model of tokens: the gradients of the mean loss of all tokens of a step.

Shapes: B rows, S source length, T target length, D width, V vocabulary, R labels that count.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import keras
from keras import ops

from .loss import SmoothedCrossEntropy
from .replicas import number_of_replicas, sum_over_replicas

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf  # it is there, as Keras runs on it

Batch = tuple[dict[str, Any], Any]  # source (B, S) and target (B, T), labels (B, T)


class TokenTrainer(keras.Model):
    """A model that trains with `compile` and `fit` on `(inputs, labels)`, token by token.

    A subclass gives logits (B, T, V) when it is called, and, for `SmoothedCrossEntropy`, the losses
    of the tokens: `token_losses(inputs, labels, training)`, where it can do without the logits of
    padding. It trains with any loss over logits, as every Keras model. Under `SmoothedCrossEntropy`
    there are no logits for compiled metrics. What is told of an epoch is the mean `loss` and the
    mean `cross_entropy`, without smoothing, of all its tokens, and how many `tokens` it had; of a
    batch, those of its step. Sample weights make Keras compute loss and metrics from all logits.

    `inputs` may have `"accumulated"`, more `(inputs, labels)` of the same step: their gradients are
    added up one batch after the other, and the step is that of one large batch of all of them.
    This takes `SmoothedCrossEntropy` without sample weights.

    On JAX the step is the same, without accumulated batches. On PyTorch Keras makes it, from all
    logits.

    Under a `tf.distribute` strategy that loss is the mean over the tokens of all replicas together,
    however many each of them has: the weights learnt are those of one replica with all rows.

    Args:
        **kwargs: As for every Keras model.

    Attributes:
        static_shapes: Whether the loss is computed at padding too, and left out of the sums, so
            that no shape depends on values, as TPUs want it.
        compiles_replicas: Whether XLA compiles the gradients of each replica by themselves. Under a
            `tf.distribute` strategy this takes the place of `jit_compile=True`, which compiles the
            sums over the replicas, too, and cannot. It needs `static_shapes`.
    """

    static_shapes = False
    compiles_replicas = False

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self._token_metrics = TokenMetrics()

    def token_losses(
        self, inputs: dict[str, tf.Tensor], labels: tf.Tensor, training: bool
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Computes the loss of every label that counts, with label smoothing and without.

        Args:
            inputs: `source` (B, S) and `target` (B, T), as the model is called with.
            labels: int (B, T).
            training: Whether dropout is on, and with it R-Drop.

        Returns:
            Smoothed and plain loss, float32 (R,) each, in reading order. With `static_shapes`, of
            every label, and 0 for those that do not count. With R-Drop, the means of two readings,
            the smoothed one with their divergence.
        """
        raise NotImplementedError

    def make_train_function(self, force=False):
        # Inside of the compiled step, Keras would make the optimizer's variables, each with a
        # branch for its first value, and trace the step a second time.
        if self.built and not self.optimizer.built:
            self.optimizer.build(self.trainable_variables)
        return super().make_train_function(force)

    def train_step(self, *arguments):
        if keras.backend.backend() == "torch":
            return super().train_step(*arguments)
        *state, data = arguments  # JAX has a state
        inputs, labels, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        if not isinstance(self.loss, SmoothedCrossEntropy) or sample_weight is not None:
            self._refuse_what_logits_do_not_have(inputs)
            return super().train_step(*arguments)
        if (compiled := self._compile_metrics) is not None:
            raise ValueError(
                "SmoothedCrossEntropy is computed without the logits that metrics are of: leave "
                "them out of `compile`, as loss, cross_entropy and tokens are told anyway, or give "
                f"sample weights. Received: metrics={compiled._user_metrics}, "
                f"weighted_metrics={compiled._user_weighted_metrics}"
            )
        inputs = dict(inputs)
        if state:
            return jax_step(self, state[0], (inputs, labels))
        accumulated = inputs.pop("accumulated", ())
        if not self.built:  # as Keras does in its own step, while the step is traced
            self(inputs)
        if accumulated:
            gradients, sums = accumulated_gradients(self, [(inputs, labels), *accumulated])
        else:
            gradients, sums = batch_gradients(self, (inputs, labels))
        self.optimizer.apply_gradients(zip(gradients, self.trainable_weights, strict=True))
        return self._token_metrics.update(self._loss_tracker, sums)

    def test_step(self, *arguments):
        if keras.backend.backend() != "tensorflow":
            return super().test_step(*arguments)
        (data,) = arguments
        inputs, labels, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        by_tokens = isinstance(self.loss, SmoothedCrossEntropy) and sample_weight is None
        if not by_tokens or self._compile_metrics is not None:
            return super().test_step(data)
        if not self.built:
            self(inputs)
        # As in training, so that losses can be compared, and do not depend on the batches.
        return self._token_metrics.update(
            self._loss_tracker, evaluated_sums(self, (inputs, labels))
        )

    def _refuse_what_logits_do_not_have(self, inputs):
        """Refuses what a step that Keras makes itself would take no notice of."""
        if getattr(self.loss, "r_drop", 0.0):
            raise ValueError(
                "R-Drop has no sample weights; leave them out, or r_drop. "
                f"Received: r_drop={self.loss.r_drop}"
            )
        if isinstance(inputs, Mapping) and inputs.get("accumulated"):
            raise ValueError(
                "Gradients of accumulated batches are added up under SmoothedCrossEntropy without "
                "sample weights alone: leave `accumulated` out of the inputs. Received: "
                f"{len(inputs['accumulated'])} accumulated batches and the loss {self.loss!r}"
            )

    @property
    def metrics(self):
        return [*super().metrics, self._token_metrics.cross_entropy, self._token_metrics.tokens]

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        # In a step that Keras makes itself no tokens are counted.
        results = super().compute_metrics(x, y, y_pred, sample_weight)
        return {name: results[name] for name in results if name not in TokenMetrics.NAMES}


class KeptRows:
    """The labels that count, as rows; all of them where shapes are static.

    Args:
        keep: Boolean (B, T).
        static_shapes: Whether the number of rows may not depend on values.
    """

    def __init__(self, keep: tf.Tensor, static_shapes: bool = False):
        self.keep = keep
        self.static_shapes = static_shapes or keras.backend.backend() != "tensorflow"

    def rows(self, tensor: tf.Tensor, readings: int = 1) -> tf.Tensor:
        """(B, T, ...) to (R, ...), or (2 B, T, ...) of two readings to (2 R, ...)."""
        if self.static_shapes:
            return ops.reshape(tensor, (-1, *tensor.shape[2:]))
        keep = self.keep if readings == 1 else tf.tile(self.keep, [readings, 1])
        return tf.boolean_mask(tensor, keep)

    def scatter(self, rows: tf.Tensor) -> tf.Tensor:
        """(R,) to (B, T), 0 at the others."""
        if self.static_shapes:
            return ops.reshape(rows, ops.shape(self.keep))
        return tf.scatter_nd(tf.where(self.keep), rows, tf.shape(self.keep, tf.int64))

    def without_padding(self, losses: tf.Tensor) -> tf.Tensor:
        """The losses (R,), 0 for labels that do not count."""
        if not self.static_shapes:
            return losses
        return losses * ops.reshape(ops.cast(self.keep, losses.dtype), (-1,))


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
    """Metrics of an epoch over all its tokens, beside the mean loss that Keras has itself.

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


def batch_gradients(model: TokenTrainer, batch: Batch) -> tuple[list[tf.Tensor], StepSums]:
    """Gradients of a replica's share of the mean loss of a batch; the optimizer sums the shares."""
    if model.compiles_replicas:
        return _compiled_gradients(model, batch)
    with tf.GradientTape() as tape:
        smoothed, sums = _batch_sums(model, batch, True)
        scaled = model.optimizer.scale_loss(_mean(smoothed, sums.tokens))
    return tape.gradient(scaled, model.trainable_weights), sums


def _compiled_gradients(model: TokenTrainer, batch: Batch) -> tuple[list[tf.Tensor], StepSums]:
    """The same, compiled by XLA; the sums over all replicas are outside of what it compiles."""
    tokens = sum_over_replicas(_count_tokens(model, batch[1]))

    @tf.function(jit_compile=True, autograph=False)
    def compute(inputs, labels, tokens):
        with tf.GradientTape() as tape:
            smoothed, plain = (tf.reduce_sum(x) for x in model.token_losses(inputs, labels, True))
            scaled = model.optimizer.scale_loss(_mean(smoothed, tokens))
        return tape.gradient(scaled, model.trainable_weights), tf.stack([smoothed, plain])

    gradients, sums = compute(*batch, tokens)
    smoothed, plain = tf.unstack(sum_over_replicas(sums))
    return gradients, StepSums(smoothed, plain, tokens)


def jax_step(model: TokenTrainer, state: Sequence, batch: Batch) -> tuple[dict[str, Any], tuple]:
    """Makes a whole step on JAX, where variables do not change: they are taken and given back.

    Args:
        model: The model.
        state: Values of its trainable variables, its others, its optimizer's and its metrics'.
        batch: Inputs and labels; no `accumulated` ones.

    Returns:
        What is told of the step, and the next state.
    """
    import jax  # it is there, as Keras runs on it

    inputs, labels = batch
    if "accumulated" in inputs:
        raise ValueError(
            "On JAX a step is made of one batch: leave `accumulated` out of the inputs. Received: "
            f"{len(inputs['accumulated'])} accumulated batches"
        )
    weights, others, optimizer, metrics = state
    tokens = _count_tokens(model, labels)

    def mean_loss(weights):
        variables = zip(model.trainable_variables, weights, strict=True)
        further = zip(model.non_trainable_variables, others, strict=True)
        own = zip(model.optimizer.variables, optimizer, strict=True)
        with keras.StatelessScope(state_mapping=[*variables, *further, *own]) as scope:
            smoothed, plain = (ops.sum(x) for x in model.token_losses(inputs, labels, True))
        changed = [scope.get_current_value(v) for v in model.non_trainable_variables]
        return _mean(smoothed, tokens), (StepSums(smoothed, plain, tokens), changed)

    gradients, (sums, others) = jax.grad(mean_loss, has_aux=True)(weights)
    weights, optimizer = model.optimizer.stateless_apply(optimizer, gradients, weights)
    counters = zip(model.metrics_variables, metrics, strict=True)
    with keras.StatelessScope(state_mapping=list(counters)) as scope:
        told = model._token_metrics.update(model._loss_tracker, sums)
    metrics = [scope.get_current_value(variable) for variable in model.metrics_variables]
    return told, (weights, others, optimizer, metrics)


def evaluated_sums(model: TokenTrainer, batch: Batch) -> StepSums:
    """The sums of a batch that is not learnt from."""
    return _batch_sums(model, batch, False)[1]


def _batch_sums(model: TokenTrainer, batch: Batch, training: bool) -> tuple[tf.Tensor, StepSums]:
    """The summed loss of a replica's batch, and the sums of those of all replicas."""
    inputs, labels = batch
    smoothed, plain = (tf.reduce_sum(x) for x in model.token_losses(inputs, labels, training))
    # In one message.
    sums = sum_over_replicas(tf.stack([smoothed, plain, _count_tokens(model, labels)]))
    return smoothed, StepSums(*tf.unstack(sums))


def accumulated_gradients(
    model: TokenTrainer, batches: Sequence[Batch]
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
    return total / ops.maximum(tokens, 1.0)


def _count_tokens(model: TokenTrainer, labels: tf.Tensor) -> tf.Tensor:
    return ops.sum(ops.cast(model.loss.counted(labels)[0], "float32"))
