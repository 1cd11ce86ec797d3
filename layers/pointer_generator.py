"""Copying from the source: a vocabulary mixed with what was attended to.

Shapes: B batch, T target length, S source length, V vocabulary, F features.
"""

from typing import Any

import keras
from keras import ops

from .ops.arguments import refuse_symbolic
from .ops.masks import check_mask, softmax_dtype

# The logarithm of nothing: finite, so that no gradient is NaN.
LOG_OF_NOTHING = -1e9
# Attention of a softmax that has no digits left for a word: never nothing, whose loss has no end.
_LEAST = 1e-30


@keras.saving.register_keras_serializable(package="attention_zoo")
class PointerGenerator(keras.layers.Layer):
    """Mixes a vocabulary with copying from the source, by a gate that is learned.

    The probability of word `w` at a step is

        p(w) = p_gen softmax(logits)(w) + (1 - p_gen) (sum of attention over the positions of w)

    where `p_gen = sigmoid(v . features + b)` is the share of the vocabulary. A word may stand in
    the source at several positions; the attention to all of them counts. Positions that are not
    copied, such as the end of the source, leave their share to the vocabulary, and so do words
    outside of the vocabulary, with ids below 0 or from V on, unless `num_unknown` extends it. So
    does a source of which no position has any attention.

    The result is log p, which can be used wherever logits are expected. It is calculated with
    logarithms throughout, in float32 whatever the compute type, so that neither share can vanish.
    Only the probabilities of words that stand in the source are mixed: no one-hot vectors of the
    source are made.

    Args:
        kernel_initializer: initializer of `v`.
        **kwargs: as for every Keras layer.

    Call arguments:
        logits: `(B, T, V)`, of the vocabulary.
        attention: `(B, T, S)`, weights that sum to 1 or to 0; zero for padding.
        source: whole numbers `(B, S)`, the words of the source by their ids in the vocabulary;
            others are not copied.
        features: `(B, T, F)`, inputs of the gate: state, context and input of the decoder side by
            side.
        copyable: boolean `(B, S)`, False for positions that are not copied; all are if `None`.
        return_p_gen: whether `p_gen` is returned too.
        num_unknown: U, how many words a source has at most that the vocabulary has not. They have
            the ids from V to V + U - 1, in each source anew, and can only be copied.

    Returns:
        log p `(B, T, V + U)` in float32; with `return_p_gen` also `p_gen` `(B, T)`.

    Example:

    ```python
    context, attention = BahdanauAttention(256)(states, source_states, value_mask=source != 0,
                                                return_attention_scores=True)
    features = ops.concatenate([states, context, embedded], axis=-1)
    log_p = PointerGenerator()(logits, attention, source, features)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)(labels, log_p)
    ```

    Raises:
        ValueError: if the attention has heads.

    Reference: "Get To The Point: Summarization with Pointer-Generator Networks", See, Liu, Manning,
    2017, https://arxiv.org/abs/1704.04368
    """

    def __init__(self, kernel_initializer="glorot_uniform", **kwargs):
        # The attention stays in float32: a copied word may have little of it.
        super().__init__(autocast=False, **kwargs)
        self.supports_masking = True  # that of the logits goes on
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    def build(self, logits_shape, attention_shape, source_shape, features_shape):
        if len(attention_shape) != 3:
            raise ValueError(
                f"{self.name} copies by one attention of shape (batch, target, source); choose a "
                "head, or average the heads. "
                f"Received: attention.shape={tuple(attention_shape)}"
            )
        self.build_gate(features_shape[-1])
        self.built = True

    def build_gate(self, width: int) -> None:
        """Makes the weights, for a layer that is used without being called.

        Args:
            width: F, that of the features.
        """
        self.kernel = self.add_weight((width, 1), self.kernel_initializer, name="kernel")
        self.bias = self.add_weight((1,), "zeros", name="bias")

    def gate(self, features):
        """Computes the logit of `p_gen`.

        Args:
            features: `(B, T, F)`.

        Returns:
            `(B, T)`, in float32.
        """
        refuse_symbolic(self.name, "features", features)
        features = ops.convert_to_tensor(features, dtype=self.compute_dtype)
        width = features.shape[-1]
        flat = ops.matmul(ops.reshape(features, (-1, width)), ops.cast(self.kernel, features.dtype))
        gate = ops.reshape(flat, ops.shape(features)[:-1])
        dtype = softmax_dtype(features.dtype)
        return ops.cast(gate, dtype) + ops.cast(self.bias, dtype)

    def call(
        self,
        logits,
        attention,
        source,
        features,
        copyable: Any = None,
        return_p_gen=False,
        num_unknown: int = 0,
    ):
        sizes = zip(source.shape, (attention.shape[0], attention.shape[2]), strict=True)
        if any(isinstance(a, int) and isinstance(b, int) and a != b for a, b in sizes):
            raise ValueError(
                f"{self.name} has one attention to each position of the source. Received: "
                f"source.shape={tuple(source.shape)}, attention.shape={tuple(attention.shape)}"
            )
        check_mask(self.name, "copyable", copyable, tuple(source.shape))
        gate, unknown = self.gate(features), None
        if num_unknown:
            words = logits.shape[-1] + ops.arange(num_unknown, dtype="int32")
            unknown = ops.equal(ops.expand_dims(ops.cast(source, "int32"), -1), words)
        log_p = log_mixture(logits, gate, attention, source, copyable=copyable, unknown=unknown)
        return (log_p, ops.sigmoid(gate)) if return_p_gen else log_p

    def get_config(self):
        initializer = keras.initializers.serialize(self.kernel_initializer)
        return {**super().get_config(), "kernel_initializer": initializer}


