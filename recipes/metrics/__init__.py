"""Scores of written texts, and metrics by name."""

from __future__ import annotations

from ...zoo.registry import names_from

__all__ = ["Metric", "answer_scores", "reply_scores", "rouge_scores", "translation_scores"]

# A metric is named without the tools that compute it.
_PUBLIC = {
    "Metric": ".metric",
    "translation_scores": ".scores",
    "answer_scores": ".text_scores",
    "reply_scores": ".text_scores",
    "rouge_scores": ".text_scores",
}
__getattr__ = names_from(__name__, _PUBLIC)
