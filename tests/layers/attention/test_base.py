"""What all attention layers share: the base, its errors, dropout, precision, saving."""

import os
import subprocess
import sys
import warnings

import keras
import numpy as np
import pytest
from keras import ops
from numeric import array, random_weights, softmax

from attention_zoo.layers import (
    Attention,
    BahdanauAttention,
    LuongAttention,
    QKVAttention,
    SelfAttention,
)

RANDOM = np.random.default_rng(0)
QUERY = RANDOM.normal(size=(2, 3, 6)).astype("float32")
VALUE = RANDOM.normal(size=(2, 5, 6)).astype("float32")

MAKERS = {
    "bahdanau": lambda **options: BahdanauAttention(4, **options),
    "luong-dot": lambda **options: LuongAttention("dot", **options),
    "luong-general": lambda **options: LuongAttention(**options),
    "luong-concat": lambda **options: LuongAttention("concat", units=4, **options),
    "qkv": lambda **options: QKVAttention(2, 3, **options),
}


@pytest.fixture(params=MAKERS)
def make(request):
    return MAKERS[request.param]


class DistanceAttention(Attention):
    def score(self, query, keys):
        return -ops.sum(ops.square(query[:, :, None] - keys[:, None]), axis=-1)


def test_a_kind_of_attention_is_a_score_function():
    mask = np.array([[1, 1, 1, 0, 0], [0, 1, 0, 1, 1]], bool)
    context, weights = DistanceAttention()(
        QUERY, VALUE, value_mask=mask, return_attention_scores=True
    )
    scores = -((QUERY[:, :, None] - VALUE[:, None]) ** 2).sum(axis=-1)
    expected = softmax(scores, mask[:, None])
    np.testing.assert_allclose(array(weights), expected, atol=1e-6)
    np.testing.assert_allclose(array(context), expected @ VALUE, atol=1e-5)


def test_keys_of_their_own(make):
    layer = make()
    key = RANDOM.normal(size=(2, 5, 6)).astype("float32")
    value = RANDOM.normal(size=(2, 5, 7)).astype("float32")
    _, weights = layer(QUERY, value, key, return_attention_scores=True)
    _, others = layer(QUERY, value + 1, key, return_attention_scores=True)
    np.testing.assert_array_equal(array(weights), array(others))
    _, others = layer(QUERY, value, key[:, ::-1], return_attention_scores=True)
    np.testing.assert_allclose(array(weights), array(others)[..., ::-1], atol=1e-6)


def test_a_masked_query_attends_to_nothing(make):
    mask = np.array([[True, True, False], [True, False, False]])
    _, weights = make()(QUERY, VALUE, query_mask=mask, return_attention_scores=True)
    sums = array(weights).sum(axis=-1)
    expected = mask if sums.ndim == 2 else np.broadcast_to(mask[:, None], sums.shape)
    np.testing.assert_allclose(sums, expected, atol=1e-6)


def test_beams_are_queries_on_the_same_memory(make):
    layer = make()
    layer(QUERY, VALUE)
    memory = layer.project(VALUE, mask=np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]], bool))
    context, weights = layer.attend(QUERY, memory)
    for beam in range(3):
        one = slice(beam, beam + 1)
        alone, alone_weights = layer.attend(QUERY[:, one], memory)
        np.testing.assert_allclose(array(alone), array(context)[:, one], atol=1e-6)
        np.testing.assert_allclose(array(alone_weights), array(weights)[..., one, :], atol=1e-6)


def test_dropout_drops_weights_and_scales_the_rest():
    layer = BahdanauAttention(4, dropout=0.5, seed=3)
    identity = np.broadcast_to(np.eye(20, dtype="float32"), (2, 20, 20))  # context = weights
    context, weights = layer(QUERY, identity, return_attention_scores=True, training=True)
    context, weights = array(context), array(weights)
    kept = context != 0
    assert 0.2 < kept.mean() < 0.8
    np.testing.assert_allclose(context[kept], 2 * weights[kept], rtol=1e-5)
    np.testing.assert_allclose(weights.sum(axis=-1), 1, atol=1e-6)
    inference = layer(QUERY, identity)
    np.testing.assert_allclose(array(inference), weights, atol=1e-6)


