"""The embedding that both families read their subwords with."""

from __future__ import annotations

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="attention_zoo")
class ScaledEmbedding(keras.layers.Embedding):
    """Vectors of subwords, read larger than they are kept.

    A table that the vocabulary is read from as well (Press and Wolf 2017) has to start at a
    variance of 1 / width, as any kernel. Vectors as small as that tell an encoder next to nothing,
    so they are multiplied where they are read (Vaswani et al. 2017, section 3.4). A GRU needs this
    no less than a Transformer: without it, it takes thousands of steps to find that its inputs
    differ. But it gets half as far, as no normalization takes back what is too much: what is large
    from the start is noise in the words that are seen seldom.

    Args:
        vocab_size: rows of the table, V.
        width: of a vector, D.
        power: of the width that a vector is multiplied by, 1/2 for vectors of variance one.

    Raises:
        ValueError: the power is not from 0 to 1.

    Called with ids (...), of 0 to V - 1, it gives vectors (..., D).

    Example:

    >>> ScaledEmbedding(8000, 256)(tf.constant([[5, 9, 3]])).shape
    TensorShape([1, 3, 256])

    References: https://arxiv.org/abs/1608.05859, https://arxiv.org/abs/1706.03762
    """

    def __init__(self, vocab_size: int, width: int, power: float = 0.5, **kwargs):
        if isinstance(power, bool) or not isinstance(power, (int, float)) or not 0 <= power <= 1:
            raise ValueError(
                "The power of the width that a vector is multiplied by is from 0 to 1. "
                f"Received: power={power!r}"
            )
        near = keras.initializers.RandomNormal(stddev=width**-0.5)
        super().__init__(vocab_size, width, near, **kwargs)
        self.power = power

    def call(self, inputs):
        # Not by Keras's own, which would look for ids that count from the end.
        table = tf.cast(tf.convert_to_tensor(self.embeddings), self.compute_dtype)
        return tf.gather(table, inputs) * self.output_dim**self.power

    def get_config(self):
        config = super().get_config()
        for name in ("input_dim", "output_dim", "embeddings_initializer"):
            del config[name]
        sizes = {"vocab_size": self.input_dim, "width": self.output_dim, "power": self.power}
        return {**config, **sizes}
