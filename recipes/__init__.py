"""One script a task, and what a script of your own imports.

A recipe is read in two minutes, copied, changed and run: the copy trains what it says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..zoo.registry import names_from

if TYPE_CHECKING:
    from .cli.main import run
    from .core.task import Task
    from .data.corpus import PairCorpus
    from .metrics.metric import Metric

__all__ = ["Metric", "PairCorpus", "Task", "run"]

# What imports a room loads no more than that.
_PUBLIC = {
    "Metric": ".metrics.metric",
    "PairCorpus": ".data.corpus",
    "Task": ".core.task",
    "run": ".cli.main",
}
__getattr__ = names_from(__name__, _PUBLIC)
