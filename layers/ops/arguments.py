"""Checks of constructor arguments."""

from __future__ import annotations


def positive_int(name, value):
    """Returns `value` if it is a positive whole number.

    Args:
        name: of the argument, for the error.
        value: of any type.

    Raises:
        ValueError: if it is anything else.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value <= 0:
        raise ValueError(f"`{name}` must be a positive whole number. Received: {name}={value!r}")
    return value


def optional_positive_int(name, value):
    """Returns `value` if it is a positive whole number or `None`; see `positive_int`."""
    return None if value is None else positive_int(name, value)
