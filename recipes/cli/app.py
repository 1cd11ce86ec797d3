"""The application that the commands of `attention-zoo` register with, and what they share."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ... import __version__
from ...zoo.files import check_local
from ...zoo.presets.names import preset_names
from ..core.options import LARGEST_BEAM

if TYPE_CHECKING:
    from rich.console import Console

app = typer.Typer(
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},  # of all commands
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"attention-zoo {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=_print_version, help="Show the version."),
    ] = False,
) -> None:
    """Sequence-to-sequence models with attention: train, look, export, serve."""


def _complete_run(start: str) -> list[str]:
    """Presets whose names begin so; the shell adds files."""
    return [name for name in preset_names() if name.startswith(start)]


def finite(value: float | None) -> float | None:
    """Refuses infinity, which the parser takes for a number."""
    if value is not None and math.isinf(value):
        raise typer.BadParameter(f"a finite number is expected. Received: {value}")
    return value


def local(path: Path | None) -> Path | None:
    """Refuses to write to the address of a store, which the parser takes for a path."""
    if path is not None:
        check_local(path)
    return path


RunName = Annotated[
    str,
    typer.Argument(
        metavar="RUN",
        autocompletion=_complete_run,
        help="The folder of a run, a preset (see `list`), a pack, https://...#sha256=... or "
        "hf://owner/name.",
    ),
]
TaskFile = Annotated[
    str | None,
    typer.Option("--task", metavar="FILE", help="The file of the run's task, if it is your own."),
]
ModelFile = Annotated[
    Path | None,
    typer.Option("--model", metavar="FILE", help="The file of the run's model, if it is your own."),
]
Reverse = Annotated[bool, typer.Option("--reverse", help="Swap source and target.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="Any setting; may be repeated."),
]
BeamSize = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=LARGEST_BEAM,
        help="Hypotheses kept by the search; that of the run if left out.",
    ),
]
LengthPenalty = Annotated[
    float | None,
    typer.Option(
        min=0,
        callback=finite,
        help="Log p is divided by ((5 + length) / 6) to this power; that of the run if left out.",
    ),
]
MaxLength = Annotated[
    int | None,
    typer.Option(min=1, help="Most tokens that are written; those of the run if left out."),
]
MaxLengthRatio = Annotated[
    float | None,
    typer.Option(
        min=0,
        callback=finite,
        help="Most tokens for one of the source, plus ten; 0 for no limit. That of the run if "
        "left out.",
    ),
]
ShortlistSize = Annotated[
    int | None,
    typer.Option(
        "--shortlist",
        min=0,
        help="Likely target tokens for each of the source, 0 for all; that of the run if left out.",
    ),
]

NoSplit = Annotated[
    bool, typer.Option("--no-split", help="Read each text at once, however many sentences it has.")
]
Truncate = Annotated[
    bool,
    typer.Option(
        "--truncate",
        help="Read only a part of sources that are too long, instead of refusing them.",
    ),
]
Sample = Annotated[
    bool, typer.Option("--sample", help="Draw the output by chance rather than search for it.")
]
Temperature = Annotated[
    float,
    typer.Option(
        min=0.01, callback=finite, help="Of the draws: below 1 more careful, above 1 more daring."
    ),
]
TopK = Annotated[
    int, typer.Option(min=0, help="Draw from this many of the most probable tokens; 0 for all.")
]
TopP = Annotated[
    float,
    typer.Option(
        min=0.01, max=1, help="Draw from the fewest tokens with this probability together."
    ),
]
Seed = Annotated[
    int | None, typer.Option(min=0, help="Of the draws; a new one each time if left out.")
]


def search_options(
    beam_size: int | None,
    length_penalty: float | None,
    max_length: int | None,
    max_length_ratio: float | None,
    shortlist: int | None = None,
) -> dict[str, Any]:
    """The options of generation that were given; the others are those of the run."""
    options: dict[str, Any] = {
        "beam_size": beam_size,
        "length_penalty": length_penalty,
        "max_length": max_length,
        "max_length_ratio": max_length_ratio,
        "shortlist": shortlist,
    }
    options = {name: value for name, value in options.items() if value is not None}
    if max_length_ratio == 0:
        options["max_length_ratio"] = None
    return options


def sampling(temperature: float, top_k: int, top_p: float, seed: int | None) -> dict[str, Any]:
    """Options of generation that draw by chance."""
    if seed is not None:
        import tensorflow as tf

        tf.random.set_seed(seed)
    return {
        "do_sample": True,
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
        "seed": seed,
    }


class Refused(ValueError):
    """Input that a command refuses: one line on stderr, exit status 2."""


def refuse_draws(context: typer.Context, why: str) -> None:
    """Refuses the options of draws that were given, where nothing is drawn.

    Args:
        context: of the command.
        why: that nothing is drawn, and what to do.
    """
    names = ("temperature", "top_k", "top_p", "seed")
    sources = {name: context.get_parameter_source(name) for name in names}
    # By its name: the class is click's, which typer has or brings itself.
    given = [name for name, source in sources.items() if source and source.name == "COMMANDLINE"]
    if given:
        options = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise Refused(f"{options}: options of draws by chance, {why}")


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


def console_for_tables() -> Console:
    """Console for tables: as wide as the screen, or wide enough for all where there is none."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else 10_000)
