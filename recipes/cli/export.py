"""Commands that bring models in and out: import and export."""

from __future__ import annotations

import fcntl
import json
import signal
import subprocess
import sys
import zipfile
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Annotated

import typer

from ... import __version__
from ...serving.runtime.versions import find_models
from ...zoo.errors import ConfigError
from ...zoo.presets.names import locate
from ...zoo.presets.pack import is_pack, read_manifest
from ...zoo.registry import PACKAGE
from ..core.tensorflow_setup import load_tensorflow
from . import options as shared
from .app import Refused, app, local, search_options
from .sources import check_folder, open_run

DEV_ROWS = 200  # scored to see what a variant loses

# Of a checkpoint; the weights of PyTorch only where there are no others.
_FILES = ("*.json", "*.model", "*.spm", "*.safetensors")


@app.command("import", rich_help_panel="Models")
def import_checkpoint(
    checkpoint: Annotated[
        str,
        typer.Argument(metavar="CHECKPOINT", help="A folder as transformers saves it, or hf://..."),
    ],
    run: Annotated[
        Path, typer.Argument(callback=local, metavar="RUN", help="The folder of the new run.")
    ],
    source_language: Annotated[
        str | None, typer.Option(help="Its code, for M2M100 (en) and NLLB (eng_Latn).")
    ] = None,
    target_language: Annotated[str | None, typer.Option(help="The same of the output.")] = None,
) -> None:
    """Make a run of a checkpoint of MarianMT (OPUS-MT), M2M100, NLLB, Pegasus or T5.

    Example: `attention-zoo import hf://Helsinki-NLP/opus-mt-en-de runs/opus-en-de`

    All commands that take a run take it; `train --start-from` trains it on.
    """
    check_folder(run)
    load_tensorflow()
    from ...zoo.interchange.huggingface import read_checkpoint
    from ...zoo.text.source_format import PLAIN
    from ..core.make_config import make_config
    from ..core.run import Run

    folder = _checkpoint_folder(checkpoint)
    opened = Run(run)
    if opened.config_path.exists():
        raise ConfigError(f"{run} holds another run; give another folder.")
    languages = {"source_language": source_language, "target_language": target_language}
    found = read_checkpoint(folder, **languages)
    # Nobody is told that it learnt from the embedded example: that is another corpus.
    corpus = checkpoint.removeprefix("hf://")
    config = make_config(found.task, "transformer-base", corpus, corpus, settings=found.settings)
    inputs = replace(
        PLAIN,
        tag=found.source_tag,
        target_tag=found.target_tag,
        max_sentences=found.max_sentences,
    )
    parts = replace(config.parts, source_format=inputs)
    config = replace(config, model_options=found.model_options, parts=parts)
    opened.open(config, model=found.model)
    opened.save_model(found.model)
    opened.save_tokenizer(found.tokenizer)
    print(f"imported {checkpoint} as {run}: {found.model.count_params():,} parameters")


def _checkpoint_folder(name: str) -> Path:
    """The folder of a checkpoint, fetched if it is on the Hub."""
    if not name.startswith("hf://"):
        return Path(name).expanduser()
    from ...zoo.presets.remote import fetch_from_hub

    folder = fetch_from_hub(name, _FILES)
    if not any(folder.glob("*.safetensors")):
        folder = fetch_from_hub(name, (*_FILES, "pytorch_model*"))
    return folder


@app.command(rich_help_panel="Serve")
def export(
    run: shared.RunName,
    directory: Annotated[
        Path, typer.Argument(callback=local, metavar="DIR", help="Where models are served from.")
    ],
    version: Annotated[
        int | None, typer.Option(min=1, help="One more than the newest if left out.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="That of the run's folder if left out.")] = None,
    keep: Annotated[
        int | None, typer.Option(min=1, help="Newest versions that stay; all if left out.")
    ] = None,
    format: Annotated[
        str,
        typer.Option(
            metavar="saved-model|ctranslate2",
            help="For TensorFlow Serving, or the folder DIR for CTranslate2.",
        ),
    ] = "saved-model",
    variant: Annotated[
        str,
        typer.Option(
            metavar="float32|float16|int8",
            help="How weights are stored; the card says what the smaller ones lose.",
        ),
    ] = "float32",
    compiled: Annotated[
        bool,
        typer.Option(
            "--compiled",
            help="Let XLA compile the search, for servers with --xla-cpu-compilation.",
        ),
    ] = False,
    beam_size: shared.BeamSize = None,
    length_penalty: shared.LengthPenalty = None,
    max_length: shared.MaxLength = None,
    max_length_ratio: shared.MaxLengthRatio = None,
    shortlist: shared.ShortlistSize = None,
    max_sentences: Annotated[
        int, typer.Option(min=1, help="Most sentences of a text that `document` reads.")
    ] = 500,
    task: shared.TaskFile = None,
    model: shared.ModelFile = None,
) -> None:
    """Publish a run as a SavedModel for TensorFlow Serving, if it passes every check.

    Example: `attention-zoo export runs/en-de models` writes models/en-de/1

    With `--format ctranslate2` the folder DIR is a model of CTranslate2, with its SentencePiece
    models beside it; how to search is said to that.

    The search is part of what is published: a server has that of the run, or the one given here.
    """
    from ...serving.export.variants import check_variant

    check_variant(variant)
    if format not in ("saved-model", "ctranslate2"):
        raise Refused(f"--format is saved-model or ctranslate2. Received: {format}")
    if format == "ctranslate2":
        if compiled:
            raise Refused("--compiled is for TensorFlow Serving; leave it out.")
        if search_options(beam_size, length_penalty, max_length, max_length_ratio):
            raise Refused(
                "CTranslate2 is told how to search where it is asked; leave out --beam-size, "
                "--length-penalty, --max-length and --max-length-ratio."
            )
        _export_to_ctranslate2(run, directory, variant, task, model, version, name, keep)
        return
    load_tensorflow()
    from ...serving.export.export import export as publish
    from .model_card_notes import RunNotes

    opened = open_run(run, task, model)
    options = search_options(beam_size, length_penalty, max_length, max_length_ratio, shortlist)
    notes = RunNotes(opened, DEV_ROWS, options)
    loaded = opened.load(truncate=True, **options)
    loaded.max_document_sentences = max_sentences
    # So that what is half written is removed.
    before = signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        path = publish(
            loaded,
            directory,
            version,
            name=name,
            keep=keep,
            samples=opened.read_samples(),
            notes=notes.text(),
            report=lambda found: print(found),
            variant=variant,
            quality=notes.quality,
            compiled=compiled,
        )
    finally:
        signal.signal(signal.SIGTERM, before)
    print(f"published {path}")


def _export_to_ctranslate2(
    run: str,
    folder: Path,
    variant: str,
    task: str | None,
    model: Path | None,
    *served: object,
) -> None:
    """Writes a run as a folder of CTranslate2."""
    if any(value is not None for value in served):
        raise Refused("--version, --name and --keep are of models that are served; leave them out.")
    check_folder(folder)
    load_tensorflow()
    from ...zoo.interchange.ctranslate2_model import write_ctranslate2

    loaded = open_run(run, task, model).load(truncate=True)
    write_ctranslate2(loaded, folder, variant)
    tag = loaded.source_format.target_tag
    begin = "" if tag is None else f"; begin each target with target_prefix={[tag]}"
    print(f"written {folder} for ctranslate2.Translator{begin}")


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
    command = [sys.executable, "-m", PACKAGE, "export", str(path), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        told = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise Refused(told[-1].removeprefix("error: "))
