"""The command that brings a run to a server: export."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import zipfile
from hashlib import sha256
from pathlib import Path
from typing import Annotated

import typer

from ... import __version__
from ...serving.runtime.versions import find_models
from ...zoo.presets.names import locate
from ...zoo.presets.pack import is_pack, read_manifest
from ..core.tensorflow_setup import load_tensorflow
from .app import (
    BeamSize,
    LengthPenalty,
    MaxLength,
    MaxLengthRatio,
    ModelFile,
    Refused,
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
    max_sentences: Annotated[
        int, typer.Option(min=1, help="Most sentences of a text that `document` reads.")
    ] = 500,
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
    loaded = opened.load(truncate=True, **options)
    loaded.max_document_sentences = max_sentences
    path = publish(
        loaded,
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


def exported(name: str) -> Path:
    """The folder of the exported model that a name means.

    A run or a pack is exported into the cache when it is first asked for.

    Args:
        name: A folder of exported models, a `models.config`, or a run as for `predict`.

    Raises:
        ConfigError: There is no such run.
        Refused: It cannot be exported.
    """
    from ...zoo.presets.remote import cache_folder

    path = Path(name)
    if path.exists() and not (path / "config.json").is_file() and not zipfile.is_zipfile(path):
        return path
    path = locate(name)
    if is_pack(path):
        content = json.dumps(read_manifest(path)).encode()
    else:
        files = (path / file for file in ("config.json", "model.keras"))
        content = b"".join(file.read_bytes() for file in files if file.is_file())
    folder = cache_folder("exports", f"{__version__}-{sha256(content).hexdigest()[:32]}")
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two that serve the same model wait for each other
        if not find_models(folder):
            print(f"exporting {name} into {folder}, once", file=sys.stderr, flush=True)
            _export_aside(path, folder)
    return folder


def _export_aside(path: Path, folder: Path) -> None:
    """Exports in a process of its own, as a server has no need of TensorFlow's Python package."""
    command = [sys.executable, "-m", __package__.partition(".")[0], "export", path, folder]
    done = subprocess.run(list(map(os.fspath, command)), capture_output=True, text=True)
    if done.returncode:
        told = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise Refused(told[-1].removeprefix("error: "))
