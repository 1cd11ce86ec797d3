"""Tensors in one block of bytes, in the layout of safetensors: data alone, and nothing to run."""

from __future__ import annotations

import json
import math
import mmap
from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np

_DTYPES = {
    name: np.dtype(dtype)
    for name, dtype in {
        "F64": "<f8",
        "F32": "<f4",
        "F16": "<f2",
        "I64": "<i8",
        "I32": "<i4",
        "BF16": ml_dtypes.bfloat16,
    }.items()
} | {"I8": np.dtype("i1"), "U8": np.dtype("u1"), "BOOL": np.dtype("?")}
_ALIGNED = 8  # bytes


def write_tensors(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Writes arrays by name.

    Args:
        arrays: Floats, whole numbers or booleans of any shape.

    Returns:
        A header of eight bytes with the length of the JSON that follows it, which has the type,
        the shape and the place of each tensor, and then their values.

    Raises:
        ValueError: The layout has no such type.

    Reference: https://huggingface.co/docs/safetensors
    """
    names = {dtype: name for name, dtype in _DTYPES.items()}
    header: dict[str, Any] = {}
    blocks, end = [], 0
    for name, array in arrays.items():
        if (dtype := array.dtype.newbyteorder("<")) not in names:
            raise ValueError(f"No tensor file has numbers of type {array.dtype}. Received: {name}")
        block = np.ascontiguousarray(array, dtype).tobytes()
        header[name] = {
            "dtype": names[dtype],
            "shape": list(array.shape),
            "data_offsets": [end, end + len(block)],
        }
        blocks.append(block)
        end += len(block)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNED)
    return b"".join([len(text).to_bytes(8, "little"), text, *blocks])


def read_tensors(data: bytes | mmap.mmap) -> dict[str, np.ndarray]:
    """Reads what `write_tensors` wrote, or another writer of the layout.

    Args:
        data: All bytes of the file, or the file mapped to memory.

    Returns:
        The arrays by name, in the order of the header; they share the memory of bytes.

    Raises:
        ValueError: The bytes are something else, or tensors do not lie one after the other.
    """
    start = 8 + int.from_bytes(data[:8], "little")
    try:
        header = json.loads(data[8:start]) if 8 < start <= len(data) else None
        if not isinstance(header, dict):
            raise ValueError("there is no header")
        header.pop("__metadata__", None)
        arrays, end = {}, 0
        for name, entry in header.items():
            dtype, shape = _DTYPES[entry["dtype"]], tuple(map(_size, entry["shape"]))
            first, last = map(_size, entry["data_offsets"])
            if first != end or last - first != math.prod(shape) * dtype.itemsize:
                raise ValueError(f"{name} does not lie where it should")
            block = data[start + first : start + last]
            arrays[name] = np.frombuffer(block, dtype).reshape(shape)
            end = last
        if end != len(data) - start:
            raise ValueError(f"{len(data) - start} bytes of values, not {end}")
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"Expected tensors as of safetensors: {error}") from error
    return arrays


def _size(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"{value!r} is no size")
    return value
