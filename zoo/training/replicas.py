"""Sums over the copies of a model that train side by side under a `tf.distribute` strategy."""

from __future__ import annotations

import tensorflow as tf


def number_of_replicas() -> int:
    """How many replicas compute what is computed here, on all machines."""
    replica = tf.distribute.get_replica_context()
    return 1 if replica is None else replica.num_replicas_in_sync


def sum_over_replicas(values: tf.Tensor) -> tf.Tensor:
    """The sum of a tensor over all replicas, on all machines; the tensor itself if there is one.

    Inside `strategy.run` this is one all-reduce, so several numbers are best put into one tensor.
    No gradient flows through it: the gradients of the replicas are summed by the optimizer.
    """
    replica = tf.distribute.get_replica_context()
    if number_of_replicas() == 1:
        return values
    return replica.all_reduce(tf.distribute.ReduceOp.SUM, tf.stop_gradient(values))
