"""Requests put together and replies taken apart: the arrays of a batch."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from typing import Any

import numpy as np

from .errors import Code, ServingError, invalid_argument

Arrays = dict[str, np.ndarray]


def num_rows(arrays: Arrays) -> int:
    """The rows of a request.

    Raises:
        ServingError: if its inputs have none, or not the same number of them.
    """
    if not arrays:
        raise invalid_argument("Batching Run() must have at least one input tensor")
    sizes = set()
    for array in arrays.values():
        if array.ndim == 0:
            raise invalid_argument("Batching Run() input tensors must have at least one dimension")
        sizes.add(len(array))
    if len(sizes) != 1:
        raise invalid_argument("Batching Run() input tensors must have equal 0th-dimension size")
    return sizes.pop()


def concatenate(arrays: Sequence[np.ndarray], padding: int) -> np.ndarray:
    """The rows of all arrays, and `padding` copies of the first one, if there are any rows."""
    if len({array.shape[1:] for array in arrays}) > 1:
        shape = np.max([array.shape[1:] for array in arrays], axis=0)
        arrays = [
            pad_to(array, (len(array), *shape), array.flat[0] if array.size else None)
            for array in arrays
        ]
    parts = list(arrays)
    if padding:
        parts.extend([next(part for part in parts if len(part))[:1]] * padding)
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def pad_to(array: np.ndarray, shape: Iterable[int], value: Any = None) -> np.ndarray:
    """Fills an array up beyond its ends.

    Args:
        array: An array.
        shape: The shape wanted, nowhere smaller than that of `array`.
        value: The value to fill it up with; zero or the empty string if `None`.
    """
    if value is None:
        value = b"" if array.dtype.kind == "O" else 0
    padded = np.full([*shape], value, array.dtype)
    padded[tuple(map(slice, array.shape))] = array
    return padded


def check_output(array: np.ndarray, rows: int) -> None:
    """Refuses an output that cannot be given back row by row."""
    if array.ndim == 0:
        raise ServingError(Code.FAILED_PRECONDITION, "Batched output tensor has 0 dimensions")
    if len(array) != rows:
        raise ServingError(
            Code.FAILED_PRECONDITION,
            "Batched output tensor's 0th dimension does not equal the sum of the 0th dimension "
            "sizes of the input tensors",
        )


def split(arrays: Arrays, rows: int, size: int) -> list[Arrays]:
    """The rows of a request in parts of at most `size` rows."""
    if rows <= size:
        return [arrays]
    return [
        {name: array[start : start + size] for name, array in arrays.items()}
        for start in range(0, rows, size)
    ]


def join(parts: Sequence[Future]) -> Future:
    """A future of the outputs of all parts of a request, row by row.

    Where one part is wider than another, such as in the tokens of its longest text, the others are
    filled up with zeros or empty strings, as the rows of one batch are.
    """
    whole: Future = Future()
    left = len(parts)
    lock = threading.Lock()  # parts may end in several threads

    def part_done(_: Future) -> None:
        nonlocal left
        with lock:
            left -= 1
            last = left == 0
        if last and whole.set_running_or_notify_cancel():
            try:
                results = [part.result() for part in parts]
                whole.set_result({name: _stack([r[name] for r in results]) for name in results[0]})
            except BaseException as error:
                whole.set_exception(error)

    def whole_done(_: Future) -> None:
        if whole.cancelled():
            for part in parts:
                part.cancel()

    whole.add_done_callback(whole_done)
    for part in parts:
        part.add_done_callback(part_done)
    return whole


def _stack(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """The rows of all arrays, each array as wide as the widest."""
    width = np.max([array.shape[1:] for array in arrays], axis=0).astype(int)
    return np.concatenate([pad_to(array, (len(array), *width)) for array in arrays])
