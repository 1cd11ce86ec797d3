"""Models composed from the layers, decoding, tokens, and the catalog of named models.

`attention_zoo.zoo.explain(model, ["a house"])[0]` shows every layer and head, in a notebook too.
"""

from __future__ import annotations

from .registry import names_from

__all__ = ["explain"]

# Importing the package loads no TensorFlow.
__getattr__ = names_from(__name__, {"explain": ".pipeline.explain"})
