"""Mask functions, compared with NumPy."""

import warnings

import numpy as np
import pytest
from keras import ops
from numeric import array, softmax

from attention_zoo.layers import causal_mask, combine_masks, masked_softmax
from attention_zoo.layers.ops.masks import merge_memory_masks

RANDOM = np.random.default_rng(0)


@pytest.mark.parametrize(("rows", "columns", "offset"), [(4, None, 0), (3, 5, 0), (2, 6, 3)])
def test_causal_mask_is_a_lower_triangle(rows, columns, offset):
    expected = np.tril(np.ones((rows, columns or rows), bool), k=offset)
    np.testing.assert_array_equal(array(causal_mask(rows, columns, offset)), expected[None])


def test_causal_mask_takes_a_tensor_as_offset():
    mask = causal_mask(2, 5, offset=ops.convert_to_tensor(np.int64(1)))
    np.testing.assert_array_equal(array(mask)[0], np.tril(np.ones((2, 5), bool), k=1))


def test_masks_are_combined_by_and():
    query, memory = RANDOM.random((2, 3)) > 0.3, RANDOM.random((2, 4)) > 0.3
    attention, causal = RANDOM.random((2, 3, 4)) > 0.3, np.tril(np.ones((1, 3, 4), bool))
    combined = array(combine_masks(query, memory, attention, causal))
    for b, t, s in np.ndindex(2, 3, 4):
        expected = query[b, t] and memory[b, s] and attention[b, t, s] and causal[0, t, s]
        assert combined[b, t, s] == expected


def test_a_mask_for_all_rows_and_a_mask_with_heads():
    memory, flat = RANDOM.random((2, 4)) > 0.3, RANDOM.random((3, 4)) > 0.3
    combined = array(combine_masks(memory_mask=memory, attention_mask=flat))
    np.testing.assert_array_equal(combined, memory[:, None] & flat)
    heads = RANDOM.random((2, 5, 3, 4)) > 0.3
    combined = array(combine_masks(memory_mask=memory, attention_mask=heads))
    np.testing.assert_array_equal(combined, memory[:, None, None] & heads)


def test_no_mask_is_none():
    assert combine_masks() is None
    assert merge_memory_masks() is None


def test_zeros_and_ones_are_masks():
    combined = combine_masks(memory_mask=np.array([[1, 0, 1]]))
    assert ops.is_tensor(combined)
    np.testing.assert_array_equal(array(combined), [[[True, False, True]]])


def test_padding_of_key_or_value_is_padding():
    key, value = RANDOM.random((2, 4)) > 0.5, RANDOM.random((2, 4)) > 0.5
    np.testing.assert_array_equal(array(merge_memory_masks(value, key)), key & value)
    np.testing.assert_array_equal(array(merge_memory_masks(value)), value)
    np.testing.assert_array_equal(array(merge_memory_masks(key_mask=key)), key)


@pytest.mark.parametrize("heads", [(), (2,)])
def test_masked_softmax(heads):
    scores = RANDOM.normal(size=(3, *heads, 4, 5)).astype("float32") * 5
    mask = RANDOM.random((3, 4, 5)) > 0.4
    mask[1, 2] = False
    weights = array(masked_softmax(ops.convert_to_tensor(scores), ops.convert_to_tensor(mask)))
    expected = softmax(scores, mask[:, None] if heads else mask)
    np.testing.assert_allclose(weights, expected, atol=1e-6)
    assert (weights[~np.broadcast_to(mask[:, None] if heads else mask, weights.shape)] == 0).all()


def test_softmax_is_computed_in_float32():
    # 2049 is no number in float16, so that a difference of 1 would be lost there.
    scores = ops.convert_to_tensor(np.array([[[-60000.0, 60000.0, 60000.0]]], "float16"))
    weights = masked_softmax(scores)
    assert ops.dtype(weights) == "float32"
    np.testing.assert_allclose(array(weights), [[[0, 0.5, 0.5]]])


def test_what_is_masked_stays_out_however_low_the_scores_are():
    scores = ops.convert_to_tensor(np.array([[[-1e30, -1e30, 5.0]]], "float32"))
    weights = masked_softmax(scores, ops.convert_to_tensor([[[True, True, False]]]))
    np.testing.assert_allclose(array(weights), [[[0.5, 0.5, 0]]])


def test_one_key_has_all_the_weight_without_a_warning():
    scores = ops.convert_to_tensor(np.array([[[-3.0], [5.0]]], "float32"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        weights = masked_softmax(scores, ops.convert_to_tensor([[[True], [False]]]))
    np.testing.assert_array_equal(array(weights), [[[1], [0]]])


def test_a_mask_with_heads_is_refused_by_scores_without():
    scores, mask = np.zeros((2, 3, 4), "float32"), np.ones((2, 1, 3, 4), bool)
    with pytest.raises(ValueError, match=r"mask.shape=\(2, 1, 3, 4\), scores.shape=\(2, 3, 4\)"):
        masked_softmax(ops.convert_to_tensor(scores), ops.convert_to_tensor(mask))


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (np.zeros((2, 3, 4), "float32"), "must be boolean"),
        (np.ones((3, 4), bool), r"combine_masks.*mask.shape=\(3, 4\)"),
        (np.ones((4,), bool), r"mask.shape=\(4,\)"),
    ],
)
def test_a_softmax_takes_no_mask_of_floats_or_of_another_rank(mask, words):
    with pytest.raises(ValueError, match=words):
        masked_softmax(ops.zeros((2, 3, 4)), mask)
