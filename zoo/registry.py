"""Registries of what is chosen by name: models, attentions, tasks, metrics and schedules.

Built-in entries are strings, `module:NAME`, so that listing them imports nothing. Users register
objects, with no file of the package to edit.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from .errors import ConfigError

PACKAGE = __package__.partition(".")[0] if __package__ else "attention_zoo"


class Registry(Mapping[str, Any]):
    """Objects by name.

    Args:
        kind: What an entry is called in messages, such as `"metric"`.
        entries: The built-in entries: objects, or strings `module:NAME`, where the module is
            relative to the package and imported when the entry is first asked for.

    Example:

    >>> schedules = Registry("schedule", {"cosine": "zoo.training.schedules:Cosine"})
    >>> @schedules.register("constant")
    ... class Constant(keras.optimizers.schedules.LearningRateSchedule):
    ...     ...
    >>> schedules["constant"]
    """

    def __init__(self, kind: str, entries: dict[str, Any] | None = None):
        self.kind = kind
        self._entries: dict[str, Any] = dict(entries or {})
        self._origins: dict[str, str] = {}

    def register(self, name: str, value: Any = None, origin: Any = None) -> Any:
        """Adds an entry; without `value`, returns a decorator that adds what it decorates.

        Args:
            name: The name to choose it by. An entry of that name is replaced by one of the same
                origin only, as when a notebook cell runs again.
            value: The object.
            origin: Whose name and module say that two objects are the same, if it is not the
                object's own.

        Returns:
            The object, or a decorator that returns the object.

        Raises:
            ConfigError: The name is empty or another object's.
        """
        if value is None:
            decorator: Callable[[Any], Any] = lambda value: self.register(name, value)  # noqa: E731
            return decorator
        if not isinstance(name, str) or not name or name != name.strip():
            raise ConfigError(f"A {self.kind} is registered by a name. Received: {name!r}")
        mine = _qualified_name(value if origin is None else origin)
        if name in self._entries:
            present = self._origins.get(name) or _qualified_name(self._entries[name])
            if present != mine:
                raise ConfigError(
                    f"There is a {self.kind} {name!r} already ({present}): choose another name for "
                    f"{mine}."
                )
        self._entries[name] = value
        self._origins[name] = mine
        return value

    def __getitem__(self, name: str) -> Any:
        if name not in self._entries:
            raise ConfigError(f"There is no {self.kind} {name!r}. Known: {', '.join(self)}.")
        value = self._entries[name]
        value = self._entries[name] = load_entry(value)
        return value

    def __contains__(self, name: object) -> bool:  # without importing what is there
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


def load_entry(value: Any) -> Any:
    """The object itself, or that of a string `module:NAME`, which is imported."""
    if not isinstance(value, str):
        return value
    module, _, attribute = value.partition(":")
    return getattr(importlib.import_module(f"{PACKAGE}.{module}"), attribute)


def names_from(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """The `__getattr__` of a package whose names are imported when they are asked for.

    Args:
        package: Its `__name__`.
        homes: The module of each name, relative to the package, such as `".loss"`.
    """

    def __getattr__(name: str) -> Any:
        if name in homes:
            return getattr(importlib.import_module(homes[name], package), name)
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return __getattr__


def _qualified_name(value: Any) -> str:
    """The module and name of an entry, also of one that is not imported yet."""
    if isinstance(value, str):
        return value
    described = value if hasattr(value, "__qualname__") else type(value)
    return f"{described.__module__}:{described.__qualname__}"
