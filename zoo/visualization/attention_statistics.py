"""Statistics of attention maps, and the rollout of attention over layers.

Shapes: T rows that attend, S columns that are attended to, L layers, H heads. All functions take
NumPy arrays of weights without padding and work over the last two axes, so a whole model is one
call. A row of weights adds up to 1, or to 0 where there was nothing to attend to.
"""

from __future__ import annotations

import numpy as np


def entropy(weights: np.ndarray) -> np.ndarray:
    """Entropy of the attention of a row in nats, averaged over the rows.

        H = - 1/T sum_ts w[t, s] ln w[t, s]

    0 where each row looks at one position, ln S where it looks at all alike.

    Args:
        weights: (..., T, S).

    Returns:
        (...).
    """
    weights = np.asarray(weights, np.float64)
    logs = np.log(weights, out=np.zeros_like(weights), where=weights > 0)
    return _mean(-np.sum(weights * logs, axis=-1), axis=-1)


def coverage(weights: np.ndarray) -> np.ndarray:
    """The share of the columns that were looked at, all rows together.

        C = 1/S sum_s min(1, sum_t w[t, s])

    1 where each position got as much attention as one row can give. It is what the coverage penalty
    of beam search rewards.

    Args:
        weights: (..., T, S).

    Returns:
        (...), from 0 to 1.

    References: Wu et al. 2016, https://arxiv.org/abs/1609.08144; Tu et al. 2016,
    https://arxiv.org/abs/1601.04811
    """
    attended = np.sum(np.asarray(weights, np.float64), axis=-2)
    return _mean(np.minimum(attended, 1.0), axis=-1)


def diagonality(weights: np.ndarray) -> np.ndarray:
    """Diagonality: the correlation of rows and columns, from -1 to 1.

    The correlation of the numbers of row and column, with the weights as their joint distribution
    p = w / sum w, whose means are t' and s':

        D = sum_ts p[t, s] (t - t') (s - s')
            / sqrt(sum_ts p[t, s] (t - t')^2  sum_ts p[t, s] (s - s')^2)

    1 where the attention moves evenly from the first to the last position, 0 where it does not
    depend on the row, -1 where it moves backwards.

    Args:
        weights: (..., T, S).

    Returns:
        (...); 0 where there is one row or one column alone.
    """
    weights = np.asarray(weights, np.float64)
    total = np.sum(weights, axis=(-2, -1), keepdims=True)
    shares = np.divide(weights, total, out=np.zeros_like(weights), where=total > 0)
    by_row, by_column = shares.sum(axis=-1), shares.sum(axis=-2)
    rows, columns = np.arange(weights.shape[-2]), np.arange(weights.shape[-1])
    row_mean, column_mean = by_row @ rows, by_column @ columns
    product = (shares @ columns) @ rows - row_mean * column_mean
    variances = (by_row @ rows**2 - row_mean**2) * (by_column @ columns**2 - column_mean**2)
    spread = np.sqrt(np.maximum(variances, 0))
    # What rounding leaves of a variance that is none must not be divided by.
    return np.divide(product, spread, out=np.zeros_like(product), where=spread > 1e-9)


def column_share(weights: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """The share of the attention that goes to some columns, as a mean over the rows.

    Of padding it has to be 0; of the end of a sentence a large one is the sign of a head that has
    nothing to look at and rests there (Clark et al. 2019, https://arxiv.org/abs/1906.04341).

    Args:
        weights: (..., T, S).
        columns: boolean (S,), True for those that count.

    Returns:
        (...), from 0 to 1.
    """
    chosen = np.asarray(weights, np.float64)[..., np.asarray(columns, bool)]
    return _mean(np.sum(chosen, axis=-1), axis=-1)


def rollout(weights: np.ndarray) -> np.ndarray:
    """Attention rollout: the share of each input in each position after all layers.

    A layer hands on what it read beside what was there before, by its residual connection. With
    the weights W averaged over the heads it mixes its inputs by A = (W + I) / 2, whose rows are
    made to add up to 1; all layers together mix them by A_L ... A_2 A_1.

    Args:
        weights: (L, H, S, S).

    Returns:
        (S, S), row by row what each position is made of.

    Reference: Abnar and Zuidema 2020, https://arxiv.org/abs/2005.00928
    """
    weights = np.asarray(weights, np.float64)
    mixed = np.eye(weights.shape[-1])
    for layer in weights.mean(axis=1):
        mixed = _with_residual(layer) @ mixed
    return mixed


def cross_rollout(
    cross: np.ndarray, encoder: np.ndarray | None = None, decoder: np.ndarray | None = None
) -> np.ndarray:
    """Rollout to the source: the share of each source token in each position of the decoder.

    `rollout`, continued through a decoder. Its positions consist of source tokens, R (T, S), and of
    the target tokens read so far, O (T, T). With A the mix of the self-attention of layer l, C the
    attention of the layer to the source, both averaged over the heads, and E the rollout of the
    encoder,

        R_l = (A_l R_{l-1} + C_l E) / 2,   R_0 = 0
        O_l = A_l O_{l-1} / 2,             O_0 = I

    so a row of R and one of O add up to 1 together.

    Args:
        cross: of each step over the source, (L, H, T, S).
        encoder: of the source over itself, (L, H, S, S); the source tokens themselves if left out.
        decoder: of the target over itself, (L, H, T, T); no mixing if left out.

    Returns:
        (T, S), rows that add up to less than 1: the rest comes from the target.
    """
    cross = np.asarray(cross, np.float64)
    source = np.eye(cross.shape[-1]) if encoder is None else rollout(encoder)
    found = np.zeros(cross.shape[-2:])
    own = [None] * len(cross) if decoder is None else np.asarray(decoder, np.float64).mean(axis=1)
    for layer, to_itself in zip(cross.mean(axis=1), own, strict=True):
        if to_itself is not None:
            found = _with_residual(to_itself) @ found
        found = (found + layer @ source) / 2
    return found


def _with_residual(layer: np.ndarray) -> np.ndarray:
    mixed = layer + np.eye(len(layer))
    return mixed / mixed.sum(axis=-1, keepdims=True)


def _mean(values: np.ndarray, axis: int) -> np.ndarray:
    """The mean; 0 over nothing."""
    return np.sum(values, axis=axis) / max(values.shape[axis], 1)
