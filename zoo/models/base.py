"""The protocol of every text-to-text model: one decoder, one trainer, one exporter serve them all.

Shapes: B batch, S source length, T target length, D width, V vocabulary, N beams.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from ...layers.ops.arguments import positive_int
from ...layers.ops.dense import add_bias
from ..text.tokenizer import END_ID, SubwordTokenizer
from ..training.loss import SmoothedCrossEntropy
from ..training.training_step import (
    TokenMetrics,
    accumulated_gradients,
    batch_gradients,
    evaluated_sums,
)

Nest = Any


def check_arguments(vocab_size: Any, sizes: dict[str, Any], rates: dict[str, Any]) -> None:
    """Refuses what no model can be made of, before a layer far inside does.

    Args:
        vocab_size: must leave room for at least one subword beside the special ids.
        sizes: arguments that are positive whole numbers, by name.
        rates: arguments that are shares of what is dropped, by name.
    """
    if positive_int("vocab_size", vocab_size) <= END_ID + 1:
        raise ValueError(
            f"The ids 0 to {END_ID} are special, so a vocabulary has more than {END_ID + 1} "
            f"subwords. Received: vocab_size={vocab_size}"
        )
    for name, size in sizes.items():
        positive_int(name, size)
    for name, rate in rates.items():
        if isinstance(rate, bool) or not isinstance(rate, (int, float)) or not 0 <= rate < 1:
            raise ValueError(
                f"{name} is the share that is dropped, at least 0 and below 1. "
                f"Received: {name}={rate!r}"
            )


def check_source_vocabulary(source_vocab_size: Any, copying: bool) -> None:
    """Refuses a vocabulary of the source that there cannot be; `None` is that of the target."""
    if source_vocab_size is None:
        return
    if positive_int("source_vocab_size", source_vocab_size) <= END_ID + 1:
        raise ValueError(
            f"The ids 0 to {END_ID} are special, so a vocabulary has more than {END_ID + 1} "
            f"subwords. Received: source_vocab_size={source_vocab_size}"
        )
    if copying:
        raise ValueError(
            "What is copied are subwords that source and target have in common: leave out "
            "source_vocab_size, or copying. "
            f"Received: source_vocab_size={source_vocab_size}, copying={copying}"
        )


class Seq2SeqModel(keras.Model):
    """An encoder-decoder over subword ids.

    A subclass gives these methods for decoding,

    - `encode(source) -> memory`: all that is fixed while a target is written: projected keys and
      values, the mask of the source. It is never tiled or reordered: the N beams of a sentence
      are N queries of the same memory.
    - `start(memory, num_beams, max_steps) -> state`: a nest of tensors, for at most so many steps.
    - `step_weights() -> weights`: what a step reads of the variables, once for all steps.
    - `step(token_ids (B, N), state, memory, weights) -> logits (B, N, V), state, scores (B, N, S)`.
    - `reorder(state, beams (B, N)) -> state`: the state of the beams chosen.
    - `select(memory, state, rows (R,)) -> memory, state`: those of some of the sentences.

    and one for training, `hidden(inputs, training)`: what the vocabulary is read from, (B, T, D).
    Calling the model gives logits: `model({"source": (B, S), "target": (B, T)}) -> (B, T, V)`,
    where the target begins with the start id and padding is id 0 on both sides.

    It trains with `compile` and `fit` on `(inputs, labels)` as any Keras model, with any loss over
    logits. Under `SmoothedCrossEntropy` the loss is computed from the hidden states of the
    positions that are not padding, which saves the vocabulary's product for all others. There are
    no logits for compiled metrics then. What is told of an epoch is the mean `loss` and the mean
    `cross_entropy`, without smoothing, of all its tokens, and how many `tokens` it had; of a batch,
    those of its step. Sample weights make Keras compute loss and metrics from all logits.

    `inputs` may have `"further"`, more `(inputs, labels)` of the same step: their gradients are
    added up one batch after the other, and the step is that of one large batch of all of them.
    This takes `SmoothedCrossEntropy` without sample weights.

    Under a `tf.distribute` strategy that loss is the mean over the tokens of all replicas together,
    however many each of them has: the weights learnt are those of one replica with all rows.

    Attributes:
        longest: most subwords of a source or of a target, `None` where there is no limit.
        static_shapes: whether the loss is computed at padding too, and left out of the sums, so
            that no shape depends on values, as TPUs want it.
    """

    longest: int | None = None
    static_shapes = False

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self._token_metrics = TokenMetrics()

    def set_spent(self, share: float) -> None:
        """Tells which share of the budget of a training is spent, from 0 to 1; few models ask."""

    def encode(self, source: tf.Tensor, training: bool = False) -> Nest:
        raise NotImplementedError

    def start(self, memory: Nest, num_beams: int = 1, max_steps: tf.Tensor | None = None) -> Nest:
        raise NotImplementedError

    def step_weights(self) -> Nest:
        """The weights as `step` uses them, to be made outside of a loop; nothing by default."""
        return ()

    def step(
        self, token_ids: tf.Tensor, state: Nest, memory: Nest, weights: Nest | None = None
    ) -> tuple[tf.Tensor, Nest, tf.Tensor]:
        """One step of every hypothesis; without `weights` it makes them itself."""
        raise NotImplementedError

    def hidden(self, inputs: dict[str, tf.Tensor], training: bool = False) -> tf.Tensor:
        raise NotImplementedError

    def vocabulary_weights(self) -> tuple[tf.Tensor, tf.Tensor]:
        """The kernel (V, D) and bias (V,) that turn hidden states into logits."""
        raise NotImplementedError

    def reorder(self, state: Nest, beams: tf.Tensor) -> Nest:
        """The state in which beam n of each sentence goes on from beam `beams[b, n]`."""
        return tf.nest.map_structure(lambda x: tf.gather(x, beams, batch_dims=1), state)

    def select(self, memory: Nest, state: Nest, rows: tf.Tensor) -> tuple[Nest, Nest]:
        """Memory and state of the sentences with these numbers."""
        return tf.nest.map_structure(lambda x: tf.gather(x, rows), (memory, state))

    def logits(self, hidden: tf.Tensor) -> tf.Tensor:
        """Logits (..., V) of hidden states (..., D)."""
        kernel, bias = (tf.cast(x, hidden.dtype) for x in self.vocabulary_weights())
        # One product of all rows: a batched one would go through the kernel for each sentence.
        rows = tf.reshape(hidden, (-1, hidden.shape[-1]))
        logits = add_bias(tf.matmul(rows, kernel, transpose_b=True), bias)
        return tf.reshape(logits, tf.concat([tf.shape(hidden)[:-1], kernel.shape[:1]], axis=0))

    def call(self, inputs, training=False):
        return self.logits(self.hidden(inputs, training=training))

    @classmethod
    def options_of(cls, tokenizer: SubwordTokenizer) -> dict[str, Any]:
        """Arguments of the constructor that follow from the subwords; none by default."""
        return {}

    def check_lengths(self, max_source_length: int, max_target_length: int) -> None:
        """Refuses limits of lengths that are beyond what the model can read or write."""
        if self.longest is not None and max(max_source_length, max_target_length) > self.longest:
            raise ValueError(
                f"This model has learned positions for {self.longest} subwords and none beyond: "
                "lower max_source_length and max_target_length, or raise its max_length. Received: "
                f"max_source_length={max_source_length}, max_target_length={max_target_length}"
            )

    def build_from_ids(self) -> None:
        """Creates all weights by a call on two tokens."""
        ids = tf.zeros((1, 2), tf.int32)
        self({"source": ids, "target": ids})

    def token_losses(
        self, inputs: dict[str, tf.Tensor], labels: tf.Tensor, training: bool
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Smoothed and plain loss of every label that counts, in reading order.

        With `static_shapes`, of every label, and 0 for the others. Of the model as it is trained
        with R-Drop, the means of two readings, the smoothed one with their divergence.
        """
        twice = training and self.loss.r_drop > 0
        if twice:
            inputs = {name: tf.tile(ids, [2, 1]) for name, ids in inputs.items()}
        hidden = self.hidden(inputs, training=training)
        keep, labels = self.loss.counted(labels)
        if self.static_shapes:
            rows, classes = tf.reshape(hidden, (-1, hidden.shape[-1])), tf.reshape(labels, (-1,))
        else:
            kept = tf.tile(keep, [2, 1]) if twice else keep
            rows, classes = tf.boolean_mask(hidden, kept), tf.boolean_mask(labels, keep)
        kernel, bias = self.vocabulary_weights()
        losses = self.loss.from_two_readings if twice else self.loss.from_hidden
        smoothed, plain = losses(
            classes, rows, tf.cast(kernel, rows.dtype), tf.cast(bias, rows.dtype)
        )
        if self.static_shapes:
            weights = tf.reshape(tf.cast(keep, smoothed.dtype), (-1,))
            smoothed, plain = smoothed * weights, plain * weights
        return smoothed, plain

    def make_train_function(self, force=False):
        # Inside of the compiled step, Keras would make the optimizer's variables, each with a
        # branch for its first value, and trace the step a second time.
        if self.built and not self.optimizer.built:
            self.optimizer.build(self.trainable_variables)
        return super().make_train_function(force)

    def train_step(self, data):
        inputs, labels, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        if not isinstance(self.loss, SmoothedCrossEntropy) or sample_weight is not None:
            self._refuse_what_logits_do_not_have(inputs)
            return super().train_step(data)
        if (compiled := self._compile_metrics) is not None:
            raise ValueError(
                "SmoothedCrossEntropy is computed without the logits that metrics are of: leave "
                "them out of `compile`, as loss, cross_entropy and tokens are told anyway, or give "
                f"sample weights. Received: metrics={compiled._user_metrics}, "
                f"weighted_metrics={compiled._user_weighted_metrics}"
            )
        inputs = dict(inputs)
        if further := inputs.pop("further", ()):
            gradients, sums = accumulated_gradients(self, [(inputs, labels), *further])
        else:
            gradients, sums = batch_gradients(self, (inputs, labels))
        self.optimizer.apply_gradients(zip(gradients, self.trainable_weights, strict=True))
        return self._token_metrics.update(self._loss_tracker, sums)

    def test_step(self, data):
        inputs, labels, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        by_tokens = isinstance(self.loss, SmoothedCrossEntropy) and sample_weight is None
        if not by_tokens or self._compile_metrics is not None:
            return super().test_step(data)
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
        if isinstance(inputs, Mapping) and inputs.get("further"):
            raise ValueError(
                "Gradients of further batches are added up under SmoothedCrossEntropy without "
                "sample weights alone: leave `further` out of the inputs. Received: "
                f"{len(inputs['further'])} further batches and the loss {self.loss!r}"
            )

    @property
    def metrics(self):
        return [*super().metrics, self._token_metrics.cross_entropy, self._token_metrics.tokens]

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        # In a step that Keras makes itself no tokens are counted.
        results = super().compute_metrics(x, y, y_pred, sample_weight)
        return {name: results[name] for name in results if name not in TokenMetrics.NAMES}
