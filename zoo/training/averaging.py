"""Averages of a model's weights over a training, which evaluate better than the weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import keras
from keras import ops


class Average:
    """Average of the trainable weights of a model, for evaluation.

    Attributes:
        variables: all that has to be saved with a run to go on with it.
    """

    def __init__(self, model: keras.Model):
        self._weights = list(model.trainable_variables)
        self.variables: list[keras.Variable] = []

    def update(self, step: int) -> None:
        """Takes in the weights after `step` steps, if it is the turn of this step."""
        raise NotImplementedError

    def values(self) -> list[Any]:
        """The average of each weight."""
        raise NotImplementedError

    def _copy(self) -> list[keras.Variable]:
        """Variables with the weights as they are, on the same devices."""
        # Copied, as a step on JAX overwrites what it takes.
        return [
            keras.Variable(ops.copy(w), trainable=False, autocast=False, layout=w._layout)
            for w in self._weights
        ]

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The model has the averaged weights inside the `with` block and its own after it."""
        own = [ops.copy(weight) for weight in self._weights]
        for weight, average in zip(self._weights, self.values(), strict=True):
            weight.assign(average)
        try:
            yield
        finally:
            for weight, value in zip(self._weights, own, strict=True):
                weight.assign(value)


class WeightAverage(Average):
    """Exponential moving average of the trainable weights.

    The average is updated every few steps with the decay to the same power: as long a memory, at a
    fraction of the memory traffic. It takes in one of so many weights, so that what differs from
    step to step by chance is averaged less than with `every=1`. In the first steps it forgets
    faster, at (1 + n) / (10 + n) after n steps, so that the random start does not linger.

    Args:
        model: a built model.
        decay: of one step, in [0, 1).
        every: steps between two updates.

    Reference: Polyak and Juditsky 1992, https://doi.org/10.1137/0330046
    """

    def __init__(self, model: keras.Model, decay: float = 0.998, every: int = 8):
        super().__init__(model)
        self.decay = decay
        self.every = every
        self.variables = self._copy()
        self._take_in: Callable[[Any], None] = self._update
        if keras.backend.backend() == "tensorflow":
            import tensorflow as tf  # it is there, as Keras runs on it

            self._take_in = tf.function(self._update, autograph=False)

    def update(self, step: int) -> None:
        every = self.every if step > self.every else 1  # a short run has an average too
        if step % every == 0:
            decay = min(self.decay, (1.0 + step) / (10.0 + step)) ** every
            self._take_in(ops.convert_to_tensor(1.0 - decay, "float32"))

    def _update(self, share: Any) -> None:
        for average, weight in zip(self.variables, self._weights, strict=True):
            average.assign_add(ops.cast(share, weight.dtype) * (weight - average))

    def values(self) -> list[Any]:
        return [ops.copy(average) for average in self.variables]


class LastAverage(Average):
    """Mean of the trainable weights at the last few of the steps that are a multiple of `every`.

    The weights of those steps are kept in memory and saved with each checkpoint: `count` copies of
    the model. Before the first of them the average is the weights as they are.

    Args:
        model: a built model.
        count: how many to average, at least 1.
        every: steps from one to the next.

    Reference: Vaswani et al. 2017, https://arxiv.org/abs/1706.03762, section 6.1
    """

    def __init__(self, model: keras.Model, count: int = 5, every: int = 500):
        super().__init__(model)
        if count < 1 or every < 1:
            raise ValueError(
                f"count and every must be at least 1. Received: count={count}, every={every}"
            )
        self.every = every
        self._taken = keras.Variable(0, trainable=False, dtype="int32")
        self._copies = [self._copy() for _ in range(count)]
        self.variables = [self._taken, *(copy for copies in self._copies for copy in copies)]

    def update(self, step: int) -> None:
        if step % self.every == 0:
            oldest = self._copies[int(self._taken.numpy()) % len(self._copies)]
            for copy, weight in zip(oldest, self._weights, strict=True):
                copy.assign(ops.copy(weight))
            self._taken.assign_add(1)

    def values(self) -> list[Any]:
        kept = self._copies[: int(self._taken.numpy())]
        if not kept:
            return [ops.copy(weight) for weight in self._weights]
        return [sum(copies, 0.0) / len(kept) for copies in zip(*kept, strict=True)]
