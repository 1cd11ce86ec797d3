"""Time and memory of attention layers, forward and backward, beside those of Keras and PyTorch.

    python benchmarks/attention_layers.py                  all that can be imported here
    python benchmarks/attention_layers.py --torch          PyTorch's, in its own environment

| case | inputs |
|---|---|
| additive | queries (64, 24, 256) and 32 keys; Keras's layer has no projections |
| N | self-attention, 8 heads, 512 wide, (32, N, 512); (1, 8192, 512) for N = 8192 |

Each case runs in a process of its own, so that the most memory is its own: what the process held
at most during the steps, less what it held before the first.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from sizes import THREADS, median_seconds, report

WIDTH, HEADS = 512, 8
ADDITIVE = (64, 24, 32, 256)  # rows, queries, keys, width
LENGTHS = (512, 2048, 8192)
KERAS_CASES = [
    ("additive", "keras AdditiveAttention"),
    ("additive", "BahdanauAttention"),
    ("additive", "BahdanauAttention, no projections"),
    *((str(n), "keras MultiHeadAttention") for n in LENGTHS),
    *((str(n), "QKVAttention") for n in LENGTHS),
    *((str(n), "QKVAttention in chunks") for n in LENGTHS),
]
TORCH_CASES = [
    ("additive", "PyTorch formula"),
    *((str(n), "PyTorch scaled dot product") for n in LENGTHS),
]


def rows(length: int) -> int:
    """32, or fewer where the scores alone would fill the memory."""
    return {512: 32, 2048: 4}.get(length, 1)


def keras_step(case: str, name: str) -> Callable[[], object]:
    """A step of a Keras layer: its output's sum, and the gradients of inputs and weights."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    import keras
    import tensorflow as tf

    from attention_zoo.layers import BahdanauAttention, QKVAttention

    if case == "additive":
        batch, queries, keys, width = ADDITIVE
        inputs = [tf.random.normal((batch, n, width)) for n in (queries, keys)]
        if name.startswith("BahdanauAttention"):

            class Unprojected(BahdanauAttention):  # what Keras's layer computes
                project_keys = project_query = lambda self, x: x

            kind = Unprojected if name.endswith("no projections") else BahdanauAttention
            call = layer = kind(width)
        else:
            layer = keras.layers.AdditiveAttention()
            call = lambda query, value: layer([query, value])  # noqa: E731
    else:
        length = int(case)
        inputs = [tf.random.normal((rows(length), length, WIDTH))]
        if name.startswith("QKVAttention"):
            # Fewer queries at a time need less memory, and more time.
            chunk = {512: 64}.get(length, 128) if name.endswith("chunks") else None
            layer = QKVAttention(HEADS, WIDTH // HEADS, chunk_size=chunk)
        else:
            layer = keras.layers.MultiHeadAttention(HEADS, WIDTH // HEADS)
        call = lambda x: layer(x, x)  # noqa: E731
    call(*(x[:1, :8] for x in inputs))

    @tf.function(jit_compile=False)
    def step(*values):
        with tf.GradientTape() as tape:
            tape.watch(values)
            total = tf.reduce_sum(call(*values))
        return [total, *tape.gradient(total, [*values, *layer.trainable_weights])]

    return lambda: step(*inputs)[0].numpy()


def torch_step(case: str, name: str) -> Callable[[], object]:
    """The same of PyTorch."""
    import torch
    from torch.nn import functional

    torch.set_num_threads(THREADS)
    if case == "additive":
        batch, queries, keys, width = ADDITIVE
        shapes = [(batch, queries, width), (batch, keys, width), (width,)]
        query, value, scale = leaves = [torch.randn(s, requires_grad=True) for s in shapes]

        def output():
            scores = torch.tanh(query[:, :, None] + value[:, None]) @ scale
            return torch.bmm(functional.softmax(scores, -1), value)
    else:
        length = int(case)
        shapes = [(rows(length), length, WIDTH), (3 * WIDTH, WIDTH), (WIDTH, WIDTH)]
        x, first, last = leaves = [(torch.randn(s) * 0.05).requires_grad_() for s in shapes]

        def output():
            parts = functional.linear(x, first).view(*x.shape[:2], 3, HEADS, -1)
            heads = functional.scaled_dot_product_attention(*parts.permute(2, 0, 3, 1, 4))
            return functional.linear(heads.transpose(1, 2).flatten(2), last)

    def step():
        for leaf in leaves:
            leaf.grad = None
        output().sum().backward()

    return step


def resident(field: str) -> float:
    """Megabytes of this process now ("VmRSS") or at most ("VmHWM")."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field))


def measure(library: str, case: str, name: str) -> None:
    step = (torch_step if library == "torch" else keras_step)(case, name)
    before = resident("VmRSS")
    step()
    seconds = median_seconds(step, 9, 15.0)
    report(name, "layer", case=case, seconds=seconds, megabytes=resident("VmHWM") - before)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--torch", action="store_true")
    parser.add_argument("--cases", nargs="*", help="additive, 512, 2048, 8192")
    parser.add_argument("--only", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    library = "torch" if chosen.torch else "keras"
    if chosen.only:
        measure(library, *json.loads(chosen.only))
        return
    for case in TORCH_CASES if chosen.torch else KERAS_CASES:
        if not chosen.cases or case[0] in chosen.cases:
            command = [sys.executable, __file__, "--only", json.dumps(case)]
            subprocess.run(command + ["--torch"] * chosen.torch, check=True)


if __name__ == "__main__":
    main()
