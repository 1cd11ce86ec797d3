"""Commands that use a run: its scores on a file, and its outputs."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ...zoo.errors import DataError
from ...zoo.text.source_format import Source
from ..core.options import LARGEST_BEAM
from ..core.tensorflow_setup import load_tensorflow, share_threads
from ..data.pair_files import check_readable
from . import options as shared
from .app import Refused, app, local, refuse_draws, sampling, search_options
from .sources import (
    check_cut,
    check_file,
    check_sources,
    cut_line,
    in_parts,
    open_run,
    read_lines,
    sources_of,
    tell_missing,
    tell_truncated,
    truncated_line,
)

if TYPE_CHECKING:
    from ...zoo.pipeline.text_to_text import TextToText
    from ..core.config import RunConfig
    from ..data.corpus import PairCorpus
    from ..metrics.scores import Scores


NO_DRAWS = "of which there are none without --sample; give that too, or leave these out."


@app.command(rich_help_panel="Use")
def evaluate(
    context: typer.Context,
    run: shared.RunName,
    data: Annotated[
        str | None,
        typer.Option(help="Sources and references; the run's own to validate with if left out."),
    ] = None,
    task: shared.TaskFile = None,
    model: shared.ModelFile = None,
    beam_size: shared.BeamSize = None,
    length_penalty: shared.LengthPenalty = None,
    max_length: shared.MaxLength = None,
    max_length_ratio: shared.MaxLengthRatio = None,
    shortlist: shared.ShortlistSize = None,
    tokenize: shared.Tokenize = None,
    sample: shared.Sample = False,
    temperature: shared.Temperature = 1.0,
    top_k: shared.TopK = 0,
    top_p: shared.TopP = 1.0,
    seed: shared.Seed = None,
    truncate: shared.Truncate = False,
    no_split: shared.NoSplit = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Score a run on a file by the metrics of its task, and simple baselines where it has some.

    Example: `attention-zoo evaluate runs/en-de --data test.tsv --beam-size 5`
    """
    if not sample:
        refuse_draws(context, NO_DRAWS)
    load_tensorflow()
    from ..core.corpora import OTHER_TEXTS, read_validation
    from ..core.make_config import check_scores, with_tokenization
    from ..core.task import metric_of, task_of
    from ..metrics.scoring import unknown_line
    from ..training.evaluation import Evaluator, unscored_line
    from ..training.length_limits import beyond_line

    opened = open_run(run, task, model)
    config = with_tokenization(opened.read_config(), tokenize)
    metric_of(config)  # if it is nowhere, that is told before all else
    check_scores(config)
    if data is None:
        try:
            corpus = read_validation(config)
        except DataError as error:
            raise DataError(f"{error} Give rows to score with --data FILE.") from error
        if opened.changed_texts({"valid": corpus.checksum}):
            print(OTHER_TEXTS, file=sys.stderr)
    else:
        corpus = task_of(config).read_file(data, config.reverse, min_pairs=1)
    options = search_options(beam_size, length_penalty, max_length, max_length_ratio, shortlist)
    share_threads(len(corpus))
    if sample:
        options = {"beam_size": 1, **options, **sampling(temperature, top_k, top_p, seed)}
    loaded = opened.load(truncate=True, **options)
    loaded.split = not no_split
    evaluator = Evaluator(loaded, corpus, config)
    num_cut, unscored = evaluator.num_cut(), evaluator.num_unscored()
    unknown, beyond = evaluator.unknown(), evaluator.num_beyond()
    check_cut(loaded, num_cut, truncate)
    scores = evaluator.full()
    baselines = _baselines(config, corpus, loaded)
    if as_json:
        values: dict[str, Any] = {**scores.values, "rows": len(corpus)}
        notes = {
            "cut": num_cut,
            "unscored": unscored,
            "skipped": corpus.num_skipped,
            "skipped_rows": [str(row) for row in corpus.skipped],
            "beyond_limit": beyond,
            "truncated": len(evaluator.truncated),
            "unknown": {name: asdict(side) for name, side in unknown.items() if side.count},
            "baselines": {name: found.values for name, found in baselines.items()},
        }
        values["signatures"] = scores.signatures
        values |= {name: found for name, found in notes.items() if found}
        print(json.dumps(values, indent=2))
        return
    print(f"{scores}\nrows: {len(corpus):,}")
    corpus.tell_skipped(print)
    if num_cut:
        print(cut_line(loaded, num_cut))
    if unscored:
        print(unscored_line(unscored, config.max_target_length))
    if beyond:
        print(beyond_line(beyond, loaded.generation.max_length_ratio))
    if evaluator.truncated:
        print(truncated_line(evaluator.truncated))
    if line := unknown_line(**unknown, copied=loaded.generation.replace_unknown):
        print(line)
    for name, found in baselines.items():
        print(f"baseline, {name}: {found.one_line()}")


