"""The command line, `attention-zoo`. Commands import what they need: help and lists are instant."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from .checkpoint import CheckpointError
from .config import ConfigError
from .interruption import Interrupted
from .pair_files import DataError
from .runtime import load_tensorflow

app = typer.Typer(
    help="Sequence-to-sequence models with attention: train, look, export, serve.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)

RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run.")]
BeamSize = Annotated[
    int | None,
    typer.Option(min=1, help="Hypotheses kept by the search; that of the run if left out."),
]


def main(arguments: list[str] | None = None) -> None:
    """Runs a command and exits: 0, 2 with one line for wrong input, 130 after Ctrl-C.

    A training that SIGTERM stopped is not done: 143, as of any command that is ended by it.
    """
    sys.exit(run_command(app, arguments))


def run_command(application: typer.Typer, arguments: list[str] | None = None) -> int:
    """The exit status of a command; errors that a user can mend are one line on stderr."""
    from ..serving.errors import ServingError

    try:
        result = typer.main.get_command(application)(arguments, standalone_mode=False)
    except (ConfigError, CheckpointError, DataError, ServingError, _Refused) as error:
        return _fail(str(error))
    except (typer.Abort, KeyboardInterrupt):
        return _fail("interrupted", 130)
    except Interrupted as stop:
        print(stop)
        return 128 + stop.signal_number
    except BrokenPipeError:
        # The reader of a pipe has gone; what was written after it is nobody's.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if error.filename is None:
            raise
        return _fail(f"{os.fspath(error.filename)}: {error.strerror}")
    except Exception as error:
        # What the parser refuses; its classes are click's, which typer has or brings itself.
        if not hasattr(error, "format_message"):
            raise
        if type(error).__name__ == "NoArgsIsHelpError":
            print(error.ctx.get_help())  # type: ignore[attr-defined]
            return 2
        return _fail(error.format_message())
    return result if isinstance(result, int) else 0


class _Refused(ValueError):
    """Input that a command refuses."""


def _fail(message: str, status: int = 2) -> int:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    return status


@app.command("list")
def list_models() -> None:
    """Models, recipes and what each needs.

    Example: `attention-zoo list`
    """
    from rich.console import Console
    from rich.table import Table

    from ..zoo.catalog import MODELS
    from .tasks import TASKS, task

    models = Table("model", "what it is", "paper", title="Models", title_justify="left", box=None)
    for name, entry in MODELS.items():
        models.add_row(name, entry.description, entry.paper)
    recipes = Table(
        "recipe",
        "what it does",
        "embedded default",
        title="Recipes",
        title_justify="left",
        box=None,
    )
    for name in TASKS:
        recipe = task(name)
        recipes.add_row(name, recipe.description, recipe.default_description)
    console = Console()
    console.print(models)
    console.print()
    console.print(recipes)
    console.print(
        "\nA recipe runs on its default as it is, and on your own text with --train and --valid: "
        "source TAB target, JSON lines, or two parallel files."
    )


@app.command()
def train(
    task: Annotated[str, typer.Argument(metavar="TASK", help="A recipe, see `list`.")],
    model: Annotated[str, typer.Option(help="A model of the catalog, see `list`.")] = (
        "rnn-bahdanau"
    ),
    train: Annotated[
        str | None, typer.Option(help="Pair file, or two parallel files `a.en,a.de`.")
    ] = None,
    valid: Annotated[str | None, typer.Option(help="The same, to validate with.")] = None,
    output: Annotated[
        Path | None, typer.Option(help="Folder of the run; `runs/TASK-MODEL` if left out.")
    ] = None,
    reverse: Annotated[bool, typer.Option("--reverse", help="Swap source and target.")] = False,
    max_steps: Annotated[int | None, typer.Option(min=1, help="Steps in all.")] = None,
    max_minutes: Annotated[float | None, typer.Option(min=0.01, help="Minutes in all.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Any setting; may be repeated."),
    ] = None,
) -> None:
    """Train a model, or go on with a run that was stopped.

    Example: `attention-zoo train translation --train train.tsv --valid valid.tsv
    --output runs/en-de --max-minutes 60`

    Without --train and --valid it learns the recipe's embedded default. A run in the output folder
    with the same settings is gone on with. Settings of one model begin with `model.`, as in
    `--set model.dropout=0.4`; all others are shown by `attention-zoo settings`.
    """
    from .config import Budget
    from .tasks import make_config, run_task

    config = make_config(task, model, train, valid, reverse, settings)
    run_task(config, output or Path("runs") / f"{task}-{model}", Budget(max_steps, max_minutes))


@app.command()
def settings() -> None:
    """The settings of a run that `train --set NAME=VALUE` takes, with their defaults.

    Example: `attention-zoo settings`
    """
    from .config import describe_settings

    for name, default, comment in describe_settings():
        print(f"{name:<20} {default!s:<14} {comment}")


@app.command()
def evaluate(
    run: RunFolder,
    data: Annotated[str, typer.Option(help="Pair file with sources and references.")],
    beam_size: BeamSize = None,
    length_penalty: Annotated[float | None, typer.Option(min=0, help="0 for none.")] = None,
    tokenize: Annotated[
        str | None, typer.Option(help="sacreBLEU's tokenization: 13a, zh, none, ...")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Score a run on a file: BLEU and chrF, with their signatures.

    Example: `attention-zoo evaluate runs/en-de --data test.tsv --beam-size 5`
    """
    load_tensorflow()
    from dataclasses import replace

    from .evaluation import Evaluator
    from .pair_files import read_pairs
    from .run import Run

    opened = Run(run)
    config = opened.read_config()
    if tokenize:
        config = replace(config, bleu_tokenize=tokenize)
    corpus = read_pairs(data, reverse=config.reverse, min_pairs=1)
    model = opened.load(**_given(beam_size=beam_size, length_penalty=length_penalty))
    scores = Evaluator(model, corpus, config).full()
    if as_json:
        values = {**scores.values, "rows": len(corpus), "signatures": scores.signatures}
        print(json.dumps(values, indent=2))
    else:
        print(f"{scores}\nrows: {len(corpus):,}")


