"""Settings in groups, by what takes them, and the rule that each value keeps to.

`RunConfig` has all of them under flat names, and is an instance of each group.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ...zoo.errors import ConfigError
from ...zoo.text.normalization import KINDS, NORMALIZATIONS


@dataclass(frozen=True)
class Rule:
    """Rule for the value of a setting: a test, and the words for it."""

    holds: Callable[[Any], bool]
    words: str


POSITIVE = Rule(lambda value: 0 < value < math.inf, "must be positive")
NOT_NEGATIVE = Rule(lambda value: 0 <= value < math.inf, "must not be negative")
SHARE = Rule(lambda value: 0 < value <= 1, "must be above 0 and at most 1")
BELOW_ONE = Rule(lambda value: 0 <= value < 1, "must be at least 0 and below 1")
# NumPy takes no other seeds.
SEED = Rule(lambda value: 0 <= value < 2**32, "must be a number from 0 to 2**32 - 1")
YES_NO = Rule(lambda value: isinstance(value, bool), "is true or false")
TEXT = Rule(lambda value: isinstance(value, str), "is a text")
# SentencePiece takes no others.
COVERAGE = Rule(lambda value: 0.98 <= value <= 1, "must be from 0.98 to 1")
# Each hypothesis is a row of every batch, and each average a copy of the model in memory.
LARGEST_BEAM, MOST_AVERAGED = 1000, 100
LONGEST_SHORTLIST = 100  # the table has so many numbers for each token, and a pack has the table
BEAM = Rule(lambda value: 1 <= value <= LARGEST_BEAM, f"must be from 1 to {LARGEST_BEAM}")
AVERAGED = Rule(lambda value: 0 <= value <= MOST_AVERAGED, f"must be from 0 to {MOST_AVERAGED}")
LENGTH = Rule(lambda value: value >= 2, "counts the end of the text too, so it is at least 2")


def one_of(*choices: str | None) -> Rule:
    names = ["none" if choice is None else choice for choice in choices]
    return Rule(lambda value: value in choices, f"is one of {', '.join(names)}")


# Those of sacreBLEU; "auto" chooses one of them by the script of the references.
TOKENIZATIONS = (
    ("auto", "none", "13a", "zh", "char", "intl")
    + ("ja-mecab", "ko-mecab", "spm", "flores101", "flores200")
)  # fmt: skip


def setting(default: Any, description: str, rule: Rule, learned: bool = True) -> Any:
    """A field with a rule for its value and a description, which `attention-zoo settings` shows.

    Args:
        default: its value where nobody gives one.
        description: of the value, in a few words.
        rule: for the value.
        learned: False if it says how a run is run, not what it learns: it may change when the run
            is resumed.
    """
    metadata = {"description": description, "rule": rule, "learned": learned}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, kw_only=True)
class Options:
    """A group of settings, each of which keeps to its rule.

    Raises:
        ConfigError: A value is impossible.
    """

    def __post_init__(self) -> None:
        for f in dataclasses.fields(self):
            if "rule" in f.metadata:
                _check(f.name, getattr(self, f.name), f.metadata["rule"])


@dataclass(frozen=True, kw_only=True)
class TokenizerOptions(Options):
    """Settings of the vocabulary, and of how texts become tokens."""

    vocab_size: int = setting(8000, "most tokens; a small corpus gives fewer", POSITIVE)
    shared_vocabulary: bool = setting(
        True,
        "of source and target; if false, or if their kinds of tokens differ, each has vocab_size "
        "tokens of its own",
        YES_NO,
    )
    tokenizer: str = setting(
        "bpe", "kind of tokens: bpe, unigram, word (between white space) or char", one_of(*KINDS)
    )
    source_tokenizer: str | None = setting(
        None, "kind of tokens of the sources; none: as tokenizer", one_of(None, *KINDS)
    )
    target_tokenizer: str | None = setting(
        None, "kind of tokens of the targets; none: as tokenizer", one_of(None, *KINDS)
    )
    normalization: str = setting(
        "nfc",
        "of texts: nfc (and white space as single spaces), none, or those of SentencePiece: "
        "nmt_nfkc, nfkc, nmt_nfkc_cf, nfkc_cf",
        one_of(*NORMALIZATIONS),
    )
    byte_fallback: bool | None = setting(
        None,
        "write characters without a token as bytes, 256 tokens; none: of 2,000 tokens or more; "
        "never of words",
        Rule(lambda value: value is None or isinstance(value, bool), "is true, false or none"),
    )
    bpe_dropout: float = setting(
        0.0, "share of the merges of bpe left out at random in training; 0.1 is usual", BELOW_ONE
    )
    character_coverage: float = setting(
        0.9999, "share of the characters that get a token of their own", COVERAGE
    )

    tags: str = setting("", "language tags that sources begin with, such as '<2de> <2fr>'", TEXT)
    protected: str = setting(
        "", "texts of one token each, never taken apart, such as '{name} <b> </b>'", TEXT
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        kinds = self.kinds_of_tokens
        if self.bpe_dropout and self.protected_tokens:
            raise ConfigError(
                "bpe_dropout would take tags and protected texts apart; leave it out. Received: "
                f"bpe_dropout={self.bpe_dropout}, {' '.join(self.protected_tokens)}"
            )
        if len(set(kinds)) > 1:
            object.__setattr__(self, "shared_vocabulary", False)
        if self.bpe_dropout and set(kinds) != {"bpe"}:
            raise ConfigError(
                "bpe_dropout leaves out merges of tokenizer=bpe; leave it out, or use that. "
                f"Received: bpe_dropout={self.bpe_dropout}, tokens of the kind "
                f"{' and '.join(dict.fromkeys(kinds))}"
            )

    @property
    def protected_tokens(self) -> list[str]:
        """Tags and protected texts, each once."""
        return list(dict.fromkeys([*self.tags.split(), *self.protected.split()]))

    @property
    def kinds_of_tokens(self) -> tuple[str, str]:
        """The kinds of tokens of sources and of targets."""
        return self.source_tokenizer or self.tokenizer, self.target_tokenizer or self.tokenizer


@dataclass(frozen=True, kw_only=True)
class DataOptions(Options):
    """Settings of rows and batches."""

    max_source_length: int = setting(
        128, "in tokens; longer sources are cut, in translation left out of training", LENGTH
    )
    max_target_length: int = setting(
        128, "in tokens; also the longest target that is written", LENGTH
    )

    history_turns: int = setting(4, "turns before a text that are read, in dialogue", NOT_NEGATIVE)
    filter_rows: bool = setting(
        True, "leave out duplicates, copies and mismatched pairs of a training file", YES_NO
    )
    batch_tokens: int = setting(2048, "padded tokens of the longer side in a batch", POSITIVE)


@dataclass(frozen=True, kw_only=True)
class OptimizerOptions(Options):
    """Settings of the step: learning rate, loss, precision and the average of the weights."""

    accumulate_steps: int = setting(
        1, "batches whose gradients are added up to one step, in the memory of one", POSITIVE
    )
    learning_rate: float = setting(0.001, "at its peak, after the warm-up", POSITIVE)
    warmup_steps: int = setting(500, "in which the rate rises to its peak", POSITIVE)
    schedule: str = setting(
        "inverse_sqrt",
        "of the rate after the warm-up: inverse_sqrt, cosine or cooldown",
        Rule(bool, "is the name of a schedule"),  # registered ones are known when they are used
    )
    cooldown_share: float = setting(
        0.2, "of --max-steps or --max-minutes, the last, in which a cooldown goes to zero", SHARE
    )
    cooldown_shape: str = setting("sqrt", "of a cooldown; or linear", one_of("sqrt", "linear"))
    label_smoothing: float = setting(
        0.1, "share of the target distribution that is spread evenly", BELOW_ONE
    )
    r_drop: float = setting(
        0.0,
        "weight of the divergence of two readings with dropout; 5 is usual, 0 reads once",
        NOT_NEGATIVE,
    )
    clip_norm: float = setting(
        1.0, "largest norm of all gradients together; 0 for no limit", NOT_NEGATIVE
    )
    precision: str = setting(
        "float32",
        "of the computation; or mixed_bfloat16, mixed_float16. Weights are float32 in all",
        one_of("float32", "mixed_bfloat16", "mixed_float16"),
    )
    jit: bool = setting(
        False, "compile the step with XLA, once for each of a few shapes", YES_NO, learned=False
    )
    skip_nonfinite: bool = setting(
        False,
        "leave out batches of which the gradients hold NaN or infinity, rather than stop",
        YES_NO,
        learned=False,
    )
    average_decay: float = setting(
        0.998, "of the moving average of the weights that is evaluated; 0 for none", BELOW_ONE
    )
    average_last: int = setting(
        0,
        "evaluations whose weights are averaged, in place of the moving average; 0 for none",
        AVERAGED,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.jit and self.accumulate_steps > 1:
            raise ConfigError(
                "jit compiles a step on one batch, as JAX does; leave out jit or accumulate_steps. "
                f"Received: accumulate_steps={self.accumulate_steps}"
            )


@dataclass(frozen=True, kw_only=True)
class EvaluationOptions(Options):
    """Settings of what happens between steps: evaluations, their metric, and checkpoints."""

    metric: str = setting(
        "bleu",
        "decides which weights are best: bleu, rougeL, exact_match, ... or one of your own",
        Rule(bool, "is the name of a metric"),  # which those are, the task says
    )
    bleu_tokenize: str = setting(
        "auto", "sacreBLEU's tokenization: none, 13a, zh, char, ...", one_of(*TOKENIZATIONS)
    )
    evaluate_every: int = setting(500, "steps between two evaluations", POSITIVE, learned=False)
    evaluate_rows: int = setting(
        500, "rows of the validation corpus decoded at an evaluation", POSITIVE, learned=False
    )
    patience: int = setting(
        10, "evaluations without a better metric before a run stops", POSITIVE, learned=False
    )
    checkpoint_minutes: float = setting(
        5.0, "minutes between two checkpoints", NOT_NEGATIVE, learned=False
    )


@dataclass(frozen=True, kw_only=True)
class SearchOptions(Options):
    """Settings of how outputs are searched for: `GenerationOptions` of a run."""

    beam_size: int = setting(
        5, "of predictions and exports; evaluations in training are greedy", BEAM, learned=False
    )
    length_penalty: float = setting(
        1.0,
        "log p is divided by ((5 + length) / 6) to this power",
        NOT_NEGATIVE,
        learned=False,
    )
    coverage_penalty: float = setting(
        0.0,
        "of source tokens that got little attention, in beam search",
        NOT_NEGATIVE,
        learned=False,
    )
    no_repeat_ngram: int | None = setting(
        0,
        "so many words in a row are not written twice; 0 allows all; none: 3, or as training needs",
        Rule(lambda value: value is None or 0 <= value < math.inf, "must not be negative"),
        learned=False,
    )
    replace_unknown: bool = setting(
        False, "unknown characters are copied from the source, by the attention", YES_NO
    )
    max_length_ratio: float | None = setting(
        None,
        "most tokens for one of the source, plus ten; 0 for no limit; none: as training needs",
        Rule(lambda value: value is None or 0 <= value < math.inf, "must not be negative"),
        learned=False,
    )
    shortlist: int = setting(
        0,
        "likely target tokens for each of the source, 32 are usual: beside the frequent ones no "
        "other is written, which is faster; 0 for all",
        Rule(lambda value: 0 <= value <= LONGEST_SHORTLIST, f"is from 0 to {LONGEST_SHORTLIST}"),
        learned=False,
    )

    def generation(self, max_length: int) -> dict[str, Any]:
        """The fields of `GenerationOptions` that a run sets.

        Args:
            max_length: Tokens of the longest target.

        Returns:
            The fields by name. `max_length_ratio` and `no_repeat_ngram` are among them if the
            setting has a value; they follow from the training corpus, or from the options, if not.
        """
        names = ("beam_size", "length_penalty", "coverage_penalty", "replace_unknown", "shortlist")
        found = {name: getattr(self, name) for name in names}
        ratio, ngram = self.max_length_ratio, self.no_repeat_ngram
        limit = {} if ratio is None else {"max_length_ratio": ratio or None}
        limit |= {} if ngram is None else {"no_repeat_ngram": ngram}
        return {**limit, **found, "max_length": max_length}


def _check(name: str, value: Any, rule: Rule) -> None:
    try:
        good = rule.holds(value)
    except TypeError:  # a number was expected; only a file written by hand has anything else
        good = False
    if not good:
        raise ConfigError(f"{name} {rule.words}. Received: {value}")
    if type(value) is int and value >= 2**31 and rule is not SEED:
        # What counts in TensorFlow and SentencePiece are numbers of 32 bits.
        raise ConfigError(f"{name} must be below 2**31. Received: {value}")
