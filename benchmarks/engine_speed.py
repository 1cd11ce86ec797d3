"""Speed of a training step of `transformer-tiny` on TensorFlow and on JAX, by the same `fit`.

    python benchmarks/engine_speed.py
    KERAS_BACKEND=jax python benchmarks/engine_speed.py

In seconds of the processor too, which other work on the machine does not lengthen by much. The
first steps, in which the step is traced or compiled, are told apart.
"""

from __future__ import annotations

import argparse
import statistics
import time

import keras
import numpy as np

import attention_zoo
from attention_zoo.recipes.data.batching import TokenBatches, TokenizedPairs
from attention_zoo.recipes.distribute.strategies import StrategyOptions, make_strategy
from attention_zoo.zoo.training.loss import SmoothedCrossEntropy
from attention_zoo.zoo.training.optimizers import FusedAdam

FIRST = 2  # steps that are told apart
VOCABULARY = 8000


class Clock(keras.callbacks.Callback):
    """Ends `fit` after some steps and keeps the times between them, by both clocks."""

    def __init__(self, steps: int):
        super().__init__()
        self.steps = steps
        self.ends = [(time.perf_counter(), time.process_time())]

    def on_train_batch_end(self, batch, logs=None):
        float(logs["loss"])  # a step has ended when its loss is there
        self.ends.append((time.perf_counter(), time.process_time()))
        if len(self.ends) > self.steps:
            self.model.stop_training = True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--length", type=int, default=32, help="of source and target")
    parser.add_argument("--steps", type=int, default=12)
    chosen = parser.parse_args()
    on_jax = keras.backend.backend() == "jax"
    shape = (2, 32 * chosen.rows, chosen.length - 1)
    sides = np.random.default_rng(0).integers(4, VOCABULARY, shape)
    pairs = TokenizedPairs(*(list(side) for side in sides))
    batches = TokenBatches(pairs, tokens=chosen.rows * chosen.length, seed=1, bucket_count=1)
    where = make_strategy(StrategyOptions("single"))
    model = attention_zoo.build("transformer-tiny", vocab_size=VOCABULARY)
    optimizer = FusedAdam(1e-4, global_clipnorm=1.0)
    model.compile(optimizer, loss=SmoothedCrossEntropy(0.1), jit_compile=on_jax)
    optimizer.build(model.trainable_variables)
    where.prepare(model, static=on_jax)
    clock = Clock(chosen.steps)
    where.fit(model, where.dataset(batches, 0), [clock])
    passed = np.diff(np.array(clock.ends), axis=0)
    wall, own = (statistics.median(times) for times in passed[FIRST:].T.tolist())
    first = passed[:FIRST].sum(axis=0)
    print(
        f"{keras.backend.backend()}: {own:.3f} seconds of the processor a step ({wall:.3f} by the "
        f"clock), {chosen.rows} rows of {chosen.length} tokens; the first {FIRST} steps "
        f"{first[1]:.1f} ({first[0]:.1f})"
    )


if __name__ == "__main__":
    main()
