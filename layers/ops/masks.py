"""Mask functions: boolean tensors in which True means *attend*.

Shapes: B batch, T query length, S key length, H heads. Every mask here can be broadcast against
scores of shape `(B, T, S)` or, with heads, `(B, H, T, S)`.
"""

import keras
from keras import ops
from keras.backend import standardize_dtype

# Near the lowest finite number. Minus infinity would make an empty row NaN, in its gradient too.
LOWEST = {"float32": -3e38, "float64": -1e308}


def causal_mask(query_length, key_length=None, offset=0):
    """Masks the future: position `i` of the query attends to the keys up to `i + offset`.

    Args:
        query_length: T, an integer or a scalar tensor.
        key_length: S; as many keys as queries if it is `None`.
        offset: the number of keys before the first query (an integer or a scalar tensor). With a
            cache it is the number of steps already made.

    Returns:
        Boolean tensor of shape `(1, T, S)`.
    """
    key_length = query_length if key_length is None else key_length
    return position_mask(position_ids(query_length, offset), position_ids(key_length), causal=True)


def position_ids(length, start=0):
    """Returns the whole numbers from `start` on, `(length,)`; both may be tensors."""
    numbers = ops.arange(length, dtype="int32")
    return numbers if isinstance(start, int) and start == 0 else numbers + ops.cast(start, "int32")


def distances_between(query_positions, key_positions):
    """Subtracts the position of each key from that of each query: `(T,)`, `(S,)` to `(T, S)`."""
    return ops.subtract(ops.expand_dims(query_positions, -1), ops.expand_dims(key_positions, 0))


def position_mask(query_positions, key_positions, causal=False, sliding_window=None):
    """Masks keys by the positions of query and key alone.

    Args:
        query_positions: whole numbers `(T,)`.
        key_positions: whole numbers `(S,)`.
        causal: whether keys after the query are masked.
        sliding_window: distance from which on keys are masked, on either side; none if `None`.

    Returns:
        Boolean tensor of shape `(1, T, S)`, or `None` if nothing is masked.
    """
    if not causal and sliding_window is None:
        return None
    distances = distances_between(query_positions, key_positions)[None]  # (1, T, S)
    if sliding_window is None:
        return distances >= 0
    near = distances < sliding_window
    return ops.logical_and(near, distances >= 0 if causal else distances > -sliding_window)


def combine_masks(query_mask=None, memory_mask=None, attention_mask=None, causal=None):
    """Combines masks of any kind into one that scores can be broadcast against.

    Args:
        query_mask: `(B, T)`, False for the padding of the query: such a row attends to nothing.
        memory_mask: `(B, S)`, False for the padding of the keys.
        attention_mask: `(T, S)`, `(B, T, S)` or `(B, H, T, S)`, any dimension may be 1.
        causal: `(1, T, S)`, see `causal_mask`.

    Returns:
        Boolean tensor of rank 3, of rank 4 if `attention_mask` has heads, or `None` if every
        argument is `None`.

    Raises:
        ValueError: for masks of floats.
    """
    masks = []
    if query_mask is not None:
        masks.append(ops.expand_dims(as_mask(query_mask, "query_mask"), -1))  # (B, T, 1)
    if memory_mask is not None:
        masks.append(ops.expand_dims(as_mask(memory_mask, "memory_mask"), -2))  # (B, 1, S)
    if causal is not None:
        masks.append(as_mask(causal, "causal"))
    if attention_mask is not None:
        attention_mask = as_mask(attention_mask, "attention_mask")
        masks.append(attention_mask[None] if len(attention_mask.shape) == 2 else attention_mask)
    if not masks:
        return None
    rank = max(len(mask.shape) for mask in masks)
    combined = None
    for mask in masks:
        mask = _with_rank(mask, rank)
        combined = mask if combined is None else ops.logical_and(combined, mask)
    return combined


def merge_memory_masks(value_mask=None, key_mask=None):
    """Combines the masks of values and keys, `(B, S)` or `None` each: both have to be True."""
    if value_mask is None or key_mask is None or value_mask is key_mask:
        mask = key_mask if value_mask is None else value_mask
        return None if mask is None else as_mask(mask)
    return ops.logical_and(as_mask(value_mask), as_mask(key_mask))


