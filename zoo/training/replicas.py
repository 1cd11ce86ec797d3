"""Sums over the copies of a model that train side by side under a `tf.distribute` strategy."""

from __future__ import annotations

from typing import Any

import keras


def number_of_replicas() -> int:
    """Returns how many replicas, on all machines, compute what is computed here."""
    replica = _replica()
    return 1 if replica is None else replica.num_replicas_in_sync


def sum_over_replicas(values: Any) -> Any:
    """Sums a tensor over all replicas, on all machines; one replica has the tensor itself.

    Inside `strategy.run` this is one all-reduce, so several numbers are best put into one tensor.
    No gradient flows through it: the gradients of the replicas are summed by the optimizer.
    """
    if number_of_replicas() == 1:
        return values
    return _replica().all_reduce("SUM", keras.ops.stop_gradient(values))


def _replica() -> Any:
    """The `tf.distribute` context of this replica; `None` where there is none."""
    if keras.backend.backend() != "tensorflow":
        return None
    import tensorflow as tf  # it is there, as Keras runs on it

    return tf.distribute.get_replica_context()
