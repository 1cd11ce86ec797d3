"""What a strategy costs by itself: steps of `fit` under `mirrored` with one replica, and without.

    python benchmarks/strategy_overhead.py
    python benchmarks/strategy_overhead.py R --rounds 8

Both train the same model on the same batches and take turns of some steps, so that a change of the
machine's speed meets both. The first step of a turn is not counted.
"""

from __future__ import annotations

import argparse
import statistics
import time

from sizes import LABEL_SMOOTHING, SIZES, report
from training_step import zoo_model

import keras  # isort: skip: after what sets the environment
import numpy as np

from attention_zoo.recipes.data.batching import TokenBatches, TokenizedPairs
from attention_zoo.recipes.distribute.context import DistributionContext
from attention_zoo.recipes.distribute.strategies import StrategyOptions, make_strategy
from attention_zoo.zoo.training.loss import SmoothedCrossEntropy
from attention_zoo.zoo.training.optimizers import FusedAdam

MOST = 1.05  # of the time without a strategy


class Turn(keras.callbacks.Callback):
    """Ends `fit` after some steps and keeps their seconds."""

    def __init__(self, steps: int):
        super().__init__()
        self.steps = steps
        self.ends: list[float] = []

    def on_train_batch_end(self, batch, logs=None):
        float(logs["loss"])  # a step has ended when its loss is there
        self.ends.append(time.perf_counter())
        if len(self.ends) > self.steps:
            self.model.stop_training = True

    def seconds(self) -> list[float]:
        return np.diff(self.ends).tolist()


def batches_of(size: str) -> TokenBatches:
    """Batches as long as those of the size, of random ids."""
    chosen = SIZES[size]
    random = np.random.default_rng(0)
    shape = (2, 64 * chosen.rows, chosen.length - 1)
    sides = random.integers(4, chosen.vocabulary, shape)
    pairs = TokenizedPairs(*(list(side) for side in sides))
    return TokenBatches(pairs, tokens=chosen.rows * chosen.length, seed=1, bucket_count=1)


def compiled(where: DistributionContext, size: str) -> keras.Model:
    with where.scope():
        model = zoo_model(size)
        optimizer = FusedAdam(1e-4)
        model.compile(optimizer, loss=SmoothedCrossEntropy(LABEL_SMOOTHING), jit_compile=False)
        optimizer.build(model.trainable_variables)
    where.prepare(model)
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("size", nargs="?", default="T", choices=SIZES)
    parser.add_argument("--rounds", type=int, default=6, help="turns of each")
    parser.add_argument("--steps", type=int, default=8, help="of a turn")
    chosen = parser.parse_args()
    places = {
        "single": DistributionContext(),
        "mirrored": make_strategy(StrategyOptions("mirrored", replicas=1)),
    }
    models = {name: compiled(where, chosen.size) for name, where in places.items()}
    batches = batches_of(chosen.size)
    times: dict[str, list[float]] = {name: [] for name in places}
    for number in range(chosen.rounds + 1):
        for name, where in places.items():
            turn = Turn(chosen.steps)
            where.fit(models[name], where.dataset(batches, 0), [turn])
            if number:
                times[name] += turn.seconds()
    medians = {name: statistics.median(values) for name, values in times.items()}
    for name, seconds in medians.items():
        ratio = seconds / medians["single"]
        report(name, "training", size=chosen.size, seconds=seconds, ratio=ratio)
    reached = medians["mirrored"] <= MOST * medians["single"]
    print("PASS" if reached else "FAIL", f" one replica at most {MOST:g} times no strategy")


if __name__ == "__main__":
    main()