def masked_softmax(scores, mask=None):
    """Softmax over the last axis that gives exactly zero wherever the mask is False.

    Computed in float32 (float64 for float64 scores) whatever the type of the scores, because half
    precision overflows at 65504. A row in which everything is masked becomes a row of zeros:
    neither NaN nor uniform weights over padding.

    Args:
        scores: `(B, T, S)` or `(B, H, T, S)`.
        mask: what `combine_masks` returns.

    Returns:
        Weights of the shape of `scores`, float32 or float64.

    Raises:
        ValueError: if the mask has heads and the scores have none, if it is of less than rank 3, or
            of floats.
    """
    scores = ops.cast(scores, softmax_dtype(scores.dtype))
    if mask is None:
        return _softmax(scores)
    mask = as_mask(mask)
    if len(mask.shape) < 3:
        raise ValueError(
            "A mask of scores has a rank of 3 or 4; combine_masks makes one of others. "
            f"Received: mask.shape={tuple(mask.shape)}"
        )
    if len(mask.shape) > len(scores.shape):
        raise ValueError(
            "A mask with heads is for scores with heads. Received: "
            f"mask.shape={tuple(mask.shape)}, scores.shape={tuple(scores.shape)}"
        )
    mask = _with_rank(mask, len(scores.shape))
    lowest = LOWEST[standardize_dtype(scores.dtype)]
    return ops.where(mask, _softmax(ops.where(mask, scores, lowest)), 0.0)


def _softmax(scores):
    if scores.shape[-1] == 1:
        # Keras warns of a softmax of one number, which is usual here. Not `ones_like`: the weights
        # before it are to get gradients of 0, not none.
        return 0.0 * scores + 1.0
    return ops.softmax(scores, axis=-1)


def softmax_dtype(dtype):
    """Returns the type in which scores of type `dtype` are normalized."""
    return "float64" if standardize_dtype(dtype) == "float64" else "float32"


def as_mask(mask, name="mask"):
    """Converts a mask to a boolean tensor, NumPy arrays and 0/1 integers too.

    Args:
        mask: of any shape.
        name: of the argument, for the error.

    Raises:
        ValueError: for a mask of floats, which elsewhere is often added to the scores, with 0 for
            *attend*.
    """
    mask = ops.convert_to_tensor(mask)
    _refuse_floats(mask, name)
    return ops.cast(mask, "bool")


def check_mask(layer, name, mask, *shapes):
    """Refuses a mask that is no mask of these shapes.

    Args:
        layer: name of the layer, for the error.
        name: of the argument, for the error.
        mask: a tensor, an array, a `KerasTensor`, or `None`, which is always accepted.
        *shapes: those that fit; sizes that are not known are `None`. A dimension of 1 fits any.

    Raises:
        ValueError: for another shape than these, and for floats.
    """
    if mask is None:
        return
    if not isinstance(mask, keras.KerasTensor):
        mask = ops.convert_to_tensor(mask)
    _refuse_floats(mask, f"{layer}: {name}")
    check_shape(layer, name, mask, *shapes)


def check_shape(layer, name, tensor, *shapes):
    """Refuses a tensor of another shape than these; see `check_mask`.

    Raises:
        ValueError: for another shape.
    """
    actual = tuple(tensor.shape)
    for shape in shapes:
        sizes = zip(actual, shape, strict=False)
        if len(shape) == len(actual) and all(_fits(*pair) for pair in sizes):
            return
    expected = " or ".join(str(shape) for shape in shapes)
    raise ValueError(
        f"{layer}: {name} must have the shape {expected}, where a dimension may be 1. "
        f"Received: {name}.shape={actual}"
    )


def _fits(size, expected):
    known = isinstance(size, int) and isinstance(expected, int)
    return not known or size in (1, expected)


def _refuse_floats(mask, name):
    dtype = standardize_dtype(mask.dtype)
    if "float" in dtype:
        raise ValueError(
            f"{name} must be boolean, True for *attend*. Of a mask that is added to the scores, 0 "
            f"for *attend*, pass `mask == 0`. Received: a mask of type {dtype}"
        )


def _with_rank(mask, rank):
    """Adds the axis of the heads, `(B, T, S)` to `(B, 1, T, S)`, if the rank asks for it."""
    return ops.expand_dims(mask, -3) if len(mask.shape) < rank else mask
