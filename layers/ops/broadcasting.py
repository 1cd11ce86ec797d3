"""Batches of size 1 beside larger ones: their shapes, and the gradients of broadcasting."""

from keras import ops


def common_batch(*tensors):
    """Returns the size of axis 0 after broadcasting, an integer or a scalar tensor."""
    size = 1
    for tensor in tensors:
        other = ops.shape(tensor)[0]
        is_one = size == 1
        if isinstance(is_one, bool):  # known, or a symbol that stands for more than 1
            size = other if is_one else size
        else:
            size = ops.where(is_one, other, size)
    return size


def broadcast_batch(tensor, size):
    """Repeats a tensor of one row to `size` rows."""
    if isinstance(size, int) and tensor.shape[0] == size:
        return tensor
    return ops.broadcast_to(tensor, (size, *ops.shape(tensor)[1:]))


def sum_to_batch(gradient, tensor):
    """Sums the gradient of a tensor that was broadcast along axis 0 over its copies."""
    size = tensor.shape[0]
    if size == 1:
        return ops.sum(gradient, axis=0, keepdims=True)
    if size is not None:
        return gradient
    # One of the two, which is known only when the graph runs: as many copies as rows are missing.
    size, (rows, *rest) = ops.shape(tensor)[0], ops.shape(gradient)
    copies = rows // ops.maximum(size, 1)
    return ops.sum(ops.reshape(gradient, (size, copies, *rest)), axis=1)


def broadcast_rows(query_shape, value_shape):
    """Returns batch and length of the result; a batch of 1 goes with every row of the other."""
    batch = value_shape[0] if query_shape[0] == 1 else query_shape[0]
    return batch, query_shape[1]


def free_batch(shape):
    """The shape without a batch of 1, which goes with any other."""
    return (None if shape[0] == 1 else shape[0], *shape[1:])
