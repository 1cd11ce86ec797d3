"""A term of the loss that keeps attention from returning to where it was."""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops

from ...layers import coverage_loss


@keras.saving.register_keras_serializable(package="attention_zoo")
class CoverageLoss:
    """The coverage loss, its weight, and the time of the training from which it counts.

    The loss of a step is the attention that it pays to positions that were attended to before, see
    `attention_zoo.layers.coverage_loss`. It is added to `SmoothedCrossEntropy` without sample
    weights, not to other losses that Keras has.

    Args:
        weight: Factor of the loss.
        start: Step of the training from which it counts. Below 1, the share of the budget that is
            spent by then, of which `set_progress` has to be told.

    Raises:
        ValueError: An argument is not a number from 0 on.

    Reference: See et al. 2017, https://arxiv.org/abs/1704.04368, section 2.3
    """

    def __init__(self, weight: float = 1.0, start: float = 0):
        for name, number in (("coverage_weight", weight), ("coverage_start", start)):
            is_number = isinstance(number, (int, float)) and not isinstance(number, bool)
            if not is_number or not 0 <= number < math.inf:
                raise ValueError(f"{name} is a number from 0 on. Received: {name}={number!r}")
        self.weight = weight
        self.start = start
        # Of no layer, as it is none of a model's weights.
        self._progress = None
        if 0 < start < 1:
            self._progress = keras.Variable(0.0, trainable=False, dtype="float32", name="progress")

    def set_progress(self, share: float) -> None:
        """Tells how far the training is, for a `start` below 1.

        Args:
            share: The spent share of the budget, from 0 to 1.
        """
        if self._progress is not None:
            self._progress.assign(share)

    def __call__(self, attention: Any, step: Any) -> Any:
        """The loss (B, T) of attention (B, T, S) at a step of the training."""
        done, start = self._progress, self.start
        if done is None:
            # TensorFlow compares whole numbers with whole numbers alone.
            done, start = step, math.ceil(start)
        weight = ops.where(ops.convert_to_tensor(done) >= start, float(self.weight), 0.0)
        return weight * coverage_loss(attention)

    def get_config(self) -> dict[str, Any]:
        return {"weight": self.weight, "start": self.start}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> CoverageLoss:
        return cls(**config)
