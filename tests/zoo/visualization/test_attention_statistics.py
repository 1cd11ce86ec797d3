"""The statistics against their formulas, written as loops over single weights."""

import math

import numpy as np
import pytest

from attention_zoo.zoo.visualization.attention_statistics import (
    column_share,
    coverage,
    cross_rollout,
    diagonality,
    entropy,
    rollout,
)


def random_maps(*shape, seed=0, causal=False):
    scores = np.random.default_rng(seed).normal(0, 2, shape)
    if causal:
        scores = np.where(np.tri(shape[-1], dtype=bool), scores, -np.inf)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return (weights / weights.sum(-1, keepdims=True)).astype(np.float32)


def each(weights, function):
    """A function of one map (T, S) for each of the maps before it."""
    maps = np.asarray(weights, np.float64).reshape(-1, *weights.shape[-2:])
    return np.reshape([function(one) for one in maps], weights.shape[:-2])


def loop_entropy(weights):
    rows = [-sum(w * math.log(w) for w in row if w > 0) for row in weights]
    return sum(rows) / len(rows)


def loop_coverage(weights):
    columns = [min(1.0, sum(row[s] for row in weights)) for s in range(len(weights[0]))]
    return sum(columns) / len(columns)


def drawn_correlation(weights):
    """Pearson's, of pairs of places drawn as often as their weights say."""
    times = np.round(np.asarray(weights) * 1000).astype(int)
    pairs = [(t, s) for t, row in enumerate(times) for s, n in enumerate(row) for _ in range(n)]
    return np.corrcoef(np.transpose(pairs))[0, 1]


@pytest.mark.parametrize("shape", [(3, 2, 5, 7), (2, 1, 1, 4), (1, 1, 6, 1), (4, 4)])
def test_formulas(shape):
    weights = random_maps(*shape)
    np.testing.assert_allclose(entropy(weights), each(weights, loop_entropy), atol=1e-12)
    np.testing.assert_allclose(coverage(weights), each(weights, loop_coverage), atol=1e-12)
    columns = np.arange(shape[-1]) % 3 == 0
    expected = each(weights, lambda m: sum(m[:, columns].sum(1)) / len(m))
    np.testing.assert_allclose(column_share(weights, columns), expected, atol=1e-12)
    if min(shape[-2:]) > 1:
        expected = each(weights, drawn_correlation)
        np.testing.assert_allclose(diagonality(weights), expected, atol=5e-3)
    else:
        assert not diagonality(weights).any()


def test_maps_whose_statistics_are_known():
    diagonal, even = np.eye(5), np.full((5, 5), 0.2)
    first = np.zeros((5, 5))
    first[:, 0] = 1
    maps = np.stack([diagonal, diagonal[::-1], even, first, np.zeros((5, 5))])
    np.testing.assert_allclose(entropy(maps), [0, 0, math.log(5), 0, 0], atol=1e-12)
    np.testing.assert_allclose(coverage(maps), [1, 1, 1, 0.2, 0])
    np.testing.assert_allclose(diagonality(maps), [1, -1, 0, 0, 0], atol=1e-12)
    end = np.arange(5) == 4
    np.testing.assert_allclose(column_share(maps, end), [0.2, 0.2, 0.2, 0, 0])
    # Long maps along the diagonal are as diagonal as short ones.
    assert diagonality(np.repeat(np.eye(300), 2, axis=0)) == pytest.approx(1, abs=1e-4)


def test_rollout_follows_every_path():
    """Each path from an output through the layers to an input, with the product of its shares."""
    weights = random_maps(3, 2, 4, 4, seed=1)
    mixes = [0.5 * layer.mean(0) + 0.5 * np.eye(4) for layer in weights.astype(np.float64)]
    expected = np.zeros((4, 4))
    for path in np.ndindex(4, 4, 4, 4):
        out, second, first, source = path
        expected[out, source] += (
            mixes[2][out, second] * mixes[1][second, first] * mixes[0][first, source]
        )
    np.testing.assert_allclose(rollout(weights), expected, rtol=1e-6)


def test_rollout_through_a_decoder_is_that_of_one_sequence():
    """Source and target as one sequence, with a layer for every sublayer, give the same."""
    encoder, cross = random_maps(2, 2, 3, 3), random_maps(2, 2, 4, 3, seed=1)
    decoder = random_maps(2, 2, 4, 4, seed=2, causal=True)
    state = np.eye(7)  # 3 places of the source, then 4 of the target
    for layer in encoder.mean(1):
        step = np.eye(7)
        step[:3, :3] = (layer + np.eye(3)) / 2
        state = step @ state
    for over_target, over_source in zip(decoder.mean(1), cross.mean(1), strict=True):
        step = np.eye(7)
        step[3:, 3:] = (over_target + np.eye(4)) / 2
        state = step @ state
        step = np.eye(7)
        step[3:, 3:] = np.eye(4) / 2
        step[3:, :3] = over_source / 2
        state = step @ state
    np.testing.assert_allclose(state.sum(1), 1)
    np.testing.assert_allclose(cross_rollout(cross, encoder, decoder), state[3:, :3], rtol=1e-6)
    alone = cross_rollout(cross[:1])
    np.testing.assert_allclose(alone, cross[0].mean(0) / 2, rtol=1e-6)
