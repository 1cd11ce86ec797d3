"""The command that prepares a corpus of any size for training."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..core.tensorflow_setup import load_tensorflow
from . import options as shared
from .app import Refused, app, local


@app.command(rich_help_panel="Train")
def prepare(
    task: Annotated[str, typer.Argument(metavar="TASK", help="A recipe, see `list`.")],
    train: Annotated[
        list[str],
        typer.Option(help="A corpus, as `train` takes it; may be repeated, to mix several."),
    ],
    output: Annotated[Path, typer.Option(callback=local, help="The folder.")],
    weights: Annotated[
        str | None,
        typer.Option(
            metavar="N,N,...",
            help="How much of each corpus is read, in their order; as much as there is if left "
            "out.",
        ),
    ] = None,
    valid: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            help="Hold out this share of the rows, such as 0.01, for `train` to validate with.",
        ),
    ] = None,
    start_from: Annotated[
        str | None,
        typer.Option(
            metavar="RUN", help="Take the tokens of a run, for `train --start-from` of it."
        ),
    ] = None,
    reverse: shared.Reverse = False,
    sample: Annotated[
        int | None, typer.Option(min=2, help="Most rows that the tokens are learnt from.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="A setting that is baked in."),
    ] = None,
) -> None:
    """Write a corpus as tokens, once, so that it need not fit in memory.

    Example: `attention-zoo prepare translation --train web.tsv.gz --train news.tsv --weights 1,3
    --output prepared/en-de --set vocab_size=16000`

    Then `attention-zoo train translation --train prepared/en-de --valid valid.tsv`. What was
    stopped goes on with the same command. Settings that are baked in: vocab_size, tokenizer,
    shared_vocabulary, source_tokenizer, target_tokenizer, normalization, byte_fallback,
    character_coverage, protected, tags, max_source_length, max_target_length,
    history_turns; and the seed of draws.
    With --start-from the tokens are those of a run, and so are the longest lengths if not said.
    """
    from ..core.make_config import preparation_config
    from ..core.preparing import SAMPLE_ROWS, Request
    from ..core.preparing import prepare as prepare_corpus
    from ..data.splitting import share_of

    if start_from is not None:
        load_tensorflow()
        from ..training.warm_start import start_preparation

        config = start_preparation(start_from, task, reverse, settings or [])
    else:
        config = preparation_config(task, reverse, settings or [])
    if valid is not None:
        share_of(str(valid))
    rows = sample or SAMPLE_ROWS
    request = Request(config, tuple(train), _numbers(weights), rows, valid)
    load_tensorflow()
    prepare_corpus(request, output)


def _numbers(text: str | None) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise Refused(f"--weights takes numbers such as 3,1. Received: {text}") from None
