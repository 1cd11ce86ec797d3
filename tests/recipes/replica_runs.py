"""Trains tiny models on several devices of the CPU; a script, as devices are made but once.

python replica_runs.py OUTPUT.npz                     on 1, 2 and 4 parts of the CPU of one process
python replica_runs.py OUTPUT.npz HOST:PORT,... INDEX as one of several processes
"""

import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

sys.path.insert(0, str(Path(__file__).parents[1] / "zoo"))

from tiny_models import tiny_model

from attention_zoo.recipes.data.batching import TokenBatches, TokenizedPairs
from attention_zoo.recipes.distribute.cluster import Cluster
from attention_zoo.recipes.distribute.context import DistributionContext
from attention_zoo.recipes.distribute.rendezvous import wait_for_workers
from attention_zoo.recipes.distribute.strategies import StrategyOptions, make_strategy
from attention_zoo.zoo.training.loss import SmoothedCrossEntropy
from attention_zoo.zoo.training.optimizers import FusedAdam

STEPS = 20
KINDS = ("bahdanau", "transformer")


def pairs(rows=90, vocab_size=12):
    """Rows of very different lengths."""
    random = np.random.default_rng(0)
    sides = [[random.integers(4, vocab_size, n) for n in random.integers(1, 9, rows)]] * 2
    return TokenizedPairs(*sides)


class Steps(keras.callbacks.Callback):
    """Keeps the logs of so many steps, then stops."""

    def __init__(self, steps=STEPS):
        super().__init__()
        self.steps, self.losses, self.tokens = steps, [], []

    def on_train_batch_end(self, batch, logs=None):
        self.losses.append(float(logs["loss"]))
        self.tokens.append(float(logs["tokens"]))
        if len(self.losses) == self.steps:
            self.model.stop_training = True


def make_batches(bucket_count=3):
    return TokenBatches(pairs(), tokens=40, seed=1, bucket_count=bucket_count)


def learn(where, kind, batches, accumulate=1, dropout=0.0, static=False, steps=STEPS, jit=False):
    """What some steps make of a model: losses, tokens, weights."""
    with where.scope():
        model = tiny_model(kind, seed=3, dropout=dropout)
        # A low limit, so that the gradients of every step are clipped. The bias of the keys has a
        # gradient of rounding errors alone, of which Adam makes steps if its epsilon is as small.
        optimizer = FusedAdam(0.02, epsilon=1e-4, global_clipnorm=0.1)
        alone = jit and where.strategy is None
        model.compile(optimizer, loss=SmoothedCrossEntropy(0.1), jit_compile=alone)
        optimizer.build(model.trainable_variables)
    where.prepare(model, static=jit)
    model.static_shapes = static
    logs = Steps(steps)
    where.fit(model, where.dataset(batches, 0, accumulate), [logs])
    return {
        "losses": logs.losses,
        "tokens": logs.tokens,
        "weights": np.concatenate([w.numpy().ravel() for w in model.trainable_variables]),
    }


def seeds(where):
    """The first seed of dropout of each replica of this process."""
    with where.scope():
        model = tiny_model("transformer", seed=3, dropout=0.5)
    where.prepare(model)
    variable = next(v for v in model.variables if v.name == "seed_generator_state")
    results = where.strategy.experimental_local_results(variable.value)
    return [int(part.numpy()[0]) for part in results]


def on_parts_of_the_cpu(output):
    batches = make_batches()
    mirrored = {}
    for count in (4, 2, 1):
        # As TensorFlow's own tests do: the sums of two strategies in one process have other names.
        tf.distribute.MirroredStrategy._collective_key_base = 10_000 * count
        mirrored[count] = make_strategy(StrategyOptions("mirrored", replicas=count))
    found = {}
    for kind in KINDS:
        found[f"{kind} single"] = learn(DistributionContext(), kind, batches)
        for count, where in mirrored.items():
            assert where.replicas == count
            found[f"{kind} {count}"] = learn(where, kind, batches)
    # Two batches a step; and the way without shapes that depend on values.
    found["accumulated single"] = learn(DistributionContext(), "bahdanau", batches, accumulate=2)
    found["accumulated 2"] = learn(mirrored[2], "bahdanau", batches, accumulate=2)
    found["static 2"] = learn(mirrored[2], "transformer", batches, static=True)
    one_shape = make_batches(bucket_count=1)  # each is compiled for each replica
    found["one shape"] = learn(DistributionContext(), "transformer", one_shape, static=True)
    found["compiled 2"] = learn(mirrored[2], "transformer", one_shape, static=True, jit=True)
    found["seeds"] = {"4": seeds(mirrored[4])}
    save(output, found)


def as_a_worker(output, addresses, index):
    cluster = Cluster(tuple(addresses.split(",")), int(index))
    with wait_for_workers(cluster, {}) as workers:
        where = make_strategy(StrategyOptions("multiworker"), workers)
        found = {kind: learn(where, kind, make_batches(), steps=50) for kind in KINDS}
        found["seeds"] = {"here": seeds(where)}
    save(output, found)


def save(output, found):
    arrays = {f"{name}/{key}": v for name, values in found.items() for key, v in values.items()}
    np.savez(output, **arrays)


def load(output):
    """What a run saved: by model and place, then losses, tokens and weights."""
    found = {}
    for name, value in np.load(output).items():
        run, key = name.split("/")
        found.setdefault(run, {})[key] = value
    return found


if __name__ == "__main__":
    (as_a_worker if len(sys.argv) > 2 else on_parts_of_the_cpu)(*sys.argv[1:])
