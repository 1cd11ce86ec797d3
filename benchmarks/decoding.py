"""Time of writing 32 tokens for sources of 5 to 35, greedy and with beams.

    python benchmarks/decoding.py                         T, B and R, see sizes.py
    python benchmarks/decoding.py T --batch 64 --beams 5
    python benchmarks/decoding.py T R --saved             through a SavedModel
    python benchmarks/decoding.py T --compiled            one source: saved, and compiled by XLA
    python benchmarks/decoding.py T --exported            greedy, one source: in Python and saved
    python benchmarks/decoding.py T --steps               operations and microseconds of a step
    python benchmarks/decoding.py T --steps --shortlist 2000    with so many tokens to choose from

It runs as an exported model runs: one graph without XLA for every batch size and length. The end of
a target is ruled out until the last step, so that every row takes 32 steps.
"""

from __future__ import annotations

import argparse
import functools
import os
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_CPU_ALLOCATOR_USE_BFC", "1")

import numpy as np
import tensorflow as tf
from sizes import (
    FIRST_ID,
    SIZES,
    STEPS,
    decoding_batches,
    measure_decoding,
    padded,
    report,
    sentences,
)
from training_step import zoo_model

from attention_zoo.serving.export.compiled import CompiledSearch
from attention_zoo.serving.export.saved_model import PreparedWeights
from attention_zoo.zoo.decoding.options import GenerationOptions
from attention_zoo.zoo.decoding.search import generate
from attention_zoo.zoo.decoding.shortlist import Shortlist
from attention_zoo.zoo.models import EncoderDecoder

SOURCE = tf.TensorSpec((None, None), tf.int32, name="source")


def decoder(
    model: EncoderDecoder,
    beams: int,
    saved: bool,
    steps: int = STEPS,
    compiled: bool = False,
    tokens: int = 0,
) -> Callable:
    """Writes for a batch of ids, in one graph; with a shortlist of so many tokens, if not 0."""
    options = GenerationOptions(
        beam_size=beams,
        max_length=steps,
        min_length=steps - 1,
        max_length_ratio=None,
        shortlist=min(tokens, 32),
    )
    search: Callable = functools.partial(generate, model)
    if tokens:
        # The likely ones are among those that are on every list, so that their number is known.
        always = np.linspace(FIRST_ID, model.vocab_size - 1, tokens, dtype="int32")
        likely = np.random.default_rng(0).choice(always, (model.vocab_size, 32))
        search = functools.partial(search, shortlist=Shortlist(likely, always))
    if compiled:
        search = CompiledSearch(search, options)

    def write(source):
        found = search(source, options)
        return {"ids": found.ids, "scores": found.scores}

    if saved:
        return through_saved_model(model, write)
    return tf.function(write, input_signature=[SOURCE], autograph=False)


def through_saved_model(model: EncoderDecoder, write: Callable) -> Callable:
    """A function of a batch of ids, saved as an export is and loaded again."""
    with tempfile.TemporaryDirectory() as folder:
        save(model, write, folder)
        loaded = tf.saved_model.load(folder)
    # Of the loaded model, which has to stay for as long as it is used: it has the variables.
    return lambda source: loaded.signatures["serving_default"](source=tf.constant(source))


def save(model: EncoderDecoder, write: Callable, folder: str) -> None:
    prepared = PreparedWeights(model)
    module = tf.Module()
    module.weights = [variable.value for variable in model.variables]
    module.prepared = prepared.resources
    with prepared.in_use():
        function = tf.function(write, input_signature=[SOURCE], autograph=False)
        traced = function.get_concrete_function()
    module.used = list(traced.graph.variables)  # that of a shortlist too
    tf.saved_model.save(module, folder, signatures=traced)


