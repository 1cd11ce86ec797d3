"""The models by name. An entry is data: what it is, where it comes from, and its values."""

from __future__ import annotations

import importlib
import inspect
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .models.base import Seq2SeqModel

# Families by module and class: the catalog itself can be read without TensorFlow.
_RECURRENT = ("recurrent", "RecurrentSeq2Seq")
_MEMORY = ("memory_network", "MemoryNetworkSeq2Seq")
_TRANSFORMER = ("transformer", "TransformerSeq2Seq")
_VASWANI = "Vaswani et al. 2017, https://arxiv.org/abs/1706.03762"


@dataclass(frozen=True)
class CatalogEntry:
    """A named model.

    Attributes:
        description: one line.
        paper: where it comes from.
        family: module and class that it is an instance of.
        options: constructor values.
        training: training settings that belong to the model, by the names of `RunConfig`.
    """

    description: str
    paper: str
    family: tuple[str, str]
    options: dict[str, Any]
    training: dict[str, Any] = field(default_factory=dict)

    def model_class(self) -> type[Seq2SeqModel]:
        """The class, imported (which also lets Keras load a file of it)."""
        module, name = self.family
        return getattr(importlib.import_module(f".models.{module}", __package__), name)

    def defaults(self) -> dict[str, Any]:
        """The options that the model is made with where nobody gives others."""
        parameters = inspect.signature(self.model_class()).parameters.values()
        defaults = {p.name: p.default for p in parameters if p.default is not p.empty}
        return {**defaults, **self.options}

    def kwargs_from_tokenizer(self, tokenizer: Any) -> dict[str, Any]:
        """Options that follow from the tokens of a corpus."""
        return self.model_class().options_of(tokenizer)

    def build(self, vocab_size: int, **options: Any) -> Seq2SeqModel:
        """An untrained model with all its weights; `options` replace those of the entry."""
        model = self.instance(vocab_size, **options)
        model.build_from_ids()
        return model

    def instance(self, vocab_size: int, **options: Any) -> Seq2SeqModel:
        """An untrained model whose weights are not made yet."""
        return self.model_class()(vocab_size=vocab_size, **{**self.options, **options})


MODELS: dict[str, CatalogEntry] = {
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
        {"batch_tokens": 4096, "learning_rate": 0.004, "warmup_steps": 250},
    ),
    "transformer-tiny": CatalogEntry(
        "self-attention, 4 + 4 layers of width 128: for small corpora and two cores",
        "Wu et al. 2021, https://aclanthology.org/2021.acl-long.480",
        _TRANSFORMER,
        {
            "width": 128,
            "encoder_layers": 4,
            "decoder_layers": 4,
            "num_heads": 4,
            "feedforward_dim": 256,
            "dropout": 0.3,
        },
        {"batch_tokens": 4096, "learning_rate": 0.004, "warmup_steps": 1000},
    ),
    "transformer-small": CatalogEntry(
        "self-attention, 6 + 6 layers of width 256",
        _VASWANI,
        _TRANSFORMER,
        {
            "width": 256,
            "encoder_layers": 6,
            "decoder_layers": 6,
            "num_heads": 4,
            "feedforward_dim": 1024,
            "dropout": 0.2,
        },
        {"batch_tokens": 4096, "learning_rate": 0.002, "warmup_steps": 2000},
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


def build(name: str, vocab_size: int, **options: Any) -> Seq2SeqModel:
    """An untrained model of the catalog: `attention_zoo.build("rnn-bahdanau", vocab_size=8000)`.

    Args:
        name: a name of the catalog.
        vocab_size: subwords of the target, and of the source if they share one vocabulary.
        **options: arguments of the model's constructor that replace the catalog's.
    """
    return entry(name).build(vocab_size, **options)


def entry(name: str) -> CatalogEntry:
    """The entry of a model's name."""
    if name not in MODELS:
        raise ValueError(f"There is no model {name!r}. Known: {', '.join(MODELS)}.")
    return MODELS[name]
