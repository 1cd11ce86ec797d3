"""Commands that make runs: training, distillation, settings, the demo."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from ..core.tensorflow_setup import load_tensorflow
from ..data.corpus import is_blank
from . import options as shared
from .app import Refused, app, local
from .sources import open_run, read_lines, sources_of


def parse_minutes(text: str | float) -> float:
    """The minutes of `--max-minutes`; infinity for `none`."""
    if text == "none":
        return math.inf
    try:
        minutes = float(text)
    except ValueError:
        minutes = math.nan
    if not 0.01 <= minutes < math.inf:
        raise typer.BadParameter(f"a number of minutes from 0.01 on, or none. Received: {text}")
    return minutes


@app.command(rich_help_panel="Train")
def train(
    context: typer.Context,
    task: Annotated[
        str, typer.Argument(metavar="TASK", help="A recipe, see `list`, or a file of your own.")
    ],
    model: Annotated[
        str | None,
        typer.Option(
            help="A model of the catalog, see `list`, or one of your own, FILE:NAME.",
            show_default="one that fits the corpus",
        ),
    ] = None,
    train: Annotated[
        str | None,
        typer.Option(
            help="A file (.tsv, .csv, .jsonl, .tmx, .xlsx, ...), FILE#SOURCE,TARGET for two of its "
            "columns, SOURCE_FILE,TARGET_FILE, hf:NAME[:CONFIG][@SPLIT][#SOURCE,TARGET], - for "
            "stdin, or a folder of `prepare`."
        ),
    ] = None,
    valid: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|SHARE",
            help="The same, to validate with; or the share of --train that is held out for it, "
            "about 0.05 if left out.",
        ),
    ] = None,
    no_filter: Annotated[
        bool,
        typer.Option("--no-filter", help="Learn duplicates, copies and mismatched pairs too."),
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            callback=local,
            help="Folder of the run.",
            show_default="runs/TASK-FILE or runs/TASK-MODEL",
        ),
    ] = None,
    start_from: Annotated[
        str | None,
        typer.Option(
            metavar="RUN", help="Begin with the weights and tokens of a run, and its settings."
        ),
    ] = None,
    keep_state: Annotated[
        bool,
        typer.Option(
            "--keep-state",
            help="With --start-from: go on from its last step, optimizer state and all, not from "
            "its best weights.",
        ),
    ] = False,
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="The settings of a config.json; what is said beside it wins."
        ),
    ] = None,
    reverse: shared.Reverse = False,
    max_steps: Annotated[int | None, typer.Option(min=1, help="Steps in all.")] = None,
    max_minutes: Annotated[
        float | None,
        typer.Option(
            parser=parse_minutes,
            metavar="MINUTES|none",
            help="Minutes in all; none for no limit.",
            show_default="60 or 150 epochs, with --train",
        ),
    ] = None,
    no_fit: Annotated[
        bool,
        typer.Option("--no-fit", help="Let nothing follow from the corpus: plain defaults."),
    ] = False,
    precision: Annotated[
        str | None, typer.Option(help="float32, mixed_bfloat16 or mixed_float16.")
    ] = None,
    jit: Annotated[bool, typer.Option("--jit", help="Compile the step with XLA.")] = False,
    profile: Annotated[
        str | None, typer.Option(metavar="FIRST,LAST", help="Profile these steps for TensorBoard.")
    ] = None,
    settings: shared.Settings = None,
    strategy: Annotated[
        str, typer.Option(help="Where: auto, single, mirrored, multiworker, or sharded on JAX.")
    ] = "auto",
    workers: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT,...", help="All workers; else those of TF_CONFIG."),
    ] = None,
    index: Annotated[int | None, typer.Option(help="Number of this worker, from 0.")] = None,
    replicas: Annotated[
        int | None, typer.Option(min=1, help="Devices to mirror on; all GPUs if left out.")
    ] = None,
) -> None:
    """Train a model, or resume a run that was stopped.

    Example: `attention-zoo train translation --train pairs.csv`

    Without --train it learns the recipe's embedded default. Of a file of yours, the model, its size
    and how it learns follow from the number of rows, their words and the time; what you set stays.
    `attention-zoo settings TASK --train FILE` shows all values. Settings of the model begin with
    `model.`, as in `--set model.dropout=0.4`. If the output folder holds a run with the same
    settings, that run is resumed.

    With --start-from a run learns on from the best weights of another, which stays as it is: on
    other text (fine-tuning), or with other settings. What is not said is as in that run. With
    --keep-state too it goes on from the last step of that one, at another rate or batch size say.
    """
    from ..core.config import budget_of
    from ..core.task import task as task_meant
    from ..distribute.strategies import StrategyOptions
    from ..training.launch import choose_config, default_folder, run_task

    chosen = context.obj or task_meant(task)  # a script passes its own
    values = [*(settings or [])]
    values += [f"precision={precision}"] if precision else []
    jax = os.environ.get("KERAS_BACKEND") == "jax"  # which always compiles
    if jax and profile:
        raise Refused("--profile is of TensorFlow: leave it out, or KERAS_BACKEND=jax.")
    values += ["jit=true"] if jit or jax else []
    values += ["filter_rows=false"] if no_filter else []
    said = (chosen, model, train, valid, reverse, values)
    made = choose_config(
        *said, start_from=start_from, keep_state=keep_state, file=config, fit=not no_fit
    )
    run_task(
        made,
        output or default_folder(made),
        budget_of(max_steps, max_minutes, made.train),
        strategy=StrategyOptions(strategy, workers, index, replicas),
        profile=parse_profile(profile) if profile else None,
    )


def parse_profile(text: str) -> tuple[int, int]:
    """The first and the last step of `FIRST,LAST`.

    Raises:
        Refused: the text is something else.
    """
    first, _, last = text.partition(",")
    if first.isdecimal() and last.isdecimal() and 1 <= int(first) <= int(last):
        return int(first), int(last)
    raise Refused(f"--profile takes FIRST,LAST, steps of this start from 1. Received: {text}")


@app.command(rich_help_panel="Train")
def distill(
    teacher: Annotated[
        str, typer.Argument(metavar="TEACHER", help="A run, a preset, a pack, as for `predict`.")
    ],
    model: Annotated[
        str, typer.Option(metavar="STUDENT", help="A model of the catalog, or FILE:NAME.")
    ],
    output: Annotated[
        Path, typer.Option(callback=local, help="Folder of the student, which is a run.")
    ],
    train: Annotated[
        str | None,
        typer.Option(help="As in `train`; what the teacher learned from if left out."),
    ] = None,
    valid: Annotated[str | None, typer.Option(metavar="FILE|SHARE", help="As in `train`.")] = None,
    sources: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Further sources, without targets, one a line."),
    ] = None,
    mix: Annotated[
        str,
        typer.Option(
            metavar="originals|none", help="What the student learns beside what the teacher writes."
        ),
    ] = "originals",
    beam_size: shared.BeamSize = None,
    reverse: shared.Reverse = False,
    max_steps: Annotated[int | None, typer.Option(min=1, help="Steps of the student.")] = None,
    max_minutes: Annotated[
        float | None, typer.Option(min=0.01, help="Minutes of the student.")
    ] = None,
    settings: shared.Settings = None,
    task: shared.TaskFile = None,
) -> None:
    """Train a student on what a teacher writes for the sources of a corpus, and compare the two.

    Example: `attention-zoo distill runs/en-de --train pairs.tsv --model transformer-tiny-8-1
    --output runs/student --max-minutes 60`

    The teacher searches with its own beam. What it wrote is kept in the folder `distilled` of the
    student: the same command goes on where it was stopped or killed. At the end a table has score,
    interval, size and speed of both on the validation rows.
    """
    from ..core.config import Budget
    from ..core.make_config import make_config
    from ..core.task import source_format, task_of

    if mix not in ("originals", "none"):
        raise Refused(f"--mix takes originals or none. Received: {mix}")
    if valid is not None and train is None:
        raise Refused("--valid needs --train too; give both, or neither for those of the teacher.")
    load_tensorflow()
    from ..analysis.distillation import Distillation
    from ..analysis.distillation import distill as distill_run

    opened = open_run(teacher, task)
    theirs = opened.read_config()
    if train is None:
        train, valid, reverse = theirs.train, theirs.valid, theirs.reverse != reverse
    config = make_config(task_of(theirs), model, train, valid, reverse, settings or [])
    inputs = source_format(theirs)
    lines = [] if sources is None else read_lines(sources, inputs)
    found = [x if isinstance(x, str) else str(x[inputs.main]) for x in sources_of(theirs, lines)]
    more = [text.strip() for text in found if not is_blank(text)]
    request = Distillation(opened, config, more, mix, beam_size)
    distill_run(request, output, Budget(max_steps, max_minutes))


@app.command(rich_help_panel="Train")
def settings(
    task: Annotated[
        str | None, typer.Argument(metavar="TASK", help="As in `train`; plain defaults without.")
    ] = None,
    train: Annotated[str | None, typer.Option(help="As in `train`.")] = None,
    model: Annotated[str | None, typer.Option(help="As in `train`.")] = None,
    max_steps: Annotated[int | None, typer.Option(min=1, help="As in `train`.")] = None,
    max_minutes: Annotated[
        float | None,
        typer.Option(parser=parse_minutes, metavar="MINUTES|none", help="As in `train`."),
    ] = None,
    values: shared.Settings = None,
) -> None:
    """List the settings that `train --set NAME=VALUE` takes, with the values that a run would have.

    Example: `attention-zoo settings translation --train pairs.csv`

    With a task and a file, those of `train` with the same options, arguments of the model among
    them; what was chosen for the file has a star.
    """
    from ..core.config import RunConfig, budget_of, describe_settings

    free = RunConfig().may_change()
    if task is None:
        for name, default, comment in describe_settings():
            more = "; may change when a run is resumed" if name in free else ""
            print(f"{name:<20} {default!s:<14} {comment}{more}")
        return
    from ..core.corpora import read_corpora
    from ..core.make_config import make_config
    from ..core.model import defaults_of

    load_tensorflow("jax")
    from ..training.fitted import fit_to_corpus, fitted_values

    config = make_config(task, model, train, settings=values or [], to_be_fitted=True)
    fitted: dict[str, Any] = {}
    if config.stated is not None:
        corpus = read_corpora(config)[0]
        config = fit_to_corpus(config, corpus, budget_of(max_steps, max_minutes, train))
        fitted = fitted_values(config)
        print(corpus.report())
    options = {**defaults_of(config), **config.model_options}
    rows = [("model", config.model, "")]
    rows += [(f"model.{name}", value, "") for name, value in options.items()]
    rows += [(name, getattr(config, name), comment) for name, _, comment in describe_settings()]
    for name, value, comment in rows:
        star = "*" if name in fitted else " "
        print(f"{star} {name:<28} {value!s:<14} {comment}".rstrip())


@app.command(rich_help_panel="Train")
def demo(
    output: Annotated[Path, typer.Option(callback=local, help="Where runs and models go.")] = Path(
        "runs/demo"
    ),
) -> None:
    """Ask presets; then train with and without attention, look, export, serve and ask.

    Example: `attention-zoo demo`
    """
    load_tensorflow()
    from .demo import run_demo

    run_demo(output)
