"""Training one run after the other over a grid of settings, and comparing them."""

from __future__ import annotations

import gc
import itertools
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .config import LOWER_IS_BETTER, Budget, ConfigError, RunConfig
from .files import write_json
from .nonfinite import TrainingError
from .task_runs import check_runs, run_task

# They say what the runs are ranked by, so they are the same in all.
NOT_IN_A_GRID = ("metric", "bleu_tokenize")
Grid = dict[str, list[str]]


@dataclass(frozen=True)
class SweepRow:
    """What became of one combination of settings.

    Attributes:
        settings: its values by name, as they were given.
        folder: of its run.
        metric: the metric of the config, on the whole validation corpus with the run's own search;
            where it has no value there, the one that decided. `None` where the training failed.
        perplexity: on the same.
        best_step: of how many steps the best weights are.
        minutes: of training.
        error: why it failed.
        metric_name: of `metric`.
    """

    settings: dict[str, str]
    folder: str
    metric: float | None = None
    perplexity: float | None = None
    best_step: int | None = None
    minutes: float | None = None
    error: str | None = None
    metric_name: str | None = None


def parse_grid(specs: Iterable[str]) -> Grid:
    """The values by name of `NAME=VALUE,VALUE,...` strings.

    Raises:
        ConfigError: one is no such string, a name comes twice or a value does, or it is a setting
            that runs are compared by.
    """
    grid: Grid = {}
    for spec in specs:
        name, equals, text = spec.partition("=")
        values = text.split(",")
        if not name or not equals or not all(values):
            raise ConfigError(f"--grid takes name=value,value,... Received: {spec}")
        if name in NOT_IN_A_GRID:
            raise ConfigError(
                f"The runs of a sweep are ranked by one {name}: give --set {name}=... for all of "
                f"them. Received: --grid {spec}"
            )
        if name in grid or len(set(values)) < len(values):
            raise ConfigError(f"--grid has {name} or a value of it twice. Received: {spec}")
        grid[name] = values
    if not grid:
        raise ConfigError("A sweep needs at least one --grid name=value,value,...")
    return grid


def combinations(grid: Grid) -> list[dict[str, str]]:
    """All choices of a value for each name, the last name changing fastest."""
    return [dict(zip(grid, chosen, strict=True)) for chosen in itertools.product(*grid.values())]


def folder_name(settings: dict[str, str]) -> str:
    """A name for the run of a combination, which a larger grid gives it too."""
    name = ",".join(f"{name}={value}" for name, value in settings.items())
    return "".join(sign if sign.isalnum() or sign in "=,.-_+" else "_" for sign in name)


def run_sweep(
    make: Callable[[dict[str, str]], RunConfig],
    grid: Grid,
    output: Path,
    budget: Budget,
    report: Callable[[str], None] = print,
) -> list[SweepRow]:
    """Trains every combination of a grid that is not trained yet, each into a folder of its own.

    A sweep that was stopped goes on with the same call: a run that is at its end is not touched,
    one that is not, or has more of a budget now, is gone on with. A combination whose loss is no
    number is noted as failed.

    Args:
        make: makes the config of a combination.
        grid: values by name.
        output: folder of the runs; `sweep.json` in it has the rows.
        budget: of each run.
        report: takes each line of progress.

    Returns:
        The rows, the best first.

    Raises:
        ConfigError: a combination is impossible, see `check_runs`, or its folder holds a run with
            other settings; nothing was trained.
        Interrupted: SIGINT or SIGTERM came.
    """
    from .run import Run

    chosen = combinations(grid)
    configs = [make(settings) for settings in chosen]
    check_runs(configs, budget)
    if len({config.validated_with for config in configs}) > 1:
        raise ConfigError(
            "Each seed also draws other rows of the embedded default to validate with, so that "
            "its runs cannot be compared; give --train and --valid."
        )
    for settings, config in zip(chosen, configs, strict=True):
        Run(output / folder_name(settings)).check(config)
    rows = []
    for number, (settings, config) in enumerate(zip(chosen, configs, strict=True), start=1):
        folder = output / folder_name(settings)
        named = ", ".join(f"{name}={value}" for name, value in settings.items())
        if is_done(folder, budget):
            report(f"run {number} of {len(chosen)}: {named} is there")
        else:
            report(f"run {number} of {len(chosen)}: {named}")
            try:
                run_task(config, folder, budget, report)
            except TrainingError as error:
                report(f"failed: {error}")
                rows.append(SweepRow(settings, str(folder), error=str(error)))
                continue
            finally:
                forget()
        rows.append(_row(settings, folder, config.metric))
        _write(output, rows)
    rows.sort(key=_rank(configs[0].metric))
    _write(output, rows)
    return rows


def is_done(folder: Path, budget: Budget) -> bool:
    """Whether the run in a folder would not be trained on with this budget.

    It would not if it got no better for as long as its patience, or had no less of a budget.
    """
    from .run import Run

    values = Run(folder).read_metrics()
    if not values:
        return False
    if _ended(folder, values) == "patience":
        return True
    # The minutes are rounded to a hundredth.
    return budget.is_spent(values["steps"], 60 * values["minutes"] + 0.5)


def _ended(folder: Path, values: dict[str, Any]) -> str:
    """What ended a run; of one that does not say so, as those of before, by its evaluations."""
    if "ended" in values:
        return values["ended"]
    from .run import Run

    later = [entry for entry in values["history"] if entry["step"] > values["best_step"]]
    return "patience" if len(later) >= Run(folder).read_config().patience else "budget"


def _row(settings: dict[str, str], folder: Path, metric: str) -> SweepRow:
    from .run import Run

    values = Run(folder).read_metrics()
    scores = values["valid"]
    if scores[metric] is None:
        metric = values["metric"]
    return SweepRow(
        settings,
        str(folder),
        scores[metric],
        scores["perplexity"],
        values["best_step"],
        values["minutes"],
        metric_name=metric,
    )


def _rank(metric: str) -> Callable[[SweepRow], tuple[bool, float, float]]:
    """The best first, of equals that with the lower perplexity, what failed last."""
    sign = 1 if metric in LOWER_IS_BETTER else -1
    return lambda row: (row.metric is None, sign * (row.metric or 0.0), row.perplexity or 0.0)


def _write(output: Path, rows: list[SweepRow]) -> None:
    write_json(output / "sweep.json", [asdict(row) for row in rows])


def forget() -> None:
    """Gives back the memory of a run."""
    import keras

    keras.backend.clear_session()
    gc.collect()
