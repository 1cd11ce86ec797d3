"""The application that the commands of `attention-zoo` register with, and what they share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

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


class Refused(ValueError):
    """Input that a command refuses: one line on stderr, exit status 2."""
