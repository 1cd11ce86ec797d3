"""Time of writing 32 subwords for sources of 5 to 35, greedy and with beams.

    python benchmarks/decoding.py                         all sizes
    python benchmarks/decoding.py T --batch 64 --beams 5

Sizes: T is `transformer-tiny` (4 + 4 layers, width 128), B `transformer-base`, R `rnn-bahdanau`
with a decoder of 512. Weights are random and the end of a target is ruled out until the last step,
so that every row takes 32 steps. Run as an exported model runs: one graph for every batch size and
length, from a SavedModel where `--saved` is given. Printed: sentences a second over 256 sentences
(64 of them for batches of one), and the median time of a batch.
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

from attention_zoo.zoo.generation import GenerationOptions
from attention_zoo.zoo.model import Seq2SeqModel
from attention_zoo.zoo.recurrent import RecurrentSeq2Seq
from attention_zoo.zoo.search import generate
from attention_zoo.zoo.transformer import TransformerSeq2Seq

STEPS = 32
MODELS: dict[str, Callable[[], Seq2SeqModel]] = {
    "T": lambda: TransformerSeq2Seq(10_000, 128, 4, 4, 4, 256),
    "B": lambda: TransformerSeq2Seq(32_000, 512, 6, 6, 8, 2048),
    "R": lambda: RecurrentSeq2Seq(
        10_000, "bahdanau", 256, 256, 512, 256, readout_units=512, tie_embeddings=False
    ),
}
VOCABULARY = {"T": 10_000, "B": 32_000, "R": 10_000}


def sources(size: str, batch: int, sentences: int) -> list[np.ndarray]:
    """Batches of random sentences of 5 to 35 subwords, sorted by length."""
    random = np.random.default_rng(1)
    lengths = np.sort(random.integers(5, 36, 256))
    lengths = lengths[np.linspace(0, 255, sentences).astype(int)]
    batches = []
    for start in range(0, sentences, batch):
        chosen = lengths[start : start + batch]
        ids = random.integers(4, VOCABULARY[size], (len(chosen), chosen.max()))
        batches.append(np.where(np.arange(chosen.max()) < chosen[:, None], ids, 0).astype("int32"))
    return batches


def decoder(model: Seq2SeqModel, beams: int, saved: bool) -> Callable:
    options = GenerationOptions(
        beam_size=beams, max_length=STEPS, min_length=STEPS - 1, max_length_ratio=None
    )

    def write(source):
        return {"ids": generate(model, source, options).ids}

    spec = tf.TensorSpec((None, None), tf.int32, name="source")
    function = tf.function(write, input_signature=[spec], autograph=False)
    if not saved:
        return lambda source: function(source)["ids"].numpy()
    with tempfile.TemporaryDirectory() as folder:
        module = tf.Module()
        module.variables_kept = model.variables
        module.write = function
        tf.saved_model.save(module, folder)
        loaded = tf.saved_model.load(folder)
    return lambda source: loaded.write(source)["ids"].numpy()


def measure(decode: Callable, batches: list[np.ndarray], repeats: int) -> tuple[float, float]:
    """Sentences a second (the median of the repeats), and the median seconds of a batch."""
    for batch in batches[:: max(1, len(batches) // 4)]:
        assert decode(batch).shape[2] == STEPS
    rates, seconds = [], []
    for _ in range(repeats):
        start = time.perf_counter()
        for batch in batches:
            before = time.perf_counter()
            decode(batch)
            seconds.append(time.perf_counter() - before)
        rates.append(sum(map(len, batches)) / (time.perf_counter() - start))
    return statistics.median(rates), statistics.median(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("sizes", nargs="*", default=["T", "R"], choices=[*MODELS], metavar="SIZE")
    parser.add_argument("--batch", type=int, nargs="*", default=[1, 64])
    parser.add_argument("--beams", type=int, nargs="*", default=[1, 5])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--saved", action="store_true", help="through a SavedModel")
    chosen = parser.parse_args()
    for size in chosen.sizes:
        model = MODELS[size]()
        model.build_from_ids()
        for beams in chosen.beams:
            decode = decoder(model, beams, chosen.saved)
            for batch in chosen.batch:
                count = 64 if batch == 1 else 256
                rate, median = measure(decode, sources(size, batch, count), chosen.repeats)
                print(
                    f"{size}  beams {beams}  batch {batch:3}  {rate:7.1f} sentences/s  "
                    f"{1e3 * median:8.1f} ms a batch  {1e3 * median / STEPS:6.2f} ms a step",
                    flush=True,
                )


if __name__ == "__main__":
    main()
