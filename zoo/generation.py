"""Writing a target with a model: the options, the result, and one hypothesis at a time.

Written once over the protocol of `Seq2SeqModel`, in core TensorFlow operations, so that it runs in
any graph and in any exported model. Shapes: B batch, N hypotheses, T target length, S source.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import tensorflow as tf

from .model import Nest, Seq2SeqModel
from .tokenizer import END_ID, PAD_ID, START_ID, UNKNOWN_ID

# A log probability that no hypothesis can come back from; finite, so that it can be added to.
IMPOSSIBLE = -1e9


@dataclass(frozen=True)
class GenerationOptions:
    """How a target is searched for.

    Args:
        beam_size: hypotheses N kept at every step; 1 is greedy search.
        length_penalty: exponent alpha of Wu et al. 2016: a hypothesis of n subwords (its end
            included) is ranked by log p / ((5 + n) / 6) ** alpha. 0 ranks by log p.
        max_length: most subwords of a target, end included.
        max_length_ratio: a target has at most this many subwords for one of the source, plus ten;
            `None` leaves `max_length` alone.
        min_length: fewest subwords before the end.
        early_stopping: stop a sentence when no live hypothesis, at its present length, is better
            than the worst of N finished ones. `False` goes on until none can become better.
        forbid_unknown: never write the unknown subword.

    Reference: https://arxiv.org/abs/1609.08144, section 7
    """

    beam_size: int = 5
    length_penalty: float = 1.0
    max_length: int = 128
    max_length_ratio: float | None = 2.0
    min_length: int = 0
    early_stopping: bool = True
    forbid_unknown: bool = True

    def __post_init__(self) -> None:
        for name, low in (("beam_size", 1), ("max_length", 1), ("min_length", 0)):
            if getattr(self, name) < low:
                raise ValueError(
                    f"{name} must be at least {low}. Received: {name}={getattr(self, name)}"
                )
        if self.min_length >= self.max_length:
            raise ValueError(
                "min_length must be smaller than max_length, which counts the end too. "
                f"Received: min_length={self.min_length}, max_length={self.max_length}"
            )
        if not self.length_penalty >= 0:
            raise ValueError(
                f"length_penalty is not negative. Received: length_penalty={self.length_penalty}"
            )
        if self.max_length_ratio is not None and self.max_length_ratio <= 0:
            raise ValueError(
                "max_length_ratio is positive, or None for no limit. "
                f"Received: max_length_ratio={self.max_length_ratio}"
            )

    def get_config(self) -> dict:
        return asdict(self)

    def penalty(self, length: tf.Tensor) -> tf.Tensor:
        """What the log probability of a hypothesis of `length` subwords is divided by."""
        return ((5.0 + tf.cast(length, tf.float32)) / 6.0) ** self.length_penalty

    def length_limits(self, source: tf.Tensor) -> tf.Tensor:
        """Most subwords of each target, end included, for sources (B, S): int32 (B,).

        The limit of a row follows from its own length: it does not change with its neighbours.
        """
        lengths = tf.reduce_sum(tf.cast(source != PAD_ID, tf.int32), axis=1)
        if self.max_length_ratio is None:
            return tf.fill(tf.shape(lengths), self.max_length)
        allowed = tf.cast(tf.cast(lengths, tf.float32) * self.max_length_ratio, tf.int32) + 10
        return tf.clip_by_value(allowed, self.min_length + 1, self.max_length)

    def log_probabilities(self, logits: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
        """Log probabilities in float32 with what may not be written at this step ruled out."""
        logits = tf.cast(logits, tf.float32)
        return tf.nn.log_softmax(logits) + self.forbidden(logits.shape[-1], step)

    def forbidden(self, vocab_size: int, step: tf.Tensor) -> tf.Tensor:
        """float32 (V,): `IMPOSSIBLE` for subwords that may not be written at this step, else 0."""
        never = [PAD_ID, START_ID] + ([UNKNOWN_ID] if self.forbid_unknown else [])
        ids = tf.range(vocab_size)
        ruled_out = tf.reduce_any(ids[:, None] == tf.constant(never), axis=1)
        ruled_out |= (ids == END_ID) & (step < self.min_length)
        return tf.where(ruled_out, IMPOSSIBLE, 0.0)


class Hypotheses(NamedTuple):
    """Targets a model wrote, the best first.

    Attributes:
        ids: int32 (B, N, T), each ended by the end id, then padding.
        scores: float32 (B, N), log probability over length penalty.
        attention: float32 (B, N, T, S) over the source, or `None` if not asked for.
    """

    ids: tf.Tensor
    scores: tf.Tensor
    attention: Any  # a tensor, or None


def generate(
    model: Seq2SeqModel,
    source: tf.Tensor,
    options: GenerationOptions,
    return_attention: bool = False,
) -> Hypotheses:
    """Writes a target for each row of source ids (B, S): beam search, or greedy for one beam.

    Example:

    >>> hypotheses = generate(model, source, GenerationOptions(beam_size=5))
    >>> tokenizer.decode(hypotheses.ids[:, 0].numpy())
    """
    from .beam_search import beam_search

    search = greedy_search if options.beam_size == 1 else beam_search
    return search(model, source, options, return_attention)


def greedy_search(
    model: Seq2SeqModel,
    source: tf.Tensor,
    options: GenerationOptions,
    return_attention: bool = False,
) -> Hypotheses:
    """Writes the most probable subword at every step."""
    limits = options.length_limits(source)
    steps = tf.maximum(tf.reduce_max(limits), 1)  # also of a batch without rows
    memory = model.encode(source)
    written = tf.TensorArray(tf.int32, size=steps)
    looked_at = tf.TensorArray(tf.float32, size=steps if return_attention else 0)

    def body(t, tokens, log_p, lengths, state: Nest, written, looked_at):
        logits, state, scores = model.step(tokens[:, None], state, memory)
        log_probabilities = options.log_probabilities(logits[:, 0], t)
        live = lengths == t
        chosen = tf.argmax(log_probabilities, axis=-1, output_type=tf.int32)
        chosen = tf.where(t + 1 >= limits, END_ID, chosen)
        log_p += tf.where(live, tf.gather(log_probabilities, chosen, batch_dims=1), 0.0)
        chosen = tf.where(live, chosen, PAD_ID)
        if return_attention:
            seen = tf.where(live[:, None], tf.cast(scores[:, 0], tf.float32), 0.0)
            looked_at = looked_at.write(t, seen)
        # The length of a row that goes on is t + 1; one that has ended keeps its own.
        lengths = tf.where(live & (chosen != END_ID), t + 1, lengths)
        return t + 1, chosen, log_p, lengths, state, written.write(t, chosen), looked_at

    batch = tf.shape(source)[0]
    t, _, log_p, lengths, _, written, looked_at = tf.while_loop(
        lambda t, tokens, log_p, lengths, *_: (
            (t == 0) | ((t < steps) & tf.reduce_any(lengths == t))
        ),
        body,
        (
            0,
            tf.fill([batch], START_ID),
            tf.zeros([batch]),
            tf.zeros([batch], tf.int32),
            model.start(memory, 1, steps),
            written,
            looked_at,
        ),
        maximum_iterations=steps,
        parallel_iterations=1,
    )
    ids = tf.transpose(written.stack()[:t])[:, None]  # (B, 1, T)
    attention = None
    if return_attention:
        attention = tf.transpose(looked_at.stack()[:t], (1, 0, 2))[:, None]
    return Hypotheses(ids, (log_p / options.penalty(lengths + 1))[:, None], attention)
