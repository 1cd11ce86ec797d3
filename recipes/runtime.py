"""How TensorFlow is started by the commands."""

from __future__ import annotations

import os
import sys


def load_tensorflow() -> None:
    """Imports TensorFlow without its notes about drivers and instruction sets."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # Large tensors from a pool rather than from the system: about a tenth of a training step.
    os.environ.setdefault("TF_CPU_ALLOCATOR_USE_BFC", "1")
    sys.stderr.flush()
    stderr = os.dup(2)
    # The libraries write to the file descriptor, before there is a level that they would heed.
    with open(os.devnull, "w") as null:
        os.dup2(null.fileno(), 2)
    try:
        import tensorflow_text  # noqa: F401
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
