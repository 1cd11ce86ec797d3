"""Attention layers for Keras 3, on every Keras backend.

`BahdanauAttention`, `LuongAttention` and `QKVAttention` compare queries with a memory of keys and
values; `SelfAttention` compares a sequence with itself, and `MultiHopAttention` attends several
times, each time with what it read before. They share one base, `Attention`.
`AttentionGRUCell` and the Transformer blocks are parts of models with attention.
`PointerGenerator` copies words of the source by their attention, and `CoverageAttention` takes
into account the keys that were attended to before.
"""

from .attention.additive import BahdanauAttention
from .attention.base import Attention
from .attention.coverage import CoverageAttention, coverage_loss
from .attention.dot_product import QKVAttention
from .attention.memory import Memory
from .attention.multi_hop import MultiHopAttention
from .attention.multiplicative import LuongAttention
from .attention.self_attention import SelfAttention
from .attention_gru_cell import AttentionGRUCell
from .ops.masks import causal_mask, combine_masks, masked_softmax
from .ops.positions import AlibiPositions, Positions, RelativePositions, RotaryPositions
from .pointer_generator import PointerGenerator
from .transformer.blocks import TransformerDecoderBlock, TransformerEncoderBlock

__all__ = [
    "AlibiPositions",
    "Attention",
    "AttentionGRUCell",
    "BahdanauAttention",
    "CoverageAttention",
    "LuongAttention",
    "Memory",
    "MultiHopAttention",
    "PointerGenerator",
    "Positions",
    "QKVAttention",
    "RelativePositions",
    "RotaryPositions",
    "SelfAttention",
    "TransformerDecoderBlock",
    "TransformerEncoderBlock",
    "causal_mask",
    "combine_masks",
    "coverage_loss",
    "masked_softmax",
]
