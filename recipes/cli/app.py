"""The application that the commands of `attention-zoo` register with, and what they share."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ... import __version__
from ...zoo.files import check_local

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


def local(path: Path | None) -> Path | None:
    """Refuses to write to the address of a store, which the parser takes for a path."""
    if path is not None:
        check_local(path)
    return path


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


def console_for_tables() -> Console:
    """Console for tables: as wide as the screen, or wide enough for all where there is none."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else 10_000)