def measure_steps(
    size: str, batches: list[int], beams: list[int], repeats: int, tokens: int
) -> None:
    """Reports operations and microseconds of a step, and what a request takes beside its steps.

    Two numbers of steps differ by the steps alone; a trace tells what ran as often as there were
    steps. One thread, in a session, as a server has it.
    """
    model = zoo_model(size)
    threads = {"intra_op_parallelism_threads": 1, "inter_op_parallelism_threads": 1}
    for count in beams or [1, SIZES[size].beams]:
        sessions = []
        for steps in (STEPS // 4, STEPS):
            session = tf.compat.v1.Session(
                graph=tf.Graph(), config=tf.compat.v1.ConfigProto(**threads)
            )
            with tempfile.TemporaryDirectory() as folder:
                write = decoder(model, count, False, steps, tokens=tokens).python_function
                save(model, write, folder)
                with session.graph.as_default():
                    meta = tf.compat.v1.saved_model.load(session, ["serve"], folder)
            sessions.append((session, meta.signature_def["serving_default"]))
        for batch in batches:
            batches_of_size = decoding_batches(size, batch)
            source = padded(batches_of_size[len(batches_of_size) // 2])
            times: list[list[float]] = [[], []]
            for turn in range(repeats + 2):
                for found, (session, signature) in zip(times, sessions, strict=True):
                    start = time.process_time()
                    run(session, signature, source)
                    if turn > 1:
                        found.append(time.process_time() - start)
            few, many = map(min, times)
            each = (many - few) / (STEPS - STEPS // 4)
            values = {"microseconds": 1e6 * each, "beside": 1e3 * (many - STEPS * each)}
            operations = operations_of_a_step(*sessions[1], source)
            report("attention-zoo", "step", batch=batch, beams=count, ops=operations, **values)


def run(session: tf.compat.v1.Session, signature, source: np.ndarray, **options) -> None:
    outputs = [output.name for output in signature.outputs.values()]
    session.run(outputs, {signature.inputs["source"].name: source}, **options)


def operations_of_a_step(session: tf.compat.v1.Session, signature, source: np.ndarray) -> int:
    """The number of operations that ran in every step, those that hand values on included."""
    traced = tf.compat.v1.RunMetadata()
    options = tf.compat.v1.RunOptions(trace_level=tf.compat.v1.RunOptions.FULL_TRACE)
    run(session, signature, source, options=options, run_metadata=traced)
    times = Counter(n.node_name for d in traced.step_stats.dev_stats for n in d.node_stats)
    return sum(count >= STEPS for count in times.values())


def measure(
    size: str, batches: list[int], beams: list[int], saved: bool, repeats: int, tokens: int
) -> None:
    model = zoo_model(size)
    for count in beams or [1, SIZES[size].beams]:
        decode = decoder(model, count, saved, tokens=tokens)

        def write(rows: list[np.ndarray], decode: Callable = decode) -> None:
            ids = decode(padded(rows))["ids"].numpy()
            assert ids.shape[2] == STEPS, ids.shape

        for batch in batches:
            name = "attention-zoo " + ("saved" if saved else "in Python")
            name += f", {tokens} tokens" if tokens else ""
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


def compare_compiled(size: str, beams: list[int], repeats: int) -> None:
    """Seconds for one source, through a SavedModel and compiled by XLA, in turn.

    The first call is told by itself: it is that which compiles, for one length and batch size.
    """
    model, ways = zoo_model(size), ("saved", "compiled")
    source = padded([sentences(size, 3)[1]])
    for count in beams or [1, SIZES[size].beams]:
        decoders = [decoder(model, count, True, compiled=way == "compiled") for way in ways]
        times: list[list[float]] = [[], []]
        for _ in range(repeats + 1):
            for found, decode in zip(times, decoders, strict=True):
                start = time.perf_counter()
                decode(source)["ids"].numpy()
                found.append(time.perf_counter() - start)
        for way, (first, *later) in zip(ways, times, strict=True):
            least, median = min(later), statistics.median(later)
            values = {"beams": count, "first": first, "least": least, "median": median}
            report(f"attention-zoo {way}", "one", size=size, **values)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("sizes", nargs="*", metavar="SIZE", help="T, B or R")
    parser.add_argument("--batch", type=int, nargs="*", default=[1, 64])
    parser.add_argument("--beams", type=int, nargs="*", help="1 and that of the size if left out")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--saved", action="store_true", help="through a SavedModel")
    parser.add_argument("--shortlist", type=int, default=0, metavar="TOKENS", help="of each list")
    parser.add_argument("--compiled", action="store_true", help="one source, by graph and XLA")
    parser.add_argument("--exported", action="store_true", help="one source, both ways in turn")
    parser.add_argument("--steps", action="store_true", help="operations and time of a step")
    chosen = parser.parse_args()
    for size in chosen.sizes or SIZES:
        if chosen.exported:
            compare(size, chosen.repeats)
            continue
        if chosen.steps:
            measure_steps(size, chosen.batch, chosen.beams, chosen.repeats, chosen.shortlist)
            continue
        if chosen.compiled:
            compare_compiled(size, chosen.beams, chosen.repeats)
            continue
        work = chosen.batch, chosen.beams, chosen.saved, chosen.repeats
        measure(size, *work, chosen.shortlist)


if __name__ == "__main__":
    main()
