"""The optimizer of the recipes."""

from __future__ import annotations

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="attention_zoo")
class FusedAdam(keras.optimizers.Adam):
    """Keras's Adam with the update of each variable done by one fused TensorFlow operation.

    Same arguments, same values up to rounding, same saved state; the chain of about ten small
    operations a variable, each a pass over its memory, becomes one. `amsgrad` is refused.

    Under a `tf.distribute` strategy the gradients of the replicas are summed before anything else
    is done with them. Keras sums them after clipping, so that the norm that is clipped would be
    that of a part of the batch, and the weights would depend on the number of replicas.

    Reference: Kingma and Ba 2015, https://arxiv.org/abs/1412.6980
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        if self.amsgrad:
            raise ValueError(
                "FusedAdam has no amsgrad; use keras.optimizers.Adam. Received: amsgrad=True"
            )

    def _backend_apply_gradients(self, grads, trainable_variables):
        replica = tf.distribute.get_replica_context()
        if replica is not None and replica.num_replicas_in_sync > 1:
            # Dense: the sum of sparse ones is that of all rows, each with its index.
            grads = [tf.convert_to_tensor(gradient) for gradient in grads]
            grads = replica.all_reduce(tf.distribute.ReduceOp.SUM, grads)
        super()._backend_apply_gradients(grads, trainable_variables)

    def _all_reduce_sum_gradients(self, grads_and_vars):
        return list(grads_and_vars)  # they are summed already

    def update_step(self, gradient, variable, learning_rate):
        index = self._get_variable_index(variable)
        dtype = variable.dtype
        step = tf.cast(self.iterations + 1, dtype)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[index].value.handle,
            v=self._velocities[index].value.handle,
            beta1_power=tf.pow(tf.cast(self.beta_1, dtype), step),
            beta2_power=tf.pow(tf.cast(self.beta_2, dtype), step),
            lr=tf.cast(learning_rate, dtype),
            beta1=tf.cast(self.beta_1, dtype),
            beta2=tf.cast(self.beta_2, dtype),
            epsilon=tf.cast(self.epsilon, dtype),
            grad=tf.cast(tf.convert_to_tensor(gradient), dtype),
        )
