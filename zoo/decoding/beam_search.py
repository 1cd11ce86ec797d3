"""Beam search: finished hypotheses kept apart from live ones.

Shapes: R rows that go on, N beams, S source length, K candidates of each beam.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from ..text.special_ids import PAD_ID
from .candidates import Candidates, Search
from .options import NEG_INF
from .strategies import Ended, Strategy


class BeamSearch(Strategy):
    """The N best targets of each source under the model, as far as N beams can find them.

    In every step each live hypothesis is offered its end, which competes in the finished set by
    score, and the N best continuations of all live ones go on. A sentence is done when its length
    limit is reached or no live hypothesis is worth going on with (`options.early_stopping`).

    Reference: Wu et al. 2016, https://arxiv.org/abs/1609.08144, section 7
    """

    # Its state are the N best that have ended, and the attention (R, N, S) that each live one has
    # paid, () without a coverage penalty.
    reorders = True

    def begin(self, search: Search) -> Search:
        # All beams start alike, so all but the first are ruled out: they would only repeat it.
        first = tf.range(self.num_hypotheses) == 0
        nothing = tf.fill(tf.shape(search.log_p), NEG_INF)
        ended = Ended(nothing, tf.zeros_like(search.tokens), tf.zeros_like(search.tokens))
        covered: Any = ()
        if self.options.coverage_penalty:
            positions = tf.cast(search.source[:, None] * 0, tf.float32)
            covered = tf.repeat(positions, self.num_hypotheses, axis=1)
        log_p = tf.where(first, search.log_p, NEG_INF)
        return search._replace(log_p=log_p, live=log_p > NEG_INF / 2, own=(ended, covered))

    def choose(self, candidates: Candidates, search: Search) -> tuple[Search, Any]:
        beams, covered = self.num_hypotheses, search.own[1]
        tokens, log_p = candidates.best(beams, with_end=False)  # (R, N, K)
        each = tokens.shape[-1] or tf.shape(tokens)[-1]
        log_p = tf.reshape(log_p + search.log_p[..., None], (-1, beams * each))
        log_p, chosen = tf.math.top_k(log_p, beams)
        log_p = tf.maximum(log_p, NEG_INF)
        tokens = tf.gather(tf.reshape(tokens, (-1, beams * each)), chosen, batch_dims=1)
        parents = chosen // each
        if self.options.coverage_penalty:
            covered += candidates.attention
        ended = self._with_ends_of(search, candidates.end_log_p(), covered)
        if self.options.coverage_penalty:
            covered = tf.gather(covered, parents, batch_dims=1)
        log_p = tf.where(self._are_done(search, log_p, ended)[:, None], NEG_INF, log_p)
        search = search._replace(tokens=tokens, log_p=log_p, live=log_p > NEG_INF / 2)
        return search._replace(own=(ended, covered)), parents

    def ended(self, search: Search) -> Ended:
        return search.own[0]

    def _with_ends_of(self, search: Search, end_log_p: tf.Tensor, covered: Any) -> Ended:
        """The N best of those that ended before and the live ones, ended now."""
        ended, options = search.own[0], self.options
        log_p = end_log_p + search.log_p
        scores = log_p / options.penalty(search.step + 1)
        if options.coverage_penalty:
            # The sum over the source of log min(1, attention paid), 0 where all was looked at.
            logs = tf.math.log(tf.clip_by_value(covered, 1e-6, 1.0))
            logs = tf.where((search.source != PAD_ID)[:, None], logs, 0.0)
            scores += options.coverage_penalty * tf.reduce_sum(logs, axis=-1)
        # What was ruled out must stay below all that was not, whatever it is divided by.
        scores = tf.where(log_p > NEG_INF / 2, scores, NEG_INF)
        beams = tf.zeros_like(ended.beams) + tf.range(self.num_hypotheses)
        scores, best = tf.math.top_k(tf.concat([ended.scores, scores], 1), self.num_hypotheses)
        ends = tf.concat([ended.ends, tf.zeros_like(beams) + search.step], axis=1)
        beams = tf.concat([ended.beams, beams], axis=1)
        return Ended(scores, *(tf.gather(x, best, batch_dims=1) for x in (ends, beams)))

    def _are_done(self, search: Search, log_p: tf.Tensor, ended: Ended) -> tf.Tensor:
        """Mask (R,) of the rows in which no live hypothesis (R, N) is worth going on with."""
        # Log probabilities only fall, and the coverage penalty is never above 0. The best a live
        # hypothesis can come to is its present log p, over the largest penalty there is; what it
        # will likely come to, over that of its next length.
        length = search.step + 2 if self.options.early_stopping else search.limits
        hope = tf.reduce_max(log_p, axis=1) / self.options.penalty(length)
        # At the limit of a sentence all that goes on has lost.
        at_limit = search.step + 1 >= search.limits
        return (hope <= tf.reduce_min(ended.scores, axis=1)) | at_limit
