"""The model of a config: an entry of the catalog, or one that a user brings."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ...zoo.catalog import MODELS, CatalogEntry
from ...zoo.errors import ConfigError
from .config import RunConfig
from .parts import find_part, is_file_spec, load_object

if TYPE_CHECKING:
    from ...zoo.models.base import Seq2SeqModel
    from ...zoo.text.tokenizer import SubwordTokenizer


class OwnModel:
    """A model of the user, with what an entry of the catalog has.

    Args:
        builder: A model class or function: `builder(vocab_size=..., **options)` returns an
            untrained model.
    """

    def __init__(self, builder: Callable[..., Any]):
        self.builder = builder
        self.options: dict[str, Any] = {}
        self.training: dict[str, Any] = {}
        self.paper = ""
        self.description = (getattr(builder, "__doc__", None) or "").strip().partition("\n")[0]

    def model_class(self) -> Callable[..., Any]:
        """Returns the class or function that makes the model."""
        return self.builder

    def defaults(self) -> dict[str, Any]:
        """The options that the model is made with where nobody gives others."""
        parameters = inspect.signature(self.builder).parameters.values()
        return {p.name: p.default for p in parameters if p.default is not p.empty}

    def kwargs_from_tokenizer(self, tokenizer: SubwordTokenizer) -> dict[str, Any]:
        """Options that follow from the tokens of a corpus."""
        options_of = getattr(self.builder, "options_of", None)
        return {} if options_of is None else options_of(tokenizer)

    def instance(self, vocab_size: int, **options: Any) -> Any:
        """Makes an untrained model whose weights are not made yet."""
        return self.builder(vocab_size=vocab_size, **options)

    def build(self, vocab_size: int, **options: Any) -> Any:
        """Makes an untrained model with all its weights."""
        model = self.instance(vocab_size, **options)
        model.build_from_ids()
        return model


def model_of(spec: str | CatalogEntry | Callable) -> tuple[str, CatalogEntry | OwnModel | None]:
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
        return name, found if isinstance(found, CatalogEntry) else OwnModel(found)
    if isinstance(spec, CatalogEntry):
        return next((name for name in MODELS if MODELS[name] is spec), "model"), spec
    return spec.__name__.strip("<>"), OwnModel(spec)


def entry_of(config: RunConfig) -> CatalogEntry | OwnModel:
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
            return found if isinstance(found, CatalogEntry) else OwnModel(found)
    return MODELS[model_of(config.model)[0]]


def build_model(config: RunConfig, tokenizer: SubwordTokenizer) -> Seq2SeqModel:
    """The untrained model of a config, for the tokens of a tokenizer."""
    entry = entry_of(config)
    options = {**entry.kwargs_from_tokenizer(tokenizer), **config.model_options}
    if not tokenizer.shares_vocabulary:
        options["source_vocab_size"] = tokenizer.source.vocab_size
    return entry.build(tokenizer.vocab_size, **options)


def family_of(entry: CatalogEntry | OwnModel) -> Callable[..., Any]:
    """The class or function that makes the models of an entry, imported."""
    return entry.model_class()
