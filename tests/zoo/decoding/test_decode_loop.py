"""Nests of tensors that pass through a loop as few tensors."""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from attention_zoo.zoo.decoding.decode_loop import pack, unpack


class Layer(NamedTuple):
    kernel: tf.Tensor
    bias: tf.Tensor
    switch: bool


def test_what_is_packed_is_unpacked_as_it_was():
    random = np.random.default_rng(0)

    def tensor(*shape, dtype="float32"):
        return tf.constant(random.normal(size=shape).astype(dtype))

    nest = {
        "layers": tuple(Layer(tensor(16, 32), tensor(32), i == 1) for i in range(3)),
        "other": [tensor(32, dtype="float64"), tensor(7), tensor(7), ()],
        "large": [tensor(1024, 128), tensor(1024, 128)],
    }
    packed = pack(nest)
    shapes = sorted(tuple(x.shape) for x in packed.tensors if tf.is_tensor(x))
    # What is large, or would be copied to be taken apart, stays by itself.
    alone = [(7,), (7,), (32,), (1024, 128), (1024, 128)]
    assert shapes == sorted([(3, 16, 32), (3, 32), *alone])
    found = unpack(packed)
    tf.nest.assert_same_structure(nest, found)
    for before, after in zip(tf.nest.flatten(nest), tf.nest.flatten(found), strict=True):
        np.testing.assert_array_equal(before, after)
    assert [layer.switch for layer in found["layers"]] == [False, True, False]
    assert pack(packed) is packed


def test_tensors_of_unknown_size_stay_by_themselves():
    @tf.function(input_signature=[tf.TensorSpec((None, 16))] * 2)
    def packed(first, second):
        assert len(pack((first, second)).tensors) == 2
        return unpack(pack((first, second)))

    sizes = [x.shape[0] for x in packed(tf.ones((1, 16)), tf.ones((2, 16)))]
    assert sizes == [1, 2]
