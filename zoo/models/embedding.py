"""The embedding that models read their tokens with."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from .backend import take_rows
from .parts import check_vocabulary


@keras.saving.register_keras_serializable(package="attention_zoo")
class ScaledEmbedding(keras.layers.Embedding):
    """Vectors of tokens, read larger than they are kept.

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
        **kwargs: as for every Keras layer.

    Raises:
        ValueError: the power is not from 0 to 1.

    Called with ids (...), of 0 to V - 1, it gives vectors (..., D).

    Example:

    >>> ScaledEmbedding(8000, 256)(np.array([[5, 9, 3]])).shape
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
        table = ops.cast(self.embeddings, self.compute_dtype)
        return take_rows(table, inputs) * self.output_dim**self.power

    def get_config(self):
        config = super().get_config()
        for name in ("input_dim", "output_dim", "embeddings_initializer"):
            del config[name]
        sizes = {"vocab_size": self.input_dim, "width": self.output_dim, "power": self.power}
        return {**config, **sizes}


def make_embeddings(
    vocab_size: int,
    width: int,
    power: float,
    source_vocab_size: int | None = None,
    copying: bool = False,
    dtype: Any = None,
) -> tuple[ScaledEmbedding, ScaledEmbedding]:
    """The embeddings of target and source of a model.

    Args:
        vocab_size: Tokens of the target.
        width: Of a vector.
        power: See `ScaledEmbedding`.
        source_vocab_size: Tokens of the source, if it has a vocabulary of its own.
        copying: Whether tokens of the source are copied.
        dtype: Policy of the layers.

    Returns:
        Two embeddings, or one twice where both sides share a vocabulary.

    Raises:
        ValueError: A vocabulary is too small, or there are two and tokens are to be copied.
    """

    def embedding(size, name):
        return ScaledEmbedding(size, width, power, name=name, dtype=dtype)

    check_vocabulary("vocab_size", vocab_size)
    target = embedding(vocab_size, "target_embedding")
    if source_vocab_size is None:
        return target, target
    check_vocabulary("source_vocab_size", source_vocab_size)
    if copying:
        raise ValueError(
            "What is copied are tokens that source and target have in common: leave out "
            "source_vocab_size, or copying. "
            f"Received: source_vocab_size={source_vocab_size}, copying={copying}"
        )
    return target, embedding(source_vocab_size, "source_embedding")
