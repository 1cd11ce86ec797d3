"""The file of a run's model, and the Keras classes in it that users bring."""

from __future__ import annotations

import importlib
import json
import sys
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import keras

from ... import __version__
from ...zoo.errors import ConfigError
from ...zoo.models.base import Seq2SeqModel
from ...zoo.registry import PACKAGE
from .parts import find_part, origin_of

Class = tuple[str, str, str]  # registered name, module, name


def classes_in(model: Seq2SeqModel) -> dict[str, str]:
    """Origins of the classes that a model is made of and that are not the package's, by name.

    Raises:
        ConfigError: The model cannot be saved.
    """
    try:
        config = keras.saving.serialize_keras_object(model)
    except Exception as error:
        raise ConfigError(
            f"{type(model).__name__} cannot be saved: {error}. Give each class of your own a "
            "get_config that returns the arguments of its constructor."
        ) from error
    origins = {}
    for registered, module, name in _own_classes(config):
        found = keras.saving.get_registered_object(registered)
        origin = origin_of(found or getattr(sys.modules.get(module), name, None))
        if origin is not None:
            origins[registered] = origin
    return origins


def read_model(
    path: Path, origins: Mapping[str, str], custom_objects: Mapping[str, Any]
) -> Seq2SeqModel:
    """Reads the model in a file.

    Args:
        path: The `.keras` file.
        origins: Where its classes come from that are not the package's, by registered name.
        custom_objects: Classes that the user gives, by registered name.

    Raises:
        ConfigError: The file is damaged or no model of this package, or a class is not there.
    """
    found = dict(custom_objects)
    for registered, module, name in _classes_in_file(path):
        if module.partition(".")[0] == PACKAGE:
            with suppress(ImportError):  # of an earlier version, which had it elsewhere
                importlib.import_module(module)  # which registers it
        elif keras.saving.get_registered_object(registered, custom_objects=found) is None:
            origin = origins.get(registered, f"{module}:{name}")
            found[registered] = find_part("class", name, origin, "--model")
    try:
        model = keras.models.load_model(path, custom_objects=found, compile=False)
    except Exception as error:  # there are as many kinds of errors as ways of being damaged
        if isinstance(error, OSError) and error.errno is not None:
            raise  # it is there, and may not be read
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ConfigError(
            f"{path} cannot be read as a model of attention-zoo {__version__}: it is damaged, or "
            "another version wrote it. Copy the run again, or train it anew. "
            f"Keras says: {reason[:300]}"
        ) from error
    if not isinstance(model, Seq2SeqModel):
        raise ConfigError(f"{path} is no model of this package.")
    return model


def _classes_in_file(path: Path) -> list[Class]:
    """The classes that a file names; none if it is damaged, which Keras says better."""
    try:
        with zipfile.ZipFile(path) as archive:
            return list(dict.fromkeys(_classes(json.loads(archive.read("config.json")))))
    except Exception:
        return []


def _own_classes(config: Any) -> Iterator[Class]:
    for found in dict.fromkeys(_classes(config)):
        if found[1].partition(".")[0] != PACKAGE:
            yield found


def _classes(config: Any) -> Iterator[Class]:
    """The classes that a serialized object names, but for those of Keras."""
    if isinstance(config, list):
        for item in config:
            yield from _classes(item)
    elif isinstance(config, dict):
        module = config.get("module")
        if "class_name" in config and isinstance(module, str):
            name = str(config["class_name"])
            if module.partition(".")[0] not in ("keras", "builtins"):
                yield str(config.get("registered_name") or name), module, name
        for item in config.values():
            yield from _classes(item)
