"""What a step waits for its checkpoint: the copy of all values, beside the time of writing them.

    python benchmarks/checkpoint_wait.py --weights 48244544

Makes variables of that many weights (transformer-base), four of each as in a training: the weight,
two moments and an average, and writes them into a folder that is removed again.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

ARRAYS, OF_EACH = 40, 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", type=int, default=48_244_544)
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--folder", default=".", help="on the disk that is meant")
    given = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import keras

    from attention_zoo.recipes.core.checkpoint import Checkpoints

    shape = (given.weights // ARRAYS,)
    variables = [keras.Variable(keras.random.normal(shape)) for _ in range(ARRAYS * OF_EACH)]
    print("| waited, s | written after, s | share |\n|---|---|---|")
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        checkpoints = Checkpoints(Path(folder), keep=1)
        for step in range(given.times):
            begin = time.perf_counter()
            checkpoints.begin(step, variables, {"step": step})
            waited = time.perf_counter() - begin
            checkpoints.wait()
            written = time.perf_counter() - begin
            print(f"| {waited:.2f} | {written:.2f} | {waited / written:.0%} |", flush=True)


if __name__ == "__main__":
    main()
