"""TensorFlow's data types as they appear on the wire, and their NumPy counterparts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class DType:
    """One data type.

    Attributes:
        number: its value in `DataType`.
        name: what TensorFlow prints in messages, such as `float`.
        numpy: the NumPy type of its values; strings are arrays of `bytes` objects. `None` where
            this server cannot hold a value.
    """

    number: int
    name: str
    numpy: np.dtype | None

    @property
    def enum_name(self) -> str:
        """The name in the protocol buffer, such as `DT_FLOAT`."""
        return f"DT_{self.name.upper()}"


STRING = DType(7, "string", np.dtype(object))
FLOAT = DType(1, "float", np.dtype(np.float32))

_ALL = (
    DType(0, "invalid", None),
    FLOAT,
    DType(2, "double", np.dtype(np.float64)),
    DType(3, "int32", np.dtype(np.int32)),
    DType(4, "uint8", np.dtype(np.uint8)),
    DType(5, "int16", np.dtype(np.int16)),
    DType(6, "int8", np.dtype(np.int8)),
    STRING,
    DType(8, "complex64", np.dtype(np.complex64)),
    DType(9, "int64", np.dtype(np.int64)),
    DType(10, "bool", np.dtype(np.bool_)),
    DType(14, "bfloat16", None),
    DType(17, "uint16", np.dtype(np.uint16)),
    DType(18, "complex128", np.dtype(np.complex128)),
    DType(19, "half", np.dtype(np.float16)),
    DType(20, "resource", None),
    DType(21, "variant", None),
    DType(22, "uint32", np.dtype(np.uint32)),
    DType(23, "uint64", np.dtype(np.uint64)),
)
_BY_NUMBER = {dtype.number: dtype for dtype in _ALL}
_BY_NUMPY = {dtype.numpy: dtype for dtype in _ALL if dtype.numpy is not None}

SIGNED_INTEGERS = frozenset({"int8", "int16", "int32", "int64"})


def from_number(number: int) -> DType:
    """The data type with this value in `DataType`."""
    known = _BY_NUMBER.get(number)
    return known if known is not None else DType(number, f"unknown dtype enum ({number})", None)


def from_numpy(dtype: np.dtype) -> DType:
    """The data type of a NumPy array; text and bytes of any kind are strings."""
    if dtype.kind in "OSU":
        return STRING
    known = _BY_NUMPY.get(dtype)
    if known is None:
        raise ValueError(
            f"TensorFlow has no data type for NumPy's {dtype}; convert the array first."
        )
    return known
