"""Experiments: models trained on the same data and compared by the length of the source."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import keras
import numpy as np

from ...zoo.errors import ConfigError
from ..core.config import Budget, RunConfig
from ..core.corpora import read_corpora
from ..core.make_config import make_config
from ..core.run import Run
from ..core.task import Task, task, task_of
from ..training.launch import check_folders, check_runs, run_task
from .comparable import check_comparable
from .comparison import Comparison, compare
from .comparison_report import to_markdown, write_report
from .concatenation import concatenate_pairs, write_concatenated
from .source_lengths import length_sides, sort_by_length, source_lengths

ADVICE = {
    "bleu_tokenize": " Give --set bleu_tokenize=... to all models.",
    "rows": "give --data, or the same seed to all models.",
    "metric": "choose another by --set metric=...",
}


@dataclass(frozen=True)
class Files:
    """Corpora to train, validate and compare on; `None` for the embedded default."""

    train: str | None = None
    valid: str | None = None
    test: str | None = None

    def joined(
        self,
        task_spec: str | Task,
        longest: int,
        seed: int,
        folder: Path,
        reverse: bool,
        report: Callable[[str], None] = print,
    ) -> Files:
        """Writes files of concatenated consecutive pairs; see `concatenate_pairs`.

        Args:
            task_spec: Task of the files, whose source is one text.
            longest: Largest length that is drawn, in words.
            seed: Seed of the lengths.
            folder: Folder for the files.
            reverse: Whether source and target are swapped, as lengths are those of the source.
            report: Called with a line about rows that cannot be used.

        Returns:
            The paths of the new files.

        Raises:
            ConfigError: Sources of the task have several inputs, or there is no training file.
        """
        chosen = task(task_spec)
        inputs = [item.name for item in chosen.source_format.required]
        if len(inputs) > 1:
            raise ConfigError(
                f"What is joined are pairs of one text and another. Received: --join for "
                f"{chosen.name}, whose sources are {' and '.join(inputs)}"
            )
        if self.train is None:
            raise ConfigError("What is joined are pairs of your own; give --train and --valid.")
        paths: dict[str, str] = {}
        for name in ("train", "valid", "test"):
            spec = getattr(self, name)
            if spec is not None:
                corpus = chosen.read_file(spec, reverse, min_pairs=1)
                corpus.tell_skipped(report)
                joined = concatenate_pairs(corpus, longest, seed)
                joined = joined.reversed() if reverse else joined
                paths[name] = str(write_concatenated(joined, folder, f"{name}-{longest}"))
        return Files(**paths)


def make_configs(
    task_spec: str | Task,
    models: Sequence[str],
    files: Files,
    reverse: bool,
    settings: Iterable[str],
) -> dict[str, RunConfig]:
    """The config of each model.

    Args:
        task_spec: Task of all models.
        models: Names in the catalog.
        files: Corpora.
        reverse: Whether source and target are swapped.
        settings: `NAME=VALUE` for all models, `MODEL:NAME=VALUE` for one; `*` in MODEL matches any
            characters.

    Returns:
        The configs by the name of the model.

    Raises:
        ConfigError: A setting or a model is unknown.
    """
    if len(set(models)) < max(len(models), 2):
        raise ConfigError(f"Two models or more, each once. Received: {', '.join(models)}")
    values_of: dict[str, list[str]] = {model: [] for model in models}
    for setting in settings:
        head, colon, rest = setting.partition(":")
        alone = not colon or "=" in head
        pattern, value = ("*", setting) if alone else (head, rest)
        matching = [model for model in models if fnmatchcase(model, pattern)]
        if not matching:
            raise ConfigError(f"--set {setting} is for none of {', '.join(models)}.")
        for model in matching:
            values_of[model].append(value)
    return {
        model: make_config(task_spec, model, files.train, files.valid, reverse, values)
        for model, values in values_of.items()
    }


def check_models(configs: dict[str, RunConfig], budget: Budget, test: str | None = None) -> None:
    """Checks that models can be trained, and compared once they are.

    Args:
        configs: Config of each model, by its name.
        budget: Budget of each model.
        test: File to compare on; the validation corpus if `None`.

    Raises:
        ConfigError: As `check_runs` and `check_comparable`.
    """
    check_runs(configs.values(), budget)
    metric = next(iter(configs.values())).metric  # of the first, as `compare` has it
    check_comparable(configs, metric, test, ADVICE)


def run_experiment(
    configs: dict[str, RunConfig],
    output: Path,
    budget: Budget,
    test: str | None = None,
    lengths: Sequence[int] | None = None,
    degradation: tuple[int, int] | None = None,
    report: Callable[[str], None] = print,
) -> Comparison:
    """Trains the models that are not trained yet and compares them by the length of the source.

    The same call resumes an experiment that was stopped, and with a larger budget continues the
    training of its models.

    Args:
        configs: Config of each model, by its name.
        output: Folder of the runs, and of the comparison in `comparison/`.
        budget: Budget of each model.
        test: File to compare on; the validation corpus if `None`.
        lengths: Longest source of each bucket but the last; buckets of about equally many rows if
            `None`.
        degradation: Longest of the short sources and shortest of the long ones. If `None`, about a
            third of the rows each; nothing is computed if all sources are equally long.
        report: Called with each line of progress.

    Returns:
        The comparison, which is also written and reported.

    Raises:
        ConfigError: The models cannot be trained or compared; nothing has been trained.
        Interrupted: SIGINT or SIGTERM was received.
    """
    check_models(configs, budget, test)
    degradation = _check_lengths(next(iter(configs.values())), test, lengths, degradation, report)
    folders = {model: output / model for model in configs}
    check_folders({folders[model]: config for model, config in configs.items()})
    for number, (model, config) in enumerate(configs.items(), start=1):
        if is_done(folders[model], budget):
            report(f"model {number} of {len(configs)}: {model} is there")
            continue
        report(f"model {number} of {len(configs)}: {model}")
        try:
            run_task(config, folders[model], budget, report)
        finally:
            forget()
    report("comparing")
    comparison = compare(
        list(folders.values()), test, lengths=lengths, degradation=degradation, report=report
    )
    report(to_markdown(comparison))
    for path in write_report(comparison, output / "comparison"):
        report(f"written to {path}")
    return comparison


def _check_lengths(
    config: RunConfig,
    test: str | None,
    lengths: Sequence[int] | None,
    degradation: tuple[int, int] | None,
    report: Callable[[str], None],
) -> tuple[int, int] | None:
    """The limits of short and long sources, checked before the training."""
    if test is None:
        corpus = read_corpora(config)[1]
    else:
        corpus = task_of(config).read_file(test, config.reverse, min_pairs=1)
        corpus.tell_skipped(report)
    _, found = source_lengths(corpus, config)
    sort_by_length(found, lengths)
    if degradation is None:
        degradation = thirds(found)
        return degradation if (found >= degradation[1]).any() else None
    length_sides(found, degradation)
    return degradation


def thirds(lengths: np.ndarray) -> tuple[int, int]:
    """Longest length of about a third of the sources, and shortest of about another third."""
    short = int(np.quantile(lengths, 1 / 3, method="lower"))
    return short, max(int(np.quantile(lengths, 2 / 3, method="higher")), short + 1)


def is_done(folder: Path, budget: Budget) -> bool:
    """Checks whether a run has nothing left to train within a budget.

    That is so if its patience ended it, or if it had no smaller budget.

    Args:
        folder: Folder of the run.
        budget: Budget of the training.

    Returns:
        True if the run is done.
    """
    run = Run(folder)
    values = run.read_metrics()
    if not values:
        return False
    ended = values.get("ended")
    if ended is None:  # written by a version that did not say so
        later = [entry for entry in values["history"] if entry["step"] > values["best_step"]]
        ended = "patience" if len(later) >= run.read_config().patience else "budget"
    plan = values.get("planned", {})
    planned = plan["steps"] if plan and plan["minutes"] == budget.max_minutes else 0
    # The minutes are rounded to a hundredth.
    seconds = 60 * values["minutes"] + 0.5
    return ended == "patience" or budget.is_spent(values["steps"], seconds, planned)


def forget() -> None:
    """Frees the memory of a run."""
    keras.backend.clear_session()
    gc.collect()
