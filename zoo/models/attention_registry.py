"""Attention layers by name, and how a model gets one of its own."""

from __future__ import annotations

import inspect
from typing import Any

from ...layers import Attention, BahdanauAttention, LuongAttention, QKVAttention
from ..errors import ConfigError
from ..registry import Registry


def _qkv(units: int, num_heads: int, source_dim: int) -> QKVAttention:
    if units % num_heads:
        raise ConfigError(
            "The heads share the width of the attention: attention_units must be a multiple of "
            f"num_heads. Received: attention_units={units}, num_heads={num_heads}"
        )
    return QKVAttention(num_heads, key_dim=units // num_heads, output_dim=source_dim)


ATTENTIONS = Registry(
    "attention",
    {
        "none": None,
        "bahdanau": BahdanauAttention,
        "luong": lambda: LuongAttention("general"),
        "luong-general": lambda: LuongAttention("general"),
        "luong-dot": lambda: LuongAttention("dot"),
        "luong-concat": lambda units: LuongAttention("concat", units),
        "qkv": _qkv,
    },
)


def register_attention(name: str, attention: Any = None) -> Any:
    """Adds an attention that models can be built with by name.

    Args:
        name: The name to choose it by, as in `build("rnn-bahdanau", attention=name)`.
        attention: An `Attention` layer, or a class or function that makes one. It is called with
            those of `units`, `num_heads` and `source_dim` (the width of what is attended to) that
            it has parameters for. If it is left out, this is a decorator.

    Returns:
        The object, or a decorator that returns the object.

    Raises:
        ConfigError: The name is that of another attention.

    Example:

    >>> @attention_zoo.register_attention("distance")
    ... class DistanceAttention(attention_zoo.layers.Attention):
    ...     def score(self, query, keys):
    ...         return -ops.sum(ops.square(query[:, :, None] - keys[:, None]), axis=-1)
    >>> model = attention_zoo.build("rnn-bahdanau", vocab_size=8000, attention="distance")
    """
    return ATTENTIONS.register(name, attention)


def make_attention(attention: Any, units: int, num_heads: int, source_dim: int) -> Attention | None:
    """The attention layer of a name or an object.

    Args:
        attention: A registered name, an `Attention`, or a class or function that makes one.
        units: The width in which query and key are compared.
        num_heads: Heads, for kinds that have them.
        source_dim: The width of what is attended to.

    Returns:
        The layer; `None` for one fixed context.

    Raises:
        ConfigError: There is no attention of that name, or what is given makes none.
    """
    found = ATTENTIONS[attention] if isinstance(attention, str) else attention
    if found is None:
        return None
    if callable(found) and not isinstance(found, Attention):
        values = {"units": units, "num_heads": num_heads, "source_dim": source_dim}
        parameters = inspect.signature(found).parameters
        found = found(**{name: values[name] for name in values if name in parameters})
    if not isinstance(found, Attention):
        raise ConfigError(
            f"An attention is one of {', '.join(ATTENTIONS)}, or an Attention layer. "
            f"Received: attention={attention!r}"
        )
    return found


def copy_of(attention: Attention, name: str, dtype: Any = None) -> Attention:
    """An attention layer with the same settings, and a name, type and weights of its own."""
    return type(attention).from_config({**attention.get_config(), "name": name, "dtype": dtype})
