"""Parallel batches, each on its own CPU core.

The operations of a decoding step are small: two threads that share an operation are not twice as
fast as one, two threads with a batch each nearly are.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import TypeVar

import tensorflow as tf

from ..cpus import available_cpus

MOST_BATCHES = 8  # as each takes memory of its own

Item = TypeVar("Item")


def parallel_batches() -> int:
    """Number of batches to run at a time: one on accelerators and under a strategy."""
    accelerators = tf.config.get_visible_devices("GPU") + tf.config.get_visible_devices("TPU")
    if accelerators or tf.distribute.has_strategy():
        return 1
    return min(available_cpus(), MOST_BATCHES)


def limit_operation_threads() -> None:
    """Limits the threads of each operation in this process to the CPUs of one batch.

    For a program that does nothing but run many batches. If TensorFlow has computed anything
    before, it cannot be limited any more and all stays as it is.
    """
    with contextlib.suppress(RuntimeError):
        tf.config.threading.set_intra_op_parallelism_threads(
            max(1, available_cpus() // parallel_batches())
        )


def batches_by_length(lengths: Sequence[int], batch_size: int) -> list[list[int]]:
    """Groups rows of similar lengths into batches.

    The batch of the shortest rows comes first, as nothing runs beside the first one, then the
    longest, so that no long batch runs alone at the end.

    Args:
        lengths: Length of each row, in any unit.
        batch_size: Number of rows of a batch.

    Returns:
        The row numbers of each batch.

    Raises:
        ValueError: `batch_size` is below 1.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1. Received: batch_size={batch_size}")
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    return [*batches[:1], *batches[:0:-1]]


def run_parallel(work: Callable[[Item], None], items: Sequence[Item], at_a_time: int) -> None:
    """Calls a function with each item, in parallel.

    The first call ends before the others begin, as it may make what they share. An exception of one
    call is raised once the running calls have ended; the remaining items are left out.

    Args:
        work: Called with one item in one of the threads.
        items: The items, in the order in which their calls begin.
        at_a_time: Number of calls that run at a time.
    """
    for item in items[:1] if at_a_time > 1 else items:
        work(item)
    if at_a_time == 1 or len(items) < 2:
        return
    pool = ThreadPoolExecutor(at_a_time)
    try:
        for done in as_completed([pool.submit(work, item) for item in items[1:]]):
            done.result()
    finally:
        pool.shutdown(cancel_futures=True)
