"""From a config to a trained run, here or as one of several workers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...zoo.errors import DataError
from ...zoo.files import claimed
from ..core.config import Budget, RunConfig, check_budget
from ..core.corpora import check_files, read_corpora, read_prepared
from ..core.make_config import check_model_options, check_scores, make_config
from ..core.task import Task
from ..core.task import task as task_meant
from ..core.tensorflow_setup import load_tensorflow
from ..distribute.context import DistributionContext
from ..distribute.rendezvous import wait_for_workers
from ..distribute.strategies import StrategyOptions, make_strategy
from ..distribute.workers import Workers

if TYPE_CHECKING:
    from ...zoo.catalog import CatalogEntry
    from ...zoo.pipeline.text_to_text import TextToText


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
            `"rnn-bahdanau"` if left out.
        output: Folder of the run; `runs/TASK-MODEL` if left out. A run in it that has the same
            settings is gone on with.
        max_steps: Steps in all.
        max_minutes: Minutes in all. With neither limit, training ends when the metric gets no
            better.
        start_from: A run whose weights, tokenizer and settings are the first of this one.
        reverse: Swaps source and target.
        model_options: Arguments of the model's constructor.
        report: Takes each line of progress.
        **settings: Settings by the names that `attention-zoo settings` lists. `metric` may also be
            a function of predictions and references, or a `Metric`.

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
        config = make_config(chosen, model or "rnn-bahdanau", train, valid, reverse, settings)
    folder = Path(output or Path("runs") / f"{config.task}-{config.model}")
    best = run_task(config, folder, Budget(max_steps, max_minutes), report)
    from ..core.run import Run

    metrics = Run(folder).read_metrics()
    return TrainedRun(folder, best, metrics["valid"], metrics)


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
    check_model_options(config)
    run = Run(output)
    if not placement.is_chief:
        return train(config, run, budget, lambda line: None, placement)
    run.check(config)
    with claimed(run.folder):
        return train(config, run, budget, report, placement, profile)
