"""The command that shows where a run looked: `attention-zoo explain`."""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..core.tensorflow_setup import load_tensorflow
from ..data.pair_files import check_readable
from . import options as shared
from .app import Refused, app, local, search_options
from .sources import (
    check_file,
    check_sources,
    given,
    in_parts,
    open_run,
    read_lines,
    sources_of,
    tell_truncated,
)

if TYPE_CHECKING:
    from ...zoo.pipeline.text_to_text import TextToText
    from ...zoo.text.source_format import Source
    from ...zoo.visualization.explanation import Explanation
    from ...zoo.visualization.layered_explanation import LayeredExplanation

ALIGNMENT_SUFFIXES = (".pharaoh", ".jsonl", ".npz")  # of files for many texts
_CHUNK = 256  # texts whose attention is in memory at a time


@app.command(rich_help_panel="Use")
def explain(
    run: shared.RunName,
    text: Annotated[str | None, typer.Argument(metavar="[TEXT]", help="As for `predict`.")] = None,
    input: Annotated[str | None, typer.Option(help="Texts, one a line.")] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            callback=local,
            help="A .png, .svg, .html or .txt file; the terminal if left out. Of many texts "
            "alignments, .pharaoh or .jsonl, or all arrays, .npz.",
        ),
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
    beam_size: shared.BeamSize = None,
    length_penalty: shared.LengthPenalty = None,
    max_length: shared.MaxLength = None,
    max_length_ratio: shared.MaxLengthRatio = None,
    shortlist: shared.ShortlistSize = None,
    truncate: shared.Truncate = False,
    task: shared.TaskFile = None,
    model: shared.ModelFile = None,
) -> None:
    """Show which words of a text the model looked at for each word that it wrote.

    Example: `attention-zoo explain runs/en-de "a house" --output house.png`

    For a Transformer, an .html file shows every layer and head, and `--kind encoder --layer 2
    --head 3` chooses one. A head is a number, the `mean` of all, or `rollout`: what each token is
    made of after all layers up to that one. The heads of a memory network are its looks, in order.

    Example: `attention-zoo explain runs/en-de --input test.en --output test.pharaoh`

    Each line has the pairs of a text: of each target token, the source token that was attended to
    most. The .jsonl file has the tokens too.
    """
    if kind not in (None, "cross", "encoder", "decoder"):
        raise Refused(f"--kind is cross, encoder or decoder. Received: {kind}")
    if head not in (None, "mean", "rollout") and not head.isdecimal():
        raise Refused(f"--head is a number, mean or rollout. Received: {head}")
    if (text is None) == (input is None):
        raise Refused("Give a text or --input, one of them.")
    if output is not None:
        _check_output(output)
    aligned = output is not None and output.suffix.lower() in ALIGNMENT_SUFFIXES
    if input is not None and not aligned:
        kinds = ", ".join(ALIGNMENT_SUFFIXES)
        raise Refused(f"--input goes into a file for all its texts: give --output one of {kinds}.")
    if aligned and given(kind=kind, layer=layer, head=head):
        raise Refused("--kind, --layer and --head are of pictures; leave them out.")
    if input is not None:
        check_readable(input)
    load_tensorflow()
    from ...zoo.pipeline.explain import explain as explain_layers
    from ..core.task import source_format

    opened = open_run(run, task, model)
    config = opened.read_config()
    lines = read_lines(input, source_format(config)) if text is None else [text]
    sources = sources_of(config, lines)
    options = search_options(beam_size, length_penalty, max_length, max_length_ratio, shortlist)
    loaded = opened.load(truncate=True, **options)
    check_sources(loaded, sources, truncate)
    if output is not None and aligned:
        _write_alignments(loaded, sources, output)
        return
    number = int(head) if head is not None and head.isdecimal() else head
    chosen = given(kind=kind, layer=layer, head=number)
    several = loaded.model.has_attention_maps
    every = several and output is not None and output.suffix.lower() == ".html"
    found: Explanation | LayeredExplanation
    try:
        if chosen or every:
            layered = explain_layers(loaded, sources)[0]
            found = layered.view(**chosen) if chosen else layered
        else:
            found = loaded.explain(sources)[0]
        if output is not None:
            found.save(output)
    except ValueError as error:
        raise Refused(str(error)) from error
    tell_truncated([1] if _is_truncated(found) else [])
    if output is None:
        print(found.to_terminal(color=sys.stdout.isatty()))
    else:
        print(f"{found.target}\nwritten to {output}")


def _check_output(path: Path) -> None:
    """Refuses a file that an explanation cannot be written to, before the model is loaded."""
    from ...zoo.visualization.explanation import check_suffix

    if path.suffix.lower() not in ALIGNMENT_SUFFIXES:
        try:
            check_suffix(path)
        except ValueError as error:
            raise Refused(str(error)) from error
    check_file(path)


def _write_alignments(model: TextToText, sources: list[Source], path: Path) -> None:
    """Writes the alignments of many texts, a part of them at a time."""
    from ...zoo.files import written_atomically
    from ...zoo.pipeline.explain import explain as explain_layers
    from ...zoo.visualization.alignments import write_alignments

    every = path.suffix.lower() == ".npz" and model.model.has_attention_maps
    explain_part: Any = functools.partial(explain_layers, model) if every else model.explain
    ended: list[int] = []

    def found() -> Iterator[Explanation | LayeredExplanation]:
        for number, one in enumerate(in_parts(explain_part, sources, _CHUNK), start=1):
            ended.extend([number] if _is_truncated(one) else [])
            yield one

    with written_atomically(path) as aside:
        write_alignments(aside, found(), path)
    tell_truncated(ended)
    print(f"{len(sources):,} texts, written to {path}")


def _is_truncated(found: Explanation | LayeredExplanation) -> bool:
    own: Any = getattr(found, "explanation", found)
    return own.truncated
