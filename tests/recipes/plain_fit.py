"""A model that is not the zoo's, and what its `fit` takes: for tests of single callbacks."""

import keras
import numpy as np
import tensorflow as tf

STEPS = 8  # of an epoch
X = np.random.default_rng(0).normal(size=(4 * STEPS, 3)).astype("float32")
Y = X.sum(axis=1, keepdims=True)


def make_model(optimizer="adam", **options):
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Dense(4), keras.layers.Dropout(0.5), keras.layers.Dense(1)]
    model = keras.Sequential([keras.Input((3,)), *layers])
    model.compile(optimizer, loss="mse", **options)
    return model


def dataset(x=X, y=Y):
    return tf.data.Dataset.from_tensor_slices((x, y)).batch(4)


def at_step(number, act):
    """A callback that acts in the middle of a step."""
    return keras.callbacks.LambdaCallback(
        on_train_batch_begin=lambda batch, logs: act() if batch == number - 1 else None
    )
