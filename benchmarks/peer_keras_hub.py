"""keras-hub: its Transformer for text to text, `BartSeq2SeqLM`, with its own samplers.

python benchmarks/peer_keras_hub.py train decode T B
"""

from __future__ import annotations

import argparse
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import keras
import keras_hub
import numpy as np
import tensorflow as tf
from sizes import (
    LABEL_SMOOTHING,
    SIZES,
    STEPS,
    measure_decoding,
    measure_training,
    padded,
    training_batch,
)

NAME = f"keras-hub {keras_hub.__version__}"
LONGEST = 36  # it traces anew for every length, so all sources are padded to one


def smoothed(labels, logits):
    """Cross entropy with label smoothing, without one-hot labels."""
    log_p = keras.ops.log_softmax(logits)
    chosen = keras.ops.take_along_axis(log_p, keras.ops.cast(labels, "int32")[..., None], -1)
    return -(1 - LABEL_SMOOTHING) * chosen[..., 0] - LABEL_SMOOTHING * keras.ops.mean(log_p, -1)


def make(size: str) -> keras.Model:
    chosen = SIZES[size]
    backbone = keras_hub.models.BartBackbone(
        vocabulary_size=chosen.vocabulary,
        num_layers=chosen.layers,
        num_heads=chosen.heads,
        hidden_dim=chosen.width,
        intermediate_dim=chosen.feedforward,
        dropout=chosen.dropout,
        max_sequence_length=64,
    )
    return keras_hub.models.BartSeq2SeqLM(backbone=backbone, preprocessor=None)


def inputs(source, target, written) -> dict[str, np.ndarray]:
    return {
        "encoder_token_ids": source,
        "encoder_padding_mask": (source != 0).astype("int32"),
        "decoder_token_ids": target,
        "decoder_padding_mask": written,
    }


def train(size: str, xla: bool) -> None:
    model = make(size)
    source, target, labels = training_batch(size)
    batch = inputs(source, target, np.ones_like(target))
    model.compile(
        optimizer=keras.optimizers.Adam(1e-4), loss=smoothed, jit_compile=xla, weighted_metrics=None
    )
    iterator = iter(tf.data.Dataset.from_tensors((batch, labels)).repeat())
    model.make_train_function()

    def step():
        return float(model.train_function(iterator)["loss"])

    measure_training(NAME + " XLA" * xla, size, step)


def decode(size: str, batches: list[int]) -> None:
    model = make(size)
    samplers = keras_hub.samplers
    for beams in (1, SIZES[size].beams):
        sampler = samplers.GreedySampler() if beams == 1 else samplers.BeamSampler(num_beams=beams)
        model.compile(sampler=sampler, jit_compile=False)
        generate = model.make_generate_function()

        def write(rows, generate=generate):
            target = np.zeros((len(rows), STEPS + 1), "int32")
            target[:, 0] = 1
            batch = inputs(padded(rows, LONGEST), target, (target != 0).astype("int32"))
            np.asarray(generate(batch, None)["decoder_token_ids"])

        for batch in batches:
            measure_decoding(NAME, size, write, batch, beams, repeats=2, most_seconds=15)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("what", nargs="+", help="train, decode, T, B")
    parser.add_argument("--xla", action="store_true")
    parser.add_argument("--batch", type=int, nargs="*", default=[1, 64])
    chosen = parser.parse_args()
    for size in [size for size in ("T", "B") if size in chosen.what]:
        if "train" in chosen.what:
            train(size, chosen.xla)
        if "decode" in chosen.what:
            decode(size, chosen.batch)


if __name__ == "__main__":
    main()
