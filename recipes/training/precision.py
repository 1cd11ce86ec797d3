"""Precision in which a step is computed, and its compilation by XLA.

Weights, optimizer, checkpoints and what is exported are float32 in any case.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import keras

from ...zoo.errors import ConfigError
from ..core.config import RunConfig
from ..core.model import entry_of, model_options_of

if TYPE_CHECKING:
    from ..distribute.context import DistributionContext

# Lengths of source and of target that batches are padded to under XLA: it compiles the step anew
# for each pair of them that occurs, which takes many steps' time.
COMPILED_BUCKETS = 3


@contextmanager
def computing_in(precision: str) -> Iterator[None]:
    """Models made in the block compute in this precision; their weights are float32."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def check_precision(config: RunConfig, place: DistributionContext) -> None:
    """Refuses what the place of a training cannot do.

    Raises:
        ConfigError: XLA for a recurrent model; a scaled loss under several replicas.
    """
    place.check(config)
    # JAX has no other way.
    chosen = config.jit and keras.backend.backend() != "jax"
    if chosen and entry_of(config).instance(8, **model_options_of(config)).loops_over_time:
        raise ConfigError(
            "jit is for transformers: a loop over time has no use of XLA, it took twice the time. "
            f"Leave it out. Received: {config.model}"
        )
    if config.precision == "mixed_float16" and place.replicas > 1:
        raise ConfigError(
            "mixed_float16 scales the loss by what one replica sees; take mixed_bfloat16, which "
            f"needs no scaling. Received: --strategy {place.name} with {place.replicas} replicas"
        )
