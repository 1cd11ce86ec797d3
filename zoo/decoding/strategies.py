"""Strategies: which tokens the hypotheses of a search go on with. Greedy search and sampling.

Shapes: R rows that go on, N hypotheses of a row, V vocabulary.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from ..text.special_ids import END_ID, PAD_ID
from .candidates import Candidates, Search
from .options import NEG_INF, GenerationOptions


class Ended(NamedTuple):
    """Hypotheses that have ended, the best first.

    Attributes:
        scores: float32 (R, N), `NEG_INF` for those that are not there.
        ends: int32 (R, N), the step of the end of each.
        beams: int32 (R, N), which of the N hypotheses it was in that step.
    """

    scores: tf.Tensor
    ends: tf.Tensor
    beams: tf.Tensor


class Strategy:
    """Base class of strategies: what chooses the hypotheses of the next step.

    Where hypotheses do not compete, a subclass writes `next_tokens`, all else is done here: a
    target ends at its limit, and where nothing may be written. Where they do, it writes `begin`,
    `choose` and `ended`, as `BeamSearch` does.

    Args:
        options: Of the generation.

    Attributes:
        num_hypotheses: N, that many are kept for each row; `options.beam_size` by default.
        reorders: Whether `choose` returns which hypothesis each new one continues.
        reads_written: Whether `Search.written` is needed.

    Example: sampling that cools down.

    >>> class AnnealedSampling(Strategy):
    ...     def next_tokens(self, candidates, search):
    ...         temperature = tf.maximum(0.1, 1.5 * 0.9 ** tf.cast(search.step, tf.float32))
    ...         noise = -tf.math.log(-tf.math.log(tf.random.uniform(tf.shape(candidates.logits))))
    ...         return tf.argmax(candidates.logits / temperature + noise, -1, tf.int32)
    >>> options = GenerationOptions(beam_size=3)
    >>> attention_zoo.generate(model, source, options, strategy=AnnealedSampling)
    """

    reorders = False
    reads_written = False

    def __init__(self, options: GenerationOptions):
        self.options = options
        self.num_hypotheses = options.beam_size

    def next_tokens(self, candidates: Candidates, search: Search) -> tf.Tensor:
        """Chooses the token that each hypothesis goes on with.

        Args:
            candidates: The logits, and what may be written.
            search: The search before the step.

        Returns:
            int32 (R, N).
        """
        raise NotImplementedError

    def begin(self, search: Search) -> Search:
        """Prepares the search before the first step.

        Args:
            search: A search without a token.

        Returns:
            The search with the state of the strategy in `own`; here the lengths of what has ended.
        """
        return search._replace(own=tf.zeros_like(search.tokens))  # the lengths, 0 while they grow

    def choose(self, candidates: Candidates, search: Search) -> tuple[Search, Any]:
        """Makes a step.

        Args:
            candidates: The tokens to go on with.
            search: The search before the step.

        Returns:
            The search with new `tokens`, `log_p`, `live` and `own`; and the hypothesis that each
            new one continues, int32 (R, N), or `None` if each continues itself.
        """
        tokens = self.next_tokens(candidates, search)
        if candidates.are_processed:
            possible = tf.gather(candidates.logits, tokens, batch_dims=2) > NEG_INF / 2
            tokens = tf.where(possible, tokens, END_ID)
        tokens = tf.where((search.step + 1 >= search.limits)[:, None], END_ID, tokens)
        log_p = search.log_p + tf.where(search.live, candidates.log_p(tokens), 0.0)
        tokens = tf.where(search.live, tokens, PAD_ID)
        lengths = tf.where(tokens == END_ID, search.step + 1, search.own)
        return search._replace(tokens=tokens, log_p=log_p, live=lengths == 0, own=lengths), None

    def ended(self, search: Search) -> Ended:
        """Ranks the hypotheses that have ended so far.

        Args:
            search: The search after a step.

        Returns:
            The N best of them, by log probability over length penalty.
        """
        scores = search.log_p / self.options.penalty(search.own)
        scores, order = tf.math.top_k(scores, self.num_hypotheses)
        return Ended(scores, tf.gather(search.own, order, batch_dims=1) - 1, order)


class GreedySearch(Strategy):
    """The most probable token in every step."""

    def __init__(self, options: GenerationOptions):
        super().__init__(options)
        self.num_hypotheses = 1

    def next_tokens(self, candidates: Candidates, search: Search) -> tf.Tensor:
        if isinstance(candidates.special, np.ndarray):
            return candidates.best(1)[0][..., 0]
        # Whether a target may end differs by step and row: one look at the end is less work than
        # to add that to the logits of all tokens.
        tokens, log_p = candidates.best(1, with_end=False)
        return tf.where(candidates.end_log_p() >= log_p[..., 0], END_ID, tokens[..., 0])


class Sampling(Strategy):
    """Tokens drawn from the distribution of the model, as temperature, top k and top p say.

    Log probabilities are those of the model, whatever the temperature is.

    Reference: on top-p Holtzman et al. 2020, https://arxiv.org/abs/1904.09751
    """

    def next_tokens(self, candidates: Candidates, search: Search) -> tf.Tensor:
        return draw(candidates.logits, self.options)


def draw(logits: tf.Tensor, options: GenerationOptions) -> tf.Tensor:
    """Ids (R, N) drawn from logits (R, N, V) as temperature, top k and top p say.

    Of equal logits at the border of top k, the first are kept.
    """
    ids = None
    if options.top_k or options.top_p < 1:
        count = tf.shape(logits)[-1]
        logits, ids = tf.math.top_k(logits, tf.minimum(options.top_k or count, count))
    logits = _tempered(logits, options.temperature)
    if options.top_p < 1:
        # A token stays if those before it do not have the probability yet: one always does.
        probabilities = tf.nn.softmax(logits)
        before = tf.cumsum(probabilities, axis=-1, exclusive=True)
        logits = tf.where(before < options.top_p, logits, NEG_INF)
    # The largest of logits with Gumbel noise is a draw from their softmax.
    uniform = tf.random.uniform(tf.shape(logits), minval=1e-20, seed=options.seed)
    chosen = tf.argmax(logits - tf.math.log(-tf.math.log(uniform)), -1, tf.int32)
    return chosen if ids is None else tf.gather(ids, chosen, batch_dims=2)


def _tempered(logits: tf.Tensor, temperature: float) -> tf.Tensor:
    """Logits (R, N, V) over any temperature, the largest 0: none is ruled out, or in, by it."""
    below = logits - tf.reduce_max(logits, axis=-1, keepdims=True)
    # Float32 has the inverse of no temperature that is next to 0.
    tempered = below * min(1 / temperature, float(tf.float32.max))
    return tf.where(logits > NEG_INF / 2, tempered, NEG_INF)
