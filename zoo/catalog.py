"""The models by name. An entry is data: what it is, where it comes from, and its values."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .model import Seq2SeqModel

# Families by module and class: the catalog itself can be read without TensorFlow.
_RECURRENT = ("recurrent", "RecurrentSeq2Seq")


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
        return getattr(importlib.import_module(f".{module}", __package__), name)

    def build(self, vocab_size: int, **options: Any) -> Seq2SeqModel:
        """An untrained model with all its weights; `options` replace those of the entry."""
        model = self.model_class()(vocab_size=vocab_size, **{**self.options, **options})
        model.build_from_ids()
        return model


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
        "Vaswani et al. 2017, https://arxiv.org/abs/1706.03762",
        _RECURRENT,
        {"attention": "qkv"},
    ),
}


def build(name: str, vocab_size: int, **options: Any) -> Seq2SeqModel:
    """An untrained model of the catalog: `attention_zoo.build("rnn-bahdanau", vocab_size=8000)`.

    Args:
        name: a name of the catalog.
        vocab_size: subwords of the one vocabulary of source and target.
        **options: arguments of the model's constructor that replace the catalog's.
    """
    return entry(name).build(vocab_size, **options)


def entry(name: str) -> CatalogEntry:
    """The entry of a model's name."""
    if name not in MODELS:
        raise ValueError(f"There is no model {name!r}. Known: {', '.join(MODELS)}.")
    return MODELS[name]
