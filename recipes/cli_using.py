"""Commands that use a run: its scores on a file, its outputs, what it looks at."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from .cli_app import BeamSize, Refused, RunFolder, app
from .runtime import load_tensorflow


@app.command(rich_help_panel="Use")
def evaluate(
    run: RunFolder,
    data: Annotated[str, typer.Option(help="Pair file with sources and references.")],
    beam_size: BeamSize = None,
    length_penalty: Annotated[float | None, typer.Option(min=0, help="0 for none.")] = None,
    tokenize: Annotated[
        str | None, typer.Option(help="sacreBLEU's tokenization: 13a, zh, none, ...")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Score a run on a file: BLEU and chrF, with their signatures.

    Example: `attention-zoo evaluate runs/en-de --data test.tsv --beam-size 5`
    """
    load_tensorflow()
    from dataclasses import replace

    from .evaluation import Evaluator
    from .pair_files import read_pairs
    from .run import Run

    opened = Run(run)
    config = opened.read_config()
    if tokenize:
        config = replace(config, bleu_tokenize=tokenize)
    corpus = read_pairs(data, reverse=config.reverse, min_pairs=1)
    model = opened.load(**_given(beam_size=beam_size, length_penalty=length_penalty))
    scores = Evaluator(model, corpus, config).full()
    if as_json:
        values = {**scores.values, "rows": len(corpus), "signatures": scores.signatures}
        print(json.dumps(values, indent=2))
    else:
        print(f"{scores}\nrows: {len(corpus):,}")


@app.command(rich_help_panel="Use")
def predict(
    run: RunFolder,
    texts: Annotated[list[str] | None, typer.Argument(metavar="[TEXT ...]")] = None,
    input: Annotated[Path | None, typer.Option(help="Texts, one a line.")] = None,
    output: Annotated[Path | None, typer.Option(help="Where to write; stdout if left out.")] = None,
    n_best: Annotated[int | None, typer.Option(min=1, help="So many results a text.")] = None,
    beam_size: BeamSize = None,
) -> None:
    """Write the target of each text; of the lines of stdin if there is neither text nor input.

    Example: `attention-zoo predict runs/en-de "a house" "two dogs"`

    With --n-best each line is the number of the text, its score and the result, tabs between.
    """
    if texts and input:
        raise Refused("Give texts or --input, not both.")
    if output and not output.absolute().parent.is_dir():
        raise Refused(f"{output} cannot be written: there is no folder {output.parent}.")
    sources = texts or _read_lines(input)
    load_tensorflow()
    from .files import written_atomically
    from .run import load

    if n_best and beam_size and beam_size < n_best:
        raise Refused(
            f"--beam-size {beam_size} finds fewer than --n-best {n_best} results; raise it."
        )
    model = load(run)
    beams = beam_size or max(model.generation.beam_size, n_best or 1)
    model = model.with_generation(beam_size=beams)
    lines = _n_best_lines(model, sources, n_best) if n_best else _best_lines(model, sources)
    if output is None:
        for line in lines:
            print(line, flush=True)
        return
    with written_atomically(output) as aside, open(aside, "w", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in lines)


@app.command(rich_help_panel="Use")
def explain(
    run: RunFolder,
    text: Annotated[str, typer.Argument(metavar="TEXT")],
    output: Annotated[Path | None, typer.Option(help="A .png, .svg or .html file.")] = None,
) -> None:
    """Show which words of a text the model looked at for each word that it wrote.

    Example: `attention-zoo explain runs/en-de "a house" --output house.png`
    """
    load_tensorflow()
    from .run import load

    explanation = load(run).explain([text])[0]
    if output is None:
        print(explanation.to_terminal(color=sys.stdout.isatty()))
        return
    try:
        explanation.save(output)
    except (ValueError, OSError) as error:
        raise Refused(str(error)) from error
    print(f"{explanation.target}\nwritten to {output}")


def _given(**options: Any) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _read_lines(path: Path | None) -> list[str]:
    try:
        data = path.read_bytes() if path else sys.stdin.buffer.read()
        lines = data.decode("utf-8").split("\n")
    except OSError as error:
        raise Refused(f"{path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise Refused(
            f"{path or 'stdin'} is not UTF-8 (byte {error.start}); convert it first."
        ) from error
    if lines and not lines[-1]:
        lines.pop()
    if not lines:
        raise Refused(f"{path or 'stdin'} has no lines; give one text a line.")
    return [line.removesuffix("\r") for line in lines]


def _best_lines(model: Any, sources: list[str], chunk: int = 1024) -> Iterator[str]:
    for start in range(0, len(sources), chunk):
        for prediction in model.predict(sources[start : start + chunk]):
            yield prediction.text


def _n_best_lines(model: Any, sources: list[str], count: int, chunk: int = 1024) -> Iterator[str]:
    for start in range(0, len(sources), chunk):
        results: Callable = model.n_best
        for number, row in enumerate(results(sources[start : start + chunk]), start=start + 1):
            for prediction in row[:count]:
                yield f"{number}\t{prediction.score:.4f}\t{prediction.text}"
