"""The model of a run: its file, the parts of it that users bring, and its text in and text out."""

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
from ...zoo.decoding.options import GenerationOptions
from ...zoo.decoding.shortlist import Shortlist
from ...zoo.errors import ConfigError
from ...zoo.models.encoder_decoder import EncoderDecoder
from ...zoo.pipeline.text_to_text import TextToText
from ...zoo.registry import PACKAGE, load_entry
from ...zoo.text.tokenizer import Tokenizer
from ..data.pair_files import parse_text
from .config import RunConfig
from .model import entry_of, schedule_of
from .parts import find_part, origin_of
from .task import metric_of, source_format, task_of

Class = tuple[str, str, str]  # registered name, module, name


def _classes_of(model: EncoderDecoder) -> dict[str, str]:
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
    for registered, module, name in dict.fromkeys(_classes(config)):
        if module.partition(".")[0] == PACKAGE:
            continue
        found = keras.saving.get_registered_object(registered)
        origin = origin_of(found or getattr(sys.modules.get(module), name, None))
        if origin is not None:
            origins[registered] = origin
    return origins


def origins_of(config: RunConfig, model: EncoderDecoder | None) -> dict[str, str]:
    """Origins of the parts of a config that are not the package's."""
    chosen = task_of(config)
    parts = {
        "task": chosen,
        "metric": metric_of(config).function,
        "schedule": schedule_of(config),
        "model": load_entry(entry_of(config).family),
    }
    found = {name: origin_of(part) for name, part in parts.items() if part is not None}
    if found["task"] and chosen.parse is not parse_text:
        parse = chosen.parse
        found["parse"] = origin_of(parse) or f"{parse.__module__}:{parse.__qualname__}"
    classes = {} if model is None else _classes_of(model)
    return {**classes, **{name: origin for name, origin in found.items() if origin is not None}}


def read_model(
    path: Path, origins: Mapping[str, str], custom_objects: Mapping[str, Any]
) -> EncoderDecoder:
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
    except ConfigError:
        raise
    except Exception as error:  # there are as many kinds of errors as ways of being damaged
        if isinstance(error, OSError) and error.errno is not None:
            raise  # it is there, and may not be read
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ConfigError(
            f"{path} cannot be read as a model of attention-zoo {__version__}: it is damaged, or "
            "another version wrote it. Copy the run again, or train it anew. "
            f"Keras says: {reason[:300]}"
        ) from error
    if not isinstance(model, EncoderDecoder):
        raise ConfigError(f"{path} is no model of this package.")
    return model


def text_to_text(
    model: EncoderDecoder,
    tokenizer: Tokenizer,
    config: RunConfig,
    name: str = "model",
    truncate: bool | None = None,
    likely: Shortlist | None = None,
    **generation: Any,
) -> TextToText:
    """The model with the search of its config.

    Raises:
        ValueError: the tokens are not those of the task, or options are impossible.
    """
    inputs = source_format(config)
    for symbol in inputs.symbols:
        tokenizer.source.id_of(symbol)
    options = {**config.generation(config.max_target_length), **generation}
    return TextToText(
        model,
        tokenizer,
        GenerationOptions(**options),
        config.max_source_length,
        name,
        inputs,
        truncate,
        shortlist=likely,
    )


def _classes_in_file(path: Path) -> list[Class]:
    """The classes that a file names; none if it is damaged, which Keras says better."""
    try:
        with zipfile.ZipFile(path) as archive:
            return list(dict.fromkeys(_classes(json.loads(archive.read("config.json")))))
    except Exception:
        return []


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
