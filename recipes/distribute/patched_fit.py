"""A patch of `Model.fit` for several workers and for batches of unequal shapes.

Keras 3.15 has two faults here (https://github.com/keras-team/keras/issues/20585, open since 2024):

- before the first step it builds the model from the mean of the batches of all replicas, which
  there is only if all have the same shape, and under several workers not even then;
- it asks `MultiWorkerMirroredStrategy` for the mean of scalar logs along their first axis.

The tests fail once Keras has fixed them; then this file can go.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from keras import tree
from keras.src.backend.tensorflow import trainer

_reduce_per_replica = trainer.reduce_per_replica


@contextmanager
def patched_fit() -> Iterator[None]:
    """Patches Keras so that `fit` and `evaluate` of all models work under every strategy.

    The patch ends with the `with` block. Model, optimizer and metrics are made in the scope of the
    strategy, as usual.

    Example:

    >>> with patched_fit():
    ...     model.fit(dataset)
    """
    build = trainer.TensorFlowTrainer._maybe_symbolic_build
    trainer.TensorFlowTrainer._maybe_symbolic_build = _build_from_one_replica
    trainer.reduce_per_replica = reduce_per_replica
    try:
        yield
    finally:
        trainer.TensorFlowTrainer._maybe_symbolic_build = build
        trainer.reduce_per_replica = _reduce_per_replica


def _build_from_one_replica(self, iterator=None, data_batch=None):
    """Builds the model as Keras does, but from the batch of this process's first replica."""
    strategy = self._distribute_strategy
    if strategy is None:
        return
    if iterator is not None:
        for _, _, batches in iterator:
            data_batch = tree.map_structure(
                lambda value: strategy.experimental_local_results(value)[0], next(batches)
            )
            break
    with strategy.scope():
        self._symbolic_build(data_batch=data_batch)


def reduce_per_replica(values, strategy, reduction):
    """Reduces values as Keras does, but takes the mean over replicas of values without axes.

    Args:
        values: Values of the replicas, in any structure.
        strategy: The strategy of the training.
        reduction: `"auto"`, `"mean"`, `"sum"`, `"first"` or `"concat"`, as in Keras.

    Returns:
        The reduced values, in the same structure.
    """
    several = trainer._collective_all_reduce_multi_worker(strategy)
    if not several or reduction not in ("auto", "mean"):
        return _reduce_per_replica(values, strategy, reduction)

    return tree.map_structure(lambda value: strategy.reduce("MEAN", value, axis=None), values)
