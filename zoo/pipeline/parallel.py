"""Batches that run side by side, each on a core of its own.

The operations of a decoding step are small: two threads that share one are not twice as fast, two
that have a batch each nearly are.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import TypeVar

import tensorflow as tf

from ..processors import processors

# Each batch takes memory of its own.
MOST_BATCHES = 8

Item = TypeVar("Item")


def batches_side_by_side() -> int:
    """Number of batches that run at a time: one on accelerators and under a strategy."""
    accelerators = tf.config.get_visible_devices("GPU") + tf.config.get_visible_devices("TPU")
    if accelerators or tf.distribute.has_strategy():
        return 1
    return min(processors(), MOST_BATCHES)


def give_each_batch_its_threads() -> None:
    """Has operations use no more threads than there are for each batch, in all of this process.

    For a program that does nothing but run many batches. Where something was computed before, all
    stays as it is.
    """
    with contextlib.suppress(RuntimeError):
        tf.config.threading.set_intra_op_parallelism_threads(
            max(1, processors() // batches_side_by_side())
        )


def batches_by_length(lengths: Sequence[int], batch_size: int) -> list[list[int]]:
    """Row numbers in batches of like lengths: first that of the shortest, then from the longest on.

    A batch runs for as long as its longest row; and the longest batch is not to be begun last, to
    run alone then.
    """
    if batch_size < 1:
        raise ValueError(f"A batch has one row at least. Received: batch_size={batch_size}")
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    return [*batches[:1], *batches[:0:-1]]


def run_side_by_side(work: Callable[[Item], None], items: Sequence[Item], at_a_time: int) -> None:
    """Calls `work` with each item, so many at a time.

    The first is done before the others begin, as it may make what they share. An exception of one
    is raised, when those have ended that had begun; the others are left out.
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
