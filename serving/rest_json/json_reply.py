"""Tensors to replies in JSON, as TensorFlow Serving writes them.

The reply has the form of its request: by row a list of `predictions`, by column the `outputs`. A
single output stands without its name.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping

import numpy as np

from ..runtime import dtypes
from ..runtime.errors import invalid_argument
from .json_tensor import BASE64
from .json_writer import PrettyWriter, decimals, quote, quote_bytes

PREDICTIONS, OUTPUTS = "predictions", "outputs"
_BYTES_SUFFIX = "_bytes"


def write_outputs(outputs: Mapping[str, np.ndarray], by_row: bool) -> str:
    """The body of a reply; bytes that are no UTF-8 are surrogate escapes.

    Args:
        outputs: an array for each output.
        by_row: whether the request came by row.

    Raises:
        ServingError: if an output cannot be written: a type that JSON has no values for, or, by
            row, a scalar or outputs of different numbers of rows.
    """
    if not outputs:
        raise invalid_argument("Cannot convert empty tensor map to JSON")
    outputs = {name: outputs[name] for name in sorted(outputs)}
    writer = PrettyWriter()
    writer.start(is_array=False)
    if by_row:
        _write_rows(writer, outputs)
    else:
        _write_columns(writer, outputs)
    writer.end()
    return writer.text()


def _write_rows(writer: PrettyWriter, outputs: Mapping[str, np.ndarray]) -> None:
    rows = -1
    for name, array in outputs.items():
        if array.ndim == 0:
            raise invalid_argument(f"Tensor name: {name} has no shape information ")
        if rows >= 0 and len(array) != rows:
            raise invalid_argument(
                f"Tensor name: {name} has inconsistent batch size: {len(array)} expecting: {rows}"
            )
        rows = len(array)
    named = len(outputs) > 1
    writer.name(PREDICTIONS)
    writer.start(is_array=True)
    for row in range(rows):
        if named:
            writer.start(is_array=False)
        writer.single_line = True
        for name, array in outputs.items():
            if named:
                writer.name(name)
            _write_array(writer, name, array[row : row + 1].reshape(array.shape[1:]))
        writer.single_line = False
        if named:
            writer.end()
    writer.end()


def _write_columns(writer: PrettyWriter, outputs: Mapping[str, np.ndarray]) -> None:
    writer.name(OUTPUTS)
    if len(outputs) == 1:
        ((name, array),) = outputs.items()
        _write_array(writer, name, array)
        return
    writer.start(is_array=False)
    for name, array in outputs.items():
        writer.name(name)
        _write_array(writer, name, array)
    writer.end()


def _write_array(writer: PrettyWriter, name: str, array: np.ndarray) -> None:
    if array.ndim > 1:
        writer.start(is_array=True)
        for part in array:
            _write_array(writer, name, part)
        writer.end()
    elif array.dtype.kind == "O" and name.endswith(_BYTES_SUFFIX):
        _write_base64(writer, array)
    elif array.ndim:
        writer.values(_leaves(array))
    else:
        writer.raw(_leaves(array.reshape(1))[0])


def _leaves(array: np.ndarray) -> list[str]:
    """The values of a list, each as JSON."""
    kind = array.dtype.kind
    if kind == "O":
        return [quote_bytes(value) for value in array.tolist()]
    if kind == "f" and array.itemsize >= 4:
        return decimals(array)
    if kind == "b":
        return ["true" if value else "false" for value in array.tolist()]
    if kind in "iu" and array.dtype != np.uint16:
        return [str(value) for value in array.tolist()]
    raise invalid_argument(
        "Failed to write JSON value for tensor type: ", dtypes.from_numpy(array.dtype).name
    )


def _write_base64(writer: PrettyWriter, array: np.ndarray) -> None:
    if array.ndim:
        writer.start(is_array=True)
    for value in array.ravel().tolist():
        writer.start(is_array=False)
        writer.name(BASE64)
        writer.raw(quote(base64.b64encode(value).decode("ascii")))
        writer.end()
    if array.ndim:
        writer.end()
