"""From a config to a trained run, here or as one of several workers."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...zoo.errors import ConfigError, DataError
from ...zoo.files import claimed
from ..core.config import Budget, RunConfig, budget_of, check_budget
from ..core.corpora import check_files, read_corpora, read_prepared
from ..core.interruption import Interrupted, StopNow, StopRequest
from ..core.make_config import check_model_options, check_scores, make_config
from ..core.task import Task
from ..core.task import task as task_meant
from ..core.tensorflow_setup import load_tensorflow
from ..distribute.context import DistributionContext
from ..distribute.rendezvous import wait_for_workers
from ..distribute.strategies import StrategyOptions, make_strategy
from ..distribute.workers import WorkerLost, Workers
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
    keep_state: bool = False,
    config: str | Path | None = None,
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
        keep_state: Whether the state of its optimizer and its steps go on too.
        config: The `config.json` of a run, whose settings are those of this one.
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
    load_tensorflow()  # the model that is returned is asked there
    chosen = task_meant(task)
    valid = None if valid is None else str(valid)
    settings |= {f"model.{name}": value for name, value in (model_options or {}).items()}
    said = (chosen, model, train, valid, reverse, settings)
    made = choose_config(*said, start_from=start_from, keep_state=keep_state, file=config)
    folder = Path(output or default_folder(made))
    best = run_task(made, folder, budget_of(max_steps, max_minutes, made.train), report)
    from ..core.run import Run

    metrics = Run(folder).read_metrics()
    return TrainedRun(folder, best, metrics["valid"], metrics)


def choose_config(
    task: str | Task,
    model: str | CatalogEntry | Callable | None,
    train: str | None,
    valid: str | None,
    reverse: bool,
    settings: Sequence[str] | Mapping[str, Any],
    *,
    start_from: str | Path | None = None,
    keep_state: bool = False,
    file: str | Path | None = None,
    fit: bool = True,
) -> RunConfig:
    """The config of what a user says; the rest is of the task and the model, or of another run.

    Args:
        task: As of `train`, as are all others.
        model: Of the catalog, or the user's own.
        train: What is learned from.
        valid: What is validated with.
        reverse: Whether source and target are swapped.
        settings: `name=value` strings, or values by name.
        start_from: A run that is started from.
        keep_state: Whether its state goes on too.
        file: The `config.json` of a run that has the other settings.
        fit: Whether what nobody has set follows from the corpus.

    Raises:
        ConfigError: What is said does not go together, or is impossible.
    """
    if keep_state and start_from is None:
        raise ConfigError("--keep-state needs --start-from too, the run whose state goes on.")
    if start_from is None and file is None:
        return make_config(task, model, train, valid, reverse, settings, to_be_fitted=fit)
    if start_from is not None and file is not None:
        raise ConfigError(
            "--start-from takes the settings of that run, and --config those of a file; give one."
        )
    load_tensorflow("jax")
    from .warm_start import config_of_file, start_config

    if file is not None:
        return config_of_file(file, task, model, train, valid, reverse, settings)
    folder = str(start_from)
    return start_config(folder, task, model, train, valid, reverse, settings, keep_state)


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

    Raises:
        ConfigError: a setting is impossible, or the folder holds another run.
        DataError: a corpus cannot be used.
        Interrupted: SIGINT or SIGTERM came; the run is saved.
        WorkerLost: another worker has gone, or SIGTERM came before the training began.
    """
    strategy = strategy or StrategyOptions()
    cluster = strategy.cluster()
    with StopRequest([signal.SIGTERM]) as stop:
        try:
            if cluster is None:
                with stop.at_once():
                    return _run_here(config, output, budget, report, strategy, None, profile)
            report(f"worker {cluster.index} of {len(cluster)} waits for the others")
            with stop.at_once():
                workers = wait_for_workers(cluster, _same_at_all(config, budget))
            stop.pass_on = None if workers.is_chief else workers.ask_chief_to_stop
            with workers, stop.at_once():
                try:
                    return _run_here(config, output, budget, report, strategy, workers, profile)
                except Exception as error:
                    if type(error).__module__.startswith("tensorflow"):
                        workers.explain(error)
                    raise
        except StopNow:  # where a training does not note signals itself
            told = "stopped while there was nothing new to save; give the same command to go on"
            if cluster is not None:
                raise WorkerLost(told) from None
            raise Interrupted(signal.SIGTERM, told) from None


def _same_at_all(config: RunConfig, budget: Budget) -> dict[str, Any]:
    """Settings that all workers have alike; data may lie at other paths, and are compared."""
    settings = {**config.to_dict(), "--max-steps": budget.max_steps} | {
        "--max-minutes": budget.max_minutes,
        **{f"version of {name}": version(name) for name in ("attention-zoo", "tensorflow")},
    }
    return {name: value for name, value in settings.items() if name not in ("train", "valid")}


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
    load_tensorflow("jax")
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
