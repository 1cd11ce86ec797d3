"""Graph functions with the inputs of a task as their parameters."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence

import tensorflow as tf

from .source_format import SourceInput

TARGET = tf.TensorSpec((None,), tf.string, name="target")


def graph_function(
    method: Callable, inputs: Sequence[SourceInput], *more: tf.TensorSpec
) -> tf.types.experimental.PolymorphicFunction:
    """A graph function whose parameters are named as the inputs, which is what clients see."""
    types = {"length": tf.int32}
    specs = [
        *(tf.TensorSpec((None,), types.get(item.kind, tf.string), item.name) for item in inputs),
        *more,
    ]
    names = [spec.name for spec in specs]

    def function(*columns):
        return method(**dict(zip(names, columns, strict=True)))

    functools.update_wrapper(function, getattr(method, "func", method))
    function.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in names]
    )
    # The loops are explicit, so there is nothing for autograph to convert.
    return tf.function(function, input_signature=specs, autograph=False)
