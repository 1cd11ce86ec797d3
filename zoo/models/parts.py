"""The parts of a model: an encoder, a decoder and an output, and what they hand to each other.

Shapes: B batch, S source length, T target length, N beams, D width, V vocabulary, L layers, H
heads.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
from keras import ops

from ...layers.ops.arguments import positive_int
from ..text.special_ids import END_ID, UNKNOWN_ID
from .backend import take_beams, take_rows

Nest = Any


class Encoded(NamedTuple):
    """A source as an encoder gives it to a decoder.

    Attributes:
        states: What is attended to, (B, S, D).
        mask: Boolean (B, S), True for states that may be attended to.
        summary: The source in one vector, (B, D'), which a recurrent decoder starts from.
        segments: int (B, S'), the number of the state that each position of the source belongs
            to, -1 for none, where an encoder has fewer states than positions; otherwise ().
    """

    states: Any
    mask: Any
    summary: Any
    segments: Any = ()

    def spread(self):
        # The share of each position in each state, float32 (B, S, S'); () where they are the same.
        if isinstance(self.segments, tuple):
            return ()
        of_states = ops.one_hot(self.segments, ops.shape(self.states)[1], dtype="float32")
        of_states = of_states / ops.maximum(ops.sum(of_states, axis=1, keepdims=True), 1)
        return ops.swapaxes(of_states, 1, 2)


class AttentionMaps(NamedTuple):
    """The attention weights of all layers and heads, before dropout.

    Attributes:
        cross: Of each step of the target over the source, (B, L, H, T, S).
        encoder: Of the source over itself, (B, L, H, S, S), or `None` without self-attention.
        decoder: Of the target over itself, (B, L, H, T, T), or `None` without self-attention.
    """

    cross: Any
    encoder: Any = None
    decoder: Any = None


class SourceMemory(NamedTuple):
    """All that is fixed while a target is written.

    Attributes:
        decoder: What the decoder prepared of the source.
        output: What the output prepared of it.
        spread: float32 (B, M, S), the share of each position of the source in each of M states
            that stand for several; () where each position has its own.
        unknown: Boolean (B, S, U), the positions of U unknown words; () unless they are asked for,
            or where the output has them.
    """

    decoder: Nest
    output: Nest
    spread: Any = ()
    unknown: Any = ()

    def over_source(self, attention):
        """Attention over states (B, ..., M) as attention over their positions (B, ..., S)."""
        if isinstance(spread := self.spread, tuple):
            return attention
        for _ in attention.shape[3:]:
            spread = ops.expand_dims(spread, 1)
        return ops.matmul(attention, ops.cast(spread, attention.dtype))


class StepWeights(NamedTuple):
    """Values that a step reads of the variables of decoder and output."""

    decoder: Nest
    output: Nest


class TeacherForced(NamedTuple):
    """A given target as an output reads it: hidden states (B, T, D), attention (B, T, S) or ()."""

    hidden: Any
    attention: Any
    memory: SourceMemory


class Encoder(keras.layers.Layer):
    """Base class of encoders.

    A subclass writes `call(inputs, mask, training)`, which gets the vectors of the source,
    (B, S, E), and a boolean mask (B, S), and returns an `Encoded`.

    Attributes:
        reads_ids: Whether `call` takes the token ids of the source (B, S) after the mask.
        has_attention_maps: Whether there is a method `attention_maps(inputs, mask)` that returns
            an `Encoded` and the weights of all layers and heads, (B, L, H, S, S).
        loops_over_time: Whether it runs position by position, which XLA cannot speed up.
        max_positions: The most positions it can read, `None` for any number.
        static_shapes: Whether no shape may depend on values, as on TPUs.

    Example: the embeddings themselves.

    >>> class NoEncoder(Encoder):
    ...     def call(self, inputs, mask, training=False):
    ...         return Encoded(inputs, mask, masked_mean(inputs, mask))
    """

    reads_ids = False
    has_attention_maps = False
    loops_over_time = False
    max_positions: int | None = None
    static_shapes = False

    def call(self, inputs, mask, training=False) -> Encoded:
        raise NotImplementedError


class Decoder(keras.layers.Layer):
    """Base class of decoders.

    A subclass writes

    - `build(target_shape, states_shape, summary_shape)`: makes the weights;
    - `prepare(encoded) -> memory`: a nest of tensors (B, ...), projected once for a source. It is
      never tiled or reordered: the N beams of a source are N queries of the same memory;
    - `initial_state(memory, num_beams, max_steps) -> state`: a nest of tensors, for no more than
      `max_steps` steps; where that is a Python number, their shapes stay the same in all of them;
    - `step_weights()`: what `step` reads of the variables, prepared once for all steps;
    - `step_memory(memory) -> memory`: the memory as `step` may read it too, prepared once for all
      steps of a loop; as it is unless it is written;
    - `step(embedded (B, N, E), state, memory, weights) -> hidden (B, N, D), state, attention`: a
      step of every hypothesis, with its attention (B, N, S) over the states;
    - `call(target (B, T, E), memory, return_attention_scores, training) -> hidden (B, T, D),
      attention`: all steps of a given target, with attention (B, T, S), which may be () unless it
      is asked for. Without dropout it gives what the steps give one by one.

    Attributes:
        has_attention_maps: Whether there is a method `attention_maps(target, memory)` that returns
            the weights over the source (B, L, H, T, S) and over the target (B, L, H, T, T), or
            `None`, of all layers and heads.
        loops_over_time: Whether it runs step by step in training too, which XLA cannot speed up.
        max_positions: The most steps it can make, `None` for any number.
    """

    has_attention_maps = False
    loops_over_time = False
    max_positions: int | None = None

    def build(self, target_shape, states_shape, summary_shape):
        self.built = True

    def prepare(self, encoded: Encoded) -> Nest:
        raise NotImplementedError

    def initial_state(self, memory: Nest, num_beams: int = 1, max_steps: Any = None) -> Nest:
        raise NotImplementedError

    def step_weights(self) -> Nest:
        return ()

    def step_memory(self, memory: Nest) -> Nest:
        return memory

    def step(self, embedded, state: Nest, memory: Nest, weights: Nest):
        raise NotImplementedError

    def call(self, target, memory, return_attention_scores=False, training=False):
        raise NotImplementedError

    def reorder_state(self, state: Nest, beams) -> Nest:
        """Makes hypotheses go on from others of the same source.

        Args:
            state: What `step` returned, of N hypotheses of each of B sources.
            beams: int (B, N'), the hypothesis that each new one continues.

        Returns:
            The state of N' hypotheses.
        """
        return keras.tree.map_structure(lambda x: take_beams(x, beams), state)

    def gather_rows(self, memory: Nest, state: Nest, rows) -> tuple[Nest, Nest]:
        """Leaves out the sources that are done.

        Args:
            memory: Of B sources.
            state: Of their hypotheses.
            rows: int (R,), the numbers of the sources that go on.

        Returns:
            Memory and state of R sources.
        """
        return keras.tree.map_structure(lambda x: take_rows(x, rows), (memory, state))


class Output(keras.layers.Layer):
    """Base class of outputs: from what a decoder gives to the logits of the next token.

    A subclass writes `call(hidden, attention, source, weights, training)`, which returns logits or
    log probabilities (B, T, V) in training and decoding alike:

    - `hidden`: (B, T, D), of the decoder;
    - `attention`: (B, T, S) over the positions of the source, if `reads_attention`;
    - `source`: what `prepare_source(ids)` returned;
    - `weights`: what `step_weights()` returned, in a step; `None` where a target is read as a
      whole.

    Args:
        **kwargs: As for every Keras layer.

    Attributes:
        reads_attention: Whether `call` needs the attention in training too.
        copies: Whether tokens of the source are copied. Then there is `p_gen(hidden)` (B, T), the
            ids of `prepare_source(ids, unknown)` and the labels are negative for unknown words,
            and with `unknown`, their positions (B, S, U), the logits have U more columns.
        supports_r_drop: Whether two readings of it can be compared by R-Drop.
        supports_shortlist: Whether it gives the logits of a few tokens alone, as those of the zoo
            do. Then there are `shortlisted_weights(ids, others)`, for the logits of tokens (K,),
            and `shortlisted_source(source, columns, penalty)`: what `prepare_source` returned,
            with the columns (B, S) of its tokens and what is added to the logits, (B, 1, K).
        tied: Whether it reads its weights from the embedding of the target, `embedding`.
    """

    reads_attention = False
    copies = False
    supports_r_drop = False
    supports_shortlist = False
    tied = False
    embedding: Any

    def __init__(self, **kwargs):
        # Attention stays in float32.
        super().__init__(autocast=False, **kwargs)
        self.embedding = None  # here, as PyTorch finds what a class has before its sublayers

    def tie(self, embedding: keras.layers.Embedding) -> None:
        """Takes the embedding of the target, if it is tied.

        Args:
            embedding: Its table (V, E) takes the place of a kernel.
        """
        self.embedding = embedding

    def call(self, hidden, attention=None, source=(), weights=None, training=False):
        raise NotImplementedError

    def get_build_config(self):
        # The model makes its weights, when the embedding is there that they are tied to.
        return None

    def step_weights(self) -> Nest:
        return ()

    def prepare_source(self, ids, unknown=()) -> Nest:
        """Prepares the source for `call`, once for all steps.

        Args:
            ids: Token ids (B, S).
            unknown: Boolean (B, S, U), the positions of unknown words; given to an output that
                copies alone.

        Returns:
            A nest of tensors (B, ...); () by default.
        """
        return ()

    def token_losses(self, loss, labels, hidden, attention, source, kept, training):
        """Smoothed and plain loss of the labels that count.

        By default they are computed from all logits; a subclass may have a faster way.

        Args:
            loss: A `SmoothedCrossEntropy`.
            labels: (B, T).
            hidden: (B, T, D), of two readings side by side (2 B, T, D) under R-Drop.
            attention: (B, T, S) if `reads_attention`.
            source: What `prepare_source` returned.
            kept: `KeptRows`, the labels that count.
            training: Whether dropout is on.

        Returns:
            Two float32 tensors (R,), in reading order.
        """
        logits = kept.rows(self(hidden, attention, source, training=training))
        classes, logits = kept.rows(labels), ops.cast(logits, "float32")
        plain = ops.sparse_categorical_crossentropy(classes, logits, from_logits=True)
        return loss.call(classes, logits), plain


def check_vocabulary(name: str, size: Any) -> int:
    """A number of tokens that leaves room for at least one beside the special ids.

    Raises:
        ValueError: It is not a number, or too small.
    """
    if positive_int(name, size) <= END_ID + 1:
        raise ValueError(
            f"The ids 0 to {END_ID} are special, so a vocabulary has more than {END_ID + 1} "
            f"tokens. Received: {name}={size}"
        )
    return size


def check_rate(name: str, rate: Any) -> float:
    """A share that dropout sets to zero.

    Raises:
        ValueError: It is not a number from 0 up to but without 1.
    """
    if isinstance(rate, bool) or not isinstance(rate, (int, float)) or not 0 <= rate < 1:
        raise ValueError(
            f"{name} is the share that is dropped, at least 0 and below 1. "
            f"Received: {name}={rate!r}"
        )
    return rate


def known_ids(ids):
    """Ids as a model reads them, with the unknown token for all unknown words."""
    ids = ops.convert_to_tensor(ids)
    return ops.where(ids < 0, UNKNOWN_ID, ids)


def masked_mean(states, mask):
    """The mean (B, D) of the states (B, S, D) where the mask (B, S) is True."""
    kept = ops.cast(ops.expand_dims(mask, -1), states.dtype)
    return ops.sum(states * kept, axis=1) / ops.maximum(ops.sum(kept, axis=1), 1)
