"""What a step waits for its checkpoint, beside the time of writing it.

    python benchmarks/checkpoint_wait.py --weights 48244544 --variables 190

Makes variables of that many weights (transformer-base), with two moments of Adam and an average of
each, and writes them into a folder that is removed again. An update waits where it comes before the
values are copied that it changes: `--before` is the time of forward and backward pass before it.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path


def seconds(act: Callable) -> float:
    begin = time.perf_counter()
    act()
    return time.perf_counter() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", type=int, default=48_244_544)
    parser.add_argument("--variables", type=int, default=190)
    parser.add_argument("--before", type=float, default=0.0, metavar="SECONDS")
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--folder", default=".", help="on the disk that is meant")
    given = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf

    import attention_zoo  # noqa: F401, before Keras
    from attention_zoo.recipes.core.checkpoint import Checkpoints
    from attention_zoo.zoo.training.optimizers import FusedAdam

    import keras  # isort: skip

    shape = (given.weights // given.variables,)
    weights, averages = (
        [keras.Variable(keras.random.normal(shape)) for _ in range(given.variables)]
        for _ in range(2)
    )
    optimizer = FusedAdam(1e-3)
    optimizer.build(weights)
    gradients = [tf.zeros(shape) for _ in weights]

    @tf.function(autograph=False)
    def update() -> None:
        optimizer.apply_gradients(zip(gradients, weights, strict=True))

    update()
    print("| an update, s | held, s | update after it, s | written after, s | waited |")
    print("|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        checkpoints = Checkpoints(Path(folder), keep=1)
        for step in range(given.times):
            usual, begin = seconds(update), time.perf_counter()
            variables = [*weights, *optimizer.variables, *averages]
            held = seconds(lambda: checkpoints.begin(step, variables, {"step": step}))  # noqa: B023
            time.sleep(given.before)
            after = seconds(update)
            checkpoints.wait()
            written = time.perf_counter() - begin
            share = (held + max(0.0, after - usual)) / written
            print(
                f"| {usual:.2f} | {held:.2f} | {after:.2f} | {written:.2f} | {share:.0%} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
