"""Names under which `keras.models.load_model` finds the classes of the package.

Keras knows the classes of a saved model by names that are registered when a class is defined, and
importing the package defines none. So each name is registered with an object that imports its
class when a model asks for it; Keras itself may be imported before or after.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.util
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

PACKAGE = __name__.partition(".")[0]
CLASSES = {
    "layers.attention.additive": ("BahdanauAttention",),
    "layers.attention.coverage": ("CoverageAttention",),
    "layers.attention.dot_product": ("QKVAttention",),
    "layers.attention.multi_hop": ("MultiHopAttention",),
    "layers.attention.multiplicative": ("LuongAttention",),
    "layers.attention.self_attention": ("SelfAttention",),
    "layers.attention_gru_cell": ("AttentionGRUCell",),
    "layers.ops.dense": ("Dense",),
    "layers.ops.dropout": ("Dropout",),
    "layers.ops.normalization": ("LayerNormalization",),
    "layers.ops.positions": ("AlibiPositions", "RelativePositions", "RotaryPositions"),
    "layers.pointer_generator": ("PointerGenerator",),
    "layers.transformer.blocks": ("TransformerDecoderBlock", "TransformerEncoderBlock"),
    "zoo.models.copying": ("PointerGeneratorOutput",),
    "zoo.models.coverage": ("CoverageLoss",),
    "zoo.models.embedding": ("ScaledEmbedding",),
    "zoo.models.encoder_decoder": ("EncoderDecoder",),
    "zoo.models.outputs": ("VocabularyOutput",),
    "zoo.models.recurrent": ("RecurrentEncoder",),
    "zoo.models.recurrent_decoder": ("RecurrentDecoder",),
    "zoo.models.sentences": ("SentenceEncoder",),
    "zoo.models.transformer_parts": ("TransformerDecoder", "TransformerEncoder"),
    "zoo.models.transformer_positions": ("AddedPositions",),
    "zoo.models.unroll": ("BidirectionalGRU",),
    "zoo.training.loss": ("SmoothedCrossEntropy",),
    "zoo.training.optimizers": ("FusedAdam",),
    "zoo.training.schedules": ("Cooldown", "CosineToZero", "InverseSquareRoot"),
}


class UnloadedClass:
    """Stands for a class until a model is made of it.

    Args:
        module: Module of the class, in the package.
        name: Name of the class.
    """

    def __init__(self, module: str, name: str):
        self.module, self.name = module, name

    def from_config(self, config: dict[str, Any]) -> Any:
        """Makes an object of the class, which is registered itself from then on."""
        found = getattr(importlib.import_module(f"{PACKAGE}.{self.module}"), self.name)
        return found.from_config(config)


def register_classes() -> None:
    """Registers the classes that are not defined yet, now or as soon as Keras is imported."""
    if "keras" not in sys.modules:
        sys.meta_path.insert(0, _AfterKeras())
        return
    import keras

    known = keras.saving.get_custom_objects()
    for module, names in CLASSES.items():
        for name in names:
            known.setdefault(f"attention_zoo>{name}", UnloadedClass(module, name))


class _AfterKeras(importlib.abc.MetaPathFinder):
    """Registers the classes at the end of the first import of Keras."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != "keras":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is not None and spec.loader is not None:
            spec.loader = _Registering(spec.loader)
        return spec


class _Registering(importlib.abc.Loader):
    """Loads a module as its own loader does, and registers the classes then."""

    def __init__(self, loader: importlib.abc.Loader):
        self.loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self.loader
        if module.__spec__ is not None:
            module.__spec__.loader = self.loader
        self.loader.exec_module(module)
        register_classes()
