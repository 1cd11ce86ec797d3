"""Dot-product attention by the kernel of a backend that has one and never holds all scores."""

import keras
from keras import ops

from .broadcasting import broadcast_batch, common_batch
from .masks import combine_masks, position_mask
from .positions import Positions


def can_fuse(query, keys, spec):
    """Returns True if there is a kernel for these heads `(B, H, T, K)` and `(B, G, S, K)`.

    PyTorch has one. It takes a mask, but neither what positions add to the scores nor heads that
    share their keys without repeating these.
    """
    if keras.backend.backend() != "torch" or query.shape[1] != keys.shape[1]:
        return False
    return spec.positions is None or type(spec.positions).bias is Positions.bias


def attend_fused(query, keys, values, spec):
    """Computes `softmax(query . keys) . values`, the scores never in memory as a whole.

    Args:
        query: `(B, H, T, K)`, already scaled.
        keys: `(B, H, S, K)`.
        values: `(B, H, S, V)`.
        spec: a `MaskSpec` for which `can_fuse` holds.

    Returns:
        `(B, H, T, V)`, zero where everything is masked.
    """
    mask, causal = spec.mask, spec.causal and spec.sliding_window is None and spec.same_positions
    if mask is not None or not causal:
        # A kernel that is told "causal" takes no other mask.
        positions = spec.query_positions, spec.key_positions
        masked = position_mask(*positions, spec.causal, spec.sliding_window)
        mask, causal = combine_masks(attention_mask=mask, causal=masked), False
    any_visible = None
    if mask is not None:
        mask = mask if len(mask.shape) == 4 else ops.expand_dims(mask, 1)
        # Without a visible key the kernel would divide by zero, and so would its gradient.
        any_visible = ops.any(mask, axis=-1, keepdims=True)
        mask = ops.logical_or(mask, ops.logical_not(any_visible))
        query = broadcast_batch(query, common_batch(query, keys, mask))
    query, keys, values = (ops.swapaxes(x, 1, 2) for x in (query, keys, values))
    heads = ops.dot_product_attention(query, keys, values, mask=mask, scale=1.0, is_causal=causal)
    heads = ops.swapaxes(heads, 1, 2)
    return heads if any_visible is None else ops.where(any_visible, heads, ops.zeros_like(heads))
