"""Generation of targets: greedy search, sampling, beam search, and the seam for a step of your own.

All searches are one loop, `decode_loop`. A logits processor changes what may be written, a
`Strategy` chooses the hypotheses of the next step; `generate` takes both.
"""

from __future__ import annotations

import importlib
from typing import Any

_PUBLIC = {
    "search": ("generate",),
    "options": ("GenerationOptions", "Hypotheses", "NEG_INF"),
    "candidates": ("Candidates", "LogitsProcessor", "NoRepeatNgram", "Search"),
    "shortlist": ("Shortlist",),
    "strategies": ("Ended", "GreedySearch", "Sampling", "Strategy"),
    "beam_search": ("BeamSearch",),
}

__all__ = [name for names in _PUBLIC.values() for name in names]


def __getattr__(name: str) -> Any:
    # Imported when asked for: importing the package loads no TensorFlow.
    for module, names in _PUBLIC.items():
        if name in names:
            return getattr(importlib.import_module(f".{module}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
