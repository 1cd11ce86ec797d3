"""Arrays and TensorProto messages: the official ones and those declared here alike."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from . import dtypes

# The field of a TensorProto that holds the values of each type, where it is not `int_val`.
_FIELDS = {
    "float": "float_val",
    "double": "double_val",
    "string": "string_val",
    "int64": "int64_val",
    "bool": "bool_val",
    "uint32": "uint32_val",
    "uint64": "uint64_val",
}
_INT_VAL = frozenset({"int32", "int16", "int8", "uint8", "uint16"})


def declared_bytes(proto: Any) -> int:
    """Size in bytes that a TensorProto declares for its array; 0 if it is not a tensor."""
    dtype = dtypes.from_number(proto.dtype)
    shape = [dim.size for dim in proto.tensor_shape.dim]
    if dtype.numpy is None or any(size < 0 for size in shape):
        return 0
    return math.prod(shape) * dtype.numpy.itemsize


def read_tensor(proto: Any, max_bytes: int) -> np.ndarray:
    """The array of a TensorProto.

    Args:
        proto: the message; values that are missing at its end repeat the last one.
        max_bytes: the largest array that is made.

    Raises:
        ValueError: if the message is no tensor, or one that is too large.
    """
    dtype = dtypes.from_number(proto.dtype)
    shape = [dim.size for dim in proto.tensor_shape.dim]
    if dtype.numpy is None or proto.tensor_shape.unknown_rank or any(n < 0 for n in shape):
        raise ValueError("not a tensor")
    if declared_bytes(proto) > max_bytes:
        raise ValueError("too large")
    size = math.prod(shape)
    if proto.tensor_content:
        if dtype is dtypes.STRING:
            raise ValueError("strings have no content")
        return np.frombuffer(proto.tensor_content, dtype.numpy).reshape(shape)
    field = "int_val" if dtype.name in _INT_VAL else _FIELDS.get(dtype.name)
    if field is None:
        raise ValueError("no values of this type")
    values = list(getattr(proto, field))
    if len(values) > size:
        raise ValueError("more values than the shape has room for")
    if not values:
        values = [b"" if dtype is dtypes.STRING else 0] * size
    array = np.empty(size, dtype.numpy)
    array[: len(values)] = values
    array[len(values) :] = values[-1] if values else 0
    return array.reshape(shape)


def fill_tensor(proto: Any, array: np.ndarray) -> None:
    """Writes an array into an empty TensorProto, its values in the field of their type."""
    dtype = dtypes.from_numpy(array.dtype)
    proto.dtype = dtype.number
    proto.tensor_shape.SetInParent()
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)
    field = "int_val" if dtype.name in _INT_VAL else _FIELDS.get(dtype.name)
    if field is None:
        proto.tensor_content = array.tobytes()
    else:
        getattr(proto, field).extend(array.ravel().tolist())
