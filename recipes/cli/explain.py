"""The command that shows where a run looked: `attention-zoo explain`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

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
    Truncate,
    app,
    search_options,
)
from .sources import check_file, given, open_run, say_cut, sources_of

if TYPE_CHECKING:
    from ...zoo.visualization.explanation import Explanation
    from ...zoo.visualization.layered_explanation import LayeredExplanation


@app.command(rich_help_panel="Use")
def explain(
    run: RunName,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="As for `predict`.")],
    output: Annotated[
        Path | None,
        typer.Option(help="A .png, .svg, .html or .txt file; the terminal if left out."),
    ] = None,
    kind: Annotated[
        str | None,
        typer.Option(help="cross: target over source; encoder, decoder: each over itself."),
    ] = None,
    layer: Annotated[
        int | None, typer.Option(min=1, help="Counted from 1; the mean of all if left out.")
    ] = None,
    head: Annotated[
        str | None, typer.Option(metavar="N|mean|rollout", help="Of the layer, counted from 1.")
    ] = None,
    beam_size: BeamSize = None,
    length_penalty: LengthPenalty = None,
    max_length: MaxLength = None,
    max_length_ratio: MaxLengthRatio = None,
    truncate: Truncate = False,
    task: TaskFile = None,
    model: ModelFile = None,
) -> None:
    """Show which words of a text the model looked at for each word that it wrote.

    Example: `attention-zoo explain runs/en-de "a house" --output house.png`

    For a Transformer, an .html file shows every layer and head, and `--kind encoder --layer 2
    --head 3` chooses one. A head is a number, the `mean` of all, or `rollout`: what each token is
    made of after all layers up to that one. The heads of a memory network are its looks, in order.
    """
    if kind not in (None, "cross", "encoder", "decoder"):
        raise Refused(f"--kind is cross, encoder or decoder. Received: {kind}")
    if head not in (None, "mean", "rollout") and not head.isdecimal():
        raise Refused(f"--head is a number, mean or rollout. Received: {head}")
    if output is not None:
        _check_output(output)
    load_tensorflow()
    from ...zoo.pipeline.explain import explain as explain_layers

    opened = open_run(run, task, model)
    (source,) = sources_of(opened.read_config(), [text])
    options = search_options(beam_size, length_penalty, max_length, max_length_ratio)
    loaded = opened.load(truncate=True, **options)
    say_cut(loaded, [source], truncate)
    number = int(head) if head is not None and head.isdecimal() else head
    chosen = given(kind=kind, layer=layer, head=number)
    several = loaded.model.has_attention_maps
    every = several and output is not None and output.suffix.lower() == ".html"
    found: Explanation | LayeredExplanation
    try:
        if chosen or every:
            layered = explain_layers(loaded, [source])[0]
            found = layered.view(**chosen) if chosen else layered
        else:
            found = loaded.explain([source])[0]
        if output is not None:
            found.save(output)
    except ValueError as error:
        raise Refused(str(error)) from error
    if output is None:
        print(found.to_terminal(color=sys.stdout.isatty()))
    else:
        print(f"{found.target}\nwritten to {output}")


def _check_output(path: Path) -> None:
    """Refuses a file that an explanation cannot be written to, before the model is loaded."""
    from ...zoo.visualization.explanation import check_suffix

    try:
        check_suffix(path)
    except ValueError as error:
        raise Refused(str(error)) from error
    check_file(path)
