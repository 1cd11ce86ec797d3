"""The command that brings a run to a server: export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .cli_app import RunFolder, app
from .runtime import load_tensorflow


@app.command(rich_help_panel="Serve")
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
