"""From a config to a trained run, here or as one of several workers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from ...zoo.errors import DataError
from ...zoo.files import claimed
from ..core.config import Budget, RunConfig, check_budget
from ..core.task import check_model_options, check_scores, read_corpora, read_prepared
from ..core.tensorflow_setup import load_tensorflow
from ..distribute.rendezvous import wait_for_workers
from ..distribute.strategies import DistributionContext, StrategyOptions, make_strategy
from ..distribute.workers import Workers

if TYPE_CHECKING:
    from ...zoo.pipeline.text_to_text import TextToText


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
    told, report = report, report if workers is None or workers.is_chief else _say_nothing
    corpora = read_corpora(config)
    for corpus in corpora:
        report(corpus.report())
    load_tensorflow()
    from ..core.run import Run
    from .training import train

    placement = make_strategy(strategy, workers)
    told(str(placement))
    run = Run(output)
    if placement.is_chief:
        run.check(config)
    check_model_options(config)
    with claimed(run.folder) if placement.is_chief else nullcontext():
        return train(config, run, *corpora, budget, report, placement, profile)


def _say_nothing(line: str) -> None:
    """Takes what only the chief reports."""
