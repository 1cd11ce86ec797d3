"""The processors there are for this process."""

import os


def processors() -> int:
    """Number of processors for this process, which a container or `taskset` may lower."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
