"""Several runs on the same rows: scores with their intervals, by length, by time, pair by pair.

Shapes: N rows, M runs, R resamples.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...zoo.errors import ConfigError, DataError
from ..core.config import LOWER_IS_BETTER, RunConfig
from ..core.task import (
    OTHER_TEXTS,
    check_scores,
    deciding_metric,
    read_validation,
    task,
    with_tokenization,
)
from ..data.corpus import PairCorpus, spread_rows
from ..metrics.bootstrap import RESAMPLES, SEED, Interval, RowScore, p_value, resample
from ..metrics.target_scores import target_lengths
from .comparable import check_comparable
from .source_lengths import (
    Bucket,
    LengthFall,
    length_fall,
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
        name: of its folder.
        model: name in the catalog.
        scores: all scores of the task on all rows.
        score: the compared one, with its interval.
        by_length: the compared one in each bucket.
        parameters: weights of the model.
        minutes: of training; unknown while a run has not ended.
        tokens_per_second: target subwords in training, without the time of evaluations.
        latency: median of the milliseconds in which one text is decoded, by itself.
        history: minutes of training and the compared score in validation, as training went on.
    """

    name: str
    model: str
    scores: dict[str, float | None]
    score: Interval
    by_length: list[Interval]
    parameters: int
    minutes: float | None
    tokens_per_second: float | None
    latency: float | None
    history: list[tuple[float, float]]


@dataclass(frozen=True)
class Comparison:
    """Result of `compare`; `comparison_report` makes a page, pictures and tables of it.

    Attributes:
        task: name of the task of all runs.
        data: the file.
        rows: how many rows N it has.
        metric: name of the compared score.
        signature: how that is counted.
        unit: what the length of a source is counted in, "words" or "characters".
        buckets: the rows by length of the source.
        runs: in the order in which they were given.
        p_values: for each two runs the p value of the paired bootstrap test, (M, M).
        resamples: how many corpora were drawn.
        seed: of the draws.
        fall: how far each score falls from short sources to long ones, if that was asked for.
        skipped: rows of the file that could not be used.
        skipped_rows: the first of them, each with its line and the reason.
        unscored: rows left out of a perplexity, as a model does not write such long targets.
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
    fall: LengthFall | None = None
    skipped: int = 0
    skipped_rows: list[str] = field(default_factory=list)
    unscored: int = 0

    @property
    def lower_is_better(self) -> bool:
        return self.metric in LOWER_IS_BETTER

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def compare(
    folders: Sequence[str | Path],
    data: str | None = None,
    metric: str | None = None,
    tokenize: str | None = None,
    lengths: Sequence[int] | None = None,
    beam_size: int | None = None,
    resamples: int = RESAMPLES,
    seed: int = SEED,
    timed_rows: int = TIMED_ROWS,
    fall: tuple[int, int] | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> Comparison:
    """Scores several runs of one task on one file.

    Args:
        folders: of the runs, two at least.
        data: sources and references; what all runs were validated with if left out.
        metric: the score that is compared; that of the first run if left out, or where that has no
            value on these rows, the first of the task's metrics that has one. For a perplexity rows
            are left out whose target is longer than one of the models writes.
        tokenize: sacreBLEU's tokenization; that of the runs if left out.
        lengths: longest source of each bucket but the last, in words, or in characters where there
            are no spaces between words; about equally many rows in each if left out.
        beam_size: of the search; that of each run if left out.
        resamples: corpora drawn for intervals and tests.
        seed: of the draws.
        timed_rows: texts decoded one by one for the latency; none if 0.
        fall: the longest of the short sources and the shortest of the long ones, to tell how far
            each score falls from these to those.
        report: takes each line of progress.

    Returns:
        The comparison. The same seed gives the same, but for the latency.

    Raises:
        ConfigError: the runs cannot be compared, or one cannot be used; or the metric has no value
            on these rows.
        DataError: the file cannot be used.

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
    if metric == "perplexity" and len({run.read_tokenizer().model for run in runs.values()}) > 1:
        raise ConfigError(
            "The runs have different subwords, so that a perplexity of one of them says nothing "
            "beside that of another; choose another --metric."
        )
    check_scores(configs[0])
    corpus = whole = _read(configs[0], data)
    whole.tell_skipped(report)
    if data is None:
        for name, run in runs.items():
            if run.changed_texts({"valid": whole.checksum}):
                report(f"{name}: {OTHER_TEXTS}")
    metric = _with_value(metric, asked, configs[0], corpus, report)
    if metric in LOWER_IS_BETTER:
        corpus = _scored_by_all(runs, configs, whole, report)
    unit, places = source_lengths(corpus, configs[0])
    buckets, numbers = sort_by_length(places, lengths)
    if fall:
        length_sides(places, fall)  # which refuses what cannot be told, before the long work
    options = {} if beam_size is None else {"beam_size": beam_size}
    measured = []
    for (name, run), config in zip(runs.items(), configs, strict=True):
        report(f"{name}: {len(corpus):,} rows")
        measured.append(_measure(name, run, config, corpus, metric, options, timed_rows, report))
    found, row_scores = [run for run, _ in measured], [rows for _, rows in measured]
    drawn = resample(row_scores, resamples, seed)
    by_length = [_intervals([s.of(n) for s in row_scores], resamples, seed) for n in numbers]
    return Comparison(
        task=configs[0].task,
        data=corpus.name,
        rows=len(corpus),
        metric=metric,
        signature=row_scores[0].signature,
        unit=unit,
        buckets=buckets,
        runs=[
            replace(
                run,
                score=Interval.of(score.value(), drawn[number]),
                by_length=[intervals[number] for intervals in by_length],
            )
            for number, (run, score) in enumerate(zip(found, row_scores, strict=True))
        ],
        p_values=_p_values(row_scores, drawn),
        resamples=resamples,
        seed=seed,
        fall=fall
        and length_fall(row_scores, places, fall, resamples, seed, metric in LOWER_IS_BETTER),
        skipped=whole.num_skipped,
        skipped_rows=[str(row) for row in whole.skipped],
        unscored=len(whole) - len(corpus),
    )


