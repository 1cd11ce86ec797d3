"""The command that trains over a grid of settings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .cli_app import app, console_for_tables


@app.command(rich_help_panel="Train")
def sweep(
    task: Annotated[str, typer.Argument(metavar="TASK", help="A recipe, see `list`.")],
    grid: Annotated[
        list[str],
        typer.Option(
            metavar="NAME=VALUE,...",
            help="Values of a setting, or of `model`, to try; may be repeated.",
        ),
    ],
    model: Annotated[str, typer.Option(help="A model of the catalog, see `list`.")] = (
        "rnn-bahdanau"
    ),
    train: Annotated[str | None, typer.Option(help="As in `train`.")] = None,
    valid: Annotated[str | None, typer.Option(help="As in `train`.")] = None,
    output: Annotated[
        Path | None, typer.Option(help="Folder of the runs; `runs/sweep-TASK` if left out.")
    ] = None,
    reverse: Annotated[bool, typer.Option("--reverse", help="Swap source and target.")] = False,
    max_steps: Annotated[int | None, typer.Option(min=1, help="Steps of each run.")] = None,
    max_minutes: Annotated[
        float | None, typer.Option(min=0.01, help="Minutes of each run.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="A setting of all runs."),
    ] = None,
) -> None:
    """Train a run for every combination of some settings, and compare them.

    Example: `attention-zoo sweep translation --grid learning_rate=0.001,0.002 --grid r_drop=0,5
    --max-minutes 10`

    One run after the other, each in a folder of its own, which all other commands take too. The
    same command goes on with a sweep that was stopped. `tensorboard --logdir OUTPUT` compares the
    runs in its HParams tab.
    """
    from .config import Budget
    from .sweep import parse_grid, run_sweep
    from .tasks import make_config

    def make(chosen: dict[str, str]):
        names = {name: value for name, value in chosen.items() if name != "model"}
        values = [*(settings or []), *(f"{name}={value}" for name, value in names.items())]
        return make_config(task, chosen.get("model", model), train, valid, reverse, values)

    folder = output or Path("runs") / f"sweep-{task}"
    values = parse_grid(grid)
    metric = make({name: first for name, (first, *_) in values.items()}).metric
    rows = run_sweep(make, values, folder, Budget(max_steps, max_minutes))
    _print_table(rows, list(values), metric)
    print(f"compare the curves: tensorboard --logdir {folder}")


def _print_table(rows, names: list[str], metric: str) -> None:
    """The runs, the best first."""
    from rich.table import Table

    from .metrics import shown

    metric = next((row.metric_name for row in rows if row.metric_name), metric)
    table = Table(*names, metric, "perplexity", "best at step", "minutes", box=None)
    for row in rows:
        values = [row.settings[name] for name in names]
        if row.error:
            table.add_row(*values, "failed", "", "", "")
        else:
            numbers = shown(row.metric), shown(row.perplexity), f"{row.best_step:,}"
            table.add_row(*values, *numbers, f"{row.minutes:.1f}")
    console_for_tables().print(table)