def log_mixture(
    logits, gate, attention, source, first: Any = None, copyable: Any = None, unknown: Any = None
):
    """Computes log p of generating and copying; see `PointerGenerator`.

    Args:
        logits: `(B, T, V)`.
        gate: `(B, T)`, the logit of `p_gen`.
        attention: `(B, T, S)`.
        source: whole numbers `(B, S)`.
        first: `first_positions(source)`, to compute it once for many steps.
        copyable: boolean `(B, S)`, or `None` for all positions.
        unknown: boolean `(B, S, U)`, the positions of U words that the vocabulary has not.

    Returns:
        `(B, T, V)`, or `(B, T, V + U)` with unknown words.
    """
    dtype = softmax_dtype(logits.dtype)
    attention = ops.cast(attention, dtype)
    first = first_positions(source) if first is None else first
    source, known = _in_vocabulary(source, ops.shape(logits)[-1], copyable)
    copied = known
    if unknown is not None:
        if copyable is not None:
            unknown = ops.logical_and(unknown, ops.expand_dims(ops.cast(copyable, "bool"), -1))
        copied = ops.logical_or(known, ops.any(unknown, axis=-1))
    log_written, log_copied = log_shares(ops.cast(gate, dtype), attention, copied)
    of_unknown = [] if unknown is None else [_log_of_unknown(log_copied, attention, unknown)]
    attention = copied_attention(attention, known)
    log_p = ops.log_softmax(ops.cast(logits, dtype), axis=-1) + ops.expand_dims(log_written, -1)
    pooled = pool_attention(attention, first)
    indices = _flat_indices(log_p, source, ops.shape(attention)[2])
    flat = ops.reshape(log_p, (-1,))
    before = ops.reshape(ops.take(flat, indices), ops.shape(attention))
    gains = ops.reshape(copy_gains(before, log_copied, pooled), (-1,))
    # Each word has its gain at its first position, and gains of 0 at all others.
    gains = ops.segment_sum(gains, indices, num_segments=ops.size(flat))
    log_p += ops.reshape(gains, ops.shape(log_p))
    return ops.concatenate([log_p, *of_unknown], axis=-1) if of_unknown else log_p


def _log_of_unknown(log_copied, attention, unknown):
    """Computes log p of unknown words `(B, T, U)`, which are copied or not at all."""
    paid = ops.matmul(attention, ops.cast(unknown, attention.dtype))
    there = ops.expand_dims(ops.any(unknown, axis=1), 1)
    return ops.where(there, log_copied_alone(log_copied[..., None], paid), LOG_OF_NOTHING)


