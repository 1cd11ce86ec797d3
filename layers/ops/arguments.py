"""Checks of constructor arguments."""

from __future__ import annotations

import keras

# Of inputs with another number of axes.
_RESHAPE = (
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


def check_sizes(**sizes):
    """Refuses arguments that are no positive whole numbers."""
    for name, size in sizes.items():
        positive_int(name, size)


def check_flags(**flags):
    """Refuses arguments that are neither true nor false."""
    for name, value in flags.items():
        if not isinstance(value, bool):
            raise ValueError(f"{name} is true or false. Received: {name}={value!r}")


def check_input(name, argument, shape, width=None):
    """Refuses a tensor of another rank or width than a layer was built for.

    Args:
        name: of the layer.
        argument: name of the argument.
        shape: of the tensor.
        width: of the last axis; any if `None`.

    Raises:
        ValueError: for another rank or width.
    """
    if len(shape) != 3:
        raise ValueError(
            f"{name} expects a {argument} of shape (batch, length, width); {_RESHAPE}. "
            f"Received: {argument}.shape={tuple(shape)}"
        )
    if width is not None and shape[-1] not in (width, None):
        raise ValueError(
            f"{name} was built for a {argument} with a last axis of {width}. "
            f"Received: {argument}.shape={tuple(shape)}"
        )


def refuse_symbolic(name, argument, tensor):
    """Refuses a symbolic tensor outside of `__call__`, where Keras does not see the weights.

    Args:
        name: of the layer.
        argument: name of the argument.
        tensor: of any kind.

    Raises:
        ValueError: for a `KerasTensor`.
    """
    if isinstance(tensor, keras.KerasTensor):
        raise ValueError(
            f"{name}: `project` and `attend` are for the `call` of a layer of your own; "
            "in a functional model their weights would be no part of it. Received: a symbolic "
            f"{argument} of shape {tuple(tensor.shape)}"
        )


def check_shapes(name, query_shape, value_shape, key_shape=None):
    """Refuses shapes that no attention can be built on.

    Raises:
        ValueError: for wrong ranks, unknown widths and unequal lengths.
    """
    shapes = {"query": query_shape, "value": value_shape, "key": key_shape or value_shape}
    for argument, shape in shapes.items():
        check_input(name, argument, shape)
        if shape[-1] is None:
            raise ValueError(
                f"{name} has to know the width of the {argument}. "
                f"Received: {argument}.shape={tuple(shape)}"
            )
    value_length, key_length = shapes["value"][1], shapes["key"][1]
    if None not in (value_length, key_length) and value_length != key_length:
        raise ValueError(
            f"{name} expects as many keys as values. Received: value.shape={tuple(value_shape)}, "
            f"key.shape={tuple(key_shape)}"
        )
