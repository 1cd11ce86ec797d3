"""The scores of the tasks as sums over rows, so that rows can be drawn again and sorted by length.

Shapes: N rows, K statistics of a row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import sacrebleu

from ...zoo.errors import ConfigError
from .bootstrap import RowScore
from .metric import Metric
from .scores import bleu_of, countable, equal_rows, perplexity
from .target_scores import counted_words, score_targets, target_lengths
from .text_scores import answer_rows, rouge_countable, rouge_rows, rouge_signature

if TYPE_CHECKING:
    from ...zoo.pipeline.text_to_text import TextToText
    from ...zoo.text.source_format import Source

# The share of different words in two halves of a corpus says nothing about that in the whole.
NOT_OF_ROWS = frozenset({"distinct_1", "distinct_2"})
Rows = Sequence[tuple[str, ...]]


def row_score(
    task_name: str, metric: str, predictions: Sequence[str], references: Rows, tokenize: str
) -> RowScore:
    """The score of what was written, row by row.

    Args:
        task_name: the task, as answers and translations count exact matches differently.
        metric: name of the score.
        predictions: texts of the model.
        references: for each prediction the texts that are right.
        tokenize: sacreBLEU's tokenization, for BLEU.

    Raises:
        ConfigError: the metric is not made of rows.
    """
    firsts = [row[0] for row in references]
    if metric == "bleu":
        return sacrebleu_rows(bleu_of(firsts, tokenize), predictions, firsts)
    if metric == "chrf":
        return sacrebleu_rows(sacrebleu.CHRF(), predictions, firsts)
    if metric.startswith("rouge"):
        rows = rouge_rows(predictions, references)[metric]
        counted = np.array([*rouge_countable(metric, references)])
        return mean_rows(rows, rouge_signature(references), counted)
    if metric == "f1" or (metric == "exact_match" and task_name != "translation"):
        return mean_rows(answer_rows(predictions, references)[metric])
    if metric == "exact_match":
        return mean_rows(equal_rows(predictions, firsts))
    raise ConfigError(f"{metric} is not a score of rows, so there is no interval for it.")


def perplexity_rows(
    model: TextToText, metric: str, sources: Sequence[Source], targets: Sequence[str]
) -> RowScore:
    """Perplexity of a subword, or of a word, of given targets, row by row.

    None of them is longer than the model writes.
    """
    log_p, tokens = score_targets(model, sources, targets)
    counts = tokens
    if metric == "word_perplexity":
        unknown = target_lengths(model.tokenizer, targets) - tokens
        counts = np.array([counted_words(*row) for row in zip(targets, unknown, strict=True)])
    rows = np.stack([log_p.astype(np.float64), np.asarray(counts, np.float64)], axis=1)
    return RowScore(rows, lambda sums: perplexity(sums[0], sums[1]))


def sacrebleu_rows(
    metric: sacrebleu.BLEU | sacrebleu.CHRF, predictions: Sequence[str], references: Sequence[str]
) -> RowScore:
    """The statistics that sacreBLEU adds up, of each row, and its score of their sum.

    The two methods are those that every metric of sacreBLEU has to have, and what its own tests
    of significance are made of.
    """
    rows = metric._extract_corpus_statistics(list(predictions), [list(references)])

    def score(sums: np.ndarray) -> float:
        return metric._compute_score_from_stats(sums.tolist()).score

    counted = np.array([*countable(metric, references)])
    return RowScore(np.array(rows, np.float64), score, str(metric.get_signature()), counted)


def own_metric_rows(metric: Metric, predictions: Sequence[str], references: Rows) -> RowScore:
    """A metric of the user's whose value is the mean of those of its rows."""
    pairs = zip(predictions, references, strict=True)
    values = [metric.value([text], [right]) for text, right in pairs]
    counted = np.array([value is not None for value in values])
    return mean_rows([(value or 0.0) / 100 for value in values], counted=counted)


def mean_rows(
    values: Sequence[float], signature: str = "", counted: np.ndarray | None = None
) -> RowScore:
    """The mean of values from 0 to 1, in percent."""
    rows = np.stack([np.asarray(values, np.float64), np.ones(len(values))], axis=1)
    return RowScore(rows, lambda sums: 100 * sums[0] / sums[1], signature, counted)
