"""SavedModels that load in Python and are wrong in one way each."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from attention_zoo.serving.export.warmup import write_warmup

TEXT = tf.TensorSpec([None], tf.string, name="text")


def _lengths(text):
    return tf.cast(tf.strings.length(text), tf.float32)


def _archive(path: Path, function, input_signature=(TEXT,)) -> None:
    archive = keras.export.ExportArchive()
    function = tf.function(function, input_signature=list(input_signature))
    function.get_concrete_function()
    archive.add_endpoint("serving_default", function)
    archive.write_out(str(path), verbose=False)


def _python_call(text):
    score = tf.py_function(lambda x: tf.cast(tf.strings.length(x), tf.float32), [text], tf.float32)
    return {"score": tf.reshape(score, [-1])}


def _compiled(text):
    double = tf.function(lambda x: x * 2.0, jit_compile=True)
    return {"score": double(_lengths(text))}


def _endless_for_one(text):
    # A loop for which the length of the batch is one too short.
    halves = tf.reshape(_lengths(text)[: 2 * (tf.shape(text)[0] // 2)], [-1, 2])
    with tf.control_dependencies([tf.debugging.assert_greater(tf.size(halves), 0)]):
        return {"score": _lengths(text)}


def _untracked_keras_variable(path: Path) -> None:
    class Module(tf.Module):
        pass

    model = keras.Sequential([keras.layers.Input((1,)), keras.layers.Dense(1)])
    module = Module()
    module.model = model
    module.serve = tf.function(
        lambda text: {"score": model(_lengths(text)[:, None])[:, 0]}, input_signature=[TEXT]
    )
    module.serve.get_concrete_function()
    tf.saved_model.save(module, str(path), signatures={"serving_default": module.serve})


def _truncated(path: Path) -> None:
    _archive(path, lambda text: {"score": _lengths(text)})
    file = path / "saved_model.pb"
    file.write_bytes(file.read_bytes()[:-200])


def doubled_weights(path: Path) -> keras.Model:
    """Writes a model by `track(model)` and returns it."""
    model = keras.Sequential([keras.layers.Input((1,)), keras.layers.Dense(8192)])
    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint(
        "serving_default",
        tf.function(lambda text: {"score": model(_lengths(text)[:, None])}, input_signature=[TEXT]),
        input_signature=[TEXT],
    )
    archive.write_out(str(path), verbose=False)
    return model


FUNCTIONS = {
    "sound": lambda text: {"score": _lengths(text)},
    "scalar": lambda text: {"score": tf.reduce_mean(_lengths(text))},
    "half": lambda text: {"score": tf.cast(_lengths(text), tf.float16)},
    "ragged": lambda text: {"pieces": tf.strings.split(text)},
    "flattened": lambda text: {"score": tf.repeat(_lengths(text), 2)},
    "infinite": lambda text: {"score": tf.math.log(_lengths(text))},
    "neighbours": lambda text: {"score": _lengths(text) - tf.reduce_mean(_lengths(text))},
    "needs-two": _endless_for_one,
    "python-call": _python_call,
    "compiled": _compiled,
}


def write_all(directory: Path) -> dict[str, Path]:
    """One folder for each kind of fault, and one without."""
    paths = {name: directory / name for name in FUNCTIONS}
    for name, function in FUNCTIONS.items():
        _archive(paths[name], function)
    frozen = [tf.TensorSpec([2], tf.string, name="text")]
    paths["frozen"] = directory / "frozen"
    _archive(paths["frozen"], FUNCTIONS["sound"], frozen)
    paths["lost-variable"] = directory / "lost-variable"
    _untracked_keras_variable(paths["lost-variable"])
    paths["truncated"] = directory / "truncated"
    _truncated(paths["truncated"])
    paths["cold"] = directory / "cold"
    _archive(paths["cold"], FUNCTIONS["sound"])
    write_warmup(
        paths["cold"], "cold", {"serving_default": {"words": np.dtype(object)}}, ["a", "b"]
    )
    paths["missing"] = directory / "missing"
    return paths


def random_values(shape, seed=1):
    """Float32 values for comparisons."""
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)
