"""Commands that use a run: its scores on a file, its outputs, what it looks at."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..zoo.source_format import Source
from .cli_app import (
    BeamSize,
    Refused,
    RunFolder,
    Sample,
    Seed,
    Temperature,
    TopK,
    TopP,
    Truncate,
    app,
    sampling,
)
from .runtime import load_tensorflow

if TYPE_CHECKING:
    from ..zoo.explanation import Explanation
    from ..zoo.layered_explanation import LayeredExplanation
    from ..zoo.text_to_text import TextToText
    from .config import RunConfig
    from .corpus import PairCorpus
    from .metrics import Scores


@app.command(rich_help_panel="Use")
def evaluate(
    run: RunFolder,
    data: Annotated[
        str | None,
        typer.Option(help="Sources and references; the run's own to validate with if left out."),
    ] = None,
    beam_size: BeamSize = None,
    length_penalty: Annotated[float | None, typer.Option(min=0, help="0 for none.")] = None,
    tokenize: Annotated[
        str | None, typer.Option(help="sacreBLEU's tokenization: 13a, zh, none, ...")
    ] = None,
    sample: Sample = False,
    temperature: Temperature = 1.0,
    top_k: TopK = 0,
    top_p: TopP = 1.0,
    seed: Seed = None,
    truncate: Truncate = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Score a run on a file by the metrics of its task, beside what is simplest for the task.

    Example: `attention-zoo evaluate runs/en-de --data test.tsv --beam-size 5`
    """
    load_tensorflow()
    from dataclasses import replace

    from .evaluation import Evaluator
    from .run import Run
    from .tasks import read_validation, task

    opened = Run(run)
    config = opened.read_config()
    if tokenize:
        config = replace(config, bleu_tokenize=tokenize)
    chosen = task(config.task)
    if data is None:
        corpus = read_validation(config)
    else:
        corpus = chosen.read_file(data, config.reverse, min_pairs=1)
    options = _given(beam_size=beam_size, length_penalty=length_penalty)
    if sample:
        options = {"beam_size": 1, **options, **sampling(temperature, top_k, top_p, seed)}
    model = opened.load(truncate=True, **options)
    evaluator = Evaluator(model, corpus, config)
    num_cut = evaluator.num_cut()
    _check_cut(model, num_cut, truncate)
    scores = evaluator.full()
    baselines = _baselines(config, corpus, model)
    if as_json:
        values = {**scores.values, "rows": len(corpus), "signatures": scores.signatures}
        values |= {"cut": num_cut} if num_cut else {}
        if baselines:
            values["baselines"] = {name: found.values for name, found in baselines.items()}
        print(json.dumps(values, indent=2))
        return
    print(f"{scores}\nrows: {len(corpus):,}")
    if num_cut:
        print(_cut_line(model, num_cut))
    for name, found in baselines.items():
        print(f"baseline, {name}: {found.one_line()}")


@app.command(rich_help_panel="Use")
def predict(
    run: RunFolder,
    texts: Annotated[list[str] | None, typer.Argument(metavar="[TEXT ...]")] = None,
    input: Annotated[Path | None, typer.Option(help="Texts, one a line.")] = None,
    output: Annotated[Path | None, typer.Option(help="Where to write; stdout if left out.")] = None,
    n_best: Annotated[int | None, typer.Option(min=1, help="So many results a text.")] = None,
    beam_size: BeamSize = None,
    length: Annotated[
        int | None, typer.Option(min=1, help="Words of a summary, about; of summarization.")
    ] = None,
    sample: Sample = False,
    temperature: Temperature = 1.0,
    top_k: TopK = 0,
    top_p: TopP = 1.0,
    seed: Seed = None,
    truncate: Truncate = False,
) -> None:
    """Write the target of each text; of the lines of stdin if there is neither text nor input.

    Example: `attention-zoo predict runs/en-de "a house" "two dogs"`

    With --n-best each line is the number of the text, its score and the result, tabs between. A
    source of several inputs is a JSON object, `{"context": "...", "question": "..."}`; of question
    answering also a context that ends with its question, or the two with a tab between; of dialogue
    the turns with tabs between.
    """
    if texts and input:
        raise Refused("Give texts or --input, not both.")
    if output and not output.absolute().parent.is_dir():
        raise Refused(f"{output} cannot be written: there is no folder {output.parent}.")
    lines = texts or _read_lines(input)
    load_tensorflow()
    from .files import written_atomically
    from .run import Run

    if n_best and beam_size and beam_size < n_best:
        raise Refused(
            f"--beam-size {beam_size} finds fewer than --n-best {n_best} results; raise it."
        )
    opened = Run(run)
    sources = _sources(opened.read_config(), lines, length)
    if n_best and any(not isinstance(source, str) and source.get("length") for source in sources):
        raise Refused("A length is a wish for one result; leave out --n-best.")
    model = opened.load(truncate=True)
    _say_cut(model, sources, truncate)
    beams = beam_size or max(1 if sample else model.generation.beam_size, n_best or 1)
    drawn = sampling(temperature, top_k, top_p, seed) if sample else {}
    model = model.with_generation(beam_size=beams, **drawn)
    results = _n_best_lines(model, sources, n_best) if n_best else _best_lines(model, sources)
    if output is None:
        for line in results:
            print(line, flush=True)
        return
    with written_atomically(output) as aside, open(aside, "w", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in results)


