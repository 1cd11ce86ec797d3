"""Rotary, ALiBi and relative positions and the sliding window, compared with their formulas."""

import keras
import numpy as np
import pytest
from keras import ops
from numeric import DTYPE, array, check_gradients, random_weights, softmax

from attention_zoo.layers import (
    AlibiPositions,
    QKVAttention,
    RelativePositions,
    RotaryPositions,
    SelfAttention,
)
from attention_zoo.layers.testing import check_attention

RANDOM = np.random.default_rng(0)
INPUTS = RANDOM.normal(size=(2, 7, 6)).astype("float32")
KINDS = {
    "rotary": RotaryPositions,
    "alibi": AlibiPositions,
    "relative": lambda: RelativePositions(8, 5),
}


@pytest.fixture(params=KINDS)
def positions(request):
    return KINDS[request.param]()


def test_rotary_positions_multiply_complex_numbers():
    heads = RANDOM.normal(size=(2, 3, 4, 10)).astype("float32")
    places = np.array([0, 1, 5, 40])
    positions = RotaryPositions(max_wavelength=100)
    positions.build(heads.shape)
    turned = array(positions.rotate(ops.convert_to_tensor(heads), ops.convert_to_tensor(places)))
    points = heads[..., :5] + 1j * heads[..., 5:]
    for place, index in np.ndindex(4, 5):
        expected = points[:, :, place, index] * np.exp(1j * places[place] / 100 ** (index / 5))
        actual = turned[:, :, place, index] + 1j * turned[:, :, place, index + 5]
        np.testing.assert_allclose(actual, expected, atol=1e-5)


def test_rotary_scores_depend_on_distances_alone():
    layer = QKVAttention(2, 4, positions=RotaryPositions())
    layer.build(INPUTS.shape, INPUTS.shape)
    random_weights(layer)
    query = ops.convert_to_tensor(RANDOM.normal(size=(1, 2, 1, 4)).astype("float32"))
    key = ops.convert_to_tensor(RANDOM.normal(size=(1, 2, 1, 4)).astype("float32"))

    def score(query_place, key_place):
        turned = [
            layer.positions.rotate(tensor, ops.convert_to_tensor([place]))
            for tensor, place in ((query, query_place), (key, key_place))
        ]
        return array(layer.score(*turned))

    np.testing.assert_allclose(score(9, 4), score(105, 100), atol=1e-4)
    assert abs(score(9, 4) - score(9, 5)).max() > 1e-3


def test_far_places_are_told_apart_in_half_precision():
    positions = RotaryPositions()
    positions.build((1, 1, 2, 8))
    heads = ops.ones((1, 1, 2, 8), dtype="float16")
    places = ops.convert_to_tensor([2048, 2049])  # the same number in float16
    actual = positions.rotate(heads, places)
    expected = positions.rotate(ops.cast(heads, "float32"), places)
    assert ops.dtype(actual) == "float16"
    np.testing.assert_allclose(array(actual), array(expected), atol=2e-3)


@pytest.mark.parametrize(
    ("heads", "powers"),
    [(8, [1, 2, 3, 4, 5, 6, 7, 8]), (4, [2, 4, 6, 8]), (6, [2, 4, 6, 8, 1, 3]), (1, [8])],
)
def test_alibi_slopes(heads, powers):
    positions = AlibiPositions()
    positions.build((None, heads, None, 3))
    bias = array(positions.bias(ops.convert_to_tensor([5, 6]), ops.convert_to_tensor([5, 7, 2])))
    for head, power in enumerate(powers):
        expected = [[0, -2, -3], [-1, -1, -4]]
        np.testing.assert_allclose(bias[head], np.array(expected) / 2**power)


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize(("count", "furthest"), [(32, 128), (8, 20), (4, 3)])
def test_buckets_of_relative_positions(bidirectional, count, furthest):
    positions = RelativePositions(count, furthest, bidirectional=bidirectional)
    places = np.arange(150)
    buckets = array(positions.buckets(ops.convert_to_tensor([75]), ops.convert_to_tensor(places)))
    one_way = count // 2 if bidirectional else count
    exact = one_way // 2
    for place, bucket in zip(places, buckets[0], strict=True):
        distance = 75 - place
        expected = 0
        if bidirectional:
            expected = one_way if distance < 0 else 0
            distance = abs(distance)
        distance = max(distance, 0)
        if distance < exact:
            expected += distance
        else:  # the number of bounds, in a geometric sequence, which the distance has reached
            shared = one_way - exact
            bounds = [exact * (furthest / exact) ** (k / shared) for k in range(1, shared)]
            expected += exact + sum(distance >= bound - 1e-6 for bound in bounds)
        assert bucket == expected, (place, distance)


