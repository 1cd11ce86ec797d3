"""The command that brings a run to a server: export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..core.tensorflow_setup import load_tensorflow
from .app import (
    BeamSize,
    LengthPenalty,
    MaxLength,
    MaxLengthRatio,
    ModelFile,
    RunName,
    TaskFile,
    app,
    search_options,
)
from .sources import open_run

DEV_ROWS = 200  # scored to see what a variant loses
DEV_SAMPLES = 8  # sent by the checks, and with which a server warms up


@app.command(rich_help_panel="Serve")
def export(
    run: RunName,
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Where models are served from.")],
    version: Annotated[
        int | None, typer.Option(min=1, help="One more than the newest if left out.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="That of the run's folder if left out.")] = None,
    keep: Annotated[
        int | None, typer.Option(min=1, help="Newest versions that stay; all if left out.")
    ] = None,
    variant: Annotated[
        str,
        typer.Option(
            metavar="float32|float16|int8",
            help="How weights are stored; the card says what the smaller ones lose.",
        ),
    ] = "float32",
    beam_size: BeamSize = None,
    length_penalty: LengthPenalty = None,
    max_length: MaxLength = None,
    max_length_ratio: MaxLengthRatio = None,
    task: TaskFile = None,
    model: ModelFile = None,
) -> None:
    """Publish a run as a SavedModel for TensorFlow Serving, if it passes every check.

    Example: `attention-zoo export runs/en-de models` writes models/en-de/1

    The search is part of what is published: a server has that of the run, or the one given here.
    """
    from ...serving.export.variants import check_variant

    check_variant(variant)
    load_tensorflow()
    from ...serving.export.export import export as publish
    from .model_card_notes import RunNotes

    opened = open_run(run, task, model)
    options = search_options(beam_size, length_penalty, max_length, max_length_ratio)
    notes = RunNotes(opened, DEV_SAMPLES, DEV_ROWS, options)
    path = publish(
        opened.load(truncate=True, **options),
        directory,
        version,
        name=name,
        keep=keep,
        samples=notes.samples(),
        notes=notes.text(),
        report=lambda found: print(found),
        variant=variant,
        quality=notes.quality,
    )
    print(f"published {path}")
