"""The claim that attention was made for, measured: models side by side on sources of any length."""

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
from ..core.run import Run
from ..core.task import make_config, read_corpora, task
from ..training.task_runs import check_folders, check_runs, run_task
from .comparable import check_comparable
from .comparison import Comparison, compare
from .comparison_report import to_markdown, write_report
from .joining import join_pairs, write_joined
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
        task_name: str,
        longest: int,
        seed: int,
        folder: Path,
        reverse: bool,
        report: Callable[[str], None] = print,
    ) -> Files:
        """Files of consecutive pairs joined, see `join_pairs`, written into a folder.

        Args:
            task_name: whose files they are; a source of it is one text.
            longest: the largest length that is drawn.
            seed: of the lengths.
            folder: for the files.
            reverse: whether source and target are swapped, as lengths are those of the source.
            report: is told of rows that cannot be used.
        """
        inputs = [item.name for item in task(task_name).source_format.required]
        if len(inputs) > 1:
            raise ConfigError(
                f"What is joined are pairs of one text and another. Received: --join for "
                f"{task_name}, whose sources are {' and '.join(inputs)}"
            )
        if self.train is None:
            raise ConfigError("What is joined are pairs of your own; give --train and --valid.")
        paths: dict[str, str] = {}
        for name in ("train", "valid", "test"):
            spec = getattr(self, name)
            if spec is not None:
                corpus = task(task_name).read_file(spec, reverse, min_pairs=1)
                corpus.tell_skipped(report)
                joined = join_pairs(corpus, longest, seed)
                joined = joined.reversed() if reverse else joined
                paths[name] = str(write_joined(joined, folder, f"{name}-{longest}"))
        return Files(**paths)


def make_configs(
    task_name: str, models: Sequence[str], files: Files, reverse: bool, settings: Iterable[str]
) -> dict[str, RunConfig]:
    """The configs by model.

    Args:
        task_name: what all of them learn.
        models: names in the catalog.
        files: of the data.
        reverse: swaps source and target.
        settings: `NAME=VALUE` for all models or `MODEL:NAME=VALUE` for one; of all models with
            such names where MODEL has `*`.

    Raises:
        ConfigError: a setting or a model is unknown.
    """
    if len(set(models)) < max(len(models), 2):
        raise ConfigError(f"Two models or more, each once. Received: {', '.join(models)}")
    chosen: dict[str, list[str]] = {model: [] for model in models}
    for setting in settings:
        head, colon, rest = setting.partition(":")
        alone = not colon or "=" in head
        pattern, value = ("*", setting) if alone else (head, rest)
        matching = [model for model in models if fnmatchcase(model, pattern)]
        if not matching:
            raise ConfigError(f"--set {setting} is for none of {', '.join(models)}.")
        for model in matching:
            chosen[model].append(value)
    return {
        model: make_config(task_name, model, files.train, files.valid, reverse, values)
        for model, values in chosen.items()
    }


def check_models(configs: dict[str, RunConfig], budget: Budget, test: str | None = None) -> None:
    """Refuses models that cannot be trained, or not be compared when they are.

    Args:
        configs: by model.
        budget: of each model.
        test: rows to compare on; those of the validation if left out.

    Raises:
        ConfigError: as `check_runs` and `check_comparable`.
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
    fall: tuple[int, int] | None = None,
    report: Callable[[str], None] = print,
) -> Comparison:
    """Trains each model that is not trained yet, and compares them by the length of the source.

    An experiment that was stopped goes on with the same call, and with a larger budget trains the
    models on.

    Args:
        configs: of the models, by name.
        output: folder of the runs, and of the comparison in `comparison/`.
        budget: of each model.
        test: rows to compare on; those of the validation if left out.
        lengths: longest source of each bucket but the last; as many rows in each if left out.
        fall: the longest of the short sources and the shortest of the long ones; about a third of
            the rows each if left out, and none where there are no longer ones.
        report: takes each line of progress.

    Returns:
        The comparison, which is also written and reported.

    Raises:
        ConfigError: something cannot be done; nothing was trained.
        Interrupted: SIGINT or SIGTERM came.
    """
    check_models(configs, budget, test)
    fall = _check_lengths(next(iter(configs.values())), test, lengths, fall, report)
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
    comparison = compare(list(folders.values()), test, lengths=lengths, fall=fall, report=report)
    report(to_markdown(comparison))
    for path in write_report(comparison, output / "comparison"):
        report(f"written to {path}")
    return comparison


def _check_lengths(
    config: RunConfig,
    test: str | None,
    lengths: Sequence[int] | None,
    fall: tuple[int, int] | None,
    report: Callable[[str], None],
) -> tuple[int, int] | None:
    """The limits of short and long sources; refuses what the comparison would, before training."""
    if test is None:
        corpus = read_corpora(config)[1]
    else:
        corpus = task(config.task).read_file(test, config.reverse, min_pairs=1)
        corpus.tell_skipped(report)
    _, found = source_lengths(corpus, config)
    sort_by_length(found, lengths)
    if fall is None:
        fall = thirds(found)
        return fall if (found >= fall[1]).any() else None
    length_sides(found, fall)
    return fall


def thirds(lengths: np.ndarray) -> tuple[int, int]:
    """The longest of about a third of the sources, the shortest of about another third."""
    short = int(np.quantile(lengths, 1 / 3, method="lower"))
    return short, max(int(np.quantile(lengths, 2 / 3, method="higher")), short + 1)


def is_done(folder: Path, budget: Budget) -> bool:
    """True where the run in a folder has nothing left to train within this budget.

    It would not if it got no better for as long as its patience, or had no less of a budget.
    """
    run = Run(folder)
    values = run.read_metrics()
    if not values:
        return False
    ended = values.get("ended")
    if ended is None:  # written by a version that did not say so
        later = [entry for entry in values["history"] if entry["step"] > values["best_step"]]
        ended = "patience" if len(later) >= run.read_config().patience else "budget"
    # The minutes are rounded to a hundredth.
    return ended == "patience" or budget.is_spent(values["steps"], 60 * values["minutes"] + 0.5)


def forget() -> None:
    """Frees the memory of a run."""
    keras.backend.clear_session()
    gc.collect()
