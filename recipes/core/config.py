"""What a run is made of: every value that is needed to repeat it, in one frozen dataclass."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ...zoo.errors import ConfigError
from .parts import Parts, plain


@dataclass(frozen=True)
class Rule:
    """What the value of a setting must be: a test, and the words for it."""

    holds: Callable[[Any], bool]
    words: str


POSITIVE = Rule(lambda value: 0 < value < math.inf, "must be positive")
NOT_NEGATIVE = Rule(lambda value: 0 <= value < math.inf, "must not be negative")
SHARE = Rule(lambda value: 0 < value <= 1, "must be above 0 and at most 1")
BELOW_ONE = Rule(lambda value: 0 <= value < 1, "must be at least 0 and below 1")
# NumPy takes no other seeds.
SEED = Rule(lambda value: 0 <= value < 2**32, "must be a number from 0 to 2**32 - 1")
YES_NO = Rule(lambda value: isinstance(value, bool), "is true or false")
# SentencePiece takes no others.
COVERAGE = Rule(lambda value: 0.98 <= value <= 1, "must be from 0.98 to 1")
# Each hypothesis is a row of every batch, and each average a copy of the model in memory.
LARGEST_BEAM, MOST_AVERAGED = 1000, 100
BEAM = Rule(lambda value: 1 <= value <= LARGEST_BEAM, f"must be from 1 to {LARGEST_BEAM}")
AVERAGED = Rule(lambda value: 0 <= value <= MOST_AVERAGED, f"must be from 0 to {MOST_AVERAGED}")
LENGTH = Rule(lambda value: value >= 2, "counts the end of the text too, so it is at least 2")


def one_of(*choices: str) -> Rule:
    return Rule(lambda value: value in choices, f"is one of {', '.join(choices)}")


# Those of sacreBLEU; "auto" chooses one of them by the script of the references.
TOKENIZATIONS = (
    ("auto", "none", "13a", "zh", "char", "intl")
    + ("ja-mecab", "ko-mecab", "spm", "flores101", "flores200")
)  # fmt: skip


def setting(default: Any, description: str, rule: Rule) -> Any:
    """A field with a rule for its value and a description, which `attention-zoo settings` shows."""
    return field(default=default, metadata={"description": description, "rule": rule})


@dataclass(frozen=True)
class RunConfig:
    """All that decides what a run learns; the same values and data give the same weights.

    How long it learns (`--max-steps`, `--max-minutes`) is not part of it: a run may be gone on
    with. Each value can be set with `--set name=value` on the command line.
    """

    task: str = "translation"
    model: str = "rnn-bahdanau"
    model_options: dict[str, Any] = field(default_factory=dict)  # --set model.dropout=0.2
    train: str | None = None  # a pair file; the embedded default if None
    valid: str | None = None
    reverse: bool = False  # source and target swapped
    start_from: str | None = None  # a run whose weights and subwords are the first of this one
    seed: int = setting(1, "of weights, dropout and the order of the data", SEED)

    vocab_size: int = setting(8000, "most subwords; a small corpus gives fewer", POSITIVE)
    shared_vocabulary: bool = setting(
        True, "of source and target; if false each has vocab_size subwords of its own", YES_NO
    )
    subwords: str = setting(
        "bpe",
        "or unigram; word for whole words between white space, char for characters",
        one_of("bpe", "unigram", "word", "char"),
    )
    subword_dropout: float = setting(
        0.0, "share of the merges of bpe left out at random in training; 0.1 is usual", BELOW_ONE
    )
    character_coverage: float = setting(
        0.9999, "share of the characters that get a subword of their own", COVERAGE
    )
    max_source_length: int = setting(
        128, "in subwords; longer sources are cut, in translation left out of training", LENGTH
    )
    max_target_length: int = setting(
        128, "in subwords; also the longest target that is written", LENGTH
    )

    history_turns: int = setting(4, "turns before a text that are read, in dialogue", NOT_NEGATIVE)

    batch_tokens: int = setting(2048, "padded tokens of the longer side in a batch", POSITIVE)
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
    jit: bool = setting(False, "compile the step with XLA, once for each of a few shapes", YES_NO)
    skip_nonfinite: bool = setting(
        False,
        "leave out batches of which the gradients hold NaN or infinity, rather than stop",
        YES_NO,
    )
    average_decay: float = setting(
        0.998, "of the moving average of the weights that is evaluated; 0 for none", BELOW_ONE
    )
    average_last: int = setting(
        0,
        "evaluations whose weights are averaged, in place of the moving average; 0 for none",
        AVERAGED,
    )

    metric: str = setting(
        "bleu",
        "decides which weights are best: bleu, rougeL, exact_match, ... or one of your own",
        Rule(bool, "is the name of a metric"),  # which those are, the task says
    )
    bleu_tokenize: str = setting(
        "auto", "sacreBLEU's tokenization: none, 13a, zh, char, ...", one_of(*TOKENIZATIONS)
    )
    evaluate_every: int = setting(500, "steps between two evaluations", POSITIVE)
    evaluate_rows: int = setting(
        500, "rows of the validation corpus decoded at an evaluation", POSITIVE
    )
    patience: int = setting(10, "evaluations without a better metric before a run stops", POSITIVE)
    checkpoint_minutes: float = setting(5.0, "minutes between two checkpoints", NOT_NEGATIVE)

    beam_size: int = setting(
        5, "of predictions and exports; evaluations in training are greedy", BEAM
    )
    length_penalty: float = setting(
        1.0, "log p is divided by ((5 + length) / 6) to this power", NOT_NEGATIVE
    )
    coverage_penalty: float = setting(
        0.0, "of source subwords that got little attention, in beam search", NOT_NEGATIVE
    )
    no_repeat_ngram: int = setting(
        0, "so many subwords in a row are not written twice; 0 allows all", NOT_NEGATIVE
    )
    replace_unknown: bool = setting(
        False, "unknown characters are copied from the source, by the attention", YES_NO
    )
    max_length_ratio: float | None = setting(
        None,
        "most subwords for one of the source, plus ten; 0 for no limit; none: as training needs",
        Rule(lambda value: value is None or 0 <= value < math.inf, "must not be negative"),
    )

    parts: Parts = field(default_factory=Parts, compare=False, repr=False)

    @property
    def validated_with(self) -> tuple[str | None, int | None]:
        """What decides on the rows to validate with: a file, or a seed of the embedded default."""
        return self.valid, self.seed if self.valid is None else None

    def __post_init__(self) -> None:
        for f in dataclasses.fields(self):
            if "rule" in f.metadata:
                _check(f.name, getattr(self, f.name), f.metadata["rule"])
        if (self.train is None) != (self.valid is None):
            given, missing = ("train", "valid") if self.valid is None else ("valid", "train")
            raise ConfigError(
                f"--{given} needs --{missing} too; give both, or neither for the embedded default."
            )
        if self.subword_dropout and self.subwords != "bpe":
            raise ConfigError(
                "subword_dropout leaves out merges of subwords=bpe; leave it out, or use those. "
                f"Received: subword_dropout={self.subword_dropout}, subwords={self.subwords}"
            )
        if self.jit and self.accumulate_steps > 1:
            raise ConfigError(
                "jit compiles a step on one batch; leave out jit or accumulate_steps. "
                f"Received: accumulate_steps={self.accumulate_steps}"
            )

    def to_dict(self) -> dict[str, Any]:
        """The settings by name, as JSON has them."""
        names = [f.name for f in dataclasses.fields(self) if f.name != "parts"]
        options = {name: plain(value) for name, value in self.model_options.items()}
        return {**{name: getattr(self, name) for name in names}, "model_options": options}

    @classmethod
    def from_dict(cls, values: dict[str, Any], parts: Parts | None = None) -> RunConfig:
        """The config of the settings that `to_dict` gave."""
        unknown = set(values) - {f.name for f in dataclasses.fields(cls)}
        if unknown:
            raise ConfigError(
                f"This run was written with settings that are not known here: "
                f"{', '.join(sorted(unknown))}. Use the version of attention-zoo that wrote it."
            )
        hints = typing.get_type_hints(cls)
        for name, value in values.items():
            _check_type(name, value, hints[name])
        return cls(**values, parts=parts or Parts())

    def with_settings(self, settings: Iterable[str] | Mapping[str, Any]) -> RunConfig:
        """The config with other values of some settings.

        Args:
            settings: `name=value` strings, or values by name; `model.name` is of the model.
        """
        known = {name for name, _, _ in describe_settings()}
        hints = typing.get_type_hints(type(self))
        changes: dict[str, Any] = {}
        model_options = dict(self.model_options)
        are_values = isinstance(settings, Mapping)
        pairs = settings.items() if isinstance(settings, Mapping) else map(_split, settings)
        for name, value in pairs:
            if name.startswith("model."):
                option = value if are_values else _literal(value)
                model_options[name.removeprefix("model.")] = option
            elif name in known:
                changes[name] = value if are_values else _parse(name, value, hints[name])
                _check_type(name, changes[name], hints[name])
            else:
                raise ConfigError(
                    f"There is no setting {name!r}. Known: {', '.join(sorted(known))}, and "
                    "model.NAME for an argument of the model."
                )
        return dataclasses.replace(self, model_options=model_options, **changes)


@dataclass(frozen=True)
class Budget:
    """How long a run may train, in all of its parts together."""

    max_steps: int | None = None
    max_minutes: float | None = None

    def is_spent(self, steps: int, seconds: float) -> bool:
        return (self.max_steps is not None and steps >= self.max_steps) or (
            self.max_minutes is not None and seconds >= 60 * self.max_minutes
        )

    def share(self, steps: int, seconds: float) -> float:
        """The share that is spent, in [0, 1]; of both limits the one that comes first."""
        spent = [0.0]
        if self.max_steps is not None:
            spent.append(steps / self.max_steps)
        if self.max_minutes is not None:
            spent.append(seconds / (60 * self.max_minutes))
        return min(max(spent), 1.0)


def check_budget(config: RunConfig, budget: Budget) -> None:
    """Refuses a schedule that ends with the budget where there is none.

    Raises:
        ConfigError: neither limit is given.
    """
    if config.schedule in ("cosine", "cooldown") and budget == Budget():
        raise ConfigError(
            f"schedule={config.schedule} reaches zero when the training ends, so it must know "
            "when that is: give --max-steps or --max-minutes."
        )


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


def describe_settings() -> list[tuple[str, Any, str]]:
    """Name, default and description of every setting."""
    return [
        (f.name, f.default, f.metadata["description"])
        for f in dataclasses.fields(RunConfig)
        if "description" in f.metadata
    ]


def _split(setting: str) -> tuple[str, str]:
    """Name and value of `name=value`."""
    name, equals, text = setting.partition("=")
    if not equals:
        raise ConfigError(f"--set takes name=value. Received: {setting}")
    return name, text


def _literal(text: str) -> Any:
    """An int, float, bool or None where the text is one, else the text."""
    words = {"true": True, "false": False, "none": None}
    if text.lower() in words:
        return words[text.lower()]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _parse(name: str, text: str, hint: Any) -> Any:
    value = _literal(text)
    allowed = _types(hint)
    if str in allowed:
        return None if value is None and type(None) in allowed else text
    _check_type(name, value, hint, text)
    return float(value) if float in allowed and type(value) is int else value


def _check_type(name: str, value: Any, hint: Any, text: str | None = None) -> None:
    """Refuses a value of another type than that of its setting; whole numbers are floats too."""
    allowed = _types(hint)
    if type(value) in allowed or (float in allowed and type(value) is int):
        return
    kinds = " or ".join("None" if kind is type(None) else kind.__name__ for kind in allowed)
    received = f"{value!r}" if text is None else text
    raise ConfigError(f"{name} takes a value of type {kinds}. Received: {name}={received}")


def _types(hint: Any) -> tuple[type, ...]:
    kinds = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    return tuple(typing.get_origin(kind) or kind for kind in kinds)
