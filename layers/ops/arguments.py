"""Checks of constructor arguments."""

from __future__ import annotations


def positive_int(name, value):
    """`value` if it is a positive whole number, refused otherwise."""
    if isinstance(value, bool) or not isinstance(value, int) or value <= 0:
        raise ValueError(f"`{name}` must be a positive whole number. Received: {name}={value!r}")
    return value


def optional_positive_int(name, value):
    """`None`, or a positive whole number."""
    return None if value is None else positive_int(name, value)
