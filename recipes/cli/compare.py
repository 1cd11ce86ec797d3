"""The command that compares runs: `attention-zoo compare`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from ..core.tensorflow_setup import load_tensorflow
from .app import BeamSize, ModelFile, TaskFile, app, local, parse_fall, parse_lengths
from .sources import check_folder, open_run


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
    tokenize: Annotated[
        str | None, typer.Option(help="sacreBLEU's tokenization: 13a, zh, none, ...")
    ] = None,
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
    beam_size: BeamSize = None,
    resamples: Annotated[
        int, typer.Option(min=100, max=10_000_000, help="Corpora drawn for intervals and tests.")
    ] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Of the draws.")] = 12345,
    timed_rows: Annotated[
        int, typer.Option(min=0, help="Texts decoded one by one for the latency; 0 for none.")
    ] = 20,
    task: TaskFile = None,
    model: ModelFile = None,
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
