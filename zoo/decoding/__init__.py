"""Generation of targets: greedy search, sampling, beam search, and the seam for a step of your own.

All searches are one loop, `decode_loop`. A logits processor changes what may be written, a
`Strategy` chooses the hypotheses of the next step; `generate` takes both.
"""

from __future__ import annotations

import importlib
from typing import Any

_PUBLIC = {
    "BeamSearch": "beam_search",
    "Candidates": "candidates",
    "GenerationOptions": "options",
    "GreedySearch": "strategies",
    "Hypotheses": "options",
    "LogitsProcessor": "candidates",
    "NEG_INF": "options",
    "NoRepeatNgram": "candidates",
    "Sampling": "strategies",
    "Search": "strategies",
    "Strategy": "strategies",
    "generate": "search",
}

__all__ = list(_PUBLIC)


def __getattr__(name: str) -> Any:
    # Imported when asked for: the options need no TensorFlow function to be traced.
    if name in _PUBLIC:
        return getattr(importlib.import_module(f".{_PUBLIC[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
