"""Dropout: the share, the scale, the seed, and Keras's own layer where that does the work."""

import keras
import numpy as np
import pytest
from keras import ops

from attention_zoo.layers.ops.dropout import LEVELS, Dropout, random_bytes


def dropped(layer, x):
    return ops.convert_to_numpy(layer(x, training=True))


@pytest.mark.parametrize("rate", [0.0005, 0.001, 0.1, 0.3, 0.5, 0.9, 0.999])
def test_share_and_scale(rate):
    y = dropped(Dropout(rate, seed=1), np.ones((64, 33, 31), "float32"))
    wanted = rate
    if keras.backend.backend() == "tensorflow":
        nearest = round(rate * LEVELS) / LEVELS
        wanted = rate if nearest in (0, 1) else nearest
    deviation = np.sqrt(wanted * (1 - wanted) / y.size)
    assert abs((y == 0).mean() - wanted) < 5 * deviation
    np.testing.assert_allclose(y[y > 0], 1 / (1 - wanted), rtol=1e-6)


def test_all_off_without_training_and_with_rate_zero():
    x = np.ones((3, 5), "float32")
    np.testing.assert_array_equal(ops.convert_to_numpy(Dropout(0.5)(x)), x)
    np.testing.assert_array_equal(dropped(Dropout(0.0), x), x)


def test_a_rate_of_one_leaves_nothing():
    assert not dropped(Dropout(1.0), np.ones((40, 50), "float32")).any()


def test_seed_and_steps():
    x = np.ones((7, 9, 5), "float32")
    one, other = Dropout(0.5, seed=3), Dropout(0.5, seed=3)
    first, second = dropped(one, x), dropped(one, x)
    np.testing.assert_array_equal(first, dropped(other, x))
    assert (first != second).any()
    assert (first != dropped(Dropout(0.5, seed=4), x)).any()


def test_places_are_independent():
    """Neighbours, which come from one word, agree as often as strangers do."""
    kept = dropped(Dropout(0.5, seed=5), np.ones((256, 1024), "float32")) > 0
    for distance in (1, 2, 3, 4, 5, 1024):
        flat = kept.ravel()
        assert (flat[distance:] == flat[:-distance]).mean() == pytest.approx(0.5, abs=0.005)
    assert abs(kept.mean(axis=0) - 0.5).max() < 0.17  # 5 deviations of 256 throws


def test_noise_shape_as_in_keras():
    x = np.ones((4, 6, 8), "float32")
    y = dropped(Dropout(0.5, noise_shape=(None, 1, None), seed=2), x)
    np.testing.assert_array_equal(y, np.repeat(y[:, :1], 6, axis=1))
    np.testing.assert_array_equal(
        y, dropped(keras.layers.Dropout(0.5, noise_shape=(None, 1, None), seed=2), x)
    )


def test_saved_and_made_again():
    layer = keras.saving.deserialize_keras_object(
        keras.saving.serialize_keras_object(Dropout(0.25, seed=7, name="some"))
    )
    assert type(layer) is Dropout
    assert layer.get_config() == Dropout(0.25, seed=7, name="some").get_config()


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="bytes are TensorFlow's way")
class TestBytes:
    def test_every_byte_is_as_frequent(self):
        found = ops.convert_to_numpy(random_bytes((1000, 1031), keras.random.SeedGenerator(1)))
        counts = np.bincount(found.ravel(), minlength=LEVELS)
        expected = found.size / LEVELS
        chi_square = ((counts - expected) ** 2 / expected).sum()
        assert chi_square < 255 + 5 * np.sqrt(2 * 255)

    def test_unknown_sizes_and_xla(self):
        import tensorflow as tf

        layer = Dropout(0.5, seed=1)

        @tf.function(input_signature=[tf.TensorSpec((None, None, 3))])
        def plain(x):
            return layer(x, training=True)

        x = tf.ones((5, 7, 3))
        assert plain(x).shape == x.shape
        compiled = tf.function(lambda x: layer(x, training=True), jit_compile=True)
        assert set(np.unique(compiled(x).numpy())) == {0.0, 2.0}

    def test_the_gradient_goes_through_what_is_kept(self):
        import tensorflow as tf

        x = tf.random.normal((8, 9))
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = Dropout(0.25, seed=1)(x, training=True)
        kept = tf.not_equal(y, 0)
        np.testing.assert_allclose(tape.gradient(y, x), tf.where(kept, 256 / 192, 0.0), rtol=1e-6)

    def test_half_precision(self):
        y = dropped(Dropout(0.5, seed=1, dtype="mixed_bfloat16"), np.ones((4, 8), "float32"))
        assert y.dtype.name == "bfloat16"
