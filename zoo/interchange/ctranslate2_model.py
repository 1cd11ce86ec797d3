"""Transformers of the zoo as models of CTranslate2, which runs them without TensorFlow.

CTranslate2 has classes that describe a model and write its file; they are used if it is installed.
"""

from __future__ import annotations

import importlib
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ConfigError
from ..files import claimed, partial_file
from ..models.encoder_decoder import EncoderDecoder
from ..models.outputs import VocabularyOutput
from ..models.transformer_parts import TransformerDecoder, TransformerEncoder
from ..pipeline.text_to_text import TextToText
from ..text.tokenizer import Tokenizer

VARIANTS = ("float32", "float16", "int8")
_POSITIONS = ("sinusoidal", "sinusoidal-published", "learned", "relative")
_ACTIVATIONS = {
    "relu": "RELU",
    "silu": "SWISH",
    "swish": "SWISH",
    "gelu": "GELU",
    "gelu_tanh": "GELUTanh",
    "tanh": "Tanh",
}
# Positions whose encodings are written, where there are as many as one likes.
_POSITIONS_WRITTEN = 2048


def write_ctranslate2(
    text_to_text: TextToText, folder: str | Path, variant: str = "float32"
) -> None:
    """Writes a model as a folder for `ctranslate2.Translator`, with its SentencePiece models.

    Args:
        text_to_text: A model of the Transformer family with its tokenizer.
        folder: Where to; it must not exist.
        variant: How weights are stored: `"float32"`, `"float16"` or `"int8"`.

    Raises:
        ConfigError: CTranslate2 is not installed, the model has a part that it has not, or the
            folder exists.

    Example: the folder is all that is needed to translate.

    >>> write_ctranslate2(attention_zoo.load("runs/en-de"), "ctranslate2/en-de", "int8")
    >>> source = sentencepiece.SentencePieceProcessor("ctranslate2/en-de/source.model")
    >>> translator = ctranslate2.Translator("ctranslate2/en-de")
    >>> tokens = [source.encode("a house", out_type=str)]
    >>> translator.translate_batch(tokens, disable_unk=True)[0].hypotheses[0]

    Reference: https://opennmt.net/CTranslate2
    """
    folder = Path(folder)
    if variant not in VARIANTS:
        raise ConfigError(f"variant is one of {', '.join(VARIANTS)}. Received: {variant}")
    if folder.exists():
        raise ConfigError(f"{folder} exists; give a folder that does not.")
    model, inputs = text_to_text.model, text_to_text.source_format
    if lacking := missing_parts(model):
        raise ConfigError(f"CTranslate2 has no {', no '.join(lacking)}: export a SavedModel.")
    if len(inputs.inputs) > 1:
        names = ", ".join(item.name for item in inputs.inputs)
        raise ConfigError(f"CTranslate2 takes one text, no {names}: export a SavedModel.")
    try:
        specs = importlib.import_module("ctranslate2.specs")
    except ImportError:
        raise ConfigError(
            "--format ctranslate2 needs the package ctranslate2: "
            "pip install 'attention-zoo[ctranslate2]'"
        ) from None
    limits = (text_to_text.max_source_length, text_to_text.generation.max_length)
    spec = _spec(specs, model, max(limits))
    tokenizer = text_to_text.tokenizer
    spec.register_source_vocabulary(_pieces(tokenizer.source))
    spec.register_target_vocabulary(_pieces(tokenizer))
    spec.config.add_source_eos = True
    if inputs.tag is not None:
        spec.config.add_source_bos, spec.config.bos_token = True, inputs.tag
    spec.validate()
    spec.optimize(quantization=variant)
    aside = partial_file(folder)
    with claimed(aside):
        try:
            for left in aside.iterdir():  # by one that was killed
                left.unlink()
            spec.save(str(aside))
            (aside / "source.model").write_bytes(tokenizer.source.model)
            (aside / "target.model").write_bytes(tokenizer.model)
            os.rename(aside, folder)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise


def missing_parts(model: EncoderDecoder) -> list[str]:
    """The parts of a model that CTranslate2 has not, by name; none if it can run the model."""
    kinds = ((model.encoder, TransformerEncoder), (model.decoder, TransformerDecoder))
    lacking = [type(part).__name__ for part, kind in kinds if type(part) is not kind]
    if model.source_embedding is None:
        lacking.append("source of features")
    output = model.output_layer
    if type(output) is not VocabularyOutput:
        lacking.append(f"{type(output).__name__}, such as one that copies")
    elif output.readout is not None:
        lacking.append("layer between the decoder and the vocabulary")
    if lacking:
        return list(dict.fromkeys(lacking))
    config = model.decoder.get_config()
    if config["positions"] not in _POSITIONS:
        lacking.append(f"{config['positions']} positions here")
    if config["activation"] not in _ACTIVATIONS:
        lacking.append(f"activation {config['activation']}")
    for name in ("self_attention", "cross_attention"):
        if config[name] is not None:
            lacking.append(
                f"{name} of the kind {type(getattr(model.decoder.blocks[0], name)).__name__}"
            )
    return lacking


