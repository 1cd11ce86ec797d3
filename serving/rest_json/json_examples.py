"""Examples in JSON, the bodies of requests to classify and regress.

A model from text to text has neither method. But a body is read before the model is looked at, so
what is wrong with a body is said in the words of TensorFlow Serving all the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..runtime.errors import invalid_argument
from .json_parser import describe
from .json_tensor import decode_base64, is_base64, type_name

EXAMPLES, CONTEXT = "examples", "context"
_LARGEST_INT64 = 2**63 - 1


def check_examples(document: Any) -> None:
    """Checks the examples of a parsed body, and the context that they may share.

    Raises:
        ServingError: INVALID_ARGUMENT, naming the first thing that is wrong.
    """
    if CONTEXT in document:
        _check_example(document[CONTEXT])
    if EXAMPLES not in document:
        fault = f"When method is classify, key '{EXAMPLES}' is expected and was not found"
    elif not isinstance(document[EXAMPLES], list):
        fault = f"Expecting '{EXAMPLES}' value to be an list/array"
    elif not document[EXAMPLES]:
        fault = f"'{EXAMPLES}' value is an empty array"
    else:
        for example in document[EXAMPLES]:
            _check_example(example)
        return
    raise invalid_argument(f"JSON Value: {describe(document)} {fault}")


def _check_example(example: Any) -> None:
    if not isinstance(example, dict):
        raise invalid_argument(f"Example must be JSON object but got JSON {type_name(example)}")
    for name, content in example.items():
        _check_feature(name, content if isinstance(content, list) else [content])


def _check_feature(name: str, values: Iterable[Any]) -> None:
    """Checks that all values of a feature are of the kind of the first: bytes, float or int64."""
    expected: str | None = None
    for value in values:
        kind = _kind_of(name, value)
        if expected not in (None, kind):
            raise invalid_argument(
                f"Unexpected element type in feature: {name} expecting type: {expected}"
            )
        expected = kind
        if isinstance(value, dict):
            decode_base64(value)
        if kind == "int64" and value > _LARGEST_INT64:
            raise invalid_argument(
                f"Feature: {name} has uint64_t element. Only int64_t is supported."
            )


def _kind_of(name: str, value: Any) -> str:
    if isinstance(value, str) or is_base64(value):
        return "bytes"
    if isinstance(value, float):
        return "float"
    if isinstance(value, int):  # a truth is 0 or 1
        return "int64"
    raise invalid_argument(
        f"Feature: {name} has element with unexpected JSON type: {type_name(value)}"
    )
