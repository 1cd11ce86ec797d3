"""Learning rates over a training: a rise, then one of several ways down."""

from __future__ import annotations

import math

import keras


def _check_rise(peak: float, warmup_steps: int) -> None:
    if not peak > 0 or warmup_steps < 1:
        raise ValueError(
            "peak must be positive and warmup_steps at least 1. "
            f"Received: peak={peak}, warmup_steps={warmup_steps}"
        )


class WarmupSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """A schedule that rises to its peak in some steps, which may become fewer on the way.

    How many steps a training of some minutes has is known when it runs; `set_warmup` then takes
    the warm-up down to a share of them.

    Args:
        peak: learning rate after the warm-up.
        warmup_steps: steps of the linear warm-up, at least 1.
    """

    def __init__(self, peak: float, warmup_steps: int):
        _check_rise(peak, warmup_steps)
        self.peak = peak
        self.warmup_steps = warmup_steps
        self.warmup = keras.Variable(
            float(warmup_steps), trainable=False, dtype="float32", name="warmup"
        )

    def set_warmup(self, steps: int) -> None:
        """Says how many steps the rate rises in."""
        _check_rise(self.peak, steps)
        self.warmup.assign(float(steps))

    def rising(self, step):
        """The share of the peak that the warm-up has reached; above 1 after it."""
        step = keras.ops.cast(step, "float32") + 1.0
        return step / keras.ops.convert_to_tensor(self.warmup)

    def get_config(self):
        return {"peak": self.peak, "warmup_steps": self.warmup_steps}


@keras.saving.register_keras_serializable(package="attention_zoo")
class InverseSquareRoot(WarmupSchedule):
    """Linear warm-up to a peak, then a fall with the inverse square root of the step.

    Args:
        peak: learning rate after the warm-up.
        warmup_steps: steps of the warm-up, at least 1.

    Example:

    >>> float(InverseSquareRoot(peak=0.004, warmup_steps=1000)(4000))
    0.002

    Reference: Vaswani et al. 2017, https://arxiv.org/abs/1706.03762, section 5.3
    """

    def __call__(self, step):
        return self.peak * _rise_and_fall(self.rising(step))


def _rise_and_fall(rising):
    """A linear rise to 1, then a fall with the inverse square root."""
    return keras.ops.minimum(rising, keras.ops.rsqrt(keras.ops.maximum(rising, 1.0)))


class BudgetSchedule(WarmupSchedule):
    """A schedule that is at its end when the budget of the training is spent.

    A budget may be one of time, so the schedule cannot tell from the step how much of it is spent.
    Whoever trains says so before each step, with `set_progress`. A run that is resumed says where
    it stands and so has the rate it would have had.

    Args:
        peak: learning rate after the warm-up.
        warmup_steps: steps of the linear warm-up, at least 1.
    """

    def __init__(self, peak: float, warmup_steps: int):
        super().__init__(peak, warmup_steps)
        self.spent = keras.Variable(0.0, trainable=False, dtype="float32", name="spent")

    def set_progress(self, share: float) -> None:
        """Says which share of the budget, in [0, 1], is spent before the next step."""
        self.spent.assign(min(max(share, 0.0), 1.0))


@keras.saving.register_keras_serializable(package="attention_zoo")
class CosineToZero(BudgetSchedule):
    """Linear warm-up, under half a cosine that falls from the peak to zero over the budget.

    The rate is the lower of the two: peak (1 + cos(pi s)) / 2 with a share s of the budget spent.

    Args:
        peak: learning rate after the warm-up.
        warmup_steps: steps of the warm-up, at least 1.

    Example:

    >>> schedule = CosineToZero(peak=0.004, warmup_steps=1000)
    >>> schedule.set_progress(0.5)
    >>> float(schedule(20000))
    0.002

    Reference: Loshchilov and Hutter 2017, https://arxiv.org/abs/1608.03983
    """

    def __call__(self, step):
        falling = 0.5 * (1.0 + keras.ops.cos(math.pi * keras.ops.convert_to_tensor(self.spent)))
        return self.peak * keras.ops.minimum(self.rising(step), falling)


@keras.saving.register_keras_serializable(package="attention_zoo")
class Cooldown(BudgetSchedule):
    """The inverse square root, taken down to zero over the last share of the budget.

    With a share u of the cooldown behind, the rate of `InverseSquareRoot` is multiplied by 1 - u
    (`"linear"`) or by 1 - sqrt(u) (`"sqrt"`), which falls faster at first.

    Args:
        peak: learning rate after the warm-up.
        warmup_steps: steps of the warm-up, at least 1.
        share: how much of the budget the cooldown takes, above 0 and at most 1.
        shape: `"linear"` or `"sqrt"`.

    Example:

    >>> schedule = Cooldown(peak=0.004, warmup_steps=1000, share=0.2, shape="linear")
    >>> schedule.set_progress(0.9)  # half of the cooldown
    >>> float(schedule(4000))
    0.001

    References: Zhai et al. 2022, https://arxiv.org/abs/2106.04560, section 3.5; on the shape
    Hägele et al. 2024, https://arxiv.org/abs/2405.18392
    """

    def __init__(self, peak: float, warmup_steps: int, share: float = 0.2, shape: str = "sqrt"):
        super().__init__(peak, warmup_steps)
        if not 0 < share <= 1 or shape not in ("linear", "sqrt"):
            raise ValueError(
                "share must be above 0 and at most 1, and shape 'linear' or 'sqrt'. "
                f"Received: share={share}, shape={shape!r}"
            )
        self.share = share
        self.shape = shape

    def __call__(self, step):
        spent = keras.ops.convert_to_tensor(self.spent)
        behind = keras.ops.maximum(spent - (1.0 - self.share), 0.0) / self.share
        behind = keras.ops.sqrt(behind) if self.shape == "sqrt" else behind
        return self.peak * _rise_and_fall(self.rising(step)) * (1.0 - behind)

    def get_config(self):
        return {**super().get_config(), "share": self.share, "shape": self.shape}
