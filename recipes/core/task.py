"""The tasks by name, and what they share: settings, corpora, scores."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from ...zoo.catalog import MODELS
from ...zoo.errors import ConfigError, DataError
from ...zoo.text.source_format import PLAIN, Source, SourceFormat
from ..data.conversation_files import join_turns
from ..data.corpus import NOT_JSON, PairCorpus, Rows, flaw, spread_rows
from ..data.pair_files import parse_text, read_rows
from ..data.prepared import BAKED, PreparedCorpus, is_prepared
from .config import LOWER_IS_BETTER, RunConfig

if TYPE_CHECKING:
    from ...zoo.pipeline.text_to_text import TextToText
    from ..metrics.scores import Scores

# Each module has a `TASK`; a table of names, so that listing them loads nothing.
TASKS = {
    "translation": "translation",
    "summarization": "summarization",
    "question-answering": "question_answering",
    "dialogue": "dialogue",
}

OTHER_TEXTS = "the validation texts are not those that the run was begun with"


@dataclass(frozen=True)
class Task:
    """A kind of text-to-text task.

    Attributes:
        name: as on the command line.
        description: one line.
        default_corpora: makes the embedded training and validation corpora.
        default_description: what the embedded default is.
        default_settings: settings of `RunConfig` that belong to the embedded default.
        default_model_options: options of a model that belong to the embedded default, by family.
        settings: settings of `RunConfig` that belong to the task on any data.
        corpora: the forms of a corpus that a user may name.
        source_format: the inputs, and how they become the one source.
        read_rows: reads a corpus that a user names, row by row.
        parse: makes a source of a line that is not JSON.
        prepare: makes the training corpus of what was read, with a seed.
        metrics: those that can decide which weights are best, the usual one first.
        scores: `MODULE:FUNCTION` of outputs and references, which is imported when it is needed.
        score_settings: settings that it takes too, by the names of its arguments.
        baselines: `MODULE:FUNCTION` of both corpora and the model, or none.
    """

    name: str
    description: str
    default_corpora: Callable[[int], tuple[PairCorpus, PairCorpus]]
    default_description: str
    default_settings: dict[str, Any] = field(default_factory=dict)
    default_model_options: dict[str, dict[str, Any]] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    corpora: str = "source TAB target, JSON lines, or two parallel files"
    source_format: SourceFormat = PLAIN
    read_rows: Callable[[str, Rows], None] = read_rows
    parse: Callable[[str], Source] = parse_text
    prepare: Callable[[PairCorpus, int], PairCorpus] = lambda corpus, seed: corpus
    metrics: tuple[str, ...] = ("bleu", "chrf", "exact_match", "perplexity")
    scores: str = "scores:translation_scores"
    score_settings: dict[str, str] = field(default_factory=dict)
    baselines: str | None = None

    def score(
        self, outputs: list[str], references: list[tuple[str, ...]], config: RunConfig
    ) -> Scores:
        """Scores of outputs, by the metrics of the task."""
        options = {name: getattr(config, value) for name, value in self.score_settings.items()}
        return _function(self.scores)(outputs, references, **options)

    def baseline_scores(
        self, train: PairCorpus, valid: PairCorpus, model: TextToText
    ) -> dict[str, Scores]:
        """Scores of the simplest there is for the task, by name."""
        return _function(self.baselines)(train, valid, model) if self.baselines else {}

    def read_file(self, spec: str, reverse: bool = False, min_pairs: int = 2) -> PairCorpus:
        """Reads a corpus that a user names."""
        if is_prepared(spec):
            raise DataError(
                f"{spec} is a prepared corpus, which holds no texts: it is for --train. Give a "
                "pair file here."
            )
        rows = Rows(spec)
        self.read_rows(spec, rows)
        corpus = rows.finish(min_pairs)
        return corpus.reversed() if reverse else corpus

    def parse_source(self, line: str) -> Source:
        """The source in a line: a JSON object with the inputs by name, or a text.

        Raises:
            DataError: the object has other inputs than the task, or not the one that it must have;
                or the line is no text, or has more columns than a source.
        """
        _check_text(line)
        kinds = {item.name: item.kind for item in self.source_format.inputs}
        try:
            values = json.loads(line) if line.startswith("{") and len(kinds) > 1 else None
        except NOT_JSON:
            values = None
        # Where a single text is enough, that may be an object itself.
        enough = len(self.source_format.required) == 1
        if values is None or (enough and not kinds.keys() & values):
            return self.parse(line)
        for name, kind in kinds.items():
            if kind == "turns" and isinstance(values.get(name), list):
                values[name] = join_turns(values[name])
        main = self.source_format.main
        if values.get(main) is None:
            raise DataError(f'A source needs "{main}". Received: {", ".join(values) or "nothing"}')
        _check_text(*(value for value in values.values() if isinstance(value, str)))
        try:
            self.source_format.columns([values])
        except ValueError as error:
            raise DataError(str(error)) from error
        return values


def _check_text(*texts: str) -> None:
    """Refuses null characters and halves of surrogate pairs, which JSON and a terminal can say."""
    for text in texts:
        if (reason := flaw(text)) is not None:
            raise DataError(f"A text cannot be read: {reason}. Received: {text[:60]!a}")


def _function(name: str) -> Callable[..., Any]:
    module, _, function = name.partition(":")
    return getattr(importlib.import_module(f"..metrics.{module}", __package__), function)


def task(name: str) -> Task:
    """The task of a name."""
    if name not in TASKS:
        raise ConfigError(f"There is no task {name!r}. Known: {', '.join(TASKS)}.")
    return importlib.import_module(f"..{TASKS[name]}", __package__).TASK


def check_model(name: str) -> None:
    """Refuses the name of a model that is not in the catalog."""
    if name not in MODELS:
        raise ConfigError(f"There is no model {name!r}. Known: {', '.join(MODELS)}.")


def make_config(
    task_name: str,
    model: str,
    train: str | None = None,
    valid: str | None = None,
    reverse: bool = False,
    settings: list[str] | None = None,
) -> RunConfig:
    """The config of a run: the task's settings, over them the model's, over them the user's.

    Raises:
        ConfigError: an unknown task, model or setting.
    """
    chosen = task(task_name)
    check_model(model)
    values = dict(chosen.settings)
    if train is None:
        family = MODELS[model].family_name
        values |= chosen.default_settings
        values["model_options"] = dict(chosen.default_model_options.get(family, {}))
    values |= MODELS[model].training
    values |= settings_of_corpus(train, reverse)
    config = RunConfig(task_name, model, train=train, valid=valid, **values)
    config = config.with_settings(settings or [])
    check_metric(config)
    check_direction(task_name, reverse)
    return config


def settings_of_corpus(train: str | None, reverse: bool) -> dict[str, Any]:
    """Whether a corpus is read in reverse, and of a prepared one all that is baked in."""
    if not is_prepared(train):
        return {"reverse": reverse}
    baked = PreparedCorpus(str(train)).settings
    return {**baked, "reverse": baked["reverse"] or reverse}


def check_metric(config: RunConfig) -> None:
    """Refuses a metric that the task of a config has not."""
    metrics = task(config.task).metrics
    if config.metric not in metrics:
        raise ConfigError(
            f"metric of {config.task} is one of {', '.join(metrics)}. Received: {config.metric}"
        )


def deciding_metric(config: RunConfig, corpus: PairCorpus) -> str:
    """The metric that decides which weights are best, on the rows that evaluations look at.

    That of the config, unless the references, scored as outputs, show that it has no value there:
    then the first of the task's metrics that has one. Where no target has four words it is chrF in
    place of BLEU.
    """
    references = corpus.part(spread_rows(len(corpus), config.evaluate_rows)).references()
    chosen = task(config.task)
    own = chosen.score([row[0] for row in references], references, config).values
    # A perplexity, which is not among these, has a value wherever a target can be scored.
    for name in (config.metric, *chosen.metrics):
        if name in LOWER_IS_BETTER or own.get(name) is not None:
            return name
    return config.metric


def check_direction(task_name: str, reverse: bool) -> None:
    """Refuses to swap source and target of a task in which they are not alike."""
    if reverse and len(task(task_name).source_format.inputs) > 1:
        raise ConfigError(f"--reverse is for translation; {task_name} has one direction.")


def preparation_config(task_name: str, reverse: bool, settings: list[str]) -> RunConfig:
    """The config for `attention-zoo prepare`, which takes only what ends up in the shards.

    Raises:
        ConfigError: a task or setting that is not known, or a setting that is not baked in.
    """
    check_baked(settings)
    chosen = task(task_name)
    check_direction(task_name, reverse)
    return RunConfig(task_name, reverse=reverse, **chosen.settings).with_settings(settings)


def check_baked(settings: Sequence[str]) -> None:
    """Refuses settings, `name=value` strings, that are not baked into a prepared corpus."""
    names = (*BAKED, "seed")
    for setting in settings:
        if setting.partition("=")[0] not in names:
            raise ConfigError(
                f"prepare takes {', '.join(names)}; all else is a setting of `attention-zoo "
                f"train`. Received: {setting}"
            )


def read_corpora(config: RunConfig) -> tuple[PairCorpus | PreparedCorpus, PairCorpus]:
    """The training and validation corpora of a config.

    Raises:
        ConfigError: the training corpus is a prepared one, and the config contradicts it.
        DataError: one of them cannot be used.
    """
    chosen = task(config.task)
    if config.train is None or config.valid is None:
        train, valid = chosen.default_corpora(config.seed)
        return (train.reversed(), valid.reversed()) if config.reverse else (train, valid)
    return (
        read_prepared(config) or chosen.read_file(config.train, config.reverse),
        chosen.read_file(config.valid, config.reverse, min_pairs=1),
    )


def read_prepared(config: RunConfig) -> PreparedCorpus | None:
    """The training corpus of a config if it is a prepared one.

    Raises:
        ConfigError: the config contradicts it.
        DataError: it is not whole.
    """
    if not is_prepared(config.train):
        return None
    corpus = PreparedCorpus(str(config.train))
    corpus.check(config)
    return corpus


def read_validation(config: RunConfig) -> PairCorpus:
    """The validation corpus of a config alone."""
    if config.train is None or config.valid is None:
        return read_corpora(config)[1]
    return task(config.task).read_file(config.valid, config.reverse, min_pairs=1)


def read_training_texts(config: RunConfig) -> PairCorpus:
    """The training corpus of a config alone; of a prepared one, the sample of its texts."""
    prepared = read_prepared(config)
    if prepared is not None:
        return prepared.sample()
    if config.train is None:
        return texts(read_corpora(config)[0])
    return task(config.task).read_file(config.train, config.reverse)


def texts(corpus: PairCorpus | PreparedCorpus) -> PairCorpus:
    """A corpus as texts; of a prepared one, a sample."""
    return corpus.sample() if isinstance(corpus, PreparedCorpus) else corpus


def with_tokenization(config: RunConfig, tokenize: str | None) -> RunConfig:
    """A config with the tokenization that a command was told, if it was told one.

    Raises:
        ConfigError: there is no such tokenization, or its task has no use of any.
    """
    if tokenize is None:
        return config
    if not _has_tokenization(config):
        raise ConfigError(f"--tokenize is of BLEU, which {config.task} has not; leave it out.")
    return replace(config, bleu_tokenize=tokenize)


def check_scores(config: RunConfig) -> None:
    """Refuses a tokenization that cannot be made here, before there is anything to be scored."""
    if _has_tokenization(config):
        _function("scores:bleu_of")([], config.bleu_tokenize)


def _has_tokenization(config: RunConfig) -> bool:
    return "bleu_tokenize" in task(config.task).score_settings.values()


def check_model_options(config: RunConfig) -> None:
    """Refuses what the model of a config cannot be made of, before anything is read or written."""
    options = dict(config.model_options)
    if "source_vocab_size" in options:
        raise ConfigError(
            "source_vocab_size follows from the text: set shared_vocabulary=false for a "
            "vocabulary of the source, and vocab_size for the most subwords of each."
        )
    if "vocab_size" in options:
        raise ConfigError("vocab_size is a setting without model.: --set vocab_size=...")
    if not config.shared_vocabulary:
        options["source_vocab_size"] = 8
    try:
        model = MODELS[config.model].instance(vocab_size=8, **options)
    except (TypeError, ValueError) as error:
        given = [f"model.{name}={value}" for name, value in config.model_options.items()]
        given += [] if config.shared_vocabulary else ["shared_vocabulary=false"]
        raise ConfigError(
            f"{config.model} cannot be made with {', '.join(given)}: {error}"
        ) from error
    try:
        model.check_lengths(config.max_source_length, config.max_target_length)
    except ValueError as error:
        raise ConfigError(str(error)) from error
