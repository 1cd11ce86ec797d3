"""Weights of transformers' models as variables of the zoo's Transformer.

Matrices of PyTorch have a row for each output, those of Keras a column. V is the vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..models.encoder_decoder import EncoderDecoder
from .checkpoint import Weights
from .vocabulary import Vocabularies

# Logit of an id that no target is written with: it has no probability, and float16 has the number.
_NEVER = -1e4


@dataclass(frozen=True)
class WeightNames:
    """The names of weights in a checkpoint, of a block by its parts.

    Attributes:
        block: Of a block, by side and number.
        self_attention: In a block.
        cross_attention: In a block of the decoder.
        projections: In an attention: query, key, value and output.
        feed_forward: In a block: expand and contract.
        norms: In a block: of the self-attention, the attention to the source, the feed-forward
            layer.
        norm: Of a whole side.
        embedding: That both sides share.
    """

    block: str
    self_attention: str
    cross_attention: str
    projections: tuple[str, str, str, str]
    feed_forward: tuple[str, str]
    norms: tuple[str, str, str]
    norm: str
    embedding: str


BART = WeightNames(
    "model.{side}.layers.{i}.",
    "self_attn.",
    "encoder_attn.",
    ("q_proj", "k_proj", "v_proj", "out_proj"),
    ("fc1", "fc2"),
    ("self_attn_layer_norm", "encoder_attn_layer_norm", "final_layer_norm"),
    "model.{side}.layer_norm",
    "model.{side}.embed_tokens.weight",
)
T5 = WeightNames(
    "{side}.block.{i}.",
    "layer.0.SelfAttention.",
    "layer.1.EncDecAttention.",
    ("q", "k", "v", "o"),
    ("layer.{last}.DenseReluDense.wi", "layer.{last}.DenseReluDense.wo"),
    ("layer.0.layer_norm", "layer.1.layer_norm", "layer.{last}.layer_norm"),
    "{side}.final_layer_norm",
    "{side}.embed_tokens.weight",
)


def fill_model(
    model: EncoderDecoder,
    names: WeightNames,
    weights: Weights,
    vocabularies: Vocabularies,
) -> None:
    """Sets all weights of a model.

    Args:
        model: Of the sizes of the checkpoint.
        names: Of its weights.
        weights: By these names.
        vocabularies: Row of the checkpoint of each id.

    Raises:
        KeyError: A weight is missing.
        ValueError: A weight has another shape.
    """
    target = vocabularies.target
    tables = {side: _embedding(weights, names, side) for side in ("encoder", "decoder")}
    model.target_embedding.embeddings.assign(_rows(tables["decoder"], target.rows))
    if vocabularies.source is not None:
        rows = _rows(tables["encoder"], vocabularies.source.rows)
        model.source_embedding.embeddings.assign(rows)
    output = model.output_layer
    bias = weights.get("final_logits_bias", np.zeros(len(tables["decoder"]))).reshape(-1)
    output.bias.assign(np.where(target.is_repeated, _NEVER, bias[target.rows]))
    if not output.tied:
        output.kernel.assign(_rows(weights["lm_head.weight"], target.rows))
    for side, part in (("encoder", model.encoder), ("decoder", model.decoder)):
        for i, block in enumerate(part.blocks):
            for variable, value in _of_block(block, names, side, i, weights):
                variable.assign(value)
        if part.norm_first:
            for variable, value in _norm(part.norm, weights, names.norm.format(side=side)):
                variable.assign(value)


def _rows(table: np.ndarray, rows: Any) -> np.ndarray:
    return np.asarray(table[rows], np.float32)


def _embedding(weights: Weights, names: WeightNames, side: str) -> np.ndarray:
    """The embedding of a side; where both share it, files have it under one of several names."""
    shared = ("model.shared.weight", "shared.weight")
    found = (names.embedding.format(side=side), *shared, "lm_head.weight")
    return weights[next((name for name in found if name in weights), found[0])]


def _of_block(
    block: Any, names: WeightNames, side: str, number: int, weights: Weights
) -> Iterator[tuple[Any, np.ndarray]]:
    """The variables of a block, and their values."""
    prefix = names.block.format(side=side, i=number)
    last = 2 if side == "decoder" else 1

    def linear(name: str) -> tuple[np.ndarray, np.ndarray]:
        kernel = np.asarray(weights[f"{name}.weight"], np.float32).T
        bias = weights.get(f"{name}.bias")
        return kernel, np.zeros(kernel.shape[-1]) if bias is None else np.asarray(bias, np.float32)

    def projections(attention: Any, name: str) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
        query, *rest = (linear(f"{prefix}{name}{part}") for part in names.projections)
        if names is T5:  # whose scores are not divided by the root of K
            root = math.sqrt(attention.key_dim)
            query = (query[0] * root, query[1] * root)
        return (query, *rest)

    attention = block.self_attention
    *qkv, output = projections(attention, names.self_attention)
    kernels, biases = zip(*qkv, strict=True)
    yield attention.qkv_kernel, np.concatenate(kernels, axis=-1)
    yield attention.qkv_bias, np.concatenate(biases)
    yield from zip((attention.output_kernel, attention.output_bias), output, strict=True)
    norms = [(block.attention_norm, 0), (block.feed_forward_norm, 2)]
    if side == "decoder":
        cross = block.cross_attention
        parts = projections(cross, names.cross_attention)
        for part, values in zip(("query", "key", "value", "output"), parts, strict=True):
            yield getattr(cross, f"{part}_kernel"), values[0]
            yield getattr(cross, f"{part}_bias"), values[1]
        norms.append((block.cross_attention_norm, 1))
    for norm, which in norms:
        yield from _norm(norm, weights, prefix + names.norms[which].format(last=last))
    expand, contract = (prefix + name.format(last=last) for name in names.feed_forward)
    layers = {block.contract: contract, block.expand: expand}
    if block.gated:
        layers |= {block.expand: f"{expand}_0", block.gate: f"{expand}_1"}
    for layer, name in layers.items():
        yield from zip((layer.kernel, layer.bias), linear(name), strict=True)
    if names is T5:  # the first block has the positions of all
        table = names.block.format(side=side, i=0) + names.self_attention
        yield attention.positions.table, weights[f"{table}relative_attention_bias.weight"]


def _norm(norm: Any, weights: Weights, name: str) -> Iterator[tuple[Any, np.ndarray]]:
    if hasattr(norm, "beta"):
        yield norm.gamma, weights[f"{name}.weight"]
        yield norm.beta, weights[f"{name}.bias"]
    else:
        yield norm.scale, weights[f"{name}.weight"]
