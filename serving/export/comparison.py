"""Comparison of results: text and integers exactly, floats to a tolerance."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from .check_report import Arrays, CheckResult

TOLERANCE = 1e-4


def same_values(a: np.ndarray, b: np.ndarray, padded: bool = False) -> tuple[bool, float]:
    """Compares two arrays: text and integers exactly, floats to `TOLERANCE`.

    Args:
        a: an array.
        b: another.
        padded: whether one may go on with empty strings or zeros where the other ends.

    Returns:
        `True` if they agree, and the largest difference between numbers.
    """
    a, b = np.asarray(a), np.asarray(b)
    if a.dtype.kind != b.dtype.kind or a.ndim != b.ndim:
        return False, 0.0
    if padded and a.shape != b.shape:
        shape = np.maximum(a.shape, b.shape)
        a, b = _pad_to(a, shape), _pad_to(b, shape)
    if a.shape != b.shape:
        return False, 0.0
    if a.dtype.kind == "f":
        with np.errstate(invalid="ignore"):
            difference = np.abs(a.astype(np.float64) - b.astype(np.float64))
        difference = np.where(a == b, 0.0, difference)  # two infinities differ by none
        limit = TOLERANCE * np.maximum(1.0, np.abs(np.where(np.isfinite(b), b, 1.0)))
        return bool((difference <= limit).all()), float(difference.max(initial=0.0))
    return bool((a == b).all()), 0.0


def shorten(array: np.ndarray) -> str:
    """The first values of an array, for a message."""
    values = np.asarray(array).ravel()[:3].tolist()
    shown = [
        repr(value.decode("utf-8", "replace")) if isinstance(value, bytes) else f"{value:.6g}"
        for value in values
    ]
    more = ", …" if np.asarray(array).size > 3 else ""
    return f"[{', '.join(shown)}{more}]"


def compare_replies(
    check: str, replies: dict[str, Arrays], expected: dict[str, Arrays], here: str, there: str
) -> CheckResult:
    """Compares the replies of two runtimes to the same requests.

    Args:
        check: Name of the check.
        replies: Outputs by name, by signature.
        expected: The same from another runtime.
        here: Where the replies come from, for messages.
        there: Where the expected ones come from.
    """
    errors = []
    values = 0
    largest = 0.0
    for name, outputs in expected.items():
        got = replies.get(name, {})
        if sorted(got) != sorted(outputs):
            errors.append(f"'{name}' answers {sorted(got)} {here} and {sorted(outputs)} {there}")
            continue
        for alias, array in outputs.items():
            values += array.size
            equal, difference = same_values(got[alias], array)
            largest = max(largest, difference)
            if not equal:
                errors.append(
                    f"'{alias}' of '{name}' is {shorten(got[alias])} {here} and {shorten(array)} "
                    f"{there} (largest difference {difference:.3g})"
                )
    if not values and not errors:
        errors.append(f"nothing was answered {there}")
    found = "; ".join(errors[:3]) or (
        f"{values} values of {len(expected)} signatures equal {here} and {there}, numbers to "
        f"{largest:.2g}"
    )
    numbers = {"values": values, "differences": len(errors), "largest difference": largest}
    return CheckResult(check, not errors, found, numbers)


def _pad_to(array: np.ndarray, shape: Iterable[int]) -> np.ndarray:
    """Fills an array up beyond its ends with zeros or empty strings."""
    padded = np.full([*shape], b"" if array.dtype.kind == "O" else 0, array.dtype)
    padded[tuple(map(slice, array.shape))] = array
    return padded
