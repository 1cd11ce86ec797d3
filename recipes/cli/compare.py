"""Commands that compare models: `experiment`, which trains them first, and `compare` of runs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from ..core.tensorflow_setup import load_tensorflow
from . import options as shared
from .app import Refused, app, local
from .sources import check_folder, open_run

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
    reverse: shared.Reverse = False,
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


@app.command(rich_help_panel="Use")
def compare(
    runs: Annotated[
        list[str], typer.Argument(metavar="RUN RUN ...", help="Two runs or more, as for `predict`.")
    ],
    data: Annotated[
        str | None,
        typer.Option(help="Sources and references; what the runs validated with if left out."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(callback=local, help="A folder for the page, the pictures and the numbers."),
    ] = None,
    metric: Annotated[
        str | None, typer.Option(help="The score compared; that of the first run if left out.")
    ] = None,
    tokenize: shared.Tokenize = None,
    lengths: Annotated[
        str | None,
        typer.Option(
            metavar="N,N,...",
            help="Longest source of each bucket but the last, in words, or in characters where "
            "there are no spaces; buckets of as many rows each if left out.",
        ),
    ] = None,
    fall: Annotated[
        str | None,
        typer.Option(
            metavar="SHORT,LONG",
            help="Also tell how much each score loses from sources of up to SHORT words to those "
            "of LONG and more.",
        ),
    ] = None,
    beam_size: shared.BeamSize = None,
    resamples: Annotated[
        int, typer.Option(min=100, max=10_000_000, help="Corpora drawn for intervals and tests.")
    ] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Of the draws.")] = 12345,
    timed_rows: Annotated[
        int, typer.Option(min=0, help="Texts decoded one by one for the latency; 0 for none.")
    ] = 20,
    task: shared.TaskFile = None,
    model: shared.ModelFile = None,
) -> None:
    """Compare runs on one file: scores, intervals, quality by length, time, significance.

    Example: `attention-zoo compare runs/rnn runs/rnn-bahdanau --data test.tsv --output figures`

    Prints the tables as Markdown. With --output it also writes `comparison.html`, `.md` and
    `.json`, and `quality_by_length` and `score_by_time` as `.png` and `.svg`.
    """
    limits, sides = parse_lengths(lengths), parse_fall(fall)
    if output is not None:
        check_folder(output)
    load_tensorflow()
    from ..analysis.comparison import compare as compare_runs
    from ..analysis.comparison_report import to_markdown, write_report

    comparison = compare_runs(
        [open_run(run, task, model) for run in runs],
        data,
        metric=metric,
        tokenize=tokenize,
        lengths=limits,
        beam_size=beam_size,
        resamples=resamples,
        seed=seed,
        timed_rows=timed_rows,
        degradation=sides,
        report=lambda line: print(line, file=sys.stderr),
    )
    print(to_markdown(comparison), end="")
    if output is not None:
        for path in write_report(comparison, output):
            print(f"written to {path}", file=sys.stderr)


def parse_lengths(text: str | None) -> list[int] | None:
    """The rising numbers of `--lengths`."""
    if text is None:
        return None
    limits = _rising(text)
    if not limits:
        raise Refused(f"--lengths takes rising numbers such as 10,20,40. Received: {text}")
    return limits


def parse_fall(text: str | None) -> tuple[int, int] | None:
    """The two rising numbers of `--fall`."""
    if text is None:
        return None
    limits = _rising(text)
    if len(limits) != 2:
        raise Refused(
            f"--fall takes two rising numbers, the longest of the short sources and the shortest "
            f"of the long ones, such as 19,40. Received: {text}"
        )
    return limits[0], limits[1]


def _rising(text: str) -> list[int]:
    """Rising numbers from 1 on, with commas between them; none if the text is something else."""
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        return []
    return numbers if numbers == sorted(set(numbers)) and numbers[0] >= 1 else []
