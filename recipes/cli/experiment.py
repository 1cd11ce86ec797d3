"""The command that measures what attention is good for: `attention-zoo experiment`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..core.tensorflow_setup import load_tensorflow
from .app import Reverse, app, local, parse_fall, parse_lengths
from .sources import check_folder

MODELS = "rnn,rnn-bahdanau,rnn-luong,rnn-qkv,transformer-tiny"


@app.command(rich_help_panel="Train")
def experiment(
    task: Annotated[
        str, typer.Argument(metavar="TASK", help="A recipe, see `list`.")
    ] = "translation",
    models: Annotated[
        str, typer.Option(metavar="MODEL,MODEL,...", help="Names of the catalog, see `list`.")
    ] = MODELS,
    train: Annotated[str | None, typer.Option(help="As in `train`.")] = None,
    valid: Annotated[str | None, typer.Option(help="As in `train`.")] = None,
    data: Annotated[
        str | None, typer.Option(help="Rows to compare on; those of --valid if left out.")
    ] = None,
    join: Annotated[
        int | None,
        typer.Option(
            min=2,
            metavar="WORDS",
            help="Join consecutive pairs, to lengths of the source drawn from 1 to so many words.",
        ),
    ] = None,
    join_seed: Annotated[int, typer.Option(min=0, help="Of the lengths drawn.")] = 1,
    output: Annotated[
        Path, typer.Option(callback=local, help="Folder of the runs and of the comparison.")
    ] = Path("runs/experiment"),
    reverse: Reverse = False,
    max_steps: Annotated[int | None, typer.Option(min=1, help="Steps of each model.")] = None,
    max_minutes: Annotated[
        float | None, typer.Option(min=0.01, help="Minutes of each model.")
    ] = None,
    lengths: Annotated[str | None, typer.Option(metavar="N,N,...", help="As in `compare`.")] = None,
    fall: Annotated[
        str | None,
        typer.Option(
            metavar="SHORT,LONG",
            help="As in `compare`; about a third of the rows each if left out.",
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="[MODEL:]NAME=VALUE",
            help="A setting of all models, or of those that MODEL names, such as `rnn*`.",
        ),
    ] = None,
) -> None:
    """Train models on the same data with the same budget, and compare them by length.

    Example: `attention-zoo experiment --train train.tsv --valid valid.tsv --join 60
    --max-minutes 60 --output runs/lengths`

    One model after the other, each into a folder of its own, with the same budget. At the end the
    scores by length of the source, with intervals, and how much each model loses on long sources,
    as by `compare`: page, tables and pictures are in the folder `comparison`. The same command goes
    on where it was stopped.
    """
    limits, sides = parse_lengths(lengths), parse_fall(fall)
    check_folder(output)
    from ...zoo.errors import ConfigError
    from ..core.config import Budget

    if (train is None) != (valid is None):
        raise ConfigError("Give --train and --valid, or neither for the embedded default.")
    load_tensorflow()
    from ..analysis.experiment import Files, check_models, make_configs, run_experiment

    files, budget = Files(train, valid, data), Budget(max_steps, max_minutes)
    # With the files as they are at first: what is wrong in a setting is told before all else.
    names = models.split(",")
    check_models(make_configs(task, names, files, reverse, settings or []), budget, data)
    if join is not None:
        files = files.joined(task, join, join_seed, output / "joined", reverse)
    configs = make_configs(task, names, files, reverse, settings or [])
    run_experiment(configs, output, budget, files.test, limits, sides)