def test_attend_takes_training_from_the_layer_around_it():
    class Decoder(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self.attention = QKVAttention(2, 3, dropout=0.999, use_bias=False)

        def build(self, shape):
            self.attention.build(shape, shape)

        def call(self, inputs, training=None):
            return self.attention.attend(inputs, self.attention.project(inputs))[0]

    decoder = Decoder()
    assert abs(array(decoder(QUERY))).max() > 1e-4
    assert (array(decoder(QUERY, training=True)) == 0).mean() > 0.5


@pytest.mark.parametrize("dtype", ["float16", "mixed_bfloat16"])
def test_types_inside_and_outside_of_call(make, dtype):
    layer = make(dtype=dtype)
    context, weights = layer(QUERY, VALUE, return_attention_scores=True)
    attended = layer.attend(QUERY, layer.project(VALUE))
    for result in ((context, weights), attended):
        assert ops.dtype(result[0]) == layer.compute_dtype
        assert ops.dtype(result[1]) == "float32"


def test_unscaled_products_do_not_overflow_in_half_precision():
    query, value = 300 * QUERY, 300 * VALUE  # products beyond 65504
    for make in (MAKERS["luong-dot"], MAKERS["luong-general"]):
        expected = make()(query, value, return_attention_scores=True)
        half = make(dtype="float16")
        half(query, value)
        if half.weights:
            half.set_weights([np.eye(6)])
            full = make()
            full.build(query.shape, value.shape)
            full.set_weights([np.eye(6)])
            expected = full(query, value, return_attention_scores=True)
        actual = half(query, value, return_attention_scores=True)
        np.testing.assert_allclose(array(actual[1]), array(expected[1]), atol=0.02)
        assert np.isfinite(array(ops.cast(actual[0], "float32"))).all()


def test_functional_model_with_masks_of_embeddings_trains(make):
    source, target = (keras.Input((None,), dtype="int32") for _ in range(2))
    embedding = keras.layers.Embedding(9, 6, mask_zero=True)
    context, weights = make()(embedding(target), embedding(source), return_attention_scores=True)
    model = keras.Model([source, target], [keras.layers.Dense(9)(context), weights])
    ids = np.array([[1, 2, 3, 0, 0], [4, 5, 6, 7, 8]])
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # none about masks that get lost
        _, weights = model([ids, ids[:, :4]])
    weights = array(weights)
    assert (weights[0, ..., 3:] == 0).all()
    assert (weights[0, ..., 3, :] == 0).all()
    assert (weights[1] > 0).all()
    training = keras.Model([source, target], model.outputs[0])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    training.compile(keras.optimizers.Adam(0.05), loss)
    losses = training.fit([ids, ids[:, :4]], ids[:, :4], epochs=12, verbose=0).history["loss"]
    assert losses[-1] < 0.75 * losses[0]


def test_the_mask_of_the_query_goes_on_to_the_next_layer():
    ids = np.array([[1, 2, 0]])
    inputs = keras.Input((None,), dtype="int32")
    embedded = keras.layers.Embedding(9, 6, mask_zero=True)(inputs)
    for layer in (QKVAttention(2, 3), SelfAttention(2, 3)):
        outputs = layer(embedded) if isinstance(layer, SelfAttention) else layer(embedded, embedded)
        pooled = keras.layers.GlobalAveragePooling1D()(outputs)
        plain, result = keras.Model(inputs, [outputs, pooled])(ids)
        np.testing.assert_allclose(array(result), array(plain)[:, :2].mean(axis=1), atol=1e-6)


FRESH_PROCESS = """
import sys
import keras, numpy as np
model = keras.saving.load_model("model.keras")
data = dict(np.load("data.npz"))
outputs = model([data["query"], data["value"]])
for index, output in enumerate(outputs):
    difference = np.abs(keras.ops.convert_to_numpy(output) - data[f"output{index}"]).max()
    assert difference < 1e-5, (index, difference)
assert ("tensorflow" in sys.modules) == (keras.backend.backend() == "tensorflow")
print("loaded", len(outputs))
"""


def test_a_model_of_all_layers_loads_in_a_fresh_process(tmp_path):
    query, value = keras.Input((None, 6)), keras.Input((None, 6))
    outputs = [make(dropout=0.1)(query, value) for make in MAKERS.values()]
    outputs.append(SelfAttention(4, 3, num_kv_heads=2, value_dim=5, causal=True)(query))
    model = keras.Model([query, value], outputs)
    model.save(tmp_path / "model.keras")
    expected = {f"output{i}": array(output) for i, output in enumerate(model([QUERY, VALUE]))}
    np.savez(tmp_path / "data.npz", query=QUERY, value=VALUE, **expected)
    environment = {**os.environ, "KERAS_BACKEND": keras.backend.backend()}
    run = subprocess.run(
        [sys.executable, "-c", "import attention_zoo.layers" + FRESH_PROCESS],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.stdout.strip() == "loaded 6", run.stderr


def test_nothing_is_kept_from_a_call(make):
    layer = make()
    first = array(layer(QUERY, VALUE))
    layer(2 * QUERY, 3 * VALUE, value_mask=np.array([[1, 0, 0, 0, 0]] * 2, bool))
    np.testing.assert_array_equal(array(layer(QUERY, VALUE)), first)


def test_every_weight_is_initialised_apart():
    layer = SelfAttention(2, 3)
    layer.build((None, None, 6))
    query, key, value = np.split(array(layer.qkv_kernel), 3, axis=1)
    assert not np.allclose(query, key)
    assert not np.allclose(key, value)
    # Glorot's limit for each projection apart, not for the three as one.
    assert abs(array(layer.qkv_kernel)).max() > np.sqrt(6 / (6 + 18))


@pytest.mark.parametrize("dropout", [-0.1, 1, 1.5, True])
def test_impossible_dropout(make, dropout):
    with pytest.raises(ValueError, match=f"dropout.* Received: dropout={dropout}"):
        make(dropout=dropout)


def test_shapes_that_cannot_be_attended_to(make):
    with pytest.raises(ValueError, match=r"query of shape \(batch, length, width\).*\(2, 6\)"):
        make()(QUERY[:, 0], VALUE)
    with pytest.raises(ValueError, match="value of shape"):
        make()(QUERY, VALUE[None])
    with pytest.raises(ValueError, match=r"as many keys as values.*\(2, 5, 6\).*\(2, 4, 6\)"):
        make()(QUERY, VALUE, VALUE[:, :4])
    layer = make()
    with pytest.raises(ValueError, match="no weights yet"):
        layer.project(VALUE)
    layer(QUERY, VALUE)
    with pytest.raises(ValueError, match=r"single step.*query.shape=\(2, 6\)"):
        layer.attend(QUERY[:, 0], layer.project(VALUE))


def test_configuration_keeps_everything():
    layer = QKVAttention(
        4, 3, 2, 2, 0.1, False, 7, kernel_initializer="he_normal", seed=5, name="a", dtype="float64"
    )
    config = layer.get_config()
    again = QKVAttention.from_config(config)
    assert again.get_config() == config
    again.build((1, 2, 6), (1, 2, 6))
    assert again.output_kernel.shape == (8, 7)
    assert again.query_bias is None
    assert again.compute_dtype == "float64"
    random_weights(again)


@pytest.mark.parametrize("shape", [(2, 3, 0), (2, 0, 3), (2, 0, 0), (0, 3, 4)], ids=str)
def test_what_is_empty_has_its_shape(make, shape):
    """As with Keras's own: rows without queries, queries without keys, batches without rows."""
    batch, queries, keys = shape
    layer = make()
    layer.build(QUERY.shape, VALUE.shape)
    query, value = np.ones((batch, queries, 6), "float32"), np.ones((batch, keys, 6), "float32")
    outputs, weights = layer(query, value, return_attention_scores=True)
    assert array(outputs).shape == (batch, queries, 6)
    assert array(weights).shape[-2:] == (queries, keys)
    if keys == 0 and not isinstance(layer, QKVAttention):  # that one has a bias
        assert not array(outputs).any()
