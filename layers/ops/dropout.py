"""Dropout whose random numbers are cheap to make, compiled or not."""

import keras
from keras import ops

LEVELS = 256  # of a byte
WORDS = -(2**63), 2**63 - 1  # the range of a random word


@keras.saving.register_keras_serializable(package="attention_zoo")
class Dropout(keras.layers.Dropout):
    """Sets a share of the numbers to zero while training, and scales up the others.

    The same as `keras.layers.Dropout` with the same arguments, with other random numbers: on
    TensorFlow each is a byte, and eight come from one random word. Keras makes a float for each;
    XLA on a CPU takes a hundred times as long for those. The share is therefore the nearest
    multiple of 1/256, and the scale is that of the share that is taken, so that the mean of what
    comes out is what went in. Where that would be 0 or 1, Keras's own numbers are taken.

    Args:
        rate: share that is set to zero, from 0 to 1; with 1 all of it.
        noise_shape: as in Keras, which then makes the random numbers.
        seed: seed of the random numbers.
        **kwargs: as for every Keras layer.

    Example:

    >>> x = Dropout(0.3)(x, training=True)

    Reference: Srivastava et al. 2014, https://jmlr.org/papers/v15/srivastava14a.html
    """

    def call(self, inputs, training=False):
        if not (training and self.rate > 0):
            return inputs
        bytes_do = keras.backend.backend() == "tensorflow" and self.noise_shape is None
        dropped = round(self.rate * LEVELS)
        if not bytes_do or dropped in (0, LEVELS):
            return super().call(inputs, training=training)
        keep = random_bytes(ops.shape(inputs), self.seed_generator) >= dropped
        # A product takes less time than a choice, and so does its gradient.
        return inputs * (ops.cast(keep, inputs.dtype) * (LEVELS / (LEVELS - dropped)))


def random_bytes(shape, seed):
    """Returns random bytes of a shape whose sizes need not be known yet."""
    size = 1
    for length in shape:
        size = size * length
    # XLA takes a hundred times as long for words of 32 bits on a CPU.
    words = keras.random.randint(((size + 7) // 8,), *WORDS, dtype="int64", seed=seed)
    found = ops.view(ops.reshape(words, (-1, 1)), "uint8")  # of each word in a row
    return ops.reshape(ops.reshape(found, (-1,))[:size], shape)
