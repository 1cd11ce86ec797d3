"""The model of a config: an entry of the catalog, or one that a user brings."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ...zoo.catalog import MODELS, CatalogEntry
from ...zoo.errors import ConfigError
from ...zoo.training import SCHEDULES
from .config import RunConfig
from .parts import find_part, is_file_spec, live, load_object, plain

if TYPE_CHECKING:
    from ...zoo.models.encoder_decoder import EncoderDecoder
    from ...zoo.text.tokenizer import Tokenizer


def model_of(spec: str | CatalogEntry | Callable) -> tuple[str, CatalogEntry | None]:
    """The model that a user means.

    Args:
        spec: A name of the catalog, `file.py:NAME`, `module:NAME`, a catalog entry, or a class or
            function that makes a model.

    Returns:
        Its name, and its entry if it is not chosen by a name of the catalog.

    Raises:
        ConfigError: There is none.
    """
    if isinstance(spec, str) and spec in MODELS:
        return spec, None
    if isinstance(spec, str):
        if not is_file_spec(spec) and ":" not in spec:
            raise ConfigError(f"There is no model {spec!r}. Known: {', '.join(MODELS)}.")
        name = spec.rpartition(":")[2]
        found = load_object(spec)
        if name in MODELS:
            return name, None
        return name, as_entry(found)
    if isinstance(spec, CatalogEntry):
        return next((name for name in MODELS if MODELS[name] is spec), "model"), spec
    return spec.__name__.strip("<>"), as_entry(spec)


def entry_of(config: RunConfig) -> CatalogEntry:
    """The catalog entry of a config's model.

    Raises:
        ConfigError: It is in a file that this process has not been given.
    """
    if config.parts.model is not None:
        return config.parts.model
    origin = config.parts.origins.get("model")
    if origin and config.model not in MODELS:
        found = find_part("model", config.model, origin, "--model")
        if config.model not in MODELS:  # where its module has not registered it
            return as_entry(found)
    return MODELS[model_of(config.model)[0]]


def schedule_of(config: RunConfig) -> Callable[..., Any]:
    """The class or function that makes the schedule of a config from peak and warm-up steps.

    Raises:
        ConfigError: There is none of its name, or it is in a file that this process has not been
            given.
    """
    if config.parts.schedule is not None:
        return config.parts.schedule
    origin = config.parts.origins.get("schedule")
    if origin and config.schedule not in SCHEDULES:
        return find_part("schedule", config.schedule, origin, "--task")
    return SCHEDULES[config.schedule]


def defaults_of(config: RunConfig) -> dict[str, Any]:
    """The options of a config's model where nobody gives others, as JSON has them."""
    return {name: plain(value) for name, value in entry_of(config).defaults().items()}


def model_options_of(config: RunConfig) -> dict[str, Any]:
    """Arguments of a config's model; layers among them also where the config was in a file."""
    return {name: live(value) for name, value in config.model_options.items()}


def build_model(config: RunConfig, tokenizer: Tokenizer) -> EncoderDecoder:
    """The untrained model of a config, for the tokens of a tokenizer."""
    entry = entry_of(config)
    options = {**entry.kwargs_from_tokenizer(tokenizer), **model_options_of(config)}
    if not tokenizer.shares_vocabulary:
        options["source_vocab_size"] = tokenizer.source.vocab_size
    return entry.build(tokenizer.vocab_size, **options)


def as_entry(value: CatalogEntry | Callable[..., EncoderDecoder]) -> CatalogEntry:
    """The entry of a class or function that makes a model."""
    if isinstance(value, CatalogEntry):
        return value
    return CatalogEntry((inspect.getdoc(value) or "").partition("\n")[0], "", value)
