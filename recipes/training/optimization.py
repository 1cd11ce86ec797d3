"""Learning rate and weight average that the settings of a run ask for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

from ...zoo.training import SCHEDULES
from ...zoo.training.averaging import Average, LastAverage, WeightAverage
from ..core.options import OptimizerOptions


def make_schedule(
    options: OptimizerOptions, schedule: Callable[..., Any] | None = None
) -> keras.optimizers.schedules.LearningRateSchedule:
    """Makes the schedule of a run, a registered one of its peak and warm-up steps."""
    rise = options.learning_rate, options.warmup_steps
    schedule = schedule or SCHEDULES[options.schedule]
    if options.schedule == "cooldown":
        return schedule(*rise, options.cooldown_share, options.cooldown_shape)
    return schedule(*rise)


def make_average(
    model: keras.Model, options: OptimizerOptions, evaluate_every: int
) -> Average | None:
    """Makes the average of the weights of a run, if it asks for one."""
    if options.average_last:
        return LastAverage(model, options.average_last, evaluate_every)
    if options.average_decay:
        return WeightAverage(model, options.average_decay)
    return None