def _pieces(tokenizer: Tokenizer) -> list[str]:
    return tokenizer.pieces(range(tokenizer.vocab_size))


def _spec(specs: Any, model: EncoderDecoder, limit: int) -> Any:
    """The description of a model with its weights."""
    encoder, decoder = model.encoder, model.decoder
    config = decoder.get_config()
    options = {
        "pre_norm": config["norm_first"],
        "activation": specs.common_spec.Activation[_ACTIVATIONS[config["activation"]]],
        "relative_attention_bias": config["positions"] == "relative",
        "ffn_glu": config["gated"],
        "rms_norm": config["norm"] == "rms",
    }
    made = []
    for side, kind in ((encoder, "Encoder"), (decoder, "Decoder")):
        make = getattr(specs.transformer_spec, f"Transformer{kind}Spec")
        made.append(make(len(side.blocks), config["num_heads"], **options))
    spec = specs.TransformerSpec(*made)
    spec.config.layer_norm_epsilon = config["norm_epsilon"]
    kernel, bias = model.output_layer.vocabulary_weights()
    spec.decoder.projection.weight, spec.decoder.projection.bias = map(_array, (kernel, bias))
    sides: Sequence[tuple[Any, Any, Any, Any]] = (
        (spec.encoder, encoder, spec.encoder.embeddings[0], model.source_embedding),
        (spec.decoder, decoder, spec.decoder.embeddings, model.target_embedding),
    )
    for part, side, table, embedding in sides:
        table.weight = _array(embedding.embeddings)
        part.scale_embeddings = np.float32(embedding.output_dim**embedding.power)
        if side.positions.is_added:
            count = side.max_positions or max(limit, _POSITIONS_WRITTEN)
            part.position_encodings.encodings = _array(side.positions.first(count))
        if side.norm is not None:
            _set_norm(part.layer_norm, side.norm)
        for layer, block in zip(part.layer, side.blocks, strict=True):
            _set_block(layer, block)
    return spec


def _set_block(layer: Any, block: Any) -> None:
    """Sets the weights of a block."""
    attention = block.self_attention
    _set_norm(layer.self_attention.layer_norm, block.attention_norm)
    _set_attention(layer.self_attention, attention, ["qkv"], ["output"])
    if attention.positions is not None:
        layer.self_attention.relative_attention_bias = _array(attention.positions.table)
        distance = np.int32(attention.positions.max_distance)
        layer.self_attention.relative_attention_max_distance = distance
    cross = getattr(block, "cross_attention", None)
    if cross is not None:
        _set_norm(layer.attention.layer_norm, block.cross_attention_norm)
        _set_attention(layer.attention, cross, ["query"], ["key", "value"], ["output"])
    _set_norm(layer.ffn.layer_norm, block.feed_forward_norm)
    _set_linear(layer.ffn.linear_0, block.expand)
    _set_linear(layer.ffn.linear_1, block.contract)
    if block.gated:
        _set_linear(layer.ffn.linear_0_noact, block.gate)


def _set_attention(part: Any, attention: Any, *projections: Sequence[str]) -> None:
    """Sets the projections of an attention, of which some are put side by side."""
    part.queries_scale = np.float32(attention.key_dim**-0.5)
    for linear, names in zip(part.linear, projections, strict=True):
        _set_linear(linear, attention, [f"{name}_" for name in names])


def _set_linear(part: Any, layer: Any, names: Sequence[str] = ("",)) -> None:
    """Sets a matrix, which has a row for each output there."""
    kernels, biases = (
        [_array(getattr(layer, f"{name}{what}")) for name in names] for what in ("kernel", "bias")
    )
    part.weight = np.ascontiguousarray(np.concatenate(kernels, axis=-1).T)
    part.bias = np.concatenate(biases)


def _set_norm(part: Any, norm: Any) -> None:
    if hasattr(norm, "beta"):
        part.gamma, part.beta = _array(norm.gamma), _array(norm.beta)
    else:
        part.gamma = _array(norm.scale)


def _array(variable: Any) -> np.ndarray:
    return np.ascontiguousarray(variable, np.float32)
