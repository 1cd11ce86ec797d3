"""A profile of some steps of a training, for TensorBoard's Profile tab."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import keras
import tensorflow as tf


class StepProfiler(keras.callbacks.Callback):
    """Profiles some of the steps that `fit` makes; it costs nothing before and after them.

    Args:
        log_dir: folder of TensorBoard's logs.
        first: first of the steps, from 1. The graph is made in the first step of all.
        last: last of them.
        report: takes a line that says where the profile is.

    Example:

    >>> model.fit(batches, callbacks=[StepProfiler(Path("logs"), 10, 20, print)])
    """

    def __init__(self, log_dir: Path, first: int, last: int, report: Callable[[str], None]):
        super().__init__()
        self.log_dir, self.first, self.last, self.report = log_dir, first, last, report
        self._step = 0
        self._trace: tf.profiler.experimental.Trace | None = None

    def on_train_batch_begin(self, batch, logs=None):
        self._step += 1
        if self._step == self.first:
            tf.profiler.experimental.start(str(self.log_dir))
        if self.first <= self._step <= self.last:
            # Marks what belongs to a step.
            self._trace = tf.profiler.experimental.Trace("train", step_num=self._step, _r=1)
            self._trace.__enter__()

    def on_train_batch_end(self, batch, logs=None):
        if self._trace is not None:
            self._trace.__exit__(None, None, None)
            self._trace = None
        if self._step == self.last:
            self._stop()

    def on_train_end(self, logs=None):
        if self.first <= self._step < self.last:
            self._stop()

    def _stop(self) -> None:
        tf.profiler.experimental.stop()
        self.report(
            f"profile of steps {self.first} to {self._step}: tensorboard --logdir {self.log_dir}, "
            "tab Profile, which comes with `pip install xprof`"
        )