def log_copied_alone(log_copied, paid):
    """Computes log p of words that are copied or not at all, given the attention to them."""
    return log_copied + ops.log(ops.maximum(paid, _LEAST))


def first_positions(source):
    """Finds the first position of the word at each position: `(B, S)` to int32 `(B, S)`."""
    source = ops.convert_to_tensor(source)
    same = ops.equal(ops.expand_dims(source, 1), ops.expand_dims(source, 2))  # (B, S, S)
    return ops.cast(ops.argmax(ops.cast(same, "uint8"), axis=-1), "int32")


def pool_attention(attention, first):
    """Sums the attention to all positions of a word at the first of them; 0 at the others.

    Args:
        attention: `(B, T, S)`.
        first: `first_positions(source)`, `(B, S)`.
    """
    batch, steps, length = ops.shape(attention)
    rows = ops.reshape(ops.arange(batch * steps, dtype="int32"), (batch, steps, 1)) * length
    indices = ops.reshape(rows + ops.expand_dims(first, 1), (-1,))
    flat = ops.reshape(attention, (-1,))
    pooled = ops.segment_sum(flat, indices, num_segments=batch * steps * length)
    return ops.reshape(pooled, (batch, steps, length))


def log_shares(gate, attention, copyable: Any = None):
    """Computes logarithms of the shares of vocabulary and copying, `(B, T)` each.

    The vocabulary has p_gen, and of 1 - p_gen the attention to positions that are not copied.

    Args:
        gate: `(B, T)`, the logit of `p_gen`.
        attention: `(B, T, S)`.
        copyable: boolean `(B, S)`, or `None` for all positions.
    """
    log_written, log_copied = ops.log_sigmoid(gate), ops.log_sigmoid(-gate)
    if copyable is not None:
        left = attention - copied_attention(attention, copyable)
        log_left = log_or_nothing(ops.sum(left, axis=-1))
        log_written = ops.logaddexp(log_written, log_copied + log_left)
    nothing = ops.equal(ops.sum(attention, axis=-1), 0)
    return ops.where(nothing, 0.0, log_written), log_copied


def copied_attention(attention, copyable: Any = None):
    """Keeps the attention `(B, T, S)` to positions `(B, S)` that may be copied; 0 elsewhere."""
    if copyable is None:
        return attention
    return ops.where(ops.expand_dims(ops.cast(copyable, "bool"), 1), attention, 0.0)


def copy_gains(log_written, log_copied, pooled):
    """Computes what copying adds to the log p of words.

    Args:
        log_written: `(B, T, S)`, log p of the words of the source by writing alone.
        log_copied: `(B, T)`, log (1 - p_gen).
        pooled: `(B, T, S)`, the attention to each word.

    Returns:
        log (p by writing + p by copying) - log (p by writing), `(B, T, S)`.
    """
    log_copy = ops.expand_dims(log_copied, -1) + log_or_nothing(pooled)
    return ops.softplus(log_copy - log_written)


def log_or_nothing(shares):
    """Logarithms of numbers from 0; that of 0 is a large negative number without gradient."""
    positive = shares > 0
    return ops.where(positive, ops.log(ops.where(positive, shares, 1.0)), LOG_OF_NOTHING)


def _in_vocabulary(source, size, copyable):
    """Clips the source to ids of the vocabulary; also returns the positions that are copied."""
    source = ops.cast(source, "int32")  # narrower numbers cannot be compared with the size
    known = ops.logical_and(source >= 0, source < size)
    if copyable is not None:
        known = ops.logical_and(known, ops.cast(copyable, "bool"))
    return ops.clip(source, 0, size - 1), known


def _flat_indices(tensor, source, length):
    """Indices of the words of a source `(B, S)` in a flat tensor `(B, T, V)`: `(B*T*S,)`."""
    batch, steps, vocab_size = ops.shape(tensor)
    rows = ops.reshape(ops.arange(batch * steps, dtype="int32"), (batch, steps, 1)) * vocab_size
    indices = rows + ops.reshape(ops.cast(source, "int32"), (batch, 1, length))
    return ops.reshape(indices, (-1,))
