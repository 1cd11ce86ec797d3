"""Training of a run from its settings, and the callbacks that it is made of, for any Keras `fit`.

The callbacks of a model share its counters, `progress_of(model)`, and act after each step in the
order of their list:

>>> checkpoint = TrainingCheckpoint("run/checkpoints")
>>> steps = checkpoint.restore(model)
>>> callbacks = [
...     NanGuard(),
...     ProgressReport(),
...     StopAtBudget(Budget(max_steps=10_000)),
...     PeriodicEvaluation(scores, save, every=500, metric=Metric("accuracy"), patience=5),
...     StopOnSignal(),
...     checkpoint,
... ]
>>> model.fit(dataset.skip(steps), callbacks=callbacks)
"""

from __future__ import annotations

from ...zoo.registry import names_from

# Importing the package loads no TensorFlow.
_MODULES = {
    "..core.config": ["Budget"],
    "..core.interruption": ["StopRequest"],
    "..tensorboard.profiling": ["StepProfiler"],
    "..tensorboard.run_logger": ["RunLogger"],
    ".callbacks": ["ChiefCallbacks", "FollowBudget", "StopAtBudget", "StopOnSignal"]
    + ["TensorBoardLog", "WeightAveraging"],
    ".nan_guard": ["NanGuard"],
    ".periodic_evaluation": ["Evaluation", "PeriodicEvaluation"],
    ".planning": ["PlanSteps"],
    ".progress": ["Progress", "ProgressReport", "StepCallback", "progress_of"],
    ".training_checkpoint": ["TrainingCheckpoint"],
}
_PUBLIC = {name: module for module, names in _MODULES.items() for name in names}
__all__ = list(_PUBLIC)
__getattr__ = names_from(__name__, _PUBLIC)
