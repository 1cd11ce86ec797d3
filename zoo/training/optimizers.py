"""Adam with fused updates on TensorFlow, and Keras's own on JAX, where XLA fuses them."""

from __future__ import annotations

from typing import NamedTuple

import keras

FUSED = keras.backend.backend() == "tensorflow"
if FUSED:
    import tensorflow as tf  # it is there, as Keras runs on it


class _Rates(NamedTuple):
    """Values shared by the updates of all variables of a type, named as in the fused operation."""

    beta1_power: tf.Tensor
    beta2_power: tf.Tensor
    lr: tf.Tensor
    beta1: tf.Tensor
    beta2: tf.Tensor
    epsilon: tf.Tensor


@keras.saving.register_keras_serializable(package="attention_zoo")
class FusedAdam(keras.optimizers.Adam):
    """Keras's Adam with the update of each variable done by one fused TensorFlow operation.

    Same arguments, same values up to rounding, same saved state; the chain of about ten small
    operations a variable, each a pass over its memory, becomes one. `amsgrad` is refused.

    Under a `tf.distribute` strategy the gradients of the replicas are summed before anything else
    is done with them. Keras sums them after clipping, so that the norm that is clipped would be
    that of a part of the batch, and the weights would depend on the number of replicas.

    With `skip_nonfinite`, a step whose gradients hold NaN or infinity changes neither the weights
    nor the averages of gradients; `skipped` counts such steps, and `iterations` all of them.

    On other backends it is Keras's Adam, without `skip_nonfinite`. Variables of a schedule that is
    told of the budget are among its own there, as a step on JAX reads no others.

    Reference: Kingma and Ba 2015, https://arxiv.org/abs/1412.6980
    """

    def __init__(self, *args, skip_nonfinite: bool = False, **kwargs):
        super().__init__(*args, **kwargs)
        if self.amsgrad:
            raise ValueError(
                "FusedAdam has no amsgrad; use keras.optimizers.Adam. Received: amsgrad=True"
            )
        if skip_nonfinite and not FUSED:
            raise ValueError("skip_nonfinite is TensorFlow's alone. Received: skip_nonfinite=True")
        self.skip_nonfinite = skip_nonfinite
        self._is_finite: tf.Tensor | None = None
        self._rates: dict[str, _Rates] = {}

    @property
    def schedule_variables(self) -> list[keras.Variable]:
        """The variables of the schedule, of which a new start is told again."""
        if not isinstance(self._learning_rate, keras.optimizers.schedules.LearningRateSchedule):
            return []
        found = vars(self._learning_rate).values()
        return [value for value in found if isinstance(value, keras.Variable)]

    def build(self, variables):
        super().build(variables)
        for variable in [] if FUSED else self.schedule_variables:
            self._track_variable(variable)
        if self.skip_nonfinite and not hasattr(self, "skipped"):
            self.skipped = self.add_variable(
                (), dtype="int32", aggregation="only_first_replica", name="skipped"
            )

    def _backend_apply_gradients(self, grads, trainable_variables):
        if not FUSED:
            super()._backend_apply_gradients(grads, trainable_variables)
            return
        replica = tf.distribute.get_replica_context()
        if replica is not None and replica.num_replicas_in_sync > 1:
            # Dense: the sum of sparse ones is that of all rows, each with its index.
            grads = [tf.convert_to_tensor(gradient) for gradient in grads]
            grads = replica.all_reduce(tf.distribute.ReduceOp.SUM, grads)
        if self.skip_nonfinite:
            finite = tf.math.is_finite(tf.linalg.global_norm(grads))
            grads = tf.nest.map_structure(
                lambda x: tf.where(finite, x, tf.zeros_like(x)) if x.dtype.is_floating else x,
                grads,
                expand_composites=True,  # the values of a sparse gradient
            )
            self.skipped.assign_add(tf.cast(tf.logical_not(finite), "int32"))
            self._is_finite = finite
        self._rates = {}  # of the graph in which the step is traced now
        super()._backend_apply_gradients(grads, trainable_variables)
        self._rates = {}

    def _all_reduce_sum_gradients(self, grads_and_vars):
        return list(grads_and_vars)  # they are summed already

    def update_step(self, gradient, variable, learning_rate):
        if not FUSED:
            super().update_step(gradient, variable, learning_rate)
            return
        index = self._get_variable_index(variable)
        dtype = variable.dtype
        if dtype.name not in self._rates:
            self._rates[dtype.name] = self._make_rates(learning_rate, dtype)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[index].value.handle,
            v=self._velocities[index].value.handle,
            grad=tf.cast(tf.convert_to_tensor(gradient), dtype),
            **self._rates[dtype.name]._asdict(),
        )

    def _make_rates(self, learning_rate, dtype) -> _Rates:
        beta_1, beta_2 = (tf.cast(beta, dtype) for beta in (self.beta_1, self.beta_2))
        decay_1, decay_2 = beta_1, beta_2
        if self._is_finite is not None:
            # With a rate of 0 and averages that forget nothing, all stays as it is.
            learning_rate = tf.where(self._is_finite, learning_rate, 0.0)
            decay_1, decay_2 = (tf.where(self._is_finite, beta, 1.0) for beta in (beta_1, beta_2))
        step = tf.cast(self.iterations + 1, dtype)
        return _Rates(
            beta1_power=tf.pow(beta_1, step),
            beta2_power=tf.pow(beta_2, step),
            lr=tf.cast(learning_rate, dtype),
            beta1=decay_1,
            beta2=decay_2,
            epsilon=tf.cast(self.epsilon, dtype),
        )

    def get_config(self):
        return {**super().get_config(), "skip_nonfinite": self.skip_nonfinite}
