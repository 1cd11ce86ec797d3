"""From a config to a trained run, here or as one of several workers."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...zoo.errors import DataError
from ...zoo.files import claimed
from ..core.config import Budget, RunConfig, budget_of, check_budget
from ..core.corpora import check_files, read_corpora, read_prepared
from ..core.make_config import check_model_options, check_scores, make_config
from ..core.task import Task
from ..core.task import task as task_meant
from ..core.tensorflow_setup import load_tensorflow
from ..distribute.context import DistributionContext
from ..distribute.rendezvous import wait_for_workers
from ..distribute.strategies import StrategyOptions, make_strategy
from ..distribute.workers import Workers
from .fitted import fit_to_corpus, fitted_values, with_values

if TYPE_CHECKING:
    from ...zoo.catalog import CatalogEntry
    from ...zoo.pipeline.text_to_text import TextToText
    from ..core.run import Run
    from ..data.corpus import PairCorpus
    from ..data.prepared import PreparedCorpus


@dataclass(frozen=True)
class TrainedRun:
    """Result of `train`.

    Attributes:
        folder: The folder of the run, which `attention_zoo.load` and the commands take.
        model: The best model with its tokenizer and its search: text in, text out.
        scores: Scores on the validation corpus, by the name of the metric.
        metrics: All that the run has written down: scores, baselines and the course of training.
    """

    folder: Path
    model: TextToText
    scores: dict[str, float]
    metrics: dict[str, Any]


def train(
    task: str | Task,
    train: str | None = None,
    valid: str | float | None = None,
    *,
    model: str | CatalogEntry | Callable | None = None,
    output: str | Path | None = None,
    max_steps: int | None = None,
    max_minutes: float | None = None,
    start_from: str | Path | None = None,
    reverse: bool = False,
    model_options: dict[str, Any] | None = None,
    report: Callable[[str], None] = print,
    **settings: Any,
) -> TrainedRun:
    """Trains a model on a task, or goes on with a run that was stopped.

    The same as the command `attention-zoo train`.

    Args:
        task: A task, its name, or a file that has it as `TASK`.
        train: A corpus to learn from, as a path; the embedded default of the task if left out.
        valid: The corpus to validate with, or the share of `train` that is held out for it; about
            a twentieth if left out.
        model: A name of the catalog, a class or function that makes a model, or `file.py:NAME`;
            one that fits the corpus if left out.
        output: Folder of the run; that of `default_folder` if left out. A run in it that has the
            same settings is gone on with.
        max_steps: Steps in all.
        max_minutes: Minutes in all; `math.inf` for no limit. With neither, a corpus of yours is
            learned from for 60 minutes or 150 epochs, and the embedded default until the metric
            gets no better.
        start_from: A run whose weights, tokenizer and settings are the first of this one.
        reverse: Swaps source and target.
        model_options: Arguments of the model's constructor.
        report: Takes each line of progress.
        **settings: Settings by the names that `attention-zoo settings` lists; those that are left
            out follow from a corpus of yours. `metric` may also be a function of predictions and
            references, or a `Metric`.

    Returns:
        The run with its best model.

    Raises:
        ConfigError: A setting is impossible, or the folder holds another run.
        DataError: A corpus cannot be used.
        Interrupted: The training was stopped; it is saved.

    Example:

    >>> run = attention_zoo.train("translation", train="pairs.tsv", valid="dev.tsv",
    ...                           model="transformer-tiny", output="runs/mine", max_minutes=60)
    >>> run.model.predict(["a house"])
    """
    chosen = task_meant(task)
    valid = None if valid is None else str(valid)
    settings |= {f"model.{name}": value for name, value in (model_options or {}).items()}
    if start_from is not None:
        load_tensorflow()
        from .warm_start import start_config

        config = start_config(start_from, chosen, model, train, valid, reverse, settings)
    else:
        config = make_config(chosen, model, train, valid, reverse, settings, to_be_fitted=True)
    folder = Path(output or default_folder(config))
    best = run_task(config, folder, budget_of(max_steps, max_minutes, train), report)
    from ..core.run import Run

    metrics = Run(folder).read_metrics()
    return TrainedRun(folder, best, metrics["valid"], metrics)


def default_folder(config: RunConfig) -> Path:
    """The folder of a run that nobody has named: of its task, and its model or its file."""
    name = config.model
    if config.train is not None and not config.is_stated("model"):
        file = Path(config.train.split("#")[0].split(",")[0]).name
        name = re.sub(r"[^\w-]+", "-", file.split(".")[0]).strip("-") or "stdin"
    return Path("runs") / f"{config.task}-{name}"


def check_runs(configs: Iterable[RunConfig], budget: Budget) -> None:
    """Refuses settings that `run_task` would refuse, before the first of several runs begins.

    What only the text can tell, such as a batch with no room for its longest row, is found when a
    run begins.

    Args:
        configs: of the runs.
        budget: of each.

    Raises:
        ConfigError: one of them is impossible.
    """
    load_tensorflow()
    from .precision import check_precision

    options = StrategyOptions()
    # Several workers have to meet before there is a strategy.
    placement = DistributionContext() if options.cluster() else make_strategy(options)
    for config in configs:
        check_budget(config, budget)
        check_scores(config)
        read_prepared(config)
        check_model_options(config)
        check_precision(config, placement)


def check_folders(configs: Mapping[Path, RunConfig]) -> None:
    """Refuses folders that `run_task` would refuse, before the first of several runs begins.

    Runs that have ended are looked at too, as they are compared with those that have not.

    Args:
        configs: of the runs, by their folders.

    Raises:
        ConfigError: a folder holds another run, or one of other texts.
    """
    from ..core.run import Run

    read: dict[tuple, dict[str, int]] = {}
    for folder, config in configs.items():
        if not Run(folder).check(config):
            continue
        which = config.train, config.valid, config.reverse, config.seed
        if which not in read:
            try:
                train, valid = read_corpora(config)
            except (DataError, OSError):
                continue  # what is not there any more cannot be learnt from
            read[which] = {"train": train.checksum, "valid": valid.checksum}
        Run(folder).check(config, read[which])


def run_task(
    config: RunConfig,
    output: str | Path,
    budget: Budget,
    report: Callable[[str], None] = print,
    strategy: StrategyOptions | None = None,
    profile: tuple[int, int] | None = None,
) -> TextToText:
    """Trains a config into a run folder, or goes on with it.

    All that can be wrong with the settings and the data is found before the folder is touched.

    Args:
        config: what is learnt.
        output: the folder.
        budget: how long to train.
        report: takes each line of progress; at a worker that is not the chief, only where it runs.
        strategy: where to train; all that is in this machine if left out.
        profile: first and last step of this start that are profiled; none if left out.
    """
    strategy = strategy or StrategyOptions()
    cluster = strategy.cluster()
    if cluster is None:
        return _run_here(config, output, budget, report, strategy, None, profile)
    settings = {**config.to_dict(), "--max-steps": budget.max_steps} | {
        "--max-minutes": budget.max_minutes,
        **{f"version of {name}": version(name) for name in ("attention-zoo", "tensorflow")},
    }
    report(f"worker {cluster.index} of {len(cluster)} waits for the others")
    with wait_for_workers(cluster, settings) as workers:
        try:
            return _run_here(config, output, budget, report, strategy, workers, profile)
        except Exception as error:
            if type(error).__module__.startswith("tensorflow"):
                workers.explain(error)
            raise


def _run_here(
    config: RunConfig,
    output: str | Path,
    budget: Budget,
    report: Callable[[str], None],
    strategy: StrategyOptions,
    workers: Workers | None,
    profile: tuple[int, int] | None,
) -> TextToText:
    check_budget(config, budget)
    check_scores(config)
    check_files(config)
    load_tensorflow()
    from ..core.run import Run
    from .precision import check_precision
    from .training import train

    placement = make_strategy(strategy, workers)
    report(str(placement))
    check_precision(config, placement)
    run, corpora = Run(output), None
    if config.is_stated("model"):
        check_model_options(config)  # before a long text is read
    if config.stated is not None:
        corpora = read_corpora(config)
        config = _fitted(config, corpora[0], budget, run, placement)
        check_model_options(config)
    if not placement.is_chief:
        return train(config, run, budget, lambda line: None, placement, corpora=corpora)
    run.check(config)
    with claimed(run.folder):
        return train(config, run, budget, report, placement, profile, corpora)


def _fitted(
    config: RunConfig,
    corpus: PairCorpus | PreparedCorpus,
    budget: Budget,
    run: Run,
    placement: DistributionContext,
) -> RunConfig:
    """The config with what follows from the corpus, or from what the run was begun with."""

    def fit() -> RunConfig:
        begun = run.read_config() if run.config_path.is_file() else None
        return fit_to_corpus(config, corpus, budget, begun)

    def unpack(packed: bytes) -> RunConfig:
        return with_values(config, json.loads(packed))

    return placement.broadcast_from_chief(
        fit, lambda fitted: json.dumps(fitted_values(fitted)).encode(), unpack
    )
