"""One script a task, and what a script of your own imports.

A recipe is read in two minutes, copied, changed and run: the copy trains what it says.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .cli.main import run
    from .core.task import Task
    from .data.corpus import PairCorpus
    from .metrics.metric import Metric

__all__ = ["Metric", "PairCorpus", "Task", "run"]

_PUBLIC = {
    "Metric": ".metrics.metric",
    "PairCorpus": ".data.corpus",
    "Task": ".core.task",
    "run": ".cli.main",
}


def __getattr__(name: str) -> Any:
    # Imported when asked for: what imports a room loads no more than that.
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
