"""Masks that do not fit are refused by name, in every layer and for every argument."""

import re

import keras
import numpy as np
import pytest
from keras import ops
from numeric import array

from attention_zoo.layers import (
    BahdanauAttention,
    CoverageAttention,
    LuongAttention,
    Memory,
    MultiHopAttention,
    PointerGenerator,
    QKVAttention,
    SelfAttention,
    combine_masks,
)

QUERY = np.ones((2, 3, 6), "float32")
VALUE = np.ones((2, 4, 6), "float32")  # as many keys as heads
LAYERS = {
    "bahdanau": lambda: BahdanauAttention(4),
    "luong": lambda: LuongAttention("general"),
    "qkv": lambda: QKVAttention(4, 2),
    "coverage": lambda: CoverageAttention(4),
    "multi-hop": lambda: MultiHopAttention(4, hops=4),
}
WRONG = [
    ("query_mask", (2, 4), r"\(2, 3\)"),
    ("query_mask", (2, 3, 1), r"\(2, 3\)"),
    ("value_mask", (2, 3), r"\(2, 4\)"),
    ("value_mask", (2, 4, 1), r"\(2, 4\)"),
    ("key_mask", (3, 4), r"\(2, 4\)"),
    ("attention_mask", (4,), r"\(3, 4\) or \(2, 3, 4\)"),
    ("attention_mask", (4, 3), r"\(3, 4\) or \(2, 3, 4\)"),
    ("attention_mask", (2, 4, 4), r"\(3, 4\) or \(2, 3, 4\)"),
    ("attention_mask", (2, 5, 3, 4), r"\(3, 4\) or \(2, 3, 4\)"),
]


@pytest.fixture(params=LAYERS)
def layer(request):
    return LAYERS[request.param]()


@pytest.mark.parametrize(("name", "shape", "expected"), WRONG)
def test_shapes(layer, name, shape, expected):
    for inputs, mask in (
        ((QUERY, VALUE), np.ones(shape, bool)),
        (
            (keras.Input((3, 6), batch_size=2), keras.Input((4, 6), batch_size=2)),
            keras.Input(shape[1:], batch_size=shape[0], dtype="bool"),
        ),
    ):
        received = re.escape(f"Received: {name}.shape={shape}")
        with pytest.raises(ValueError, match=f"{name} must have the shape {expected}.*{received}"):
            layer(*inputs, **{name: mask})


@pytest.mark.parametrize("name", ["query_mask", "value_mask", "key_mask", "attention_mask"])
def test_floats(layer, name):
    length = 3 if name == "query_mask" else 4
    shape = (3, 4) if name == "attention_mask" else (2, length)
    with pytest.raises(ValueError, match=f"{name} must be boolean.*`mask == 0`"):
        layer(QUERY, VALUE, **{name: np.zeros(shape, "float32")})


def test_whole_numbers_and_dimensions_of_one_are_taken(layer):
    expected = layer(QUERY, VALUE, value_mask=np.array([[True, True, False, True]] * 2))
    for mask in ([[1, 1, 0, 1]], [[1, 1, 0, 1], [1, 1, 0, 1]]):
        actual = layer(QUERY, VALUE, value_mask=np.array(mask))
        np.testing.assert_array_equal(array(actual), array(expected))
    layer(QUERY, VALUE, attention_mask=np.ones((2, 1, 1), bool))


def test_project_and_attend(layer):
    layer.build(QUERY.shape, VALUE.shape)
    with pytest.raises(ValueError, match=r"mask must have the shape \(2, 4\).*\(2, 4, 1\)"):
        layer.project(VALUE, mask=np.ones((2, 4, 1), bool))
    memory = layer.project(VALUE)
    with pytest.raises(ValueError, match=r"attention_mask must have the shape.*\(2, 4, 3\)"):
        layer.attend(QUERY, memory, attention_mask=np.ones((2, 4, 3), bool))
    with pytest.raises(ValueError, match="attention_mask must be boolean"):
        layer.attend(QUERY, memory, attention_mask=np.ones((2, 3, 4), "float16"))


def test_self_attention():
    layer = SelfAttention(2, 3, causal=True)
    for name in ("mask", "inputs_mask"):
        with pytest.raises(ValueError, match=rf"{name} must have the shape \(2, 3\)"):
            layer(QUERY, **{name: np.ones((2, 3, 1), bool)})
    with pytest.raises(ValueError, match=r"\(3, 3\) or \(2, 3, 3\) or \(2, 2, 3, 3\)"):
        layer(QUERY, attention_mask=np.ones((2, 3), bool))
    with pytest.raises(ValueError, match=r"mask must have the shape \(2, 1\)"):
        layer.step(QUERY[:, :1], layer.initial_cache(2), mask=np.ones((2, 3), bool))


def test_pointer_generator():
    inputs = [np.ones(shape, "float32") for shape in ((2, 3, 9), (2, 3, 4), (2, 3, 5))]
    logits, attention, features = inputs
    source = np.ones((2, 4), "int32")
    with pytest.raises(ValueError, match=r"copyable must have the shape \(2, 4\)"):
        PointerGenerator()(logits, attention, source, features, copyable=np.ones((2, 3), bool))
    for wrong in (source[:1], np.ones((2, 5), "int32")):
        with pytest.raises(ValueError, match=r"source\.shape=.*attention\.shape=\(2, 3, 4\)"):
            PointerGenerator()(logits, attention, wrong, features)


def test_combine_masks():
    for name, shape in (("query_mask", (2, 3)), ("memory_mask", (2, 4)), ("causal", (1, 3, 4))):
        with pytest.raises(ValueError, match=f"{name} must be boolean"):
            combine_masks(**{name: ops.ones(shape)})


def test_symbolic_inputs_outside_of_a_call(layer):
    layer.build(QUERY.shape, VALUE.shape)
    memory = layer.project(VALUE)
    with pytest.raises(ValueError, match="`call` of a layer of your own"):
        layer.project(keras.Input((4, 6)))
    with pytest.raises(ValueError, match="`call` of a layer of your own"):
        layer.attend(keras.Input((3, 6)), memory)
    symbolic = [keras.Input(batch_shape=part.shape) for part in memory[:2]]
    with pytest.raises(ValueError, match="symbolic memory"):
        layer.attend(QUERY, Memory(*symbolic))
    with pytest.raises(ValueError, match="symbolic features"):
        PointerGenerator().gate(keras.Input((3, 5)))


def test_what_goes_with_a_memory():
    layer = CoverageAttention(4, location_window=1)
    layer.build(QUERY.shape, VALUE.shape)
    memory, right = layer.project(VALUE), np.zeros((1, 3, 4), "float32")
    for coverage, last, name in (
        (right[:, :, :3], right, "coverage"),
        (right, right[0], "last"),
    ):
        with pytest.raises(ValueError, match=rf"{name} must have the shape \(2, 3, 4\)"):
            layer.attend(QUERY, memory, coverage=coverage, last=last)
    layer.attend(QUERY, memory, coverage=right, last=right)
    layer = MultiHopAttention(4)
    layer.build(QUERY.shape, VALUE.shape)
    for shape in ((2, 5), (2, 1, 6), (6,)):
        with pytest.raises(ValueError, match=r"question of shape \(batch, 6\)"):
            layer.project(VALUE, question=np.zeros(shape, "float32"))
    with pytest.raises(ValueError, match="symbolic question"):
        layer.project(VALUE, question=keras.Input((6,)))