@app.command(rich_help_panel="Use")
def explain(
    run: RunFolder,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="As for `predict`.")],
    output: Annotated[Path | None, typer.Option(help="A .png, .svg, .html or .txt file.")] = None,
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
    truncate: Truncate = False,
) -> None:
    """Show which words of a text the model looked at for each word that it wrote.

    Example: `attention-zoo explain runs/en-de "a house" --output house.png`

    Of a Transformer an .html file has every layer and head, and `--kind encoder --layer 2 --head 3`
    draws one of them: a number, the `mean` of the heads, or `rollout`, what each token is made of
    after all layers up to that one. Of a memory network the heads are its looks, the first first.
    """
    if kind not in (None, "cross", "encoder", "decoder"):
        raise Refused(f"--kind is cross, encoder or decoder. Received: {kind}")
    if head not in (None, "mean", "rollout") and not head.isdecimal():
        raise Refused(f"--head is a number, mean or rollout. Received: {head}")
    if output is not None:
        _check_output(output)
    load_tensorflow()
    from ..zoo.layered_explanation import explain as explain_layers
    from .run import Run

    opened = Run(run)
    (source,) = _sources(opened.read_config(), [text])
    model = opened.load(truncate=True)
    _say_cut(model, [source], truncate)
    number = int(head) if head is not None and head.isdecimal() else head
    chosen = _given(kind=kind, layer=layer, head=number)
    several = hasattr(model.model, "attention_maps")
    every = several and output is not None and output.suffix.lower() == ".html"
    found: Explanation | LayeredExplanation
    try:
        if chosen or every:
            layered = explain_layers(model, [source])[0]
            found = layered.view(**chosen) if chosen else layered
        else:
            found = model.explain([source])[0]
        if output is not None:
            found.save(output)
    except (ValueError, OSError) as error:
        raise Refused(str(error)) from error
    if output is None:
        print(found.to_terminal(color=sys.stdout.isatty()))
    else:
        print(f"{found.target}\nwritten to {output}")


def _check_output(path: Path) -> None:
    """Refuses a file that an explanation cannot be written to, before the model is loaded."""
    from ..zoo.explanation import check_suffix

    try:
        check_suffix(path)
    except ValueError as error:
        raise Refused(str(error)) from error
    if not path.resolve().parent.is_dir():
        raise Refused(f"There is no folder {path.parent} to write {path.name} into; make it first.")


def _say_cut(model: TextToText, sources: list[Source], truncate: bool) -> None:
    """Refuses sources that are too long, or says on stderr that a part of them is read."""
    long = model.too_long(sources)
    _check_cut(model, len(long), truncate, f", among them text {long[0] + 1}" if long else "")
    if long:
        print(_cut_line(model, len(long)), file=sys.stderr)


def _check_cut(model: TextToText, count: int, truncate: bool, which: str = "") -> None:
    """Refuses sources that are too long if nobody asked for a part; tasks may have a rule."""
    if count and not truncate and model.source_format.leave_out_long:
        raise Refused(
            f"{count:,} sources are longer than the {model.max_source_length} subwords that the "
            f"model reads{which}; with --truncate the {model.source_format.keep} of each is read."
        )


def _cut_line(model: TextToText, count: int) -> str:
    kept, sources = model.source_format.keep, "source" if count == 1 else "sources"
    return f"{count:,} {sources} longer than {model.max_source_length} subwords: the {kept} read"


def _baselines(config: RunConfig, corpus: PairCorpus, model: TextToText) -> dict[str, Scores]:
    """What is simplest for the task, learnt from the training corpus if that is still there."""
    from .corpus import DataError
    from .tasks import read_training_texts, task

    chosen = task(config.task)
    if chosen.baselines is None:
        return {}
    try:
        return chosen.baseline_scores(read_training_texts(config), corpus, model)
    except DataError as error:
        print(f"no baselines: {error}", file=sys.stderr)
        return {}


def _sources(config: RunConfig, lines: list[str], length: int | None = None) -> list[Source]:
    """The sources in some lines, with a wish for a length."""
    from .tasks import task

    chosen = task(config.task)
    sources = [chosen.parse_source(line) for line in lines]
    if length is None:
        return sources
    inputs = chosen.source_format
    if all(item.kind != "length" for item in inputs.inputs):
        raise Refused(f"--length is for summarization; this run is of {config.task}.")
    return [
        {**({inputs.main: source} if isinstance(source, str) else source), "length": length}
        for source in sources
    ]


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


def _best_lines(model: Any, sources: list[Source], chunk: int = 1024) -> Iterator[str]:
    for start in range(0, len(sources), chunk):
        for prediction in model.predict(sources[start : start + chunk]):
            yield prediction.text


def _n_best_lines(
    model: Any, sources: list[Source], count: int, chunk: int = 1024
) -> Iterator[str]:
    for start in range(0, len(sources), chunk):
        results: Callable = model.n_best
        for number, row in enumerate(results(sources[start : start + chunk]), start=start + 1):
            for prediction in row[:count]:
                yield f"{number}\t{prediction.score:.4f}\t{prediction.text}"
