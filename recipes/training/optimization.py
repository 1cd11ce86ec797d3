"""Learning rate and weight average that the settings of a run ask for."""

from __future__ import annotations

import keras

from ...zoo.training.averaging import Average, LastAverage, WeightAverage
from ..core.config import RunConfig
from ..core.model import schedule_of


def make_schedule(config: RunConfig) -> keras.optimizers.schedules.LearningRateSchedule:
    """Makes the schedule of a run, a registered one of its peak and warm-up steps."""
    rise = config.learning_rate, config.warmup_steps
    schedule = schedule_of(config)
    if config.schedule == "cooldown":
        return schedule(*rise, config.cooldown_share, config.cooldown_shape)
    return schedule(*rise)


def make_average(model: keras.Model, config: RunConfig) -> Average | None:
    """Makes the average of the weights of a run, if it asks for one."""
    if config.average_last:
        return LastAverage(model, config.average_last, config.evaluate_every)
    if config.average_decay:
        return WeightAverage(model, config.average_decay)
    return None
