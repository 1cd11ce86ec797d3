"""Checks that runs can be compared, and the metric and rows by which they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ...zoo.errors import ConfigError, DataError
from ..core.config import RunConfig
from ..core.task import deciding_metric, metric_of
from ..data.corpus import PairCorpus
from ..metrics.metric import PERPLEXITIES
from ..metrics.row_statistics import has_row_statistics
from ..metrics.scoring import target_lengths

if TYPE_CHECKING:
    from ..core.run import Run

Report = Callable[[str], None]  # takes a line of progress
# What helps, in the options of `compare`.
ADVICE = {
    "bleu_tokenize": " Give --tokenize.",
    "rows": "give --data.",
    "metric": "choose another --metric.",
}


def check_comparable(
    configs: Mapping[str, RunConfig],
    metric: str,
    data: str | None = None,
    advice: Mapping[str, str] = ADVICE,
) -> None:
    """Checks that runs can be compared.

    Args:
        configs: Config of each run, by its name.
        metric: Name of the score that is compared.
        data: File to compare on; the validation corpus of the runs if `None`.
        advice: Advice at the end of an error message, by what is wrong; see `ADVICE`.

    Raises:
        ConfigError: The runs differ in task, direction, tokenization or rows, or the metric is not
            one of the task's or is not computed from rows.
    """
    first = next(iter(configs.values()))
    for what in ("task", "reverse", "bleu_tokenize"):
        values = {name: getattr(config, what) for name, config in configs.items()}
        if len(set(values.values())) > 1:
            found = ", ".join(f"{name} has {value}" for name, value in values.items())
            raise ConfigError(
                f"Runs with different {what} cannot be compared: {found}.{advice.get(what, '')}"
            )
    chosen = metric_of(replace(first, metric=metric))
    if not has_row_statistics(chosen):
        raise ConfigError(
            f"{metric} is not a score of rows, so there is no interval for it; {advice['metric']}"
        )
    validated = {config.validated_with for config in configs.values()}
    if data is None and len(validated) > 1:
        raise ConfigError(f"The runs were validated with different rows; {advice['rows']}")


def check_tokens(runs: Mapping[str, Run], metric: str) -> None:
    """Refuses perplexities of tokens where the tokens are not the same ones.

    Raises:
        ConfigError: The runs have different tokenizers.
    """
    if metric == "perplexity" and len({run.read_tokenizer().model for run in runs.values()}) > 1:
        raise ConfigError(
            "The runs have different tokenizers, so that their perplexities cannot be compared; "
            "choose another --metric."
        )


def metric_with_value(
    metric: str, asked: str | None, config: RunConfig, corpus: PairCorpus, report: Report
) -> str:
    """The metric if it has a value on the rows of a corpus; another one if none was requested.

    Raises:
        ConfigError: The requested metric has no value.
    """
    looked_at = replace(config, metric=metric, evaluate_rows=len(corpus))
    found = deciding_metric(looked_at, corpus).name
    if found == metric:
        return metric
    none = f"{metric} has no value on {corpus.name}, whose references would score 0 themselves"
    if asked is not None or found in PERPLEXITIES:
        raise ConfigError(f"{none}; choose another --metric.")
    report(f"{none}: {found} is compared")
    return found


def rows_of_all(
    runs: Mapping[str, Run], configs: list[RunConfig], corpus: PairCorpus, report: Report
) -> PairCorpus:
    """The rows whose targets are no longer than each of the models writes."""
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