def _open(folders: Sequence[str | Path]) -> dict[str, Run]:
    """The runs by the names of their folders, or by their paths where names are the same."""
    from ..core.run import Run

    paths = [Path(folder) for folder in folders]
    if len({path.resolve() for path in paths}) != len(paths):
        raise ConfigError("A run is compared with others, not with itself; name each once.")
    if len(paths) < 2:
        raise ConfigError("Give two runs at least; `attention-zoo evaluate` scores a single one.")
    names = [path.resolve().name for path in paths]
    if len(set(names)) != len(names):
        names = [str(path) for path in paths]
    return {name: Run(path) for name, path in zip(names, paths, strict=True)}


def _read(config: RunConfig, data: str | None) -> PairCorpus:
    if data is None:
        return read_validation(config)
    return task(config.task).read_file(data, config.reverse, min_pairs=1)


def _with_value(
    metric: str,
    asked: str | None,
    config: RunConfig,
    corpus: PairCorpus,
    report: Callable[[str], None],
) -> str:
    """The metric if it has a value on the rows of a corpus, or else another, if none was asked for.

    Raises:
        ConfigError: it has none, and it was asked for.
    """
    found = deciding_metric(replace(config, metric=metric, evaluate_rows=len(corpus)), corpus)
    if found == metric:
        return metric
    none = f"{metric} has no value on {corpus.name}, whose references would score 0 themselves"
    if asked is not None or found in LOWER_IS_BETTER:
        raise ConfigError(f"{none}; choose another --metric.")
    report(f"{none}: {found} is compared")
    return found


def _scored_by_all(
    runs: dict[str, Run],
    configs: list[RunConfig],
    corpus: PairCorpus,
    report: Callable[[str], None],
) -> PairCorpus:
    """The rows whose targets are no longer than what each of the models writes."""
    fits = np.ones(len(corpus), bool)
    for run, config in zip(runs.values(), configs, strict=True):
        fits &= target_lengths(run.read_tokenizer(), corpus.targets) <= config.max_target_length
    if not fits.any():
        raise DataError(
            f"All {len(corpus):,} targets of {corpus.name} are longer than a model writes, so they "
            "have no perplexity; choose another --metric."
        )
    if not fits.all():
        report(f"rows left out, as a model does not write such long targets: {(~fits).sum():,}")
    return corpus.part(np.flatnonzero(fits).tolist())


def _measure(
    name: str,
    run: Run,
    config: RunConfig,
    corpus: PairCorpus,
    metric: str,
    options: dict[str, Any],
    timed_rows: int,
    report: Callable[[str], None],
) -> tuple[ComparedRun, RowScore]:
    """All that is known of one run, its interval apart, and the compared score by rows."""
    from ..metrics.row_scores import perplexity_rows, row_score

    model = run.load(truncate=True, **options)
    if long := len(model.too_long(corpus.sources)):
        kept = model.source_format.keep
        report(f"{long:,} sources longer than {model.max_source_length} subwords: the {kept} read")
    outputs = [prediction.text for prediction in model.predict(corpus.sources)]
    references = corpus.references()
    if metric in LOWER_IS_BETTER:
        rows = perplexity_rows(model, metric, corpus.sources, corpus.targets)
    else:
        rows = row_score(config.task, metric, outputs, references, config.bleu_tokenize)
    known = run.read_metrics()
    scores = task(config.task).score(outputs, references, config).values
    compared = ComparedRun(
        name=name,
        model=config.model,
        scores={metric: rows.value(), **scores},
        score=Interval(None, None, None),
        by_length=[],
        parameters=model.model.count_params(),
        minutes=known.get("minutes"),
        tokens_per_second=known.get("tokens_per_second"),
        latency=decoding_latency(model, corpus.sources, timed_rows) if timed_rows else None,
        history=[
            (entry["minutes"], entry[metric])
            for entry in known.get("history", [])
            if entry.get(metric) is not None
        ],
    )
    return compared, rows


def decoding_latency(model: TextToText, sources: Sequence[Source], count: int) -> float:
    """The median of the milliseconds from one text to its output, over some texts of a file.

    Args:
        model: the model with its search.
        sources: texts; those timed are spread evenly over them.
        count: how many are timed.
    """
    chosen = spread_rows(len(sources), count)
    model.predict([sources[chosen[0]]])  # the first call also makes the graph
    seconds = []
    for row in chosen:
        start = time.perf_counter()
        model.predict([sources[row]])
        seconds.append(time.perf_counter() - start)
    return 1000 * float(np.median(seconds))


def _intervals(scores: list[RowScore], resamples: int, seed: int) -> list[Interval]:
    drawn = resample(scores, resamples, seed)
    return [Interval.of(score.value(), d) for score, d in zip(scores, drawn, strict=True)]


def _p_values(scores: list[RowScore], drawn: np.ndarray) -> list[list[float | None]]:
    count = len(scores)
    values = [score.value() or 0.0 for score in scores]  # all of them have one
    return [
        [
            None if one == other else p_value(values[one], values[other], drawn[one], drawn[other])
            for other in range(count)
        ]
        for one in range(count)
    ]