def test_all_distances_have_the_bucket_of_their_head():
    layer = SelfAttention(3, 4, positions=RelativePositions(8, 5))
    layer.build(INPUTS.shape)
    weights = random_weights(layer)
    places = ops.convert_to_tensor(np.arange(7))
    bias = array(layer.positions.bias(places, places))
    buckets = array(layer.positions.buckets(places, places))
    assert len(np.unique(buckets)) == 7  # the eighth would be a distance of 5 at once
    for head, t, s in np.ndindex(3, 7, 7):
        assert bias[head, t, s] == pytest.approx(weights["table"][buckets[t, s], head])


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("window", [1, 3, 100])
def test_a_bias_and_a_window_come_before_the_softmax(causal, window):
    layer = SelfAttention(
        2, 4, causal=causal, sliding_window=window, positions=AlibiPositions(), use_bias=False
    )
    layer.build(INPUTS.shape)
    weights = random_weights(layer)
    query, key, _ = np.split(INPUTS @ weights["qkv_kernel"], 3, axis=-1)
    _, actual = layer(INPUTS, return_attention_scores=True)
    for b, head in np.ndindex(2, 2):
        part = slice(4 * head, 4 * head + 4)
        scores, mask = np.zeros((7, 7)), np.zeros((7, 7), bool)
        for t, s in np.ndindex(7, 7):
            scores[t, s] = query[b, t, part] @ key[b, s, part] / 2
            scores[t, s] -= abs(t - s) * [2**-4, 2**-8][head]
            mask[t, s] = abs(t - s) < window and not (causal and s > t)
        np.testing.assert_allclose(array(actual)[b, head], softmax(scores, mask), atol=1e-5)


def test_a_window_is_that_of_keras():
    peer = keras.layers.MultiHeadAttention(2, 3, sliding_window=3)
    peer.build(INPUTS.shape, INPUTS.shape)
    layer = QKVAttention(2, 3, sliding_window=3)
    layer.build(INPUTS.shape, INPUTS.shape)
    pairs = zip(peer.get_weights(), layer.weights, strict=True)
    layer.set_weights([value.reshape(weight.shape) for value, weight in pairs])
    expected = peer(INPUTS, INPUTS, use_causal_mask=True, return_attention_scores=True)
    actual = layer(INPUTS, INPUTS, use_causal_mask=True, return_attention_scores=True)
    for one, other in zip(actual, expected, strict=True):
        np.testing.assert_allclose(array(one), array(other), atol=1e-5)


def test_the_checks_pass_with_positions(positions):
    layer = SelfAttention(4, 4, num_kv_heads=2, causal=True, positions=positions, sliding_window=3)
    assert "step by step" in check_attention(layer)


def test_queries_say_where_they_are(positions):
    layer = QKVAttention(2, 4, positions=positions, sliding_window=4)
    layer.build(INPUTS.shape, INPUTS.shape)
    random_weights(layer)
    memory = layer.project(INPUTS)
    _, expected = layer.attend(INPUTS, memory)
    for place in range(7):
        _, weights = layer.attend(
            INPUTS[:, place : place + 1], memory, query_positions=ops.convert_to_tensor([place])
        )
        np.testing.assert_allclose(array(weights)[:, :, 0], array(expected)[:, :, place], atol=1e-6)


def test_gradients_are_finite_differences(positions):
    positions = type(positions).from_config({**positions.get_config(), "dtype": DTYPE})
    check_gradients(SelfAttention(4, 4, num_kv_heads=2, causal=True, positions=positions), INPUTS)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RotaryPositions(0), "Received: max_wavelength=0"),
        (lambda: SelfAttention(2, 3, positions=RotaryPositions()).build((1, 2, 6)), "key_dim=3"),
        (lambda: RelativePositions(7), "Received: num_buckets=7"),
        (lambda: RelativePositions(2), "num_buckets=2, max_distance=128, bidirectional=True"),
        (lambda: RelativePositions(32, 8), "beyond the 8 distances.*max_distance=8"),
        (lambda: QKVAttention(2, 3, sliding_window=0), "Received: sliding_window=0"),
        (lambda: QKVAttention(2, 3, chunk_size=-1), "Received: chunk_size=-1"),
        (lambda: QKVAttention(2, 3, chunk_size=4, dropout=0.1), "chunk_size=4, dropout=0.1"),
    ],
)
def test_impossible_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_positions_that_are_built_for_a_layer_are_of_it_alone(positions):
    first, second = (SelfAttention(2, 4, positions=positions) for _ in range(2))
    first.build(INPUTS.shape)
    if isinstance(positions, RotaryPositions):
        second.build(INPUTS.shape)
        return
    with pytest.raises(ValueError, match=f"belongs to {first.name} already"):
        second.build(INPUTS.shape)
