"""Settings that follow from a corpus: the model, its size and how it learns, from one table.

They are for two CPU cores. What a user or a recipe has set stays as it is.
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

from ...zoo.text.source_format import SourceFormat
from ..core.config import Budget, RunConfig
from ..core.corpora import texts
from ..core.make_config import of_users
from ..core.model import defaults_of, entry_of
from ..core.task import source_format, task_of
from ..data.corpus import PairCorpus, spread_rows
from ..data.prepared import PreparedCorpus

TRANSLATION, SUMMARIZATION = "translation", "summarization"
QUESTIONS, DIALOGUE = "question-answering", "dialogue"


@dataclass(frozen=True)
class Row:
    """Values of the table, and the trainings they are for; of those that hold the last one wins.

    Attributes:
        values: Settings, `model` and `model.NAME` among them.
        task: What the corpus is for; anything if "".
        models: Patterns of names of models; any if empty.
        rows: Least rows of the corpus.
        below: Rows of which the corpus has fewer.
        minutes: Least minutes of the training.
        epochs: Least epochs that these minutes are likely to have.
        letters: Whether texts are single words or names, of letters; either if `None`.
    """

    values: dict[str, Any]
    task: str = ""
    models: tuple[str, ...] = ()
    rows: int = 0
    below: float = math.inf
    minutes: float = 0.0
    epochs: float = 0.0
    letters: bool | None = None

    def holds(self, facts: CorpusFacts, model: str, minutes: float) -> bool:
        """True for a corpus, a model and a time of this row."""
        return (
            self.task in ("", facts.task)
            and (not self.models or any(fnmatchcase(model, name) for name in self.models))
            and self.rows <= facts.rows < self.below
            and self.minutes <= minutes
            and self.epochs <= minutes * TOKENS_OF_MINUTE / facts.tokens
            and self.letters in (None, facts.letters)
        )


_RNN, _TINY = ("rnn*", "pointer-generator"), ("transformer-tiny*",)
_SMALL_RNN = {
    "model.embedding_dim": 128,
    "model.encoder_units": 128,
    "model.decoder_units": 192,
    "model.attention_units": 128,
}
_DIALOGUE_RNN = {
    "batch_tokens": 4096,
    "model.embedding_dim": 192,
    "model.encoder_units": 192,
    "model.decoder_units": 256,
    "model.attention_units": 192,
    "model.dropout": 0.2,
}
# docs/training.md has where each value comes from.
TABLE = (
    # The model
    Row({"model": "transformer-tiny"}, TRANSLATION, rows=10_000, minutes=20),
    Row({"model": "transformer-small"}, TRANSLATION, rows=500_000, minutes=1200),
    Row({"model": "rnn-bahdanau"}, TRANSLATION, letters=True),
    Row({"model": "transformer-tiny"}, DIALOGUE, rows=20_000, minutes=120),
    # Its size and its training
    Row({"learning_rate": 0.002, "warmup_steps": 250, "model.dropout": 0.3}, models=_RNN),
    Row({"model.decoder_units": 320}, TRANSLATION, models=_RNN, letters=False),
    Row(_SMALL_RNN, models=_RNN, below=3000),
    Row(_SMALL_RNN, SUMMARIZATION, models=_RNN, below=10_000),
    Row(_DIALOGUE_RNN, DIALOGUE, models=_RNN, rows=20_000),
    Row({"model.dropout": 0.2, "cooldown_share": 0.3}, models=_RNN, letters=True, rows=3000),
    Row({"model.dropout": 0.0}, models=("memory-network",), rows=5000),
    Row({"cooldown_share": 0.4}, models=_TINY),
    Row({"bpe_dropout": 0.1}, TRANSLATION, models=_TINY, epochs=80),
    Row({"average_decay": 0.99}, below=10_000),
)
# A vocabulary grows with the square root of the words.
TOKENS_OF_ROOT, FEWEST_TOKENS, MOST_TOKENS = 12, 300, 8000
# An epoch has some batches, however small the corpus.
BATCHES_IN_EPOCH, SMALLEST_BATCH = 30, 256
LONGEST = {"max_source_length": 512, "max_target_length": 256}  # in tokens
# Of transformer-tiny; where a budget counts steps alone they are taken for minutes.
STEPS_OF_MINUTE, TOKENS_OF_MINUTE = 200, 200 * 4096
LOOKED_AT = 20_000  # rows of a corpus
# What is computed beside the table.
COMPUTED = ("vocab_size", "tokenizer", "source_tokenizer", "target_tokenizer", "metric") + (
    "character_coverage", "batch_tokens", "schedule", "patience", *LONGEST,
)  # fmt: skip


@dataclass(frozen=True)
class CorpusFacts:
    """The properties of a corpus that settings follow from.

    Attributes:
        task: What it is for, by the inputs of its task.
        rows: Rows to learn from.
        words: Words of both sides; in scripts without spaces two characters count as one.
        characters: Different characters.
        spaced: Whether the words of sources, and of targets, have spaces between them.
        letters: Whether texts are single words, or a few names, which are taken letter by letter.
        closed: Whether targets are made of few words, each of them often: phonemes, numerals.
        lengths: Characters of all but the longest in two hundred sources, and targets.
    """

    task: str
    rows: int
    words: int
    characters: int
    spaced: tuple[bool, bool]
    letters: bool
    closed: bool
    lengths: tuple[int, int]

    @property
    def tokens(self) -> float:
        """About how many tokens an epoch has, of one side."""
        return 1.3 * self.words / 2

    @classmethod
    def of(cls, config: RunConfig, corpus: PairCorpus | PreparedCorpus) -> CorpusFacts:
        """The facts of a training corpus; of a large one by a part of its rows."""
        known, inputs = texts(corpus), source_format(config)
        rows = spread_rows(len(known), LOOKED_AT)
        sources = [inputs.to_text(known.sources[row]) for row in rows]
        targets = [known.targets[row] for row in rows]
        signs = [Counter("".join(side)) for side in (sources, targets)]
        unspaced = [sum(n for s, n in side.items() if is_unspaced(s)) for side in signs]
        spaced = [
            2 * count < side.total() - side[" "]
            for count, side in zip(unspaced, signs, strict=True)
        ]
        words = [len(text.split()) for text in (*sources, *targets)]
        target_words = Counter(word for text in targets for word in text.split())
        closed = 20 * len(target_words) <= target_words.total()
        sizes = [np.array([len(text) for text in side]) for side in (sources, targets)]
        longest = [int(np.quantile(size, 0.995, method="higher")) for size in sizes]
        task = _kind_of(inputs)
        mean_words = sum(words[: len(sources)]) / len(sources)
        short = [size.mean() <= 30 for size in sizes]
        single = mean_words <= 1.2 and short[0] and (short[1] or closed)
        names = mean_words <= 3 and all(short) and len(corpus) < 3000
        return cls(
            task=task,
            rows=len(corpus),
            words=int((sum(words) + sum(unspaced) / 2) * len(corpus) / len(rows)),
            characters=len(signs[0] | signs[1]),
            spaced=(spaced[0], spaced[1]),
            letters=task == TRANSLATION and all(spaced) and bool(single or names),
            closed=closed,
            lengths=(longest[0], longest[1]),
        )


def is_unspaced(sign: str) -> bool:
    """True for the letters of Thai, Lao, Burmese, Khmer, Chinese and Japanese."""
    code = ord(sign)
    blocks = ((0xE00, 0xF00), (0x1000, 0x10A0), (0x1780, 0x1800), (0x3040, 0xA000))
    return any(first <= code < end for first, end in (*blocks, (0x20000, 0x30000)))


def _kind_of(inputs: SourceFormat) -> str:
    kinds = [item.kind for item in inputs.inputs]
    if "turns" in kinds:
        return DIALOGUE
    if len(inputs.required) > 1:
        return QUESTIONS
    return SUMMARIZATION if "length" in kinds else TRANSLATION


def fit_to_corpus(
    config: RunConfig,
    corpus: PairCorpus | PreparedCorpus,
    budget: Budget,
    begun: RunConfig | None = None,
) -> RunConfig:
    """The config with values that fit its corpus, wherever nobody has set one.

    Args:
        config: What was set; `make_config` notes in `stated` which names that are.
        corpus: The training corpus.
        budget: How long the training takes.
        begun: The config with which its run was begun, if it was: what was fitted then stays,
            whatever the budget is now.

    Returns:
        The config; as it is if all of it was set, or was when the run was begun.
    """
    if config.stated is None or (begun is not None and begun.stated is None):
        return config
    if begun is None:
        return with_values(config, fitting_values(config, CorpusFacts.of(config, corpus), budget))
    theirs = {**begun.to_dict(), **_of_model(begun.model_options)}
    return with_values(config, {n: v for n, v in theirs.items() if not begun.is_stated(n)})


def fitting_values(config: RunConfig, facts: CorpusFacts, budget: Budget) -> dict[str, Any]:
    """All values that fit a corpus, by name, whether set by somebody or not."""
    steps = math.inf if budget.max_steps is None else budget.max_steps
    minutes = math.inf if budget.max_minutes is None else budget.max_minutes
    minutes = min(minutes, steps / STEPS_OF_MINUTE)
    values: dict[str, Any] = {"model": config.model}
    for row in TABLE:
        if row.holds(facts, values["model"], minutes):
            values |= row.values
            values["model"] = config.model if config.is_stated("model") else values["model"]
    if budget.is_limited:
        # The end is known, so the rate goes to zero there, and nothing else ends the training.
        values |= {"schedule": "cooldown", "patience": 100}
    values |= _tokens(config, facts)
    chosen = with_values(config, values)
    if set(chosen.kinds_of_tokens) != {"bpe"} or chosen.protected_tokens:
        values.pop("bpe_dropout", None)
        chosen = with_values(config, values)
    return values | _batch(chosen, facts) | _lengths(chosen, facts)


def _tokens(config: RunConfig, facts: CorpusFacts) -> dict[str, Any]:
    """The kind and the number of tokens."""
    kinds = ("tokenizer", "source_tokenizer", "target_tokenizer")
    if any(config.is_stated(name) for name in kinds):
        return {}
    # Who sets how many tokens there are, or what they are made of, does not mean letters.
    if facts.letters and not any(map(config.is_stated, ("vocab_size", "bpe_dropout", "protected"))):
        found: dict[str, Any] = {"tokenizer": "char", "character_coverage": 1.0}
        words = {"target_tokenizer": "word", "metric": "token_error_rate"} if facts.closed else {}
        return found | words
    wanted = TOKENS_OF_ROOT * math.sqrt(facts.words)
    tokens = min(max(wanted, FEWEST_TOKENS), MOST_TOKENS)
    # The characters are tokens too, and some are to be put together.
    return {"vocab_size": math.ceil(max(tokens, 1.2 * facts.characters + 50) / 100) * 100}


def _batch(config: RunConfig, facts: CorpusFacts) -> dict[str, Any]:
    """The tokens of a batch: fewer where there are few."""
    tokens = facts.tokens * (5 if config.kinds_of_tokens[0] == "char" else 1)
    share = max(tokens / BATCHES_IN_EPOCH, SMALLEST_BATCH)
    return {"batch_tokens": min(config.batch_tokens, 2 ** math.ceil(math.log2(share)))}


def _lengths(config: RunConfig, facts: CorpusFacts) -> dict[str, Any]:
    """Limits that hardly a text is longer than; never below those of the task."""
    found: dict[str, Any] = {}
    of_a_token = 3 if config.vocab_size >= 2000 else 2
    sides = zip(LONGEST.items(), config.kinds_of_tokens, facts.spaced, facts.lengths, strict=True)
    for (name, longest), kind, spaced, length in sides:
        characters = of_a_token if spaced and kind != "char" else 1
        needed = 16 * math.ceil((length / characters + 2) / 16)
        found[name] = max(getattr(config, name), min(needed, longest))
    return found


def with_values(config: RunConfig, values: dict[str, Any]) -> RunConfig:
    """The config with values by name, `model` and `model.NAME` among them, where none is set."""
    values = {name: value for name, value in values.items() if not config.is_stated(name)}
    known = {f.name: f.default for f in dataclasses.fields(config) if "rule" in f.metadata}
    config = replace(config, model=values.get("model", config.model))
    entry = entry_of(config)
    training = {} if of_users(entry) else entry.training
    # The training of a model that was there before this one goes with it.
    settings = {**known, **task_of(config).limits, **training, **values}
    options = {n.removeprefix("model."): v for n, v in values.items() if n.startswith("model.")}
    has = defaults_of(config)
    return replace(
        config,
        model_options={n: v for n, v in options.items() if n in has} | config.model_options,
        **{n: v for n, v in settings.items() if n in known and not config.is_stated(n)},
    )


def fitted_values(config: RunConfig) -> dict[str, Any]:
    """The values of a fitted config that nobody has set, by the names they could be set with."""
    values = {**config.to_dict(), **_of_model(config.model_options)}
    names = {"model", *COMPUTED, *(name for row in TABLE for name in row.values)}
    return {n: v for n, v in values.items() if n in names and not config.is_stated(n)}


def _of_model(options: dict[str, Any]) -> dict[str, Any]:
    return {f"model.{name}": value for name, value in options.items()}
