"""Weights in fewer bits, and the block of bytes in which they travel."""

import json

import numpy as np
import pytest

from attention_zoo.zoo.presets.weights import pack_weights, quantize, unpack_weights
from attention_zoo.zoo.tensor_files import read_tensors, write_tensors


def test_quantized_values_are_off_by_half_a_step_at_most():
    values = np.random.default_rng(1).normal(size=(40, 30)).astype(np.float32)
    values[:, 3] *= 50.0  # a factor for the whole array would leave nothing of the other columns
    values[7] = 0.0
    numbers, factors = quantize(values)
    assert numbers.dtype == np.int8 and numbers.shape == values.shape
    assert factors.shape == (1, 30)
    assert np.abs(numbers * factors - values).max() <= factors.max() / 2 * 1.001
    assert (np.abs(numbers * factors - values) <= factors / 2 * 1.001).all()
    turned, by_row = quantize(np.ascontiguousarray(values.T))
    assert by_row.shape == (30, 1)
    np.testing.assert_array_equal(turned, numbers.T)


@pytest.mark.parametrize(("kind", "bits"), [("float32", 32), ("float16", 16), ("int8", 8)])
def test_weights_come_back_in_their_order(kind, bits):
    random = np.random.default_rng(2)
    shapes = [(8, 300), (300,), (4, 5), (20, 10, 16), ()]
    weights = [random.normal(size=shape).astype(np.float32) for shape in shapes]
    named = [("kernel", weights[0]), *(("bias", values) for values in weights[1:])]
    packed = pack_weights(named, kind)
    found = unpack_weights(packed)
    assert [values.shape for values in found] == shapes
    assert {values.dtype for values in found} == {np.dtype(np.float32)}
    for given, back in zip(weights, found, strict=True):
        large = given.size >= 1024 and given.ndim > 1
        steps = {"float32": 0, "float16": 2.0**-10, "int8": 1 / 127}[kind] if large else 0
        assert np.abs(given - back).max() <= steps * np.abs(given).max()
    large = sum(values.size for values in (weights[0], weights[3]))
    assert len(packed) < large * bits / 8 + 4000


def test_a_value_beyond_float16_is_the_largest_it_has():
    values = np.full((32, 32), 1e6, np.float32)
    (found,) = unpack_weights(pack_weights([("w", values)], "float16"))
    assert (found == np.finfo(np.float16).max).all()


def test_the_layout_is_that_of_safetensors():
    """Read here by its description: a length, a JSON header, values in little-endian order."""
    array = np.arange(6, dtype=np.int8).reshape(2, 3)
    data = write_tensors({"a": array, "b": np.float32([1.5])})
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    assert header["a"] == {"dtype": "I8", "shape": [2, 3], "data_offsets": [0, 6]}
    assert header["b"] == {"dtype": "F32", "shape": [1], "data_offsets": [6, 10]}
    assert data[8 + length :] == bytes(range(6)) + bytes.fromhex("0000c03f")


def header_of(**changes):
    entry = {"dtype": "I8", "shape": [2], "data_offsets": [0, 2]} | changes
    text = json.dumps({"a": entry}).encode()
    return len(text).to_bytes(8, "little") + text + b"ab"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"abc",
        (2**60).to_bytes(8, "little") + b"{}",
        (2).to_bytes(8, "little") + b"[]",
        header_of(dtype="object"),
        header_of(shape=[-2]),
        header_of(shape=["2"]),
        header_of(shape=[3]),
        header_of(shape=[2**62, 2**62]),
        header_of(data_offsets=[1, 3]),
        header_of(data_offsets=[0, 2, 4]),
        header_of() + b"more",
        (6000).to_bytes(8, "little") + b"[" * 6000,
    ],
)
def test_what_is_no_tensor_file_is_refused(data):
    assert read_tensors(header_of())["a"].tolist() == [97, 98]
    with pytest.raises(ValueError, match="Expected tensors as of safetensors"):
        read_tensors(data)
