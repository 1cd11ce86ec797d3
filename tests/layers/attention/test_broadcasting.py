"""One query for every row of the values, and one memory for every row of the queries."""

import keras
import numpy as np
import pytest
from keras import ops
from numeric import array, gradients_of, random_weights

from attention_zoo.layers import (
    AlibiPositions,
    BahdanauAttention,
    CoverageAttention,
    LuongAttention,
    MultiHopAttention,
    QKVAttention,
)
from attention_zoo.layers.attention import additive
from attention_zoo.layers.ops.broadcasting import sum_to_batch

RANDOM = np.random.default_rng(0)
BATCH = 3
QUERIES = RANDOM.normal(size=(BATCH, 4, 6)).astype("float32")
VALUES = RANDOM.normal(size=(BATCH, 5, 6)).astype("float32")
MASK = np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1], [0, 1, 0, 1, 1]], bool)

MAKERS = {
    "bahdanau": lambda: BahdanauAttention(4),
    "luong-dot": lambda: LuongAttention("dot"),
    "luong-general": lambda: LuongAttention(),
    "luong-concat": lambda: LuongAttention("concat", units=4),
    "qkv": lambda: QKVAttention(2, 3),
    "grouped heads": lambda: QKVAttention(4, 3, num_kv_heads=2),
    "chunked": lambda: QKVAttention(2, 3, chunk_size=2),
    "grouped heads in chunks": lambda: QKVAttention(
        4, 3, num_kv_heads=2, chunk_size=3, positions=AlibiPositions()
    ),
    "multi-hop": lambda: MultiHopAttention(4, hops=2),
    "coverage": lambda: CoverageAttention(4),
    "location": lambda: CoverageAttention(4, location_window=1),
}


@pytest.fixture(params=MAKERS)
def layer(request):
    layer = MAKERS[request.param]()
    layer.build(QUERIES.shape, VALUES.shape)
    random_weights(layer)
    return layer


@pytest.fixture(params=["one query", "one memory"])
def inputs(request):
    """Queries and values, of which one has a batch of 1."""
    if request.param == "one query":
        return QUERIES[:1], VALUES
    return QUERIES, VALUES[:1]


def repeated(tensor):
    """A batch of 1 written out."""
    return ops.broadcast_to(tensor, (BATCH, *tensor.shape[1:]))


def require_equal(layer, inputs, mask):
    """Values and gradients are those of inputs that are written out, so that none is broadcast."""

    def loss(outputs):
        return ops.sum(ops.square(outputs + ops.cos(ops.cast(ops.arange(6), outputs.dtype))))

    weights = [array(weight) for weight in layer.trainable_weights]

    def function(call):
        def of(*tensors):
            own, given = tensors[: len(weights)], tensors[len(weights) :]
            with keras.StatelessScope(list(zip(layer.trainable_weights, own, strict=True))):
                return loss(call(*given))

        return of

    points = [*weights, *inputs]

    def call(*given):
        return layer(*given, value_mask=mask)

    def call_repeated(*given):
        return layer(*(repeated(tensor) for tensor in given), value_mask=mask)

    np.testing.assert_allclose(array(call(*inputs)), array(call_repeated(*inputs)), atol=1e-5)
    broadcast = gradients_of(function(call), points)
    written_out = gradients_of(function(call_repeated), points)
    for one, other, point in zip(broadcast, written_out, points, strict=True):
        assert one.shape == point.shape
        np.testing.assert_allclose(one, other, atol=2e-5 * max(1, abs(other).max()))


def test_a_batch_of_one_goes_with_every_row(layer, inputs):
    require_equal(layer, inputs, ops.convert_to_tensor(MASK))


@pytest.mark.parametrize("parts", [2, 8])
def test_additive_scores_in_parts(parts, inputs, monkeypatch):
    monkeypatch.setattr(additive, "_parts", lambda query, keys: parts)
    layer = BahdanauAttention(4)
    layer.build(QUERIES.shape, VALUES.shape)
    random_weights(layer)
    require_equal(layer, inputs, ops.convert_to_tensor(MASK))


def test_a_mask_of_every_row_beside_one_query_and_one_memory(layer):
    require_equal(layer, (QUERIES[:1], VALUES[:1]), ops.convert_to_tensor(MASK))


def test_symbolic_shapes_are_those_of_the_result(layer):
    for query_batch, value_batch in ((1, BATCH), (BATCH, 1)):
        query = keras.Input((4, 6), batch_size=query_batch)
        value = keras.Input((5, 6), batch_size=value_batch)
        output, weights = layer(query, value, return_attention_scores=True)
        assert output.shape[0] == weights.shape[0] == BATCH


def test_a_learned_query_is_trained():
    class Pool(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self.attention = BahdanauAttention(4)

        def build(self, shape):
            self.context = self.add_weight((1, 1, shape[-1]), name="context")
            self.attention.build((1, 1, shape[-1]), shape)

        def call(self, x):
            return self.attention(ops.convert_to_tensor(self.context), x)[:, 0]

    pool = Pool()
    model = keras.Sequential([keras.Input((None, 6)), pool, keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    before = array(pool.context)
    model.fit(VALUES, np.ones((BATCH, 1)), verbose=0)
    assert (array(pool.context) != before).all()


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="sizes are known elsewhere")
def test_batches_that_are_known_only_in_the_graph(layer):
    import tensorflow as tf

    def gradients(*tensors):
        with tf.GradientTape() as tape:
            tape.watch(tensors)
            loss = tf.reduce_sum(tf.square(layer(*tensors)))
        return tape.gradient(loss, tensors)

    in_a_graph = tf.function(gradients, [tf.TensorSpec((None, None, 6))] * 2)
    for queries, values in ((1, 3), (3, 1), (3, 3), (1, 1), (0, 0), (1, 0)):
        arrays = tf.constant(QUERIES[:queries]), tf.constant(VALUES[:values])
        for one, other in zip(in_a_graph(*arrays), gradients(*arrays), strict=True):
            assert one.shape == other.shape
            np.testing.assert_allclose(one, other, atol=1e-4)


def test_gradients_are_summed_over_copies_alone():
    gradient = ops.convert_to_tensor(np.arange(6.0).reshape(3, 2))
    summed = sum_to_batch(gradient, ops.ones((1, 2)))
    np.testing.assert_array_equal(array(summed), [[6, 9]])
    np.testing.assert_array_equal(array(sum_to_batch(gradient, ops.ones((3, 2)))), array(gradient))
