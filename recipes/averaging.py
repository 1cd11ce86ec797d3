"""A moving average of a model's weights, which evaluates better than the weights themselves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import keras
import tensorflow as tf


class WeightAverage:
    """Exponential moving average of the trainable weights.

    The average is updated every few steps with the decay to the same power: the same average, at a
    fraction of the memory traffic. In the first steps it forgets faster, at (1 + n) / (10 + n)
    after n steps, so that the random start does not linger.

    Args:
        model: a built model.
        decay: of one step, in [0, 1).
        every: steps between two updates.

    Reference: Polyak and Juditsky 1992, https://doi.org/10.1137/0330046
    """

    def __init__(self, model: keras.Model, decay: float = 0.998, every: int = 8):
        self.decay = decay
        self.every = every
        self._weights = [weight.value for weight in model.trainable_variables]
        self.variables = [tf.Variable(weight, trainable=False) for weight in self._weights]

    def update(self, step: int) -> None:
        """Takes in the weights after `step` steps, if it is the turn of this step."""
        if step % self.every == 0:
            decay = min(self.decay, (1.0 + step) / (10.0 + step)) ** self.every
            self._update(tf.constant(1.0 - decay))

    @tf.function(autograph=False)
    def _update(self, share: tf.Tensor) -> None:
        for average, weight in zip(self.variables, self._weights, strict=True):
            average.assign_add(tf.cast(share, weight.dtype) * (weight - average))

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The model has the averaged weights inside the `with` block and its own after it."""
        own = [tf.identity(weight) for weight in self._weights]
        for weight, average in zip(self._weights, self.variables, strict=True):
            weight.assign(average)
        try:
            yield
        finally:
            for weight, value in zip(self._weights, own, strict=True):
                weight.assign(value)
