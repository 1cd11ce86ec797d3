"""The memory that attention layers hand around."""

from typing import Any, NamedTuple


class Memory(NamedTuple):
    """Keys and values to attend to, projected once and used at every step.

    Attributes:
        keys: compared with queries; in the layout of the layer that made them.
        values: summed with the weights; in the same layout.
        mask: boolean `(B, S)`, True for keys that may be attended to, or `None` for all of them.
    """

    keys: Any
    values: Any
    mask: Any = None


def memory_shape(memory):
    """Batch and length of a memory, in the layout of any layer."""
    return memory.values.shape[0], memory.values.shape[-2]
