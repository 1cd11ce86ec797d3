"""Requests in JSON to tensors, as TensorFlow Serving reads them.

A request gives its tensors by row (`instances`) or by column (`inputs`). The order of the checks
and the words of the messages are part of the interface: clients and their tests look at them.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..runtime import dtypes
from ..runtime.dtypes import DType
from ..runtime.errors import Code, ServingError, invalid_argument
from ..runtime.session import TensorSpec
from .json_parser import describe, encode

INSTANCES, INPUTS = "instances", "inputs"
SIGNATURE_NAME = "signature_name"
BASE64 = "b64"
MAX_RANK = 32  # of an array of NumPy 1, and far more than any model has

Shape = tuple[int, ...]

_INTEGER_RANGES = {
    "int8": (-(2**31), 2**31),
    "int16": (-(2**31), 2**31),
    "int32": (-(2**31), 2**31),
    "uint8": (-(2**31), 2**31),
    "uint32": (0, 2**32),
    "int64": (-(2**63), 2**63),
    "uint64": (0, 2**64),
}


@dataclass(frozen=True)
class PredictBody:
    """The tensors of a request.

    Attributes:
        inputs: an array for each input.
        by_row: whether they came as `instances`, so that the reply goes out as `predictions`.
    """

    inputs: dict[str, np.ndarray]
    by_row: bool


def read_signature_name(document: Any) -> str:
    """The signature that a parsed body asks for; empty if it names none."""
    if not isinstance(document, dict):
        raise invalid_argument(f"JSON Value: {describe(document)} Is not object")
    name = document.get(SIGNATURE_NAME, "")
    if not isinstance(name, str):
        raise invalid_argument(
            f"JSON Value: {describe(document)} not formatted correctly. "
            f"'{SIGNATURE_NAME}' key must be a string value."
        )
    return name


def read_inputs(document: dict, specs: Mapping[str, TensorSpec], signature: str) -> PredictBody:
    """The tensors of a parsed body.

    Args:
        document: the body's object.
        specs: the inputs of the signature.
        signature: the name under which the request asked for it, for messages.
    """
    if not specs:
        raise invalid_argument("Failed to get input map for signature: ", signature or "DEFAULT")
    if INSTANCES in document:
        instances = document[INSTANCES]
        if INPUTS in document:
            fault = (
                f"Not formatted correctly expecting only one of '{INPUTS}' or "
                f"'{INSTANCES}' keys to exist "
            )
        elif not isinstance(instances, list):
            fault = f"Expecting '{INSTANCES}' to be an list/array"
        elif not instances:
            fault = f"No values in '{INSTANCES}' array"
        else:
            return PredictBody(_read_rows(instances, specs), by_row=True)
        raise invalid_argument(f"JSON Value: {describe(document)} {fault}")
    if INPUTS in document:
        return PredictBody(_read_columns(document[INPUTS], specs), by_row=False)
    raise invalid_argument(f"Missing '{INPUTS}' or '{INSTANCES}' key")


def is_base64(value: Any) -> bool:
    """Tells if a parsed value stands for bytes: `{"b64": "..."}` and nothing else."""
    return isinstance(value, dict) and len(value) == 1 and isinstance(value.get(BASE64), str)


def _is_row_object(value: Any) -> bool:
    return isinstance(value, dict) and not is_base64(value)


class _Column:
    """One input, filled row by row."""

    def __init__(self, dtype: DType):
        self.dtype = dtype
        self.values: list = []
        self.shape: Shape | None = None
        self.row_size = 0

    def add(self, item: Any) -> None:
        shape = _shape_of(item)
        before = len(self.values)
        _fill(item, 0, shape, self.dtype, self.values)
        size = len(self.values) - before
        if self.shape is None:
            self.shape, self.row_size = shape, size
        elif size != self.row_size:
            raise invalid_argument(f"Expecting tensor size: {self.row_size} but got: {size}")
        elif shape != self.shape:
            raise invalid_argument(
                f"Expecting shape {_print_shape(self.shape)} but got: {_print_shape(shape)}"
            )

    def array(self, rows: int) -> np.ndarray:
        return _to_array(self.values, self.dtype, (rows, *(self.shape or ())))


def _read_rows(rows: list, specs: Mapping[str, TensorSpec]) -> dict[str, np.ndarray]:
    if not isinstance(rows[0], dict) and len(specs) > 1:
        raise invalid_argument(
            "instances is a plain list, but expecting list of objects as multiple input tensors "
            "required as per tensorinfo_map"
        )
    columns = {name: _Column(spec.dtype) for name, spec in specs.items()}
    by_name = _is_row_object(rows[0])
    names = sorted(specs)
    for index, row in enumerate(rows):
        if by_name != _is_row_object(row):
            kinds = ("object", "list") if by_name else ("value/list", "object")
            raise invalid_argument(
                f"Expecting {kinds[0]} but got {kinds[1]} at item {index} of input list"
            )
        for name, item in (row if by_name else {names[0]: row}).items():
            try:
                if name not in columns:
                    raise invalid_argument(f"JSON object: does not have named input: {name}")
                columns[name].add(item)
            except ServingError as error:
                key = f" key: {name}" if by_name else ""
                raise invalid_argument(
                    f"Failed to process element: {index}{key} of 'instances' list. "
                    f"Error: {error.status_text}"
                ) from error
        if by_name and sorted(row) != names:
            raise invalid_argument(
                f"Failed to process element: {index} of 'instances' list. JSON object: "
                f"{describe(row)} keys must be equal to: {','.join(names)}"
            )
    # Rows of base64 data name no input: they fill the first, and the others are missing.
    filled = [name for name in names if columns[name].shape is not None]
    return {name: columns[name].array(len(rows)) for name in filled}


def _read_columns(value: Any, specs: Mapping[str, TensorSpec]) -> dict[str, np.ndarray]:
    if not _is_row_object(value):
        if len(specs) > 1:
            raise invalid_argument(
                "inputs is a plain value/list, but expecting an object as multiple input tensors "
                "required as per tensorinfo_map"
            )
        ((name, spec),) = specs.items()
        return {name: _read_tensor(value, spec.dtype)}
    arrays = {}
    for name, spec in sorted(specs.items()):
        if name not in value:
            raise invalid_argument(f"Missing named input: {name} in 'inputs' object.")
        arrays[name] = _read_tensor(value[name], spec.dtype)
    return arrays


def _read_tensor(value: Any, dtype: DType) -> np.ndarray:
    shape = _shape_of(value)
    values: list = []
    _fill(value, 0, shape, dtype, values)
    return _to_array(values, dtype, shape)


def _shape_of(value: Any) -> Shape:
    """The shape that the first elements at every level suggest."""
    shape = []
    while isinstance(value, list):
        shape.append(len(value))
        if len(shape) > MAX_RANK:
            raise invalid_argument(f"A tensor has at most {MAX_RANK} dimensions")
        if not value:
            break
        value = value[0]
    return tuple(shape)


def _print_shape(shape: Shape) -> str:
    return f"[{','.join(map(str, shape))}]"


def _fill(value: Any, level: int, shape: Shape, dtype: DType, values: list) -> None:
    """Appends the leaves of a nested list to `values`, checking that it has this shape."""
    if not isinstance(value, list):
        if level != len(shape):
            raise invalid_argument(
                f"JSON Value: {describe(value)} found at incorrect level: {level + 1} "
                f"in the JSON DOM. Expected at level: {len(shape)}"
            )
        values.append(_leaf(value, dtype))
        return
    if level >= len(shape):
        raise invalid_argument(
            f"Encountered list at unexpected level: {level} expected < {len(shape)}"
        )
    if len(value) != shape[level]:
        raise invalid_argument(
            f"Encountered list at unexpected size: {len(value)} at level: {level} "
            f"expected size: {shape[level]}"
        )
    for element in value:
        _fill(element, level + 1, shape, dtype, values)


def _leaf(value: Any, dtype: DType) -> Any:
    if dtype is dtypes.STRING:
        if isinstance(value, str):
            return encode(value)
        if isinstance(value, dict):
            return decode_base64(value)
    elif isinstance(value, dict):
        pass
    elif dtype.name in ("float", "double"):
        if type(value) in (int, float):
            return value
    elif dtype.name in _INTEGER_RANGES:
        low, high = _INTEGER_RANGES[dtype.name]
        if type(value) is int and low <= value < high:
            return value
    elif dtype.name == "bool":
        if isinstance(value, bool):
            return value
    else:
        raise ServingError(
            Code.UNIMPLEMENTED, f"Conversion of JSON Value: {describe(value)} to type: {dtype.name}"
        )
    raise invalid_argument(
        f"JSON Value: {describe(value)} Type: {type_name(value)} "
        f"is not of expected type: {dtype.name}"
    )


def type_name(value: Any) -> str:
    """The type of a parsed value, in the words of messages."""
    if value is None or isinstance(value, bool):
        return {None: "Null", False: "False", True: "True"}[value]
    kinds = {dict: "Object", list: "Array", str: "String"}
    return next((name for kind, name in kinds.items() if isinstance(value, kind)), "Number")


def decode_base64(value: dict) -> bytes:
    """The bytes that an object stands for.

    Raises:
        ServingError: if it is of another form, or no base64.
    """
    if not is_base64(value):
        raise invalid_argument(
            f"JSON Value: {describe(value)} not formatted correctly for base64 data"
        )
    text = "".join(value[BASE64].split()).rstrip("=")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise invalid_argument("Unable to base64 decode") from error


def _to_array(values: list, dtype: DType, shape: Shape) -> np.ndarray:
    if dtype is dtypes.STRING:
        array = np.empty(len(values), dtype=object)
        array[:] = values
    elif dtype.name in ("float", "double"):
        try:
            with np.errstate(over="ignore"):
                array = np.array(values, np.float64).astype(dtype.numpy)
        except OverflowError as error:
            raise invalid_argument("A number is too big to be stored in double") from error
    elif dtype.name == "uint64":
        array = np.array(values, np.uint64)
    else:
        array = np.array(values, np.int64).astype(dtype.numpy)
    return array.reshape(shape)
