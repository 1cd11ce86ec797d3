"""Attention of one position at a time, by operations of low latency.

TensorFlow's usual kernels for a softmax and for products of many matrices are those of oneDNN,
which take some forty microseconds to begin on two threads. That is nothing in training, but several
times the computation of a step of a decoder. The kernels that are used here begin at once.
"""

import keras
from keras import ops
from keras.backend import standardize_dtype

from .masks import LOWEST, softmax_dtype


def low_latency_matmul(first, second, transposed=False):
    """Multiplies many small matrices.

    Args:
        first: (..., T, K).
        second: (..., K, S), or (..., S, K) if `transposed`. The dimensions before are broadcast.
        transposed: whether `second` is transposed first.

    Returns:
        (..., T, S).
    """
    half = standardize_dtype(first.dtype) == "float16"  # there is no kernel of it on CPUs
    if keras.backend.backend() != "tensorflow" or half:
        return ops.matmul(first, ops.swapaxes(second, -1, -2) if transposed else second)
    import tensorflow as tf  # it is there, as Keras runs on it

    # Of all operations for this the only one that is not handed to oneDNN; Keras has none.
    return tf.raw_ops.BatchMatMulV3(x=first, y=second, Tout=first.dtype, adj_y=transposed)


def low_latency_softmax(scores, mask=None, bias=None):
    """Computes the weights of `masked_softmax` for few scores.

    Args:
        scores: (..., S).
        mask: boolean, False where the weight is zero.
        bias: added to the scores.

    Returns:
        Weights of the shape of `scores`, float32 or float64.
    """
    dtype = softmax_dtype(scores.dtype)
    scores = ops.cast(scores, dtype)
    if bias is not None:
        scores = scores + ops.cast(bias, dtype)
    if mask is None:
        return ops.exp(ops.log_softmax(scores))
    # Sums and products take a fraction of the time of a choice between two tensors.
    visible = ops.cast(mask, dtype)
    # Not `ops.add`, which takes what is added to no rows at all for a bias of one dimension.
    return ops.multiply(visible, ops.exp(ops.log_softmax(scores + penalty_of(visible))))


def penalty_of(visible):
    """Computes what is added to scores: 0 where `visible` is 1, the lowest number where it is 0."""
    # As a tensor of its type: PyTorch would take the number for a float32, where it is infinite.
    lowest = ops.convert_to_tensor(LOWEST[standardize_dtype(visible.dtype)], visible.dtype)
    return ops.multiply(ops.subtract(1.0, visible), lowest)
