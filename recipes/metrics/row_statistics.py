"""Row statistics: the scores of the tasks as sums over rows, which can be resampled and split.

Shapes: N rows, K statistics of a row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import sacrebleu

from ...zoo.errors import ConfigError
from ...zoo.text.normalization import to_nfc
from .error_rate import edit_counts, token_error_rate
from .metric import Metric
from .scores import bleu_of, countable, equal_rows, perplexity, reference_streams
from .scoring import counted_words, score_targets, target_lengths
from .significance import RowStatistics
from .text_scores import answer_rows, rouge_countable, rouge_rows, rouge_signature

if TYPE_CHECKING:
    from ...zoo.pipeline.text_to_text import TextToText
    from ...zoo.text.source_format import Source

# The share of different words in two halves of a corpus says nothing about that in the whole.
NOT_OF_ROWS = frozenset({"distinct_1", "distinct_2"})
Rows = Sequence[tuple[str, ...]]


def has_row_statistics(metric: Metric) -> bool:
    """True for a metric that is computed from sums over rows, so that there is an interval."""
    of_package = metric.function in (None, token_error_rate)
    return metric.mean_of_rows or (of_package and metric.name not in NOT_OF_ROWS)


def row_statistics(
    task_name: str, metric: str, predictions: Sequence[str], references: Rows, tokenize: str
) -> RowStatistics:
    """Statistics of a score of model outputs, row by row.

    Args:
        task_name: Name of the task, as answers and translations count exact matches differently.
        metric: Name of the score.
        predictions: Outputs of the model.
        references: For each prediction all texts that are right.
        tokenize: SacreBLEU's tokenization, for BLEU.

    Returns:
        The statistics of N rows and the score of their sums.

    Raises:
        ConfigError: The metric is not computed from sums over rows.
    """
    firsts = [row[0] for row in references]
    if metric == "bleu":
        return sacrebleu_statistics(bleu_of(firsts, tokenize), predictions, references)
    if metric == "chrf":
        return sacrebleu_statistics(sacrebleu.CHRF(), predictions, references)
    if metric.startswith("rouge"):
        rows = rouge_rows(predictions, references)[metric]
        counted = np.array([*rouge_countable(metric, references)])
        return mean_statistics(rows, rouge_signature(), counted)
    if metric == "f1" or (metric == "exact_match" and task_name != "translation"):
        return mean_statistics(answer_rows(predictions, references)[metric])
    if metric == "exact_match":
        return mean_statistics(equal_rows(predictions, references))
    if metric == "token_error_rate":
        counts = edit_counts(predictions, references)
        return RowStatistics(counts, lambda sums: 100 * sums[0] / sums[1])
    raise ConfigError(f"{metric} is not a score of rows, so there is no interval for it.")


def perplexity_statistics(
    model: TextToText, metric: str, sources: Sequence[Source], targets: Sequence[str]
) -> RowStatistics:
    """Statistics of the perplexity of given targets, row by row.

    Args:
        model: A trained model.
        metric: `"perplexity"` of a token or `"word_perplexity"` of a word.
        sources: Source of each target.
        targets: Texts, none longer than the model writes.

    Returns:
        Log probability and number of tokens, or of words, of each row.
    """
    log_p, tokens = score_targets(model, sources, targets)
    counts = tokens
    if metric == "word_perplexity":
        unknown = target_lengths(model.tokenizer, targets) - tokens
        counts = np.array([counted_words(*row) for row in zip(targets, unknown, strict=True)])
    rows = np.stack([log_p.astype(np.float64), np.asarray(counts, np.float64)], axis=1)
    return RowStatistics(rows, lambda sums: perplexity(sums[0], sums[1]))


def sacrebleu_statistics(
    metric: sacrebleu.BLEU | sacrebleu.CHRF, predictions: Sequence[str], references: Rows
) -> RowStatistics:
    """The statistics of each row that sacreBLEU sums, and its score of the sums.

    sacreBLEU requires both private methods of every metric, and its own significance tests use
    them.

    Args:
        metric: A metric of sacreBLEU.
        predictions: Outputs of the model.
        references: For each prediction all texts that are right.

    Returns:
        The statistics of the rows with the signature of the metric.
    """
    counted = np.array([*countable(metric, [row[0] for row in references])])
    outputs = [to_nfc(text) for text in predictions]
    rows = metric._extract_corpus_statistics(outputs, reference_streams(references))

    def score(sums: np.ndarray) -> float:
        return metric._compute_score_from_stats(sums.tolist()).score

    return RowStatistics(np.array(rows, np.float64), score, str(metric.get_signature()), counted)


def own_metric_statistics(
    metric: Metric, predictions: Sequence[str], references: Rows
) -> RowStatistics:
    """Statistics of a user's metric whose value is the mean of the values of its rows.

    Args:
        metric: The metric, with a function.
        predictions: Outputs of the model.
        references: For each prediction all texts that are right.

    Returns:
        The statistics of the rows; those without a value do not count.
    """
    pairs = zip(predictions, references, strict=True)
    values = [metric.value([text], [right]) for text, right in pairs]
    counted = np.array([value is not None for value in values])
    return mean_statistics([(value or 0.0) / 100 for value in values], counted=counted)


def mean_statistics(
    values: Sequence[float], signature: str = "", counted: np.ndarray | None = None
) -> RowStatistics:
    """Statistics of the mean of row scores, in percent.

    Args:
        values: Scores from 0 to 1, one for each row.
        signature: How the score is counted.
        counted: Boolean (N,), the rows in which there is something to count; all if `None`.

    Returns:
        The value and a 1 for each row, (N, 2), so that the score of a sum is its mean.
    """
    rows = np.stack([np.asarray(values, np.float64), np.ones(len(values))], axis=1)
    return RowStatistics(rows, lambda sums: 100 * sums[0] / sums[1], signature, counted)