@app.command(rich_help_panel="Use")
def predict(
    context: typer.Context,
    run: shared.RunName,
    texts: Annotated[
        list[str] | None, typer.Argument(metavar="[TEXT ...]", help="One argument for each.")
    ] = None,
    input: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="Texts, one a line; or a .csv, .tsv, .jsonl, ... with the sources."
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(callback=local, help="Where to write; stdout if left out.")
    ] = None,
    n_best: Annotated[
        int | None,
        typer.Option(min=1, max=LARGEST_BEAM, help="Results for each text, the best first."),
    ] = None,
    beam_size: shared.BeamSize = None,
    length_penalty: shared.LengthPenalty = None,
    max_length: shared.MaxLength = None,
    max_length_ratio: shared.MaxLengthRatio = None,
    shortlist: shared.ShortlistSize = None,
    length: Annotated[
        int | None, typer.Option(min=1, help="Wished length in words; for summarization.")
    ] = None,
    prefix: Annotated[str | None, typer.Option(help="What each result begins with.")] = None,
    sample: shared.Sample = False,
    temperature: shared.Temperature = 1.0,
    top_k: shared.TopK = 0,
    top_p: shared.TopP = 1.0,
    seed: shared.Seed = None,
    truncate: shared.Truncate = False,
    no_split: shared.NoSplit = False,
    task: shared.TaskFile = None,
    model: shared.ModelFile = None,
) -> None:
    """Write the output for each text, or for each line of --input or of stdin.

    Example: `attention-zoo predict runs/en-de "a house" "two dogs"`

    With --n-best each line has the number of the text, a score and a result, with tabs between. A
    text of question answering is a context that ends with its question, or the two with a tab
    between; of dialogue the turns with tabs between. A source of several inputs may also be a JSON
    object, such as `{"context": "...", "question": "..."}`. Texts that begin with - stand after --.
    A text of several lines, or of more sentences than a model knows, is split and put together
    again, but with --n-best and --prefix. Addresses, placeholders and markup that an output lacks
    are told on stderr.
    """
    if texts and input:
        raise Refused("Give texts or --input, not both.")
    if output:
        check_file(output)
    if not sample:
        refuse_draws(context, NO_DRAWS)
    if input:
        check_readable(input)
    load_tensorflow()
    from ...zoo.files import written_atomically
    from ..core.task import source_format

    if n_best and beam_size and beam_size < n_best:
        raise Refused(
            f"--beam-size {beam_size} finds fewer than --n-best {n_best} results; raise it."
        )
    opened = open_run(run, task, model)
    config = opened.read_config()
    lines = texts or read_lines(input, source_format(config))
    sources = sources_of(config, lines, length)
    if n_best and any(not isinstance(source, str) and source.get("length") for source in sources):
        raise Refused("A length is a wish for one result; leave out --n-best.")
    if prefix and (n_best or length):
        raise Refused("A result with a --prefix has neither --n-best nor --length; leave them out.")
    share_threads(len(sources))
    options = search_options(beam_size, length_penalty, max_length, max_length_ratio, shortlist)
    loaded = opened.load(truncate=True, **options)
    loaded.split = not (no_split or n_best or prefix)
    check_sources(loaded, sources, truncate)
    beams = beam_size or max(1 if sample else loaded.generation.beam_size, n_best or 1)
    drawn = sampling(temperature, top_k, top_p, seed) if sample else {}
    loaded = loaded.with_generation(beam_size=beams, **drawn)
    results = _best_lines(loaded, sources, prefix or None)
    if n_best:
        results = _n_best_lines(loaded, sources, n_best)
    if output is None:
        for line in results:
            print(line, flush=True)
        return
    with written_atomically(output) as aside, open(aside, "w", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in results)


def _baselines(config: RunConfig, corpus: PairCorpus, model: TextToText) -> dict[str, Scores]:
    """Baselines of the task, learnt from the training corpus if that is still there."""
    from ...zoo.errors import ConfigError
    from ..core.corpora import read_training_texts
    from ..core.task import task_of

    chosen = task_of(config)
    if chosen.baselines is None:
        return {}
    try:
        learnt = read_training_texts(config)
        learnt.tell_skipped(lambda line: print(f"baselines: {line}", file=sys.stderr))
        return chosen.baseline_scores(learnt, corpus, model)
    except (ConfigError, DataError) as error:
        print(f"no baselines: {error}", file=sys.stderr)
        return {}


def _best_lines(model: TextToText, sources: list[Source], prefix: str | None) -> Iterator[str]:
    ended, broken = [], []
    missing: dict[int, tuple[str, ...]] = {}
    predict = functools.partial(model.predict, prefix=prefix)
    for number, prediction in enumerate(in_parts(predict, sources), start=1):
        ended += [number] if prediction.truncated else []
        broken += [number] if "\n" in prediction.text else []
        missing |= {number: prediction.missing} if prediction.missing else {}
        yield prediction.text
    if broken and len(sources) > 1:
        print(
            f"{len(broken):,} of the outputs have several lines, among them that of text "
            f"{broken[0]}: lines are not texts",
            file=sys.stderr,
        )
    tell_missing(missing)
    tell_truncated(ended)


def _n_best_lines(model: TextToText, sources: list[Source], count: int) -> Iterator[str]:
    ended = []
    missing: dict[int, tuple[str, ...]] = {}
    for number, row in enumerate(in_parts(model.n_best, sources), start=1):
        ended += [number] if any(prediction.truncated for prediction in row) else []
        if row and row[0].missing:
            missing[number] = row[0].missing
        for prediction in row[:count]:
            yield f"{number}\t{prediction.score:.4f}\t{prediction.text}"
    tell_missing(missing)
    tell_truncated(ended)
