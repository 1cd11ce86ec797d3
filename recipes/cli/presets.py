"""Commands on trained models: what there is, packs, and the presets of the package."""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any

import typer

from ...zoo.presets.names import presets
from ..core.tensorflow_setup import load_tensorflow
from . import options as shared
from .app import app, console_for_tables, local
from .sources import check_file, open_run

presets_app = typer.Typer(no_args_is_help=True)
app.add_typer(presets_app, name="presets", rich_help_panel="Models", help="Build the presets anew.")
_COLUMNS = ("preset", "task", "languages", "parameters", "size", "license", "score")


def _index() -> dict[str, Any]:
    """The manifests of the presets, with size and checksum of each file."""
    found: dict[str, Any] = presets()
    for manifest in found.values():
        content = manifest.pop("file").read_bytes()
        manifest |= {"bytes": len(content), "sha256": sha256(content).hexdigest()}
    return found


def _described(name: str, manifest: Mapping[str, Any]) -> list[str]:
    """A row of the table of presets."""
    metric, size = manifest["metric"], manifest["file"].stat().st_size
    score = manifest["scores"].get(metric)
    return [
        f"{name}@{manifest['version']}",
        manifest["task"],
        " ".join(manifest["languages"]),
        f"{manifest['parameters']:,}",
        f"{size / 1e6:.1f} MB",
        manifest["license"],
        "" if score is None else f"{metric} {score:.1f}",
    ]


@app.command("list", rich_help_panel="Models")
def list_models(
    as_json: Annotated[
        bool, typer.Option("--json", help="Print all that is known of the presets, as JSON.")
    ] = False,
) -> None:
    """List the presets, the models, the recipes and what each needs.

    Example: `attention-zoo list`
    """
    if as_json:
        print(json.dumps(_index(), ensure_ascii=False, indent=2))
        return
    from rich.table import Column, Table

    from ...zoo.catalog import MODELS
    from ..core.task import TASKS

    def table(*names: str, title: str | None = None, show_header: bool = True) -> Table:
        # Folded, as an address without its end is none.
        columns = (Column(name, overflow="fold") for name in names)
        return Table(*columns, title=title, title_justify="left", show_header=show_header, box=None)

    console = console_for_tables()
    trained = table(*_COLUMNS, title="Presets")
    for name, manifest in presets().items():
        trained.add_row(*_described(name, manifest))
    if trained.row_count:
        console.print(trained)
        console.print()
    models = table("model", "what it is", "paper", title="Models")
    for name, entry in MODELS.items():
        models.add_row(name, entry.description, entry.paper)
    tasks = {name: TASKS[name] for name in TASKS}
    recipes = table("recipe", "what it does", "embedded default", title="Recipes")
    for name, recipe in tasks.items():
        recipes.add_row(name, recipe.description, recipe.default_description)
    console.print(models)
    console.print()
    console.print(recipes)
    console.print("\nA recipe runs on its default as it is, and on your own text with --train:")
    forms = table("recipe", "a corpus", show_header=False)
    for name, recipe in tasks.items():
        forms.add_row(name, recipe.corpora)
    console.print(forms)


@app.command(rich_help_panel="Models")
def pack(
    run: shared.RunName,
    output: Annotated[
        Path, typer.Argument(callback=local, metavar="FILE", help="The pack, a .zip file.")
    ],
    weights: Annotated[
        str, typer.Option(metavar="int8|float16|float32", help="How weights are stored.")
    ] = "int8",
    data: Annotated[
        str | None,
        typer.Option(help="Rows to score on; the run's own to validate with if left out."),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Of the model; that of the file if left out.")
    ] = None,
    version: Annotated[int, typer.Option(min=1, help="Of the model.")] = 1,
    description: Annotated[str, typer.Option(help="A line for the card.")] = "",
    language: Annotated[
        list[str] | None, typer.Option(metavar="CODE", help="Such as `zh`; may be repeated.")
    ] = None,
    license: Annotated[str, typer.Option(help="Of the weights, such as `CC-BY-2.0`.")] = "",
    attribution: Annotated[str, typer.Option(help="Whom the data are from.")] = "",
    notes: Annotated[
        Path | None, typer.Option(metavar="FILE", help="More for the card, in Markdown.")
    ] = None,
) -> None:
    """Pack a run as one file, with which its model can be used elsewhere, and measure the loss.

    Example: `attention-zoo pack runs/en-de en-de.zip --weights int8 --license CC-BY-2.0`

    A pack has the weights without those of the optimizer, the tokenizer, settings, scores and a
    model card, and no code. Every command that takes a run takes the file.
    """
    check_file(output)
    load_tensorflow()
    from ..presets.packing import About, pack_run

    about = About(
        name=name or "",
        version=version,
        description=description,
        languages=tuple(language or ()),
        license=license,
        attribution=attribution,
        notes="" if notes is None else notes.read_text(encoding="utf-8"),
    )
    pack_run(open_run(run), output, weights, data, about)


@presets_app.command()
def build(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A preset, or one to be.")],
    data: Annotated[
        Path | None, typer.Option(help="The folder with the files that its recipe names.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(callback=local, help="The pack; `NAME.zip` here if left out.")
    ] = None,
    runs: Annotated[
        Path | None,
        typer.Option(
            callback=local, help="Folder for its texts and runs; `runs/NAME` if left out."
        ),
    ] = None,
    run: Annotated[
        str | None,
        typer.Option(metavar="RUN", help="A run that its recipe made already: pack that."),
    ] = None,
    weights: Annotated[
        str, typer.Option(metavar="int8|float16|float32", help="How weights are stored.")
    ] = "int8",
) -> None:
    """Train a preset by its recipe, score it and pack it.

    Example: `attention-zoo presets build everyday-zh-en --data corpora`
    """
    load_tensorflow()
    from ..presets.building import build_preset

    folder, path = runs or Path("runs") / name, output or Path(f"{name}.zip")
    check_file(path)
    build_preset(name, data, folder, path, run, weights)
