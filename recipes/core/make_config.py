"""The config of a run, of what the task, the model and the user say, and what it must not be."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ...zoo.catalog import MODELS, CatalogEntry
from ...zoo.errors import ConfigError
from ...zoo.text.source_format import SourceFormat
from ...zoo.training import SCHEDULES
from ..data.prepared import BAKED, PreparedCorpus, is_prepared
from ..metrics.metric import as_metric
from .config import RunConfig, hint
from .model import defaults_of, entry_of, model_of, model_options_of, schedule_of
from .parts import Parts, load_object
from .task import Task, metric_of, source_format, task, task_of


def make_config(
    task_spec: str | Task,
    model: str | CatalogEntry | Callable | None = None,
    train: str | None = None,
    valid: str | None = None,
    reverse: bool = False,
    settings: Sequence[str] | Mapping[str, Any] = (),
    to_be_fitted: bool = False,
) -> RunConfig:
    """The config of a run: the task's settings, over them the model's, over them the user's.

    Args:
        task_spec: As of `task`.
        model: As of `model_of`; that of the task if left out.
        train: A corpus; the embedded default of the task if left out.
        valid: The corpus to validate with.
        reverse: Swaps source and target.
        settings: `name=value` strings, or values by name.
        to_be_fitted: Whether what neither the user nor the recipe has set is to follow from the
            corpus, see `fit_to_corpus`. All of the embedded default is set.

    Raises:
        ConfigError: an unknown task, model or setting.
    """
    chosen = task(task_spec)
    name, own = model_of(chosen.model if model is None else model)
    values: dict[str, Any] = {**chosen.limits, **chosen.settings}
    if train is None:
        values |= chosen.default_settings
        values["model_options"] = chosen.model_options(name)
    values |= (own or MODELS[name]).training
    baked = settings_of_corpus(train, reverse)
    values |= baked
    settings, objects = named(settings)
    if to_be_fitted and train is not None:
        stated = {"model"} if model is not None else set()
        stated |= {*chosen.settings, *of_users(own or MODELS[name]), *baked}
        # What a prepared corpus has in tokens cannot be split anew.
        stated |= {"bpe_dropout"} if is_prepared(train) else set()
        values["stated"] = frozenset(stated)
    parts = Parts(task=chosen, model=own, **objects)
    config = RunConfig(chosen.name, name, train=train, valid=valid, parts=parts, **values)
    config = config.with_settings(settings)
    check_names(config)
    check_direction(chosen, reverse)
    return config


def of_users(entry: CatalogEntry) -> dict[str, Any]:
    """Training settings of a model that a user has brought; none of a built-in one."""
    return {} if isinstance(entry.family, str) else entry.training


def named(
    settings: Sequence[str] | Mapping[str, Any],
) -> tuple[Sequence[str] | Mapping[str, Any], dict[str, Any]]:
    """Settings with names in place of a metric and a schedule that are objects, and these."""
    own: dict[str, Any] = {}
    if not isinstance(settings, Mapping):
        return settings, own
    names = dict(settings)
    if not isinstance(names.get("metric", ""), str):
        own["metric"] = as_metric(names["metric"])
        names["metric"] = own["metric"].name
    if not isinstance(names.get("schedule", ""), str):
        own["schedule"] = names["schedule"]
        names["schedule"] = own["schedule"].__name__
    return names, own


def config_of_values(
    values: Mapping[str, Any], chosen: Task | None = None
) -> tuple[RunConfig, dict[str, Any] | None]:
    """The config of the values of a `config.json`, and the defaults that its model had.

    Args:
        values: The values, also those of an earlier version.
        chosen: The task, if it is the user's own.

    Raises:
        ValueError: The values are no config, or that of another task, or a part is not there.
    """
    notes = ("attention_zoo", "texts", "generation", "model_defaults", "source_format", "parts")
    defaults, form, origins = (values.get(name) for name in notes[3:])
    for name, value in {"model_defaults": defaults, "parts": origins}.items():
        if not isinstance(value, dict | None):
            raise ConfigError(f"{name} is no object: {value!r}")
    saved = None if form is None else SourceFormat.from_dict(form)
    parts = Parts(chosen, source_format=saved, origins=origins or {})
    settings = {name: value for name, value in values.items() if name not in notes}
    config = RunConfig.from_dict(settings, parts)
    if chosen is not None and chosen.name != config.task:
        raise ConfigError(f"The run is of {config.task}. Received: {chosen.name}")
    if "task" not in config.parts.origins and config.parts.source_format is None:
        task_of(config)
    if "model" not in config.parts.origins:
        entry_of(config)
    return config, defaults


def settings_of(config: RunConfig, model_defaults: Mapping[str, Any]) -> dict[str, Any]:
    """All that a config says, by the names it is set with, and its version of splitting."""
    values = config.to_dict()
    options = {**model_defaults, **values.pop("model_options")}
    named_options = {f"model.{name}": value for name, value in options.items()}
    version = source_format(config).sentences
    return {**values, **named_options, "version of sentence splitting": version}


def check_names(config: RunConfig) -> None:
    """Refuses a metric that the task of a config has not, and an unknown schedule."""
    metric_of(config)
    if config.schedule not in SCHEDULES:  # those that are there need not be imported yet
        schedule_of(config)


def settings_of_corpus(train: str | None, reverse: bool) -> dict[str, Any]:
    """Settings that a corpus decides: its direction, and all that is baked into a prepared one."""
    if not is_prepared(train):
        return {"reverse": reverse}
    baked = PreparedCorpus(str(train)).settings
    return {**baked, "reverse": baked["reverse"] or reverse}


def check_direction(chosen: Task, reverse: bool) -> None:
    """Refuses to swap source and target of a task in which they are not alike."""
    if reverse and len(chosen.source_format.inputs) > 1:
        raise ConfigError(f"--reverse is for translation; {chosen.name} has one direction.")


def preparation_config(task_spec: str, reverse: bool, settings: list[str]) -> RunConfig:
    """The config for `attention-zoo prepare`, which takes only what ends up in the folder.

    Raises:
        ConfigError: a task or setting that is not known, or a setting that is not baked in.
    """
    check_baked(settings)
    chosen = task(task_spec)
    check_direction(chosen, reverse)
    config = RunConfig(
        chosen.name,
        reverse=reverse,
        parts=Parts(task=chosen),
        **{**chosen.limits, **chosen.settings},
    )
    return config.with_settings(settings)


def check_baked(settings: Sequence[str]) -> None:
    """Refuses settings, `name=value` strings, that are not baked into a prepared corpus."""
    names = (*BAKED, "seed")
    for setting in settings:
        if setting.partition("=")[0] not in names:
            raise ConfigError(
                f"prepare takes {', '.join(names)}; all else is a setting of `attention-zoo "
                f"train`. Received: {setting}"
            )


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
        load_object("attention_zoo.recipes.metrics.scores:bleu_of")([], config.bleu_tokenize)


def _has_tokenization(config: RunConfig) -> bool:
    return "bleu_tokenize" in task_of(config).score_settings.values()


def check_model_options(config: RunConfig) -> None:
    """Refuses what the model of a config cannot be made of, before anything is read or written."""
    options = model_options_of(config)
    if "source_vocab_size" in options:
        raise ConfigError(
            "source_vocab_size follows from the text: set shared_vocabulary=false for a "
            "vocabulary of the source, and vocab_size for the most tokens of each."
        )
    if "vocab_size" in options:
        raise ConfigError("vocab_size is a setting without model.: --set vocab_size=...")
    if not config.shared_vocabulary:
        options["source_vocab_size"] = 8
    try:
        model = entry_of(config).instance(vocab_size=8, **options)
    except (TypeError, ValueError) as error:
        given = [f"model.{name}={value}" for name, value in config.model_options.items()]
        given += [] if config.shared_vocabulary else ["shared_vocabulary=false"]
        known = defaults_of(config)
        for name in config.model_options:
            if known and name not in known:
                raise ConfigError(
                    f"{config.model} has no argument {name}, which was given as model.{name}."
                    f"{hint(name, known)} It has: {', '.join(known)}."
                ) from error
        raise ConfigError(
            f"{config.model} cannot be made with {', '.join(given)}: {error}"
        ) from error
    try:
        model.check_lengths(config.max_source_length, config.max_target_length)
    except ValueError as error:
        raise ConfigError(str(error)) from error
