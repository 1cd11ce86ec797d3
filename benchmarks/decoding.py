"""Time of writing 32 tokens for sources of 5 to 35, greedy and with beams.

    python benchmarks/decoding.py                         T, B and R, see sizes.py
    python benchmarks/decoding.py T --batch 64 --beams 5
    python benchmarks/decoding.py T R --saved             through a SavedModel
    python benchmarks/decoding.py T --exported            greedy, one source: in Python and saved

It runs as an exported model runs: one graph without XLA for every batch size and length. The end of
a target is ruled out until the last step, so that every row takes 32 steps.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_CPU_ALLOCATOR_USE_BFC", "1")

import numpy as np
import tensorflow as tf
from sizes import SIZES, STEPS, decoding_batches, measure_decoding, padded, report
from training_step import zoo_model

from attention_zoo.zoo.decoding.options import GenerationOptions
from attention_zoo.zoo.decoding.search import generate
from attention_zoo.zoo.models import EncoderDecoder

SOURCE = tf.TensorSpec((None, None), tf.int32, name="source")


def decoder(model: EncoderDecoder, beams: int, saved: bool) -> Callable:
    """Writes for a batch of ids, in one graph."""
    options = GenerationOptions(
        beam_size=beams, max_length=STEPS, min_length=STEPS - 1, max_length_ratio=None
    )

    def write(source):
        return {"ids": generate(model, source, options).ids}

    if saved:
        return through_saved_model(model, write)
    return tf.function(write, input_signature=[SOURCE], autograph=False)


def through_saved_model(model: EncoderDecoder, write: Callable) -> Callable:
    """A function of a batch of ids, saved and loaded again."""
    with tempfile.TemporaryDirectory() as folder:
        module = tf.Module()
        module.variables_kept = model.variables
        module.write = tf.function(write, input_signature=[SOURCE], autograph=False)
        tf.saved_model.save(module, folder)
        loaded = tf.saved_model.load(folder)
    # Of the loaded model, which has to stay for as long as it is used: it has the variables.
    return lambda source: loaded.write(source)


def measure(size: str, batches: list[int], beams: list[int], saved: bool, repeats: int) -> None:
    model = zoo_model(size)
    for count in beams or [1, SIZES[size].beams]:
        decode = decoder(model, count, saved)

        def write(rows: list[np.ndarray], decode: Callable = decode) -> None:
            ids = decode(padded(rows))["ids"].numpy()
            assert ids.shape[2] == STEPS, ids.shape

        for batch in batches:
            name = "attention-zoo " + ("saved" if saved else "in Python")
            measure_decoding(name, size, write, batch, count, repeats)


def compare(size: str, repeats: int) -> None:
    """Times of one source in Python and through a SavedModel, in turn, as they differ by little."""
    model = zoo_model(size)
    decoders = [decoder(model, 1, saved) for saved in (False, True)]
    batches = [padded(rows) for rows in decoding_batches(size, 1)]
    times: list[list[float]] = [[], []]
    for turn in range(repeats + 1):
        for batch in batches:
            for found, decode in zip(times, decoders, strict=True):
                start = time.perf_counter()
                decode(batch)["ids"].numpy()
                if turn:
                    found.append(time.perf_counter() - start)
    for name, found in zip(("in Python", "saved"), times, strict=True):
        report(f"attention-zoo {name}", "exported", size=size, seconds=statistics.median(found))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("sizes", nargs="*", metavar="SIZE", help="T, B or R")
    parser.add_argument("--batch", type=int, nargs="*", default=[1, 64])
    parser.add_argument("--beams", type=int, nargs="*", help="1 and that of the size if left out")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--saved", action="store_true", help="through a SavedModel")
    parser.add_argument("--exported", action="store_true", help="one source, both ways in turn")
    chosen = parser.parse_args()
    for size in chosen.sizes or SIZES:
        if chosen.exported:
            compare(size, chosen.repeats)
            continue
        measure(size, chosen.batch, chosen.beams, chosen.saved, chosen.repeats)


if __name__ == "__main__":
    main()
