"""Attention Zoo: sequence-to-sequence models with attention for Keras 3 and TensorFlow.

    import attention_zoo
    translator = attention_zoo.load("dates-en-zh")         # a preset, or the folder of a run
    translator.predict(["May 5, 2024"])                    # text in, text out
    model = attention_zoo.build("rnn-bahdanau", vocab_size=8000)       # an untrained Keras model

    from attention_zoo.layers import BahdanauAttention     # a layer for a model of your own

Importing the package loads nothing; TensorFlow is loaded with the first name that needs it, and
`attention_zoo.layers` runs on every Keras backend without it. Once it is imported,
`keras.models.load_model` finds the classes of all models that were saved.
"""

from __future__ import annotations

import importlib
from typing import Any

from .zoo.registration import register_classes

__version__ = "0.1.0"

_PUBLIC = {
    "load": ".recipes.core.packed_run",
    "train": ".recipes.training.launch",
    "build": ".zoo.catalog",
    "register_model": ".zoo.catalog",
    "register_attention": ".zoo.models.attention_registry",
    "EncoderDecoder": ".zoo.models.encoder_decoder",
    "Encoder": ".zoo.models.parts",
    "Decoder": ".zoo.models.parts",
    "Output": ".zoo.models.parts",
    "MODELS": ".zoo.catalog",
    "TextToText": ".zoo.pipeline.text_to_text",
    "GenerationOptions": ".zoo.decoding.options",
    "Tokenizer": ".zoo.text.tokenizer",
    "generate": ".zoo.decoding.search",
    "explain": ".zoo.pipeline.explain",
    "export": ".serving.export.export",
    "Client": ".serving.client.client",
    "register_task": ".recipes.core.task",
    "register_metric": ".recipes.metrics.metric",
    "register_schedule": ".zoo.training",
}

_FOLDERS = ("layers", "zoo", "serving", "recipes")

__all__ = [*_PUBLIC, "__version__"]

register_classes()


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name], __name__), name)
    if name in _FOLDERS:
        return importlib.import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
