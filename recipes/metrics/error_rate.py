"""The token error rate: edits between outputs and references."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...zoo.text.normalization import to_nfc


def token_error_rate(predictions: Sequence[str], references: Sequence[tuple[str, ...]]) -> float:
    """Edits that make references of outputs, in a hundred tokens of the references.

    Tokens stand between white space; an edit inserts, deletes or replaces one. Of several
    references of a row the one with the lowest rate counts. Where tokens are phonemes it is the
    phoneme error rate, where they are words of speech the word error rate. (TER, as sacreBLEU has
    it, also moves blocks of words.)

    Args:
        predictions: Outputs of the model.
        references: For each prediction all texts that are right.

    Returns:
        A percentage, above 100 for outputs that are much too long.

    Example:

    >>> token_error_rate(["R EH1 D"], [("R IY1 D", "R EH1 D Z")])
    25.0
    """
    edits, tokens = edit_counts(predictions, references).sum(axis=0)
    return 100 * edits / tokens


def edit_counts(predictions: Sequence[str], references: Sequence[tuple[str, ...]]) -> np.ndarray:
    """The edits of each row and the tokens of its reference, float64 (N, 2).

    Args:
        predictions: Outputs of the model.
        references: For each prediction all texts that are right.
    """
    rows = []
    for prediction, row in zip(predictions, references, strict=True):
        output = to_nfc(prediction).split()
        rights = [to_nfc(reference).split() for reference in row]
        counts = [(edit_distance(output, right), max(1, len(right))) for right in rights]
        rows.append(min(counts, key=lambda count: count[0] / count[1]))
    return np.array(rows, np.float64)


def edit_distance(output: Sequence[str], reference: Sequence[str]) -> int:
    """The fewest insertions, deletions and replacements of tokens that make one of the other.

    Args:
        output: Tokens.
        reference: Tokens.
    """
    names = {token: number for number, token in enumerate({*output, *reference})}
    right = np.array([names[token] for token in reference], int)
    positions = np.arange(len(right) + 1)
    distances = positions
    for token in output:
        replaced = distances[:-1] + (right != names[token])
        best = np.minimum(distances + 1, np.append(distances[0] + 1, replaced))
        # An insertion goes on from the left: the least of all to the left, and one for each step.
        distances = np.minimum.accumulate(best - positions) + positions
    return int(distances[-1])