@app.command()
def predict(
    run: RunFolder,
    texts: Annotated[list[str] | None, typer.Argument(metavar="[TEXT ...]")] = None,
    input: Annotated[Path | None, typer.Option(help="Texts, one a line.")] = None,
    output: Annotated[Path | None, typer.Option(help="Where to write; stdout if left out.")] = None,
    n_best: Annotated[int | None, typer.Option(min=1, help="So many results a text.")] = None,
    beam_size: BeamSize = None,
) -> None:
    """Write the target of each text; of the lines of stdin if there is neither text nor input.

    Example: `attention-zoo predict runs/en-de "a house" "two dogs"`

    With --n-best each line is the number of the text, its score and the result, tabs between.
    """
    if texts and input:
        raise _Refused("Give texts or --input, not both.")
    if output and not output.absolute().parent.is_dir():
        raise _Refused(f"{output} cannot be written: there is no folder {output.parent}.")
    sources = texts or _read_lines(input)
    load_tensorflow()
    from .files import written_atomically
    from .run import load

    if n_best and beam_size and beam_size < n_best:
        raise _Refused(
            f"--beam-size {beam_size} finds fewer than --n-best {n_best} results; raise it."
        )
    model = load(run)
    beams = beam_size or max(model.generation.beam_size, n_best or 1)
    model = model.with_generation(beam_size=beams)
    lines = _n_best_lines(model, sources, n_best) if n_best else _best_lines(model, sources)
    if output is None:
        for line in lines:
            print(line, flush=True)
        return
    with written_atomically(output) as aside, open(aside, "w", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in lines)


@app.command()
def explain(
    run: RunFolder,
    text: Annotated[str, typer.Argument(metavar="TEXT")],
    output: Annotated[Path | None, typer.Option(help="A .png, .svg or .html file.")] = None,
) -> None:
    """Show which words of a text the model looked at for each word that it wrote.

    Example: `attention-zoo explain runs/en-de "a house" --output house.png`
    """
    load_tensorflow()
    from .run import load

    explanation = load(run).explain([text])[0]
    if output is None:
        print(explanation.to_terminal(color=sys.stdout.isatty()))
        return
    try:
        explanation.save(output)
    except (ValueError, OSError) as error:
        raise _Refused(str(error)) from error
    print(f"{explanation.target}\nwritten to {output}")


@app.command()
def export(
    run: RunFolder,
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Where models are served from.")],
    version: Annotated[
        int | None, typer.Option(min=1, help="One more than the newest if left out.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="That of the run's folder if left out.")] = None,
) -> None:
    """Publish a run as a SavedModel for TensorFlow Serving, if it passes every check.

    Example: `attention-zoo export runs/en-de models` writes models/en-de/1
    """
    load_tensorflow()
    from ..serving.export import export as publish
    from .run import load

    path = publish(load(run), directory, version, name=name, report=lambda found: print(found))
    print(f"published {path}")


@app.command()
def serve(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of models.")],
    rest_port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8501,
    grpc_port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8500,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
) -> None:
    """Serve exported models over REST and gRPC, as TensorFlow Serving does.

    Example: `attention-zoo serve models`, then `curl -d '{"instances": ["a house"]}'
    http://127.0.0.1:8501/v1/models/en-de:predict`
    """
    load_tensorflow()
    from ..serving.server import Address
    from ..serving.server import serve as run_server

    def ready(address: Address) -> None:
        print(f"REST {address.rest_url}\ngRPC {address.grpc_url}\nCtrl-C stops it.", flush=True)

    run_server(directory, rest_port, grpc_port, host, ready)


@app.command()
def demo(
    output: Annotated[Path, typer.Option(help="Where runs and models go.")] = Path("runs/demo"),
) -> None:
    """Train with and without attention, look, export, serve and ask, on the embedded default.

    Example: `attention-zoo demo`
    """
    load_tensorflow()
    from .demo import run_demo

    run_demo(output)


def run_recipe(task_name: str) -> None:
    """What `python recipes/TASK.py` does: `attention-zoo train TASK` with the same options."""
    main(["train", task_name, *sys.argv[1:]])


def _given(**options: Any) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _read_lines(path: Path | None) -> list[str]:
    try:
        data = path.read_bytes() if path else sys.stdin.buffer.read()
        lines = data.decode("utf-8").split("\n")
    except OSError as error:
        raise _Refused(f"{path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise _Refused(
            f"{path or 'stdin'} is not UTF-8 (byte {error.start}); convert it first."
        ) from error
    if lines and not lines[-1]:
        lines.pop()
    if not lines:
        raise _Refused(f"{path or 'stdin'} has no lines; give one text a line.")
    return [line.removesuffix("\r") for line in lines]


def _best_lines(model: Any, sources: list[str], chunk: int = 1024) -> Iterator[str]:
    for start in range(0, len(sources), chunk):
        for prediction in model.predict(sources[start : start + chunk]):
            yield prediction.text


def _n_best_lines(model: Any, sources: list[str], count: int, chunk: int = 1024) -> Iterator[str]:
    for start in range(0, len(sources), chunk):
        results: Callable = model.n_best
        for number, row in enumerate(results(sources[start : start + chunk]), start=start + 1):
            for prediction in row[:count]:
                yield f"{number}\t{prediction.score:.4f}\t{prediction.text}"
