"""Arguments and options that several commands have."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from ...zoo.presets.names import preset_names
from ..core.options import LARGEST_BEAM


def _complete_run(start: str) -> list[str]:
    """Presets whose names begin so; the shell adds files."""
    return [name for name in preset_names() if name.startswith(start)]


def finite(value: float | None) -> float | None:
    """Refuses infinity, which the parser takes for a number."""
    if value is not None and math.isinf(value):
        raise typer.BadParameter(f"a finite number is expected. Received: {value}")
    return value


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
Tokenize = Annotated[str | None, typer.Option(help="sacreBLEU's tokenization: 13a, zh, none, ...")]
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
