"""The tasks by name, and the way from a command to a trained run that they share."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..zoo.catalog import MODELS, entry
from .config import Budget, ConfigError, RunConfig
from .pair_files import PairCorpus, read_pairs
from .runtime import load_tensorflow

if TYPE_CHECKING:
    from ..zoo.text_to_text import TextToText

# Each module has a `TASK`; a table of names, so that listing them loads nothing.
TASKS = {"translation": "translation"}


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
    """

    name: str
    description: str
    default_corpora: Callable[[int], tuple[PairCorpus, PairCorpus]]
    default_description: str
    default_settings: dict[str, Any] = field(default_factory=dict)
    default_model_options: dict[str, dict[str, Any]] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)


def task(name: str) -> Task:
    """The task of a name."""
    if name not in TASKS:
        raise ConfigError(f"There is no task {name!r}. Known: {', '.join(TASKS)}.")
    return importlib.import_module(f".{TASKS[name]}", __package__).TASK


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
    if model not in MODELS:
        raise ConfigError(f"There is no model {model!r}. Known: {', '.join(MODELS)}.")
    values = dict(chosen.settings)
    if train is None:
        family, _ = entry(model).family
        values |= chosen.default_settings
        values["model_options"] = dict(chosen.default_model_options.get(family, {}))
    values |= entry(model).training
    config = RunConfig(task_name, model, train=train, valid=valid, reverse=reverse, **values)
    return config.with_settings(settings or [])


def read_corpora(config: RunConfig) -> tuple[PairCorpus, PairCorpus]:
    """The training and validation corpora of a config."""
    if config.train is None or config.valid is None:
        train, valid = task(config.task).default_corpora(config.seed)
        return (train.reversed(), valid.reversed()) if config.reverse else (train, valid)
    return (
        read_pairs(config.train, reverse=config.reverse),
        read_pairs(config.valid, reverse=config.reverse, min_pairs=1),
    )


def run_task(
    config: RunConfig,
    output: str | Path,
    budget: Budget,
    report: Callable[[str], None] = print,
) -> TextToText:
    """Trains a config into a run folder, or goes on with it.

    All that can be wrong with the settings and the data is found before the folder is touched.
    """
    corpora = read_corpora(config)
    for corpus in corpora:
        report(corpus.report())
    load_tensorflow()
    from .run import Run
    from .training import train

    run = Run(output)
    run.check(config)
    _check_model_options(config)
    return train(config, run, *corpora, budget=budget, report=report)


def _check_model_options(config: RunConfig) -> None:
    try:
        entry(config.model).instance(vocab_size=8, **config.model_options)
    except (TypeError, ValueError) as error:
        options = ", ".join(f"model.{name}={value}" for name, value in config.model_options.items())
        raise ConfigError(f"{config.model} cannot be made with {options}: {error}") from error
