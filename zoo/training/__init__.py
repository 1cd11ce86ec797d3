"""Loss, optimizer, schedules and weight averages: plain Keras objects for anybody's `fit`.

They run on every Keras backend; the fused update of the optimizer is TensorFlow's.
"""

from __future__ import annotations

from ..registry import Registry, names_from

_PUBLIC = {
    "SmoothedCrossEntropy": ".loss",
    "FusedAdam": ".optimizers",
    "InverseSquareRoot": ".schedules",
    "BudgetSchedule": ".schedules",
    "CosineToZero": ".schedules",
    "Cooldown": ".schedules",
    "WeightAverage": ".averaging",
    "LastAverage": ".averaging",
}

__all__ = [*_PUBLIC, "SCHEDULES", "register_schedule"]

# Each is called with the peak of the rate and the number of steps of the warm-up.
SCHEDULES = Registry(
    "schedule",
    {
        "inverse_sqrt": "zoo.training.schedules:InverseSquareRoot",
        "cosine": "zoo.training.schedules:CosineToZero",
        "cooldown": "zoo.training.schedules:Cooldown",
    },
)
register_schedule = SCHEDULES.register
__getattr__ = names_from(__name__, _PUBLIC)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
