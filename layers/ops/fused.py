"""Dot-product attention by the kernel of a backend that has one and never holds all scores."""

import keras
from keras import ops

from .broadcasting import broadcast_batch, common_batch
from .masks import combine_masks, places_mask
from .positions import Positions


def can_fuse(query, keys, sight):
    """Whether there is a kernel for these heads `(B, H, T, K)` and `(B, G, S, K)`.

    PyTorch has one. It takes a mask, but neither what positions add to the scores nor heads that
    share their keys without repeating these.
    """
    if keras.backend.backend() != "torch" or query.shape[1] != keys.shape[1]:
        return False
    return sight.positions is None or type(sight.positions).bias is Positions.bias


def attend_fused(query, keys, values, sight):
    """`softmax(query . keys) . values`, the scores never in memory as a whole.

    Args:
        query: `(B, H, T, K)`, already scaled.
        keys: `(B, H, S, K)`.
        values: `(B, H, S, V)`.
        sight: a `Sight` for which `can_fuse` holds.

    Returns:
        `(B, H, T, V)`, zero where a query sees nothing.
    """
    mask, causal = sight.mask, sight.causal and sight.sliding_window is None and sight.same_places
    if mask is not None or not causal:
        # A kernel that is told "causal" takes no other mask.
        places = sight.query_places, sight.key_places
        hidden = places_mask(*places, sight.causal, sight.sliding_window)
        mask, causal = combine_masks(attention_mask=mask, causal=hidden), False
    sees_any = None
    if mask is not None:
        mask = mask if len(mask.shape) == 4 else ops.expand_dims(mask, 1)
        # Without a key to see the kernel would divide by zero, and so would its gradient.
        sees_any = ops.any(mask, axis=-1, keepdims=True)
        mask = ops.logical_or(mask, ops.logical_not(sees_any))
        query = broadcast_batch(query, common_batch(query, keys, mask))
    query, keys, values = (ops.swapaxes(x, 1, 2) for x in (query, keys, values))
    heads = ops.dot_product_attention(query, keys, values, mask=mask, scale=1.0, is_causal=causal)
    heads = ops.swapaxes(heads, 1, 2)
    return heads if sees_any is None else ops.where(sees_any, heads, ops.zeros_like(heads))
