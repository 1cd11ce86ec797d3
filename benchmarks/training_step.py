"""Time of a training step as `Model.fit` makes it: loss, gradients and optimizer.

    python benchmarks/training_step.py           T, B and R, see sizes.py
    python benchmarks/training_step.py R         beside the same model written plainly in Keras
    python benchmarks/training_step.py T --xla
    python benchmarks/training_step.py T --precision mixed_bfloat16

In R the zoo's model and the plain one take turns, so that a change of the machine's speed meets
both. `first` is the first step, tracing included.
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
import tensorflow as tf
from sizes import LABEL_SMOOTHING, SIZES, Recurrent, Transformer, report, training_batch

from attention_zoo.recipes.training.precision import computing_in
from attention_zoo.zoo.models import EncoderDecoder
from attention_zoo.zoo.models.recurrent import recurrent
from attention_zoo.zoo.models.transformer import transformer
from attention_zoo.zoo.training.loss import SmoothedCrossEntropy
from attention_zoo.zoo.training.optimizers import FusedAdam


class PlainCell(keras.layers.Layer):
    """A GRU cell that attends with its state; the memory is set before the loop."""

    def __init__(self, size: Recurrent):
        super().__init__()
        self.size = size
        self.gru = keras.layers.GRUCell(size.decoder)
        self.query = keras.layers.Dense(size.attention, use_bias=False)
        self.scale = keras.layers.Dense(1, use_bias=False)
        self.state_size = size.decoder
        self.output_size = size.decoder + 2 * size.encoder
        self.memory = self.keys = None

    def build(self, input_shape):
        self.gru.build((None, self.size.embedding + 2 * self.size.encoder))
        self.query.build((None, self.size.decoder))
        self.scale.build((None, self.size.attention))

    def call(self, inputs, states, training=False):
        compared = keras.ops.tanh(self.query(states[0])[:, None] + self.keys)
        weights = keras.ops.softmax(self.scale(compared)[..., 0])
        context = keras.ops.matmul(weights[:, None], self.memory)[:, 0]
        state, _ = self.gru(keras.ops.concatenate([inputs, context], -1), [states[0]])
        return keras.ops.concatenate([state, context], -1), [state]


class PlainModel(keras.Model):
    """What one writes with the layers of Keras alone."""

    def __init__(self, size: Recurrent):
        super().__init__()
        layers = keras.layers
        self.source_embedding = layers.Embedding(size.vocabulary, size.embedding)
        self.target_embedding = layers.Embedding(size.vocabulary, size.embedding)
        self.encoder = layers.Bidirectional(
            layers.GRU(size.encoder, return_sequences=True, return_state=True)
        )
        self.bridge = layers.Dense(size.decoder, "tanh")
        self.key = layers.Dense(size.attention, use_bias=False)
        self.cell = PlainCell(size)
        self.decoder = layers.RNN(self.cell, return_sequences=True)
        self.readout = layers.Dense(size.decoder, "tanh")
        self.vocabulary = layers.Dense(size.vocabulary)

    def call(self, inputs):
        memory, forward, backward = self.encoder(self.source_embedding(inputs["source"]))
        self.cell.memory, self.cell.keys = memory, self.key(memory)
        start = self.bridge(keras.ops.concatenate([forward, backward], -1))
        states = self.decoder(self.target_embedding(inputs["target"]), initial_state=[start])
        return self.vocabulary(self.readout(states))


def plain_model(size: Recurrent) -> keras.Model:
    model = PlainModel(size)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-4), loss=loss, jit_compile=False)
    return model


def zoo_model(name: str) -> EncoderDecoder:
    """The model of a size, with its weights."""
    size = SIZES[name]
    if isinstance(size, Transformer):
        model = transformer(
            size.vocabulary, size.width, size.layers, size.layers, size.heads, size.feedforward,
            dropout=size.dropout,
        )  # fmt: skip
    else:
        model = recurrent(
            size.vocabulary, "bahdanau", size.embedding, size.encoder, size.decoder,
            size.attention, readout_units=size.decoder, tie_embeddings=False, dropout=size.dropout,
        )  # fmt: skip
    model.build()
    return model


def compiled(name: str, xla: bool, precision: str) -> keras.Model:
    with computing_in(precision):
        model = zoo_model(name)
    smoothing = LABEL_SMOOTHING if name != "R" else 0.0
    model.compile(FusedAdam(1e-4), loss=SmoothedCrossEntropy(smoothing), jit_compile=xla)
    return model


def stepper(name: str, model: keras.Model) -> Callable[[], float]:
    """A function that makes one step of `fit` and returns its seconds."""
    source, target, labels = training_batch(name)
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


def measure(size: str, steps: int, xla: bool, precision: str) -> None:
    name = "attention-zoo" + " XLA" * xla
    if precision != "float32":
        name += f" {precision}"
    steppers = {name: stepper(size, compiled(size, xla, precision))}
    chosen = SIZES[size]
    if isinstance(chosen, Recurrent) and name == "attention-zoo":
        steppers["plain Keras"] = stepper(size, plain_model(chosen))
    first = {name: step() for name, step in steppers.items()}
    times: dict[str, list[float]] = {name: [] for name in steppers}
    for turn in range(steps + 1):
        for name, step in steppers.items():
            seconds = step()
            if turn:
                times[name].append(seconds)
    medians = {name: statistics.median(values) for name, values in times.items()}
    for name, seconds in medians.items():
        rate = chosen.rows * chosen.length / seconds
        report(
            name,
            "training",
            size=size,
            seconds=seconds,
            first=first[name],
            tokens_per_second=rate,
            ratio=seconds / medians[list(medians)[-1]],
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("sizes", nargs="*", metavar="SIZE", help="T, B or R")
    parser.add_argument("--steps", type=int, default=15, help="timed steps of each")
    parser.add_argument("--xla", action="store_true", help="compile the step with XLA")
    parser.add_argument("--precision", default="float32", help="or mixed_bfloat16, mixed_float16")
    chosen = parser.parse_args()
    for size in chosen.sizes or SIZES:
        measure(size, chosen.steps, chosen.xla, chosen.precision)


if __name__ == "__main__":
    main()
