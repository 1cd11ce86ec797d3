"""Working on a large calculation part by part, so that no more than one part is in memory."""

import itertools

from keras import ops


def split(tensor, parts):
    """Cuts axis 0 into so many parts of nearly equal size, also if that size is not known yet."""
    if parts == 1:
        return [tensor]
    return [tensor[part] for part in ranges(ops.shape(tensor)[0], parts)]


def ranges(size, parts):
    """Slices that divide `size`, a number or a scalar tensor, as equally as can be."""
    edges = [part * size // parts for part in range(parts + 1)]
    return [slice(start, stop) for start, stop in itertools.pairwise(edges)]


def join(tensors):
    """Puts what `split` cut together again."""
    return tensors[0] if len(tensors) == 1 else ops.concatenate(tensors, axis=0)


def after(earlier, tensor):
    """`tensor`, to be had only once `earlier` has been computed.

    A graph without dependencies between the parts starts all of them at once and holds all of
    them in memory. This adds a zero that depends on `earlier`: a comparison, not a product, so
    that it is zero for infinities too.
    """
    if earlier is None:
        return tensor
    zero = ops.cast(ops.sum(earlier) > 0, tensor.dtype) * 0
    return tensor + zero
