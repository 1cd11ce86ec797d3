"""Generation of targets: greedy search, sampling, beam search, and the seam for a step of your own.

All searches are one loop, `decode_loop`. A logits processor changes what may be written, a
`Strategy` chooses the hypotheses of the next step; `generate` takes both.
"""

from __future__ import annotations

from ..registry import names_from

# Importing the package loads no TensorFlow.
_MODULES = {
    "search": ("generate",),
    "options": ("GenerationOptions", "Hypotheses", "NEG_INF"),
    "candidates": ("Candidates", "LogitsProcessor", "NoRepeatNgram", "Search"),
    "shortlist": ("Shortlist",),
    "strategies": ("Ended", "GreedySearch", "Sampling", "Strategy"),
    "beam_search": ("BeamSearch",),
}

_PUBLIC = {name: f".{module}" for module, names in _MODULES.items() for name in names}
__all__ = list(_PUBLIC)
__getattr__ = names_from(__name__, _PUBLIC)
