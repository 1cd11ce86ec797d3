"""Time and memory of self-attention on a GPU, forward and backward, on JAX and on PyTorch.

    KERAS_BACKEND=jax python benchmarks/attention_layers_gpu.py
    KERAS_BACKEND=torch python benchmarks/attention_layers_gpu.py 8192

8 heads, 512 wide, sequences of so many places. Keras's own layer hands its work to a kernel that
PyTorch has for it where there is one. The memory is what a step takes beside its inputs: measured
on PyTorch, and on JAX what the compiled step sets aside.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

import keras
from sizes import median_seconds, report

from attention_zoo.layers import QKVAttention

WIDTH, HEADS = 512, 8
ROWS = {512: 32, 2048: 4, 8192: 1, 32768: 1}
Step = Callable[[], object]


def layers() -> dict[str, keras.layers.Layer]:
    sizes = (HEADS, WIDTH // HEADS)
    return {
        "keras MultiHeadAttention": keras.layers.MultiHeadAttention(*sizes),
        "QKVAttention": QKVAttention(*sizes),
        "QKVAttention in chunks of 256": QKVAttention(*sizes, chunk_size=256),
        "QKVAttention in chunks of 1024": QKVAttention(*sizes, chunk_size=1024),
    }


def jax_step(layer: keras.layers.Layer, rows: int, length: int) -> tuple[Step, float]:
    """A compiled step, and the megabytes that it sets aside."""
    import jax

    x = jax.random.normal(jax.random.key(0), (rows, length, WIDTH))
    layer(x[:1, :8], x[:1, :8])
    weights = [variable.value for variable in layer.trainable_variables]
    others = [variable.value for variable in layer.non_trainable_variables]

    def total(weights, x):
        return layer.stateless_call(weights, others, x, x)[0].sum()

    step = jax.jit(jax.grad(total, argnums=(0, 1))).lower(weights, x).compile()
    megabytes = step.memory_analysis().temp_size_in_bytes / 2**20
    return lambda: jax.block_until_ready(step(weights, x)), megabytes


def torch_step(layer: keras.layers.Layer, rows: int, length: int) -> tuple[Step, float]:
    """A step, and the megabytes that one took at most."""
    import torch

    x = torch.randn(rows, length, WIDTH, device="cuda", requires_grad=True)
    layer(x, x)

    def step() -> None:
        for leaf in (x, *layer.parameters()):
            leaf.grad = None
        layer(x, x).sum().backward()
        torch.cuda.synchronize()

    step()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    step()
    return step, (torch.cuda.max_memory_allocated() - before) / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("lengths", nargs="*", type=int, default=list(ROWS), metavar="LENGTH")
    backend = keras.backend.backend()
    if backend not in ("jax", "torch"):
        sys.exit(f"Set KERAS_BACKEND to jax or torch. Received: {backend}")
    make = jax_step if backend == "jax" else torch_step
    for length in parser.parse_args().lengths:
        for name, layer in layers().items():
            try:
                step, megabytes = make(layer, ROWS.get(length, 1), length)
                seconds = median_seconds(step, 15)
            except (RuntimeError, MemoryError) as error:  # the memory of the GPU is full
                print(f"{backend} {name} {length}: {str(error).splitlines()[0]}", file=sys.stderr)
                continue
            report(f"{backend} {name}", "layer", case=length, seconds=seconds, megabytes=megabytes)


if __name__ == "__main__":
    main()
