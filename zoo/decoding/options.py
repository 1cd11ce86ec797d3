"""Options of generation, and its result.

Shapes: B batch, N hypotheses, S source length, T target length.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from numbers import Integral, Real
from typing import Any, NamedTuple

import tensorflow as tf

from ..text.special_ids import PAD_ID

# A log probability that no hypothesis can come back from; finite, so that it can be added to.
NEG_INF = -1e9

MORE_TOKENS = 10  # of a target, beside what `max_length_ratio` allows

_WIDEST = 100  # beams of a second search
_LARGEST = 2**30  # of a whole number: lengths are int32
_POSITIVE = ("beam_size", "max_length")  # no other number may be below 0
_WHOLE = (*_POSITIVE, "min_length", "no_repeat_ngram", "top_k", "shortlist")
_REAL = ("length_penalty", "coverage_penalty", "min_length_ratio", "temperature", "top_p")
_SWITCHES = ("early_stopping", "forbid_unknown", "replace_unknown", "do_sample")


@dataclass(frozen=True)
class GenerationOptions:
    """Options of generation: beam search, greedy search or sampling.

    Args:
        beam_size: hypotheses N kept at every step; 1 is greedy search. With `do_sample`, how many
            targets are drawn.
        length_penalty: exponent alpha of Wu et al. 2016: a hypothesis of n tokens (its end
            included) is ranked by log p / ((5 + n) / 6) ** alpha. 0 ranks by log p.
        coverage_penalty: factor beta of Wu et al. 2016: added to the rank is beta times the sum,
            over the source, of log min(1, all attention paid to the token). 0 for none. It
            ranks hypotheses of a beam search; greedy search and draws take no notice of it.
        max_length: most tokens of a target, end included.
        max_length_ratio: a target has at most this many tokens for one of the source, plus ten;
            `None` leaves `max_length` alone.
        min_length: fewest tokens before the end.
        min_length_ratio: fewest tokens before the end, for one of the source; the larger of the
            two holds.
        early_stopping: stop a sentence when no live hypothesis, at its present length, is better
            than the worst of N finished ones. `False` goes on until none can become better.
        forbid_unknown: never write the unknown token.
        replace_unknown: unknown pieces of a source may be written, each for itself, see `unknown`:
            a model that copies gives them probabilities; that of the unknown token is shared among
            them by attention in any other. `forbid_unknown` holds for the token itself.
        no_repeat_ngram: no run of so many words is written twice; 0 allows all. (For `generate`
            alone, which knows no words but by `word_starts`, of so many tokens.) Where nothing is
            left to write before the end may come, greedy search and draws end all the same; a beam
            search gives the hypothesis up.
        do_sample: draw the targets from the model's distribution in place of searching.
        temperature: what logits are divided by before a draw; below 1 is more careful.
        top_k: draw from so many of the most probable tokens; 0 for all.
        top_p: draw from the fewest tokens that have this probability together.
        seed: of the draws. As the seed of a Keras layer it moves on: a second call draws anew, and
            the same calls draw the same in a new process, or by another `TextToText` with the same
            seed. `None` draws others every time.
        shortlist: target tokens that may be written for each token of the source, beside those that
            are frequent, forced by a prefix or copied; 0 for all. It needs a `Shortlist`, and
            probabilities are those among the tokens that may be written.

    References: Wu et al. 2016, https://arxiv.org/abs/1609.08144, section 7; on top-p Holtzman et
    al. 2020, https://arxiv.org/abs/1904.09751; on repeated n-grams Paulus et al. 2018,
    https://arxiv.org/abs/1705.04304
    """

    beam_size: int = 5
    length_penalty: float = 1.0
    coverage_penalty: float = 0.0
    max_length: int = 128
    max_length_ratio: float | None = 2.0
    min_length: int = 0
    min_length_ratio: float = 0.0
    early_stopping: bool = True
    forbid_unknown: bool = True
    replace_unknown: bool = False
    no_repeat_ngram: int = 0
    do_sample: bool = False
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int | None = None
    shortlist: int = 0

    def __post_init__(self) -> None:
        for name in _WHOLE + _REAL:
            low = int(name in _POSITIVE)
            _check_number(name, getattr(self, name), low, whole=name in _WHOLE)
        for name in _SWITCHES:
            if not isinstance(value := getattr(self, name), bool):
                raise ValueError(f"{name} is true or false. Received: {name}={value!r}")
        if self.max_length_ratio is not None:
            _check_number("max_length_ratio", self.max_length_ratio, 0)
        no_seed = isinstance(self.seed, bool) or not isinstance(self.seed, Integral)
        if self.seed is not None and no_seed:
            raise ValueError(f"seed is a whole number, or None. Received: seed={self.seed!r}")
        self._check_lengths()
        self._check_draws()

    def _check_lengths(self) -> None:
        if self.min_length >= self.max_length:
            raise ValueError(
                "min_length must be smaller than max_length, which counts the end too. "
                f"Received: min_length={self.min_length}, max_length={self.max_length}"
            )
        if self.max_length_ratio is not None and not self.max_length_ratio > self.min_length_ratio:
            raise ValueError(
                "max_length_ratio is larger than min_length_ratio, or None for no limit. Received: "
                f"max_length_ratio={self.max_length_ratio}, "
                f"min_length_ratio={self.min_length_ratio}"
            )

    def _check_draws(self) -> None:
        if self.temperature == 0:
            raise ValueError(
                "temperature must be positive; without do_sample the most probable is searched "
                f"for. Received: temperature={self.temperature}"
            )
        if self.top_p == 0 or self.top_p > 1:
            raise ValueError(
                f"top_p is a probability above 0 and at most 1. Received: top_p={self.top_p}"
            )
        of_draws = (self.temperature, self.top_k, self.top_p, self.seed)
        if not self.do_sample and of_draws != (1.0, 0, 1.0, None):
            raise ValueError(
                "temperature, top_k, top_p and seed are of sampling: set do_sample=True. Received: "
                f"temperature={self.temperature}, top_k={self.top_k}, top_p={self.top_p}, "
                f"seed={self.seed}"
            )

    def get_config(self) -> dict:
        return asdict(self)

    def wider(self) -> int:
        """Widens the beam for a second search, where texts are not there `beam_size` times.

        Returns:
            Four times `beam_size`, a hundred at most, and never less than `beam_size`.
        """
        return max(self.beam_size, min(4 * self.beam_size, _WIDEST))

    def penalty(self, length: tf.Tensor) -> tf.Tensor:
        """Computes the length penalty, by which the log probability of a hypothesis is divided.

        Args:
            length: Numbers of tokens, end included, of any shape.

        Returns:
            float32 of the same shape: `((5 + length) / 6) ** length_penalty`.
        """
        return ((5.0 + tf.cast(length, tf.float32)) / 6.0) ** self.length_penalty

    def length_limits(self, source: tf.Tensor) -> tf.Tensor:
        """Computes the most tokens of each target from the length of its own source.

        Args:
            source: Token ids (B, S), padding included.

        Returns:
            int32 (B,), end included, the same whatever other rows are in the batch.
        """
        if self.max_length_ratio is None:
            return tf.fill(tf.shape(source)[:1], self.max_length)
        allowed = self._share_of(source, self.max_length_ratio) + MORE_TOKENS
        return tf.clip_by_value(allowed, self.min_length + 1, self.max_length)

    def min_lengths(self, source: tf.Tensor) -> tf.Tensor:
        """Computes the fewest tokens of each target from the length of its own source.

        Args:
            source: Token ids (B, S), padding included.

        Returns:
            int32 (B,), the tokens before the end, always fewer than `length_limits` allows.
        """
        relative = self._share_of(source, self.min_length_ratio)
        return tf.minimum(tf.maximum(relative, self.min_length), self.length_limits(source) - 1)

    def _share_of(self, source: tf.Tensor, ratio: float) -> tf.Tensor:
        """`ratio` tokens for each one of a source (B, S), as far as they can matter: (B,)."""
        lengths = tf.reduce_sum(tf.cast(source != PAD_ID, tf.float32), axis=1)
        # Cut before the cast, which makes anything of what is too large for an integer.
        most = float(self.max_length)
        return tf.cast(tf.minimum(lengths * min(ratio, most), most), tf.int32)


def _check_number(name: str, value: Any, low: float, whole: bool = False) -> None:
    """Refuses what is no number, not a whole one where it has to be, or out of range."""
    kind = Integral if whole else Real
    is_number = isinstance(value, kind) and not isinstance(value, bool)
    if not is_number:
        raise ValueError(f"{name} is a {'whole ' * whole}number. Received: {name}={value!r}")
    high = _LARGEST if whole else math.inf
    if not low <= value < high:
        raise ValueError(
            f"{name} must be at least {low} and below {high}. Received: {name}={value}"
        )


class Hypotheses(NamedTuple):
    """Targets a model wrote, the best first.

    Attributes:
        ids: int32 (B, N, T), each ended by the end id, then padding. With `replace_unknown`,
            negative ids are unknown pieces of the source.
        scores: float32 (B, N), log probability over length penalty, with the coverage penalty.
        attention: float32 (B, N, T, S) over the source, or `None` if not asked for.
        finished: boolean (B, N), False for a target that is as long as its limit, where it had to
            end, and for one that is not there.
    """

    ids: tf.Tensor
    scores: tf.Tensor
    attention: Any  # a tensor, or None
    finished: tf.Tensor
