"""Attention layers for Keras 3, on every Keras backend.

`BahdanauAttention`, `LuongAttention` and `QKVAttention` compare queries with a memory of keys and
values; `SelfAttention` compares a sequence with itself. They share one base, `Attention`.
"""

from .attention import Attention, Memory
from .bahdanau import BahdanauAttention
from .luong import LuongAttention
from .masks import causal_mask, combine_masks, masked_softmax
from .qkv import QKVAttention
from .self_attention import SelfAttention

__all__ = [
    "Attention",
    "BahdanauAttention",
    "LuongAttention",
    "Memory",
    "QKVAttention",
    "SelfAttention",
    "causal_mask",
    "combine_masks",
    "masked_softmax",
]
