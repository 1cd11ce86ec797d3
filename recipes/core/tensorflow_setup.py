"""TensorFlow set-up of the commands."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator

from ...zoo.errors import ConfigError

# More than one batch: a batch alone is done sooner with all threads.
MANY_ROWS = 64


@contextlib.contextmanager
def quiet_libraries() -> Iterator[None]:
    """Keeps TensorFlow's notes about drivers and instruction sets from the terminal."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # Large tensors from a pool rather than from the system: a tenth of a training step, a quarter
    # of a call with 64 texts.
    os.environ.setdefault("TF_CPU_ALLOCATOR_USE_BFC", "1")
    sys.stderr.flush()
    stderr = os.dup(2)
    # The libraries write to the file descriptor, before there is a level that they would heed.
    with open(os.devnull, "w") as null:
        os.dup2(null.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)


def load_tensorflow(*others: str) -> None:
    """Imports TensorFlow without its notes.

    Args:
        others: Backends of Keras, beside TensorFlow, that the command runs on.

    Raises:
        ConfigError: Keras runs on another one, or cannot.
    """
    with quiet_libraries():
        import tensorflow_text  # noqa: F401
    try:
        from keras import backend
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"KERAS_BACKEND={os.environ.get('KERAS_BACKEND')} needs a package that is not here: "
            f"{error.name}. For JAX: pip install jax"
        ) from None
    if backend.backend() not in ("tensorflow", *others):
        raise ConfigError(
            f"This runs on TensorFlow: leave out KERAS_BACKEND={backend.backend()}. "
            "attention-zoo train alone runs on JAX too, with KERAS_BACKEND=jax."
        )


def share_threads(rows: int) -> None:
    """Gives each batch its own threads, where a command decodes so many rows and nothing else."""
    from ...zoo.pipeline.parallel import limit_operation_threads

    if rows > MANY_ROWS:
        limit_operation_threads()
