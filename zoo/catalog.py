"""The models by name. An entry is data: what it is, where it comes from, and its values."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .errors import ConfigError
from .registry import Registry, load_entry

if TYPE_CHECKING:
    from .models.encoder_decoder import EncoderDecoder

# Families are functions that make a model: the catalog itself can be read without TensorFlow.
_RECURRENT = "zoo.models.recurrent:recurrent"
_MEMORY = "zoo.models.memory_network:memory_network"
_TRANSFORMER = "zoo.models.transformer:transformer"
_VASWANI = "Vaswani et al. 2017, https://arxiv.org/abs/1706.03762"
_KASAI = "Kasai et al. 2021, https://arxiv.org/abs/2006.10369"
# Options of version 0.1, and what took their place.
_RENAMED = {
    "wiring": "attention_query=previous_state or current_state, input_feeding=true",
    "embedding_power": "embedding_scale_power",
    "longest_sentence": "max_sentence_length",
    "separators": "separator_ids",
}


@dataclass(frozen=True)
class CatalogEntry:
    """A named model.

    Attributes:
        description: One line.
        paper: Where it comes from.
        family: A function or class that makes it from `vocab_size` and options, or a string
            `module:NAME`, the module relative to the package.
        options: Options of the family.
        training: Training settings that belong to the model, by the names of `RunConfig`.
        from_tokenizer: A function from a tokenizer to further options, or a string as above.
        reads_sentences: Whether its sources are split into sentences, with a separator between.
    """

    description: str
    paper: str
    family: str | Callable[..., EncoderDecoder]
    options: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    from_tokenizer: str | Callable[[Any], dict[str, Any]] | None = None
    reads_sentences: bool = False

    def defaults(self) -> dict[str, Any]:
        """The options that the model is made with where nobody gives others."""
        parameters = inspect.signature(load_entry(self.family)).parameters.values()
        unset = ("name", "dtype")
        defaults = {
            p.name: p.default
            for p in parameters
            if p.default is not p.empty and p.name not in unset
        }
        return {**defaults, **self.options}

    def kwargs_from_tokenizer(self, tokenizer: Any) -> dict[str, Any]:
        """Options that follow from the tokens of a corpus."""
        return load_entry(self.from_tokenizer)(tokenizer) if self.from_tokenizer else {}

    def build(self, vocab_size: int, **options: Any) -> EncoderDecoder:
        """An untrained model with all its weights; `options` replace those of the entry."""
        model = self.instance(vocab_size, **options)
        model.build()
        return model

    def instance(self, vocab_size: int, **options: Any) -> EncoderDecoder:
        """An untrained model whose weights are not made yet.

        Raises:
            ConfigError: There is no option of that name.
        """
        family = load_entry(self.family)
        known = inspect.signature(family).parameters
        takes_all = any(p.kind is p.VAR_KEYWORD for p in known.values())
        for name in options:
            if name not in known and not takes_all:
                renamed = f"; use {_RENAMED[name]}" if name in _RENAMED else ""
                raise ConfigError(
                    f"There is no option {name!r}{renamed}. Known: {', '.join(self.defaults())}."
                )
        return family(vocab_size=vocab_size, **{**self.options, **options})


_TINY = {
    "width": 128,
    "encoder_layers": 4,
    "decoder_layers": 4,
    "num_heads": 4,
    "feedforward_dim": 256,
    "dropout": 0.3,
}
_TINY_TRAINING = {"batch_tokens": 4096, "learning_rate": 0.004, "warmup_steps": 1000}
_SMALL = {
    "width": 256,
    "encoder_layers": 6,
    "decoder_layers": 6,
    "num_heads": 4,
    "feedforward_dim": 1024,
    "dropout": 0.2,
}
_SMALL_TRAINING = {"batch_tokens": 4096, "learning_rate": 0.002, "warmup_steps": 2000}
_ENTRIES = {
    "rnn": CatalogEntry(
        "encoder-decoder with one fixed context for the whole source",
        "Cho et al. 2014, https://arxiv.org/abs/1406.1078",
        _RECURRENT,
        {"attention": "none"},
    ),
    "rnn-bahdanau": CatalogEntry(
        "a context of its own for every target word, additive attention",
        "Bahdanau et al. 2015, https://arxiv.org/abs/1409.0473",
        _RECURRENT,
        {"attention": "bahdanau"},
    ),
    "rnn-luong": CatalogEntry(
        "multiplicative attention with input feeding",
        "Luong et al. 2015, https://arxiv.org/abs/1508.04025",
        _RECURRENT,
        {"attention": "luong"},
    ),
    "rnn-qkv": CatalogEntry(
        "queries compared with keys by scaled dot products, values summed by the result",
        _VASWANI,
        _RECURRENT,
        {"attention": "qkv"},
    ),
    "pointer-generator": CatalogEntry(
        "writes or copies from the source, and knows where it looked before",
        "See et al. 2017, https://arxiv.org/abs/1704.04368",
        _RECURRENT,
        {
            "attention": "bahdanau",
            "copying": True,
            "coverage": True,
            "location_window": 1,  # not in the paper; words are copied piece by piece here
            # As in the paper, at the end: before, the loss keeps it from learning where to look.
            "coverage_start": 0.9,
        },
        {"replace_unknown": True},
    ),
    "memory-network": CatalogEntry(
        "remembers sentences, and looks several times before it answers: for questions",
        "Xiong et al. 2016, https://arxiv.org/abs/1603.01417",
        _MEMORY,
        {},
        # At 0.004 some seeds learn by heart what several facts are needed for.
        {"batch_tokens": 4096, "learning_rate": 0.002, "warmup_steps": 250},
        "zoo.models.sentences:kwargs_from_tokenizer",
        reads_sentences=True,
    ),
    "transformer-tiny": CatalogEntry(
        "self-attention, 4 + 4 layers of width 128: for small corpora and two cores",
        "Wu et al. 2021, https://aclanthology.org/2021.acl-long.480",
        _TRANSFORMER,
        _TINY,
        _TINY_TRAINING,
    ),
    "transformer-tiny-8-1": CatalogEntry(
        "transformer-tiny with 8 + 1 layers: a deep encoder, a shallow decoder that writes faster",
        _KASAI,
        _TRANSFORMER,
        {**_TINY, "encoder_layers": 8, "decoder_layers": 1},
        _TINY_TRAINING,
    ),
    "transformer-small": CatalogEntry(
        "self-attention, 6 + 6 layers of width 256",
        _VASWANI,
        _TRANSFORMER,
        _SMALL,
        _SMALL_TRAINING,
    ),
    "transformer-small-12-1": CatalogEntry(
        "transformer-small with 12 + 1 layers: a deep encoder, a shallow decoder",
        _KASAI,
        _TRANSFORMER,
        {**_SMALL, "encoder_layers": 12, "decoder_layers": 1},
        _SMALL_TRAINING,
    ),
    "transformer-base": CatalogEntry(
        "self-attention, 6 + 6 layers of width 512",
        _VASWANI,
        _TRANSFORMER,
        {
            "width": 512,
            "encoder_layers": 6,
            "decoder_layers": 6,
            "num_heads": 8,
            "feedforward_dim": 2048,
            "dropout": 0.1,
        },
        {"batch_tokens": 8192, "learning_rate": 0.0007, "warmup_steps": 4000},
    ),
    "transformer-big": CatalogEntry(
        "self-attention, 6 + 6 layers of width 1024",
        _VASWANI,
        _TRANSFORMER,
        {
            "width": 1024,
            "encoder_layers": 6,
            "decoder_layers": 6,
            "num_heads": 16,
            "feedforward_dim": 4096,
            "dropout": 0.3,
        },
        {"batch_tokens": 8192, "learning_rate": 0.0005, "warmup_steps": 4000},
    ),
}
MODELS = Registry("model", _ENTRIES)


def build(name: str, vocab_size: int, **options: Any) -> EncoderDecoder:
    """Builds an untrained model of the catalog.

    Args:
        name: A name of the catalog, or of `register_model`.
        vocab_size: Tokens of the target, and of the source if they share one vocabulary.
        **options: Options of the model's family that replace the catalog's, such as
            `attention=MyAttention(8)`.

    Returns:
        The model with all its weights.

    Raises:
        ConfigError: There is no model of that name, or no such option.
        ValueError: An option has an impossible value.

    Example:

    >>> model = attention_zoo.build("rnn-bahdanau", vocab_size=8000, embedding_dim=128)
    """
    return MODELS[name].build(vocab_size, **options)


def register_model(
    name: str,
    family: Callable[..., EncoderDecoder] | None = None,
    training: dict[str, Any] | None = None,
    from_tokenizer: Callable[[Any], dict[str, Any]] | None = None,
) -> Any:
    """Adds a model to the catalog.

    Args:
        name: The name to choose it by.
        family: A function that returns an `EncoderDecoder`, or a class that is one, called with
            `vocab_size`, with `source_vocab_size` if the sides have vocabularies of their own, and
            with the options that a user sets. If it is left out, this is a decorator.
        training: Training settings that belong to the model.
        from_tokenizer: A function from a tokenizer to options.

    Returns:
        The function or class, or a decorator that returns it.

    Raises:
        ConfigError: The name is that of another model.

    Example:

    >>> @attention_zoo.register_model("mine", training={"learning_rate": 0.001})
    ... def mine(vocab_size, units=128):
    ...     embedding = ScaledEmbedding(vocab_size, units)
    ...     return EncoderDecoder(
    ...         MyEncoder(), MyDecoder(), VocabularyOutput(vocab_size), embedding, embedding
    ...     )
    >>> model = attention_zoo.build("mine", vocab_size=8000, units=64)
    """
    if family is None:
        return lambda made: register_model(name, made, training, from_tokenizer)
    description = (inspect.getdoc(family) or name).partition("\n")[0].rstrip(".")
    MODELS.register(
        name,
        CatalogEntry(description, "", family, {}, dict(training or {}), from_tokenizer),
        origin=family,
    )
    return family
