"""Time of a training step of `rnn-bahdanau` beside the same model written plainly in Keras.

    python benchmarks/training_step.py

Both have the sizes of Bahdanau et al. scaled down (embedding 256, encoder 256 a direction, decoder
512, attention 256, vocabulary 10,000), get the same batch of 64 pairs of 24 tokens, and take turns,
so that a change of the machine's speed meets both. Printed: the median of each, and their ratio.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_CPU_ALLOCATOR_USE_BFC", "1")

import keras
import numpy as np
import tensorflow as tf

from attention_zoo.recipes.optimizers import FusedAdam
from attention_zoo.zoo.losses import SmoothedCrossEntropy
from attention_zoo.zoo.recurrent import RecurrentSeq2Seq

VOCABULARY, ROWS, LENGTH = 10_000, 64, 24
EMBEDDING, ENCODER, DECODER, ATTENTION = 256, 256, 512, 256


class PlainCell(keras.layers.Layer):
    """A GRU cell that attends with its state; the memory is set before the loop."""

    def __init__(self):
        super().__init__()
        self.gru = keras.layers.GRUCell(DECODER)
        self.query = keras.layers.Dense(ATTENTION, use_bias=False)
        self.scale = keras.layers.Dense(1, use_bias=False)
        self.state_size = DECODER
        self.output_size = DECODER + 2 * ENCODER
        self.memory = self.keys = None

    def build(self, input_shape):
        self.gru.build((None, EMBEDDING + 2 * ENCODER))
        self.query.build((None, DECODER))
        self.scale.build((None, ATTENTION))

    def call(self, inputs, states, training=False):
        compared = keras.ops.tanh(self.query(states[0])[:, None] + self.keys)
        weights = keras.ops.softmax(self.scale(compared)[..., 0])
        context = keras.ops.matmul(weights[:, None], self.memory)[:, 0]
        state, _ = self.gru(keras.ops.concatenate([inputs, context], -1), [states[0]])
        return keras.ops.concatenate([state, context], -1), [state]


class PlainModel(keras.Model):
    """What one writes with the layers of Keras alone."""

    def __init__(self):
        super().__init__()
        layers = keras.layers
        self.source_embedding = layers.Embedding(VOCABULARY, EMBEDDING)
        self.target_embedding = layers.Embedding(VOCABULARY, EMBEDDING)
        self.encoder = layers.Bidirectional(
            layers.GRU(ENCODER, return_sequences=True, return_state=True)
        )
        self.bridge = layers.Dense(DECODER, "tanh")
        self.key = layers.Dense(ATTENTION, use_bias=False)
        self.cell = PlainCell()
        self.decoder = layers.RNN(self.cell, return_sequences=True)
        self.readout = layers.Dense(DECODER, "tanh")
        self.vocabulary = layers.Dense(VOCABULARY)

    def call(self, inputs):
        memory, forward, backward = self.encoder(self.source_embedding(inputs["source"]))
        self.cell.memory, self.cell.keys = memory, self.key(memory)
        start = self.bridge(keras.ops.concatenate([forward, backward], -1))
        states = self.decoder(self.target_embedding(inputs["target"]), initial_state=[start])
        return self.vocabulary(self.readout(states))


def plain_model() -> keras.Model:
    model = PlainModel()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-4), loss=loss, jit_compile=False)
    return model


def zoo_model() -> keras.Model:
    model = RecurrentSeq2Seq(
        VOCABULARY, "bahdanau", EMBEDDING, ENCODER, DECODER, ATTENTION,
        readout_units=DECODER, tie_embeddings=False, dropout=0.0,
    )  # fmt: skip
    model.build_from_ids()
    model.compile(FusedAdam(1e-4), loss=SmoothedCrossEntropy(0.0), jit_compile=False)
    return model


def stepper(model: keras.Model) -> Callable[[], float]:
    """A function that makes one step of `fit` and returns its seconds."""
    random = np.random.default_rng(0)
    source, target, labels = random.integers(4, VOCABULARY, (3, ROWS, LENGTH)).astype("int32")
    batch = ({"source": source, "target": target}, labels)
    iterator = iter(tf.data.Dataset.from_tensors(batch).repeat())
    if not model.built:
        model(batch[0])
    model.make_train_function()

    def step() -> float:
        start = time.perf_counter()
        float(model.train_function(iterator)["loss"])
        return time.perf_counter() - start

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, default=15, help="timed steps of each")
    steps = parser.parse_args().steps
    steppers = {"attention-zoo": stepper(zoo_model()), "plain Keras": stepper(plain_model())}
    for name, step in steppers.items():
        print(f"{name:<14} first step {step():6.2f} s", flush=True)
        step()
    times: dict[str, list[float]] = {name: [] for name in steppers}
    for _ in range(steps):
        for name, step in steppers.items():
            times[name].append(step())
    medians = {name: statistics.median(values) for name, values in times.items()}
    for name, median in medians.items():
        print(f"{name:<14} {1e3 * median:7.0f} ms a step, {ROWS * LENGTH / median:7,.0f} tokens/s")
    print(f"ratio          {medians['attention-zoo'] / medians['plain Keras']:7.2f}")


if __name__ == "__main__":
    main()
