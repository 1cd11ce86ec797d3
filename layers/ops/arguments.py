"""Checks of constructor arguments."""

from __future__ import annotations

# Of inputs with another number of axes.
RESHAPE = (
    "for a single step add a length of 1, and reshape what has more axes, such as pictures "
    "(batch, height, width, channels) to (batch, height * width, channels)"
)


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


def check_shapes(name, query_shape, value_shape, key_shape=None):
    """Refuses shapes that no attention can be built on.

    Raises:
        ValueError: for wrong ranks, unknown widths and unequal lengths.
    """
    shapes = {"query": query_shape, "value": value_shape, "key": key_shape or value_shape}
    for argument, shape in shapes.items():
        if len(shape) != 3 or shape[-1] is None:
            raise ValueError(
                f"{name} expects a {argument} of shape (batch, length, width) with a known width; "
                f"{RESHAPE}. Received: {argument}.shape={tuple(shape)}"
            )
    value_length, key_length = shapes["value"][1], shapes["key"][1]
    if None not in (value_length, key_length) and value_length != key_length:
        raise ValueError(
            f"{name} expects as many keys as values. Received: value.shape={tuple(value_shape)}, "
            f"key.shape={tuple(key_shape)}"
        )
