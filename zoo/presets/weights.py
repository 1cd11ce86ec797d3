"""Weights in fewer bits: float16, and whole numbers with a factor for each channel."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from ..tensor_files import read_tensors, write_tensors

KINDS = ("float32", "float16", "int8")
_SMALL = 1024  # values; norms and biases weigh little and matter much
_INT8_MAX = 127
_FACTORS = ".factors"


def quantize(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Quantizes values to whole numbers from -127 to 127.

    Each row, or each column, has a factor of its own, whichever loses less.

    Args:
        values: Array of two or more dimensions.

    Returns:
        int8 numbers shaped as `values`, and float32 factors that make them floats again and
        broadcast with them.
    """
    best: tuple[float, np.ndarray, np.ndarray] | None = None
    for axis in (0, values.ndim - 1):
        others = tuple(index for index in range(values.ndim) if index != axis)
        largest = np.abs(values).max(axis=others, keepdims=True)
        factors = np.where(largest > 0, largest / _INT8_MAX, 1.0).astype(np.float32)
        numbers = np.clip(np.round(values / factors), -_INT8_MAX, _INT8_MAX).astype(np.int8)
        loss = float(np.square(numbers * factors - values, dtype=np.float64).sum())
        if best is None or loss < best[0]:
            best = (loss, numbers, factors)
    assert best is not None
    return best[1], best[2]


def stored(values: np.ndarray, kind: str) -> tuple[np.ndarray, ...]:
    """A weight as it is stored: values alone, or int8 numbers and their factors.

    Args:
        values: The weight. Small ones, vectors, and what is not float32 stay as they are.
        kind: One of `KINDS`.
    """
    if values.dtype != np.float32 or values.size < _SMALL or values.ndim < 2 or kind == "float32":
        return (values,)
    if kind == "float16":
        largest = float(np.finfo(np.float16).max)
        return (np.clip(values, -largest, largest).astype(np.float16),)
    return quantize(values)


def pack_weights(weights: Iterable[tuple[str, np.ndarray]], kind: str) -> bytes:
    """Packs the weights of a model, in their order.

    Args:
        weights: Names, for whoever looks into the file, and values.
        kind: One of `KINDS`.
    """
    arrays = {}
    for number, (name, values) in enumerate(weights):
        first, *factors = stored(values, kind)
        arrays[f"{number:04d} {name}"] = first
        arrays |= {f"{number:04d} {name}{_FACTORS}": array for array in factors}
    return write_tensors(arrays)


def unpack_weights(data: bytes) -> list[np.ndarray]:
    """Unpacks the weights of `pack_weights`, as float32 again.

    Raises:
        ValueError: The bytes are something else.
    """
    arrays: Mapping[str, np.ndarray] = read_tensors(data)
    weights = []
    for name in sorted(name for name in arrays if not name.endswith(_FACTORS)):
        values, factors = arrays[name], arrays.get(name + _FACTORS)
        if np.issubdtype(values.dtype, np.floating) or factors is not None:
            values = values.astype(np.float32)
        weights.append(values if factors is None else values * factors)
    return weights
