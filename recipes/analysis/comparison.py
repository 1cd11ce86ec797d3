"""Comparison of several runs on the same rows: scores with intervals, by length, and in pairs.

Shapes: N rows, M runs, R resamples.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...zoo.errors import ConfigError
from ..core.config import RunConfig
from ..core.corpora import OTHER_TEXTS, read_validation
from ..core.make_config import check_scores, with_tokenization
from ..core.task import metric_of, task_of
from ..data.corpus import PairCorpus, spread_rows
from ..metrics.metric import PERPLEXITIES
from ..metrics.significance import (
    RESAMPLES,
    SEED,
    Interval,
    RowStatistics,
    intervals,
    p_values,
    resample,
)
from .comparable import Report, check_comparable, check_tokens, metric_with_value, rows_of_all
from .source_lengths import (
    Bucket,
    LengthDegradation,
    length_degradation,
    length_sides,
    sort_by_length,
    source_lengths,
)

if TYPE_CHECKING:
    from ...zoo.pipeline.text_to_text import TextToText
    from ...zoo.text.source_format import Source
    from ..core.run import Run

TIMED_ROWS = 20  # decoded one by one for the latency


@dataclass(frozen=True)
class ComparedRun:
    """One run of a comparison.

    Attributes:
        name: Name of its folder.
        model: Name of its model in the catalog.
        scores: All scores of the task on all rows.
        score: The compared score with its interval.
        by_length: The compared score in each bucket.
        parameters: Number of weights of the model.
        bytes: Size of the weights.
        minutes: Minutes of training; `None` while the run has not ended.
        tokens_per_second: Target tokens per second in training, without the time of evaluations.
        latency: Median time in milliseconds to decode one text by itself.
        sentences_per_second: Number of rows decoded in a second, in batches of 64.
        history: Minutes of training and the compared score of each evaluation.
    """

    name: str
    model: str
    scores: dict[str, float | None]
    score: Interval
    by_length: list[Interval]
    parameters: int
    bytes: int
    minutes: float | None
    tokens_per_second: float | None
    latency: float | None
    sentences_per_second: float | None
    history: list[tuple[float, float]]


@dataclass(frozen=True)
class Comparison:
    """Result of `compare`, from which `comparison_report` makes a page, pictures and tables.

    Attributes:
        task: Name of the task of all runs.
        data: Name of the file.
        rows: Number of rows N of the file.
        metric: Name of the compared score.
        signature: How the score is counted.
        unit: Unit of the length of a source, "words" or "characters".
        buckets: Groups of rows by the length of the source.
        runs: The runs in the order in which they were given.
        p_values: p-value of each pair of runs by the paired bootstrap test, (M, M).
        resamples: Number of resampled corpora R.
        seed: Seed of the resamples.
        degradation: Loss of each score from short sources to long ones, if requested.
        skipped: Number of rows of the file that could not be used.
        skipped_rows: The first of them, each with its line and the reason.
        unscored: Number of rows without a perplexity, as a model does not write such long targets.
        lower_is_better: Whether a lower value of the compared score is the better one.
    """

    task: str
    data: str
    rows: int
    metric: str
    signature: str
    unit: str
    buckets: list[Bucket]
    runs: list[ComparedRun]
    p_values: list[list[float | None]]
    resamples: int
    seed: int
    degradation: LengthDegradation | None = None
    skipped: int = 0
    skipped_rows: list[str] = field(default_factory=list)
    unscored: int = 0
    lower_is_better: bool = False


def compare(
    folders: Sequence[str | Path | Run],
    data: str | None = None,
    metric: str | None = None,
    tokenize: str | None = None,
    lengths: Sequence[int] | None = None,
    beam_size: int | None = None,
    resamples: int = RESAMPLES,
    seed: int = SEED,
    timed_rows: int = TIMED_ROWS,
    degradation: tuple[int, int] | None = None,
    report: Report = lambda line: None,
) -> Comparison:
    """Scores several runs of one task on one file.

    Args:
        folders: Folders of the runs, at least two; or the runs themselves.
        data: File of sources and references; the validation corpus of all runs if `None`.
        metric: Name of the compared score; that of the first run if `None`, or where it has no
            value on these rows, the first metric of the task that has one. For a perplexity, rows
            are left out whose target is longer than one of the models writes.
        tokenize: Tokenization of sacreBLEU; that of the runs if `None`.
        lengths: Longest source of each bucket but the last, in words, or in characters of scripts
            without spaces; buckets of about equally many rows if `None`.
        beam_size: Beam size of the search; that of each run if `None`.
        resamples: Number of resampled corpora for intervals and tests.
        seed: Seed of the resamples.
        timed_rows: Number of texts that are decoded one by one to measure the latency; 0 to measure
            no times.
        degradation: Longest of the short sources and shortest of the long ones, to compute the loss
            of each score from these to those.
        report: Called with each line of progress.

    Returns:
        The comparison. The same seed gives the same, except for the times.

    Raises:
        ConfigError: The runs cannot be compared, or one cannot be used; or the metric has no value
            on these rows.
        DataError: The file cannot be used.

    Example:

    >>> compare(["runs/rnn", "runs/rnn-bahdanau"], "test.tsv").runs[0].score
    Interval(value=21.3, low=19.8, high=22.9)
    """
    runs = _open(folders)
    configs = [with_tokenization(run.read_config(), tokenize) for run in runs.values()]
    asked, metric = metric, metric or configs[0].metric
    check_comparable(dict(zip(runs, configs, strict=True)), metric, data)
    for run in runs.values():
        run.check_model_file()
    check_tokens(runs, metric)
    check_scores(configs[0])
    if data is not None:
        whole = task_of(configs[0]).read_file(data, configs[0].reverse, min_pairs=1)
    else:
        whole = read_validation(configs[0])
        for name, run in runs.items():
            if run.changed_texts({"valid": whole.checksum}):
                report(f"{name}: {OTHER_TEXTS}")
    whole.tell_skipped(report)
    metric = metric_with_value(metric, asked, configs[0], whole, report)
    lower = not metric_of(replace(configs[0], metric=metric)).higher_is_better
    corpus = whole
    if metric in PERPLEXITIES:
        corpus = rows_of_all(runs, configs, whole, report)
    unit, source_sizes = source_lengths(corpus, configs[0])
    buckets, numbers = sort_by_length(source_sizes, lengths)
    if degradation:
        length_sides(source_sizes, degradation)  # refuses wrong limits before the long work
    options = {} if beam_size is None else {"beam_size": beam_size}
    measured = []
    for (name, run), config in zip(runs.items(), configs, strict=True):
        report(f"{name}: {len(corpus):,} rows")
        measured.append(_measure(name, run, config, corpus, metric, options, timed_rows, report))
    found, statistics = [run for run, _ in measured], [rows for _, rows in measured]
    drawn = resample(statistics, resamples, seed)
    by_length = [intervals([s.of(n) for s in statistics], resamples, seed) for n in numbers]
    return Comparison(
        task=configs[0].task,
        data=corpus.name,
        rows=len(corpus),
        metric=metric,
        signature=statistics[0].signature,
        unit=unit,
        buckets=buckets,
        runs=[
            replace(run, score=Interval.of(rows.value(), scores), by_length=list(parts))
            for run, rows, scores, *parts in zip(found, statistics, drawn, *by_length, strict=True)
        ],
        p_values=p_values(statistics, drawn),
        resamples=resamples,
        seed=seed,
        degradation=degradation
        and length_degradation(statistics, source_sizes, degradation, resamples, seed, lower),
        skipped=whole.num_skipped,
        skipped_rows=[str(row) for row in whole.skipped],
        unscored=len(whole) - len(corpus),
        lower_is_better=lower,
    )


def _open(folders: Sequence[str | Path | Run]) -> dict[str, Run]:
    """The runs by their names, or by their paths if names are equal."""
    from ..core.packed_run import open_run
    from ..core.run import Run

    runs = [folder if isinstance(folder, Run) else open_run(folder) for folder in folders]
    paths = [run.folder for run in runs]
    if len({path.resolve() for path in paths}) != len(paths):
        raise ConfigError("A run is compared with others, not with itself; name each once.")
    if len(paths) < 2:
        raise ConfigError("Give two runs at least; `attention-zoo evaluate` scores a single one.")
    names = [run.name for run in runs]
    if len(set(names)) != len(names):
        names = [str(path) for path in paths]
    return dict(zip(names, runs, strict=True))


def _measure(
    name: str,
    run: Run,
    config: RunConfig,
    corpus: PairCorpus,
    metric: str,
    options: dict[str, Any],
    timed_rows: int,
    report: Report,
) -> tuple[ComparedRun, RowStatistics]:
    """Measurements of one run without its interval, and row statistics of the compared score."""
    from ..metrics.row_statistics import (
        own_metric_statistics,
        perplexity_statistics,
        row_statistics,
    )

    model = run.load(truncate=True, **options)
    if long := len(model.too_long(corpus.sources)):
        kept = model.source_format.keep
        report(f"{long:,} sources longer than {model.max_source_length} tokens: the {kept} read")
    latency = decoding_latency(model, corpus.sources, timed_rows) if timed_rows else None
    start = time.perf_counter()
    found = model.predict(corpus.sources)
    seconds = time.perf_counter() - start
    outputs = [prediction.text for prediction in found]
    if ended := sum(prediction.truncated for prediction in found):
        report(f"{ended:,} outputs of a part of the text, or as long as the search allows")
    references = corpus.references()
    chosen = metric_of(replace(config, metric=metric))
    if metric in PERPLEXITIES:
        rows = perplexity_statistics(model, metric, corpus.sources, corpus.targets)
    elif chosen.mean_of_rows:
        rows = own_metric_statistics(chosen, outputs, references)
    else:
        rows = row_statistics(config.task, metric, outputs, references, config.bleu_tokenize)
    known = run.read_metrics()
    scores = task_of(config).score(outputs, references, config).values
    compared = ComparedRun(
        name=name,
        model=config.model,
        scores={metric: rows.value(), **scores},
        score=Interval(None, None, None),
        by_length=[],
        parameters=model.model.count_params(),
        bytes=sum(weight.nbytes for weight in model.model.get_weights()),
        minutes=known.get("minutes"),
        tokens_per_second=known.get("tokens_per_second"),
        latency=latency,
        sentences_per_second=len(corpus) / seconds if timed_rows else None,
        history=[
            (entry["minutes"], entry[metric])
            for entry in known.get("history", [])
            if entry.get(metric) is not None
        ],
    )
    return compared, rows


def decoding_latency(model: TextToText, sources: Sequence[Source], count: int) -> float:
    """Median time in milliseconds from one text to its output, over some texts of a file.

    Args:
        model: The model with its search.
        sources: Texts; the timed ones are spread evenly over them.
        count: Number of timed texts.

    Returns:
        Milliseconds; the first call, which makes the graph, does not count.
    """
    chosen = spread_rows(len(sources), count)
    model.predict([sources[chosen[0]]])  # the first call also makes the graph
    seconds = []
    for row in chosen:
        start = time.perf_counter()
        model.predict([sources[row]])
        seconds.append(time.perf_counter() - start)
    return 1000 * float(np.median(seconds))
