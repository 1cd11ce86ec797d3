"""Optimizer and learning-rate schedules of the recipes."""

from __future__ import annotations

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="attention_zoo")
class FusedAdam(keras.optimizers.Adam):
    """Keras's Adam with the update of each variable done by one fused TensorFlow operation.

    Same arguments, same values up to rounding, same saved state; the chain of about ten small
    operations a variable, each a pass over its memory, becomes one. `amsgrad` is refused.

    Reference: Kingma and Ba 2015, https://arxiv.org/abs/1412.6980
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        if self.amsgrad:
            raise ValueError(
                "FusedAdam has no amsgrad; use keras.optimizers.Adam. Received: amsgrad=True"
            )

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


@keras.saving.register_keras_serializable(package="attention_zoo")
class InverseSquareRoot(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warm-up to a peak, then a fall with the inverse square root of the step.

    Args:
        peak: learning rate after the warm-up.
        warmup_steps: steps of the warm-up, at least 1.

    Example:

    >>> float(InverseSquareRoot(peak=0.004, warmup_steps=1000)(4000))
    0.002

    Reference: Vaswani et al. 2017, https://arxiv.org/abs/1706.03762, section 5.3
    """

    def __init__(self, peak: float, warmup_steps: int):
        if not peak > 0 or warmup_steps < 1:
            raise ValueError(
                "peak must be positive and warmup_steps at least 1. "
                f"Received: peak={peak}, warmup_steps={warmup_steps}"
            )
        self.peak = peak
        self.warmup_steps = warmup_steps

    def __call__(self, step):
        step = keras.ops.cast(step, "float32") + 1.0
        warmup = float(self.warmup_steps)
        rising = step / warmup
        falling = keras.ops.rsqrt(keras.ops.maximum(step, warmup) / warmup)
        return self.peak * keras.ops.minimum(rising, falling)

    def get_config(self):
        return {"peak": self.peak, "warmup_steps": self.warmup_steps}
