"""A model whose signatures have every shape and type that the wire must carry."""

from __future__ import annotations

from pathlib import Path

import keras
import tensorflow as tf


def _function(function, **inputs):
    specs = [tf.TensorSpec(shape, dtype, name=name) for name, (shape, dtype) in inputs.items()]
    return tf.function(function, input_signature=specs)


def _half_plus(offset):
    return _function(lambda x: {"y": x / 2.0 + offset}, x=(None, tf.float32))


def _slow(x):
    # Long enough that a request can be caught under way; still quick to give up.
    steps = tf.cast(tf.reduce_max(x), tf.int32)
    last = tf.while_loop(
        lambda step, _: step < steps,
        lambda step, total: (step + 1, total + tf.reduce_sum(tf.sort(tf.random.uniform([20000])))),
        [0, 0.0],
    )[1]
    return {"y": x + 0.0 * last}


def _refuse(x):
    with tf.control_dependencies([tf.debugging.assert_less(x, 100.0, message="x is too large")]):
        return {"y": tf.identity(x)}


def signatures(offset: float) -> dict[str, tf.types.experimental.GenericFunction]:
    """The signatures of a version; `offset` tells versions apart."""
    return {
        "serving_default": _half_plus(offset),
        "add": _function(
            lambda a, b: {"sum": a + b, "difference": a - b},
            a=([None], tf.int32),
            b=([None], tf.int32),
        ),
        "echo": _function(lambda text: {"text": tf.identity(text)}, text=(None, tf.string)),
        "image": _function(
            lambda image_bytes: {
                "image_bytes": tf.identity(image_bytes),
                "size": tf.strings.length(image_bytes),
            },
            image_bytes=([None], tf.string),
        ),
        "only_bytes": _function(
            lambda x: {"copy_bytes": tf.strings.as_string(x)}, x=([None], tf.int64)
        ),
        "kinds": _function(
            lambda flag, long, double, byte: {
                "flag": tf.logical_not(flag),
                "long": -long,
                "double": double / 3.0,
                "byte": byte + tf.constant(1, tf.uint8),
            },
            flag=([None], tf.bool),
            long=([None], tf.int64),
            double=([None], tf.float64),
            byte=([None], tf.uint8),
        ),
        "half": _function(lambda x: {"y": tf.cast(x, tf.float16)}, x=([None], tf.float32)),
        "takes_half": _function(lambda x: {"y": tf.cast(x, tf.float32)}, x=([None], tf.float16)),
        "scalar": _function(lambda x: {"y": tf.reduce_sum(x)}, x=([None], tf.float32)),
        "uneven": _function(
            lambda x: {"all": tf.identity(x), "one": x[:1]}, x=([None], tf.float32)
        ),
        "refuse": _function(_refuse, x=([None], tf.float32)),
        "slow": _function(_slow, x=([None], tf.float32)),
    }


def write(path: Path, offset: float = 2.0) -> None:
    """Writes one version to `path`."""
    archive = keras.export.ExportArchive()
    for name, function in signatures(offset).items():
        function.get_concrete_function()
        archive.add_endpoint(name, function)
    archive.write_out(str(path), verbose=False)
