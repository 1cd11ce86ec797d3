"""Scores of written texts, and metrics by name."""

from __future__ import annotations

import importlib
from typing import Any

__all__ = ["Metric", "answer_scores", "reply_scores", "rouge_scores", "translation_scores"]

_PUBLIC = {
    "Metric": ".metric",
    "translation_scores": ".scores",
    "answer_scores": ".text_scores",
    "reply_scores": ".text_scores",
    "rouge_scores": ".text_scores",
}


def __getattr__(name: str) -> Any:
    # Imported when asked for: a metric is named without the tools that compute it.
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
