"""Variants of a model whose weights take less room: float16 and int8.

Large weights are stored as numbers of fewer bits and made float32 again inside the graph, at the
start of each call: the files of a version and what a server holds between calls shrink to a half or
a quarter, while the arithmetic stays what it was. What the rounding costs in quality is measured at
export and stands in the card of the version.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ...zoo.presets.weights import KINDS, stored
from ..runtime.errors import invalid_argument


def check_variant(name: str) -> str:
    """`name`, if there is such a variant.

    Raises:
        ServingError: if there is none.
    """
    if name not in KINDS:
        raise invalid_argument(
            f"The weights are stored as {', '.join(KINDS)}. Received: variant={name!r}"
        )
    return name


def compress(pipeline: Any, variant: str) -> tuple[Any, Sequence[Any]]:
    """A pipeline whose functions use weights stored in fewer bits.

    Args:
        pipeline: as for `export`; it stays as it is.
        variant: "float16" or "int8".

    Returns:
        The pipeline, and all that is stored.
    """
    restore: list[tuple[Any, Callable[[], Any]]] = []
    stored: list[Any] = []
    for variable in pipeline.model.weights:
        kept, read = _store(variable, variant)
        stored.extend(kept)
        if read is not None:
            restore.append((variable, read))
    made = copy.copy(pipeline)
    made.signatures = _Signatures(made, restore)
    return made, stored


def _store(variable: Any, variant: str) -> tuple[list[Any], Callable[[], Any] | None]:
    """Stores a variable in fewer bits; returns what is stored and what restores its value."""
    import tensorflow as tf

    values = np.asarray(variable)
    arrays = stored(values, variant)
    if arrays[0] is values:
        return [variable], None
    kept = [tf.Variable(array, trainable=False) for array in arrays]

    def restored():
        numbers, *factors = kept
        return (
            tf.cast(numbers, tf.float32) * factors[0] if factors else tf.cast(numbers, tf.float32)
        )

    return kept, restored


class _Signatures:
    """Stands for the method `signatures` of a pipeline."""

    def __init__(self, pipeline: Any, restore: Sequence[tuple[Any, Callable[[], Any]]]):
        self._pipeline = pipeline
        self._restore = restore
        self._base: Mapping[str, Any] | None = None
        self._functions: dict[str, Any] = {}

    def __call__(self) -> dict[str, Any]:
        base = type(self._pipeline).signatures(self._pipeline)
        if base is not self._base:
            self._base = base
            self._functions = {name: self._rewrite(function) for name, function in base.items()}
        return self._functions

    def _rewrite(self, function: Any) -> Any:
        """The same function, in which the values of the weights come from what is stored."""
        import keras
        import tensorflow as tf

        inner = function.python_function
        restore = self._restore

        def call(*columns):
            values = [(variable, read()) for variable, read in restore]
            with keras.StatelessScope(state_mapping=values):
                return inner(*columns)

        call.__signature__ = inspect.signature(inner)  # type: ignore[attr-defined]
        return tf.function(call, input_signature=function.input_signature, autograph=False)


def describe_variant(
    variant: str,
    stored_bytes: int,
    float32_bytes: int,
    before: Mapping[str, float],
    after: Mapping[str, float],
) -> str:
    """The part of a card on a variant, in Markdown.

    Args:
        variant: its name.
        stored_bytes: what its weights take.
        float32_bytes: what they would take in float32.
        before: scores in float32, by name.
        after: the same scores of the variant.
    """
    share = f"{stored_bytes / float32_bytes:.0%}"
    parts = [
        f"## Weights: {variant}",
        f"{stored_bytes:,} bytes, in float32 {float32_bytes:,} ({share})",
    ]
    if after:
        rows = [
            f"| {name} | {before[name]:.2f} | {value:.2f} | {value - before[name]:+.2f} |"
            for name, value in after.items()
        ]
        head = [f"| score | float32 | {variant} | difference |", "|---|---|---|---|"]
        parts.append("\n".join([*head, *rows]))
    else:
        parts.append("The loss of quality was not measured.")
    return "\n\n".join(parts)
