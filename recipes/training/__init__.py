"""Training of a run from its settings, and the callbacks that it is made of, for any Keras `fit`.

Callbacks that are given the same `Progress` count together. Their order in the list is that in
which they act after each step:

>>> progress = Progress()
>>> checkpoint = TrainingCheckpoint("run/checkpoints", progress=progress)
>>> steps = checkpoint.restore(model)
>>> callbacks = [
...     NanGuard(progress=progress),
...     ProgressReport(progress=progress),
...     StopAtBudget(Budget(max_steps=10_000), progress),
...     PeriodicEvaluation(scores, keep=save, every=500, patience=5, progress=progress),
...     StopOnSignal(progress=progress),
...     checkpoint,
... ]
>>> model.fit(dataset.skip(steps), callbacks=callbacks)
"""

from __future__ import annotations

import importlib
from typing import Any

_PUBLIC = {
    "Budget": "..core.config",
    "ChiefCallbacks": ".callbacks",
    "Evaluation": ".periodic_evaluation",
    "FollowBudget": ".callbacks",
    "NanGuard": ".nan_guard",
    "PeriodicEvaluation": ".periodic_evaluation",
    "Progress": ".progress",
    "ProgressReport": ".progress",
    "RunLogger": "..tensorboard.run_logger",
    "StepCallback": ".progress",
    "StepProfiler": "..tensorboard.profiling",
    "StopAtBudget": ".callbacks",
    "StopOnSignal": ".callbacks",
    "TensorBoardLog": ".tensorboard_log",
    "TrainingCheckpoint": ".training_checkpoint",
    "WeightAveraging": ".callbacks",
}

__all__ = list(_PUBLIC)


def __getattr__(name: str) -> Any:
    # Imported when asked for: importing the package loads no TensorFlow.
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
