"""Models composed from the layers, decoding, tokens, and the catalog of named models.

`attention_zoo.zoo.explain(model, ["a house"])[0]` shows every layer and head, in a notebook too.
"""

from __future__ import annotations

import importlib
from typing import Any

__all__ = ["explain"]

_PUBLIC = {"explain": ".pipeline.explain"}


def __getattr__(name: str) -> Any:
    # Imported when asked for: importing the package loads no TensorFlow.
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
