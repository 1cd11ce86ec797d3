"""Parts of a large calculation, made one after the other so that memory holds one at a time."""

import itertools

from keras import ops


def partition(tensor, parts):
    """Cuts axis 0 into parts of nearly equal size, whether that size is known yet or not.

    Args:
        tensor: of any shape.
        parts: the number of parts.

    Returns:
        List of tensors.
    """
    if parts == 1:
        return [tensor]
    return [tensor[part] for part in partition_slices(ops.shape(tensor)[0], parts)]


def partition_slices(size, parts):
    """Slices that divide `size`, a number or a scalar tensor, as equally as can be."""
    edges = [part * size // parts for part in range(parts + 1)]
    return [slice(start, stop) for start, stop in itertools.pairwise(edges)]


def concat(tensors):
    """Puts the parts that `partition` made together again."""
    return tensors[0] if len(tensors) == 1 else ops.concatenate(tensors, axis=0)


def depends_on(earlier, tensor):
    """Returns `tensor`, to be computed only once `earlier` has been.

    A graph without dependencies between the parts starts all of them at once and holds all of
    them in memory. This adds a zero that depends on `earlier`: a comparison, not a product, so
    that it is zero for infinities too.

    Args:
        earlier: a tensor, or `None` if there is nothing to wait for.
        tensor: of any shape.
    """
    if earlier is None:
        return tensor
    zero = ops.cast(ops.sum(earlier) > 0, tensor.dtype) * 0
    return tensor + zero
