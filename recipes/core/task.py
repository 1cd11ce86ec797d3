"""The tasks by name, and what they share: settings, corpora, scores."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import numpy as np

from ...zoo.errors import ConfigError, DataError
from ...zoo.registry import Registry
from ...zoo.text.sentences import RULES_VERSION, split_sentences
from ...zoo.text.source_format import PLAIN, Source, SourceFormat
from ..data.conversation_files import join_turns
from ..data.corpus import NOT_JSON, PairCorpus, Rows, flaw, spread_rows
from ..data.pair_files import parse_text, read_pairs, read_rows
from ..data.prepared import is_prepared
from ..metrics.metric import METRICS, PERPLEXITIES, Metric, as_metric
from .config import RunConfig
from .model import entry_of
from .parts import find_part, is_file_spec, load_object

if TYPE_CHECKING:
    from ...zoo.pipeline.text_to_text import TextToText
    from ..metrics.scores import Scores

LOOKED_AT = 2000  # sources of a corpus, to see how many sentences they have
TASKS = Registry(
    "task",
    {
        "translation": "recipes.translation:TASK",
        "summarization": "recipes.summarization:TASK",
        "question-answering": "recipes.question_answering:TASK",
        "dialogue": "recipes.dialogue:TASK",
    },
)


@dataclass(frozen=True)
class Task:
    """A kind of text-to-text task.

    Attributes:
        name: as on the command line.
        description: one line.
        default_corpora: makes the embedded training and validation corpora.
        default_description: what the embedded default is.
        default_settings: settings of `RunConfig` that belong to the embedded default.
        default_model_options: options of a model that belong to the embedded default, by the name
            of the model; a name with `*` stands for several.
        settings: settings of `RunConfig` that belong to the task on any data.
        limits: the longest source and target, `max_source_length` and `max_target_length`, where
            nobody says; a corpus of longer texts raises them.
        model: the model that is trained where nobody names one.
        corpora: the forms of a corpus that a user may name.
        source_format: the inputs, and how they become the one source.
        read_rows: reads a corpus that a user names, row by row.
        filters: names in `data.files.filters.FILTERS` of what is left out of a training file.
        parse: makes a source of a line that is not JSON.
        prepare: makes the training corpus of what was read, with a seed.
        metrics: those that can decide which weights are best, the usual one first: names, objects
            or functions of predictions and references.
        scores: function of outputs and references, or `module:NAME`, imported when it is needed.
        score_settings: settings that it takes too, by the names of its arguments.
        baselines: function of both corpora and the model, or `module:NAME`; or none.
    """

    name: str
    description: str
    default_corpora: Callable[[int], tuple[PairCorpus, PairCorpus]]
    default_description: str
    default_settings: dict[str, Any] = field(default_factory=dict)
    default_model_options: dict[str, dict[str, Any]] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    limits: dict[str, int] = field(default_factory=dict)
    model: str = "rnn-bahdanau"
    corpora: str = "two columns of TSV, CSV, JSON, TMX or a spreadsheet, or two parallel files"
    source_format: SourceFormat = PLAIN
    read_rows: Callable[[str, Rows], None] = read_rows
    filters: tuple[str, ...] = ()
    parse: Callable[[str], Source] = parse_text
    prepare: Callable[[PairCorpus, int], PairCorpus] = lambda corpus, seed: corpus
    metrics: tuple[str | Metric | Callable, ...] = ("bleu", "chrf", "exact_match", "perplexity")
    scores: str | Callable[..., Scores] = "attention_zoo.recipes.metrics.scores:translation_scores"
    score_settings: dict[str, str] = field(default_factory=dict)
    baselines: str | Callable[..., dict[str, Scores]] | None = None

    def __post_init__(self) -> None:
        for metric in self.metrics:
            as_metric(metric)  # which refuses a name that there is not

    @functools.cached_property
    def _metrics(self) -> dict[str, Metric]:
        return {metric.name: metric for metric in map(as_metric, self.metrics)}

    def __str__(self) -> str:
        return self.name

    def metric_names(self) -> list[str]:
        """Names of the metrics that can be chosen, those that users have registered among them."""
        return [*self._metrics, *(m for m in METRICS if self._is_registered_for_it(m))]

    def metric(self, name: str) -> Metric:
        """The metric of a name.

        Raises:
            ConfigError: The task has none of this name.
        """
        if name in self._metrics:
            return self._metrics[name]
        if name in METRICS and self._is_registered_for_it(name):
            return METRICS[name]
        raise ConfigError(
            f"metric of {self.name} is one of {', '.join(self.metric_names())}. Received: {name}"
        )

    def _is_registered_for_it(self, name: str) -> bool:
        metric = METRICS[name]
        own = metric.function is not None and name not in self._metrics
        return own and (not metric.tasks or self.name in metric.tasks)

    def score(
        self, outputs: list[str], references: list[tuple[str, ...]], config: RunConfig
    ) -> Scores:
        """Scores of outputs: those of the task, and all metrics that have a function."""
        options = {name: getattr(config, value) for name, value in self.score_settings.items()}
        scores = _function(self.scores)(outputs, references, **options)
        chosen = metric_of(config)
        functions = [m for m in (*self._metrics.values(), chosen) if m.function is not None]
        own = {metric.name: metric.value(outputs, references) for metric in functions}
        if chosen.name not in (*scores.values, *own, *PERPLEXITIES):
            raise ConfigError(
                f"The scores of {self.name} have no {chosen.name}, which is its metric: they have "
                f"{', '.join(scores.values)}. Give the metric a function."
            )
        return replace(scores, values={**scores.values, **own})

    def baseline_scores(
        self, train: PairCorpus, valid: PairCorpus, model: TextToText
    ) -> dict[str, Scores]:
        """Scores of the simplest there is for the task, by name."""
        return _function(self.baselines)(train, valid, model) if self.baselines else {}

    def model_options(self, model: str) -> dict[str, Any]:
        """Options of a model that belong to the embedded default."""
        found: dict[str, Any] = {}
        for pattern, options in self.default_model_options.items():
            found |= options if fnmatchcase(model, pattern) else {}
        return found

    def read_file(self, spec: str, reverse: bool = False, min_pairs: int = 2) -> PairCorpus:
        """Reads a corpus that a user names."""
        if is_prepared(spec):
            raise DataError(
                f"{spec} is a prepared corpus, which holds no texts: it is for --train. Give a "
                "pair file here."
            )
        return read_pairs(spec, reverse=reverse, min_pairs=min_pairs, read=self.read_rows)

    def parse_source(self, line: str) -> Source:
        """The source in a line: a JSON object with the inputs by name, or a text.

        Raises:
            DataError: the object has other inputs than the task, or not the one that it must have;
                or the line is no text, or has more columns than a source.
        """
        return parse_source(line, self.source_format, self.parse)


def parse_source(
    line: str, source_format: SourceFormat, parse: Callable[[str], Source] = parse_text
) -> Source:
    """The source in a line: a JSON object with the inputs by name, or a text.

    Args:
        line: The line.
        source_format: The inputs there are.
        parse: Makes a source of a line that is not JSON.

    Raises:
        DataError: As `Task.parse_source`.
    """
    _check_text(line)
    kinds = {item.name: item.kind for item in source_format.inputs}
    try:
        values = json.loads(line) if line.startswith("{") and len(kinds) > 1 else None
    except NOT_JSON:
        values = None
    # Where a single text is enough, that may be an object itself.
    enough = len(source_format.required) == 1
    if values is None or (enough and not kinds.keys() & values):
        return parse(line)
    for name, kind in kinds.items():
        if kind == "turns" and isinstance(values.get(name), list):
            values[name] = join_turns(values[name])
    main = source_format.main
    if values.get(main) is None:
        raise DataError(f'A source needs "{main}". Received: {", ".join(values) or "nothing"}')
    _check_text(*(value for value in values.values() if isinstance(value, str)))
    try:
        source_format.columns([values])
    except ValueError as error:
        raise DataError(str(error)) from error
    return values


def _check_text(*texts: str) -> None:
    """Refuses null characters and halves of surrogate pairs, which JSON and a terminal can say."""
    for text in texts:
        if (reason := flaw(text)) is not None:
            raise DataError(f"A text cannot be read: {reason}. Received: {text[:60]!a}")


def _function(value: str | Callable[..., Any]) -> Callable[..., Any]:
    return load_object(value) if isinstance(value, str) else value


def register_task(chosen: Task) -> Task:
    """Registers a task under its name, so that commands and functions take the name.

    Returns:
        The task.

    Raises:
        ConfigError: The name is that of a task of the package.
    """
    # Whatever defines it, as a task has no name in its module that could be told here.
    return TASKS.register(chosen.name, chosen, origin=f"a task {chosen.name} of the user")


def task(spec: str | Task) -> Task:
    """The task that a user means.

    Args:
        spec: The task, its name, a file that has it as `TASK`, `file.py:NAME` or `module:NAME`.

    Raises:
        ConfigError: There is none.
    """
    if isinstance(spec, str) and (is_file_spec(spec) or ":" in spec):
        found = load_object(spec, "TASK")
        if not isinstance(found, Task):
            raise ConfigError(f"{spec} is no task, but {type(found).__name__}. Give FILE:NAME.")
        return found
    return TASKS[spec] if isinstance(spec, str) else spec


def task_of(config: RunConfig) -> Task:
    """The task of a config.

    Raises:
        ConfigError: It is in a file that this process has not been given.
    """
    if config.parts.task is not None:
        return config.parts.task
    if origin := config.parts.origins.get("task"):
        return find_part("task", config.task, origin, "--task")
    return TASKS[config.task]


def source_format(config: RunConfig) -> SourceFormat:
    """The inputs of a config, and how they become one source."""
    if (saved := config.parts.source_format) is not None:
        return saved
    inputs = task_of(config).source_format.with_turns(config.history_turns)
    version = RULES_VERSION if entry_of(config).reads_sentences else 0
    return replace(inputs, sentences=version, tags=tuple(config.tags.split()))


def with_max_sentences(config: RunConfig, corpus: PairCorpus) -> RunConfig:
    """The config with the number of sentences that its model knows to read at once.

    That is what all but one in a hundred sources of the training have at most. Sources are looked
    at where a long one may be split.
    """
    inputs = source_format(config)
    if not inputs.can_be_split:
        return config
    rows = spread_rows(len(corpus), LOOKED_AT)
    counts = [len(split_sentences(inputs.to_text(corpus.sources[row]))) for row in rows]
    most = int(np.percentile(counts, 99, method="higher"))
    saved = replace(inputs, max_sentences=most)
    return replace(config, parts=replace(config.parts, source_format=saved))


def metric_of(config: RunConfig) -> Metric:
    """The metric that decides in a run.

    Raises:
        ConfigError: It is in a file that this process has not been given.
    """
    own = config.parts.metric
    if own is not None and own.name == config.metric:
        return own
    origin, chosen = config.parts.origins.get("metric"), task_of(config)
    if origin and config.metric not in chosen.metric_names():
        find_part("metric", config.metric, origin, "--task")  # which registers it
    return chosen.metric(config.metric)


def deciding_metric(config: RunConfig, corpus: PairCorpus) -> Metric:
    """The metric that decides which weights are best, on the rows that evaluations look at.

    That of the config, unless the references, scored as outputs, show that it has no value there:
    then the first of the task's metrics that has one. Where no target has four words it is chrF in
    place of BLEU.
    """
    references = corpus.part(spread_rows(len(corpus), config.evaluate_rows)).references()
    chosen, usual = task_of(config), metric_of(config)
    own = chosen.score([row[0] for row in references], references, config).values
    # A perplexity, which is not among these, has a value wherever a target can be scored.
    for metric in (usual, *map(as_metric, chosen.metrics)):
        if metric.name in PERPLEXITIES or own.get(metric.name) is not None:
            return metric
    return usual


def parse_of(config: RunConfig) -> Callable[[str], Source]:
    """The function that makes a source of a line that is not JSON.

    Raises:
        ConfigError: It is in a file that this process has not been given.
    """
    origins = config.parts.origins
    if config.parts.task is None and "task" in origins:
        origin = origins.get("parse")
        return find_part("parser", "of lines", origin, "--task") if origin else parse_text
    return task_of(config).parse
