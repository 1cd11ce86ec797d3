"""Embeddings are rows of the table, larger by a power of their width, whoever reads them."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tiny_models import tiny_model

from attention_zoo.zoo.models.embedding import ScaledEmbedding
from attention_zoo.zoo.models.recurrent import recurrent

IDS = np.array([[3, 0, 8], [8, 8, 1]], np.int32)


def test_rows_of_the_table_times_the_root_of_their_width():
    layer = ScaledEmbedding(9, 16)
    found = layer(tf.constant(IDS))
    np.testing.assert_allclose(found, layer.embeddings.numpy()[IDS] * 4.0, rtol=1e-6)


@pytest.mark.parametrize(("power", "variance"), [(0.5, 1.0), (0.25, 1 / 8), (0.0, 1 / 64)])
def test_the_variance_at_the_start(power, variance):
    vectors = ScaledEmbedding(2000, 64, power)(tf.range(2000)).numpy()
    assert np.mean(vectors**2) == pytest.approx(variance, rel=0.02)


def test_half_precision_is_that_of_the_layer():
    layer = ScaledEmbedding(9, 16, dtype="mixed_bfloat16")
    assert layer(tf.constant(IDS)).dtype == tf.bfloat16
    assert layer.embeddings.dtype == "float32"


def test_a_saved_layer_is_the_same_layer(tmp_path):
    layer = ScaledEmbedding(9, 16, 0.3, name="e", mask_zero=True)
    model = keras.Sequential([keras.Input((3,), dtype="int32"), layer])
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert (again.layers[0].name, again.layers[0].mask_zero) == ("e", True)
    np.testing.assert_array_equal(again(IDS), model(IDS))


@pytest.mark.parametrize("kind", ["bahdanau", "transformer"])
def test_models_read_source_and_target_with_it(kind):
    model = tiny_model(kind, source_vocab_size=12, dropout=0.0)
    for embedding in (model.source_embedding, model.target_embedding):
        assert isinstance(embedding, ScaledEmbedding)
        before = model({"source": IDS, "target": IDS}).numpy()
        embedding.embeddings.assign(embedding.embeddings * 1.5)
        after = model({"source": IDS, "target": IDS}).numpy()
        assert np.abs(before - after).max() > 1e-3


def test_recurrent_models_have_a_power_of_their_own():
    options = {"embedding_dim": 16, "encoder_units": 3, "source_vocab_size": 20}
    model = recurrent(20, embedding_scale_power=0.75, **options)
    assert (model.target_embedding.power, model.source_embedding.power) == (0.75, 0.75)
    assert type(model).from_config(model.get_config()).target_embedding.power == 0.75
    assert recurrent(20, **options).target_embedding.power == 0.25


def test_a_gru_sees_its_inputs(monkeypatch):
    """At the size of the table it does not learn for thousands of steps that they differ."""
    model = recurrent(2000, embedding_dim=256, encoder_units=5)
    model.build()
    seen = []
    layer = model.encoder.layers[0]
    encode = layer.call
    monkeypatch.setattr(
        layer, "call", lambda x, *rest: (seen.append(np.std(x)), encode(x, *rest))[1]
    )
    model.encode(tf.random.uniform((8, 20), 4, 2000, tf.int32, seed=1))
    assert seen[0] == pytest.approx(0.25, abs=0.02)
