"""Tensors to replies in JSON, as TensorFlow Serving writes them.

The reply has the form of its request: by row a list of `predictions`, by column the `outputs`. A
single output stands without its name.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..runtime import dtypes
from ..runtime.errors import invalid_argument
from .json_tensor import BASE64

PREDICTIONS, OUTPUTS = "predictions", "outputs"
_BYTES_SUFFIX = "_bytes"


def write_outputs(outputs: Mapping[str, np.ndarray], by_row: bool) -> str:
    """Writes the body of a reply.

    Args:
        outputs: an array for each output.
        by_row: the request came by row.

    Returns:
        JSON, in which bytes that are not UTF-8 are surrogate escapes.

    Raises:
        ServingError: if an output cannot be written: a type that JSON has no values for, or, by
            row, a scalar or outputs of different numbers of rows.
    """
    if not outputs:
        raise invalid_argument("Cannot convert empty tensor map to JSON")
    outputs = {name: outputs[name] for name in sorted(outputs)}
    if by_row:
        _check_rows(outputs)
    columns = {name: _plain(name, array) for name, array in outputs.items()}
    reply: Any
    if len(columns) == 1:
        (reply,) = columns.values()
    elif by_row:
        rows = zip(*columns.values(), strict=True)
        reply = [dict(zip(columns, row, strict=True)) for row in rows]
    else:
        reply = columns
    return json.dumps({PREDICTIONS if by_row else OUTPUTS: reply}, ensure_ascii=False)


def _check_rows(outputs: Mapping[str, np.ndarray]) -> None:
    rows = -1
    for name, array in outputs.items():
        if array.ndim == 0:
            raise invalid_argument(f"Tensor name: {name} has no shape information ")
        if rows >= 0 and len(array) != rows:
            raise invalid_argument(
                f"Tensor name: {name} has inconsistent batch size: {len(array)} expecting: {rows}"
            )
        rows = len(array)


def _plain(name: str, array: np.ndarray) -> Any:
    """The values of an output as nested lists."""
    if array.ndim > 1:
        return [_plain(name, part) for part in array]
    kind = array.dtype.kind
    if kind == "O":
        values = [_text(name, value) for value in array.ravel().tolist()]
        return values if array.ndim else values[0]
    if array.dtype == np.float32:  # in the fewest digits that read back as it
        return array.astype(str).astype(np.float64).tolist()
    if kind == "b" or array.dtype == np.float64 or (kind in "iu" and array.dtype != np.uint16):
        return array.tolist()
    raise invalid_argument(
        "Failed to write JSON value for tensor type: ", dtypes.from_numpy(array.dtype).name
    )


def _text(name: str, value: bytes) -> Any:
    if name.endswith(_BYTES_SUFFIX):
        return {BASE64: base64.b64encode(value).decode("ascii")}
    return value.decode("utf-8", "surrogateescape")
