"""What only TensorFlow has: imported where Keras runs on it."""

import tensorflow as tf


def small_products(first, second, transposed):
    """See `small.small_products`."""
    # Of all operations for this the only one that is not handed to oneDNN.
    return tf.raw_ops.BatchMatMulV3(x=first, y=second, Tout=first.dtype, adj_y=transposed)


def random_words(count, seed):
    """So many random words of 64 bits, for a seed of two numbers.

    Words as they come: those from 0 to a number take twice as long. With words of 32 bits XLA takes
    a hundred times as long on a CPU.
    """
    return tf.random.stateless_uniform((count,), seed, None, None, tf.uint64)
