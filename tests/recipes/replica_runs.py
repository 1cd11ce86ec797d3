"""Trains tiny models on several devices of the CPU; a script, as devices are made but once.

python replica_runs.py OUTPUT.npz: for each model and number of replicas the losses and weights.
"""

import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

sys.path.insert(0, str(Path(__file__).parents[1] / "zoo"))

from tiny_models import tiny_model

from attention_zoo.recipes.batching import TokenBatches, TokenizedPairs
from attention_zoo.recipes.optimizers import FusedAdam
from attention_zoo.recipes.strategies import Placement, StrategyOptions, place
from attention_zoo.zoo.losses import SmoothedCrossEntropy

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


def learn(where, kind, batches, accumulate=1, dropout=0.0, static=False):
    """What 20 steps make of a model: losses, tokens, weights, and the seeds of each replica."""
    with where.scope():
        model = tiny_model(kind, seed=3, dropout=dropout)
        # A low limit, so that the gradients of every step are clipped.
        optimizer = FusedAdam(0.02, global_clipnorm=0.1)
        model.compile(optimizer, loss=SmoothedCrossEntropy(0.1), jit_compile=False)
        optimizer.build(model.trainable_variables)
    where.prepare(model)
    model.static_shapes = static
    logs = Steps()
    where.fit(model, where.dataset(batches, 0, accumulate), [logs])
    return model, {
        "losses": logs.losses,
        "tokens": logs.tokens,
        "weights": np.concatenate([w.numpy().ravel() for w in model.trainable_variables]),
    }


def main(output):
    batches = TokenBatches(pairs(), tokens=40, seed=1, bucket_count=3)
    mirrored = {}
    for count in (4, 2, 1):
        # As TensorFlow's own tests do: the sums of two strategies in one process have other names.
        tf.distribute.MirroredStrategy._collective_key_base = 10_000 * count
        mirrored[count] = place(StrategyOptions("mirrored", replicas=count))
    found = {}
    for kind in KINDS:
        found[f"{kind} single"] = learn(Placement(), kind, batches)[1]
        for count, where in mirrored.items():
            assert where.replicas == count
            found[f"{kind} {count}"] = learn(where, kind, batches)[1]
    # Two batches a step; and the way without shapes that depend on values.
    found["accumulated single"] = learn(Placement(), "bahdanau", batches, accumulate=2)[1]
    found["accumulated 2"] = learn(mirrored[2], "bahdanau", batches, accumulate=2)[1]
    found["static 2"] = learn(mirrored[2], "transformer", batches, static=True)[1]
    arrays = {f"{name}/{key}": v for name, values in found.items() for key, v in values.items()}
    np.savez(output, **arrays)


if __name__ == "__main__":
    main(sys.argv[1])
