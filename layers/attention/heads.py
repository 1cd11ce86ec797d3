"""Products of many heads at once, where several query heads may share the keys of one.

Shapes: B batch, H query heads, G heads of keys and values (a divisor of H), T queries, S keys,
X any width. Query head `h` goes with key head `h // (H / G)`; nothing is repeated in memory,
queries of heads that share keys are merely treated as further rows. Shapes are named in full: of a
tensor without elements no dimension can be told from the others.
"""

from keras import ops


def split_heads(tensor, heads):
    """Splits the width into heads: `(B, T, H*X)` to `(B, H, T, X)`."""
    (batch, length), width = ops.shape(tensor)[:2], tensor.shape[-1] // heads
    return ops.transpose(ops.reshape(tensor, (batch, length, heads, width)), (0, 2, 1, 3))


def merge_heads(tensor):
    """Puts heads side by side: `(B, H, T, X)` to `(B, T, H*X)`."""
    batch, heads, length, width = ops.shape(tensor)
    return ops.reshape(ops.transpose(tensor, (0, 2, 1, 3)), (batch, length, heads * width))


def compare_heads(query, keys):
    """Compares queries with keys: `(B, H, T, X)` and `(B, G, S, X)` to `(B, H, T, S)`."""
    return _ungroup(ops.matmul(_group(query, keys), ops.swapaxes(keys, -1, -2)), query)


def sum_values(weights, values):
    """Sums over the keys: `(B, H, T, S)` and `(B, G, S, X)` to `(B, H, T, X)`."""
    return _ungroup(ops.matmul(_group(weights, values), values), weights)


def sum_queries(weights, query, num_groups):
    """Sums over queries and heads that share: `(B, H, T, S)`, `(B, H, T, X)` to `(B, G, S, X)`."""
    if weights.shape[1] != num_groups:
        batch, heads, steps, length = ops.shape(weights)
        rows = heads // num_groups * steps
        weights = ops.reshape(weights, (batch, num_groups, rows, length))
        query = ops.reshape(query, (ops.shape(query)[0], num_groups, rows, query.shape[3]))
    return ops.matmul(ops.swapaxes(weights, -1, -2), query)


def _group(tensor, shared):
    """Makes rows of the heads that share: `(B, H, T, X)` to `(B, G, H/G*T, X)`."""
    heads, groups = tensor.shape[1], shared.shape[1]
    if heads == groups:
        return tensor
    batch, _, length, width = ops.shape(tensor)
    return ops.reshape(tensor, (batch, groups, heads // groups * length, width))


def _ungroup(tensor, like):
    """Reverts `_group`: `(B, G, H/G*T, X)` to `(B, H, T, X)`, H and T as `like` has them."""
    heads = like.shape[1]
    if tensor.shape[1] == heads:
        return tensor
    batch, _, _, width = ops.shape(tensor)
    return ops.reshape(tensor, (batch, heads, ops.shape(like)[2], width))
