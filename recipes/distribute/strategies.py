"""Distribution strategies: one device, several of a machine, or several machines.

All of them compute the same: each batch is split over the replicas of the model, each replica adds
its share to the gradients, and the weights are those that one replica with the whole batch learns.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from ...zoo.cpus import available_cpus
from ...zoo.errors import ConfigError
from .cluster import Cluster
from .context import DistributionContext
from .workers import Workers

STRATEGIES = ("auto", "single", "mirrored", "multiworker", "sharded")


@dataclass(frozen=True)
class StrategyOptions:
    """Options that choose the devices and machines of a training.

    Attributes:
        name: One of `STRATEGIES`.
        workers: `host:port,...` of all workers; those of `TF_CONFIG` if `None`.
        index: Index of this worker, from 0.
        replicas: Number of devices of `mirrored`; all GPUs if `None`. Without a GPU, the CPU is
            divided into that many devices, for a trial. Of `sharded`, the number of copies of the
            weights; one if `None`.

    Raises:
        ConfigError: The strategy is unknown, or options contradict each other.
    """

    name: str = "auto"
    workers: str | None = None
    index: int | None = None
    replicas: int | None = None

    def __post_init__(self) -> None:
        if self.name == "tpu":
            raise ConfigError(
                "--strategy tpu cannot run: TensorFlow 2.21, which this version needs, has no "
                "kernels for TPUs (tensorflow-tpu ends at 2.20). JAX has, and takes them by itself:"
                " KERAS_BACKEND=jax attention-zoo train ..., without --strategy tpu, which was "
                "never tried on a TPU (docs/scaling.md)."
            )
        if self.name not in STRATEGIES:
            raise ConfigError(
                f"--strategy is one of {', '.join(STRATEGIES)}. Received: {self.name}"
            )
        if self.workers is None and self.index is not None:
            raise ConfigError("--index is the number of this worker in --workers; give both.")
        if self.workers is not None and self.name not in ("auto", "multiworker"):
            raise ConfigError(f"--workers is for --strategy multiworker, not {self.name}.")
        if self.replicas is not None and self.name not in ("mirrored", "sharded"):
            raise ConfigError(f"--replicas is for --strategy mirrored or sharded, not {self.name}.")

    def cluster(self) -> Cluster | None:
        """The workers of `--workers` or `TF_CONFIG`; `None` if this process trains alone.

        Raises:
            ConfigError: The strategy needs workers and none are named, or an address is wrong.
        """
        if self.name not in ("auto", "multiworker"):
            return None
        if self.workers is None:
            cluster = Cluster.from_environment()
        else:
            given = Cluster.from_options(self.workers, self.index)
            cluster = given if len(given) > 1 else None
        if cluster is None and self.name == "multiworker":
            raise ConfigError(
                "--strategy multiworker needs at least two workers: --workers HOST:PORT,HOST:PORT "
                "--index N, or TF_CONFIG."
            )
        if cluster is not None and os.environ.get("KERAS_BACKEND") == "jax":
            raise ConfigError(
                "JAX trains in one process here: leave out --workers and TF_CONFIG, or train on "
                "TensorFlow, without KERAS_BACKEND=jax."
            )
        return cluster


def make_strategy(options: StrategyOptions, workers: Workers | None = None) -> DistributionContext:
    """Makes the strategy, before anything else is done with TensorFlow.

    Args:
        options: The options of the user.
        workers: The open channels to the other workers, if `options.cluster()` names any.

    Returns:
        The context in which the model is made and trained.

    Raises:
        ConfigError: This machine does not have the devices, or TensorFlow has been used before.
    """
    import keras

    if keras.backend.backend() == "jax":
        from .jax_engine import make_jax_strategy

        return make_jax_strategy(options)
    if options.name == "sharded":
        raise ConfigError(
            "--strategy sharded divides the weights over devices, which JAX alone does: "
            "KERAS_BACKEND=jax attention-zoo train ... --strategy sharded"
        )
    name = "multiworker" if workers is not None else options.name
    if name == "auto":
        name = _best()
    makers = {
        "mirrored": lambda: _mirrored(options.replicas),
        "multiworker": lambda: _multiworker(workers),
    }
    return makers[name]() if name in makers else DistributionContext("single", _default_device())


def _best() -> str:
    """The name of the strategy that uses all devices of this machine."""
    import tensorflow as tf

    return "mirrored" if len(tf.config.list_physical_devices("GPU")) > 1 else "single"


def _default_device() -> str:
    import tensorflow as tf

    gpus = len(tf.config.list_physical_devices("GPU"))
    unused = f" of {gpus}; --strategy mirrored uses all" if gpus > 1 else ""
    cores = available_cpus()
    return f"one GPU{unused}" if gpus else f"the CPU, {cores} core{'s' * (cores > 1)}"


def _mirrored(replicas: int | None) -> DistributionContext:
    import tensorflow as tf

    gpus = len(tf.config.list_physical_devices("GPU"))
    if gpus:
        count = gpus if replicas is None else replicas
        if not 1 <= count <= gpus:
            raise ConfigError(f"This machine has {gpus} GPUs. Received: --replicas {replicas}")
        devices, words = [f"GPU:{i}" for i in range(count)], f"{count} of {gpus} GPUs"
    else:
        count = replicas or 1
        _divide_cpu(count)
        devices = [f"CPU:{i}" for i in range(count)]
        words = f"no GPU; the CPU in {count} parts, which is no faster" if count > 1 else "the CPU"
    return DistributionContext("mirrored", words, tf.distribute.MirroredStrategy(devices))


def _divide_cpu(count: int) -> None:
    """Divides the CPU into that many devices."""
    import tensorflow as tf

    cpu = tf.config.list_physical_devices("CPU")[0]
    if len(tf.config.get_logical_device_configuration(cpu) or [cpu]) >= count:
        return
    try:
        tf.config.set_logical_device_configuration(
            cpu, [tf.config.LogicalDeviceConfiguration()] * count
        )
        # A replica that waits for the others holds a thread: with fewer of them than replicas, all
        # would wait forever.
        tf.config.threading.set_inter_op_parallelism_threads(max(2 * count, available_cpus()))
    except RuntimeError as error:
        raise ConfigError(
            f"The CPU cannot be divided into {count} devices any more: TensorFlow has been used in "
            "this process. Make the strategy first."
        ) from error


def _multiworker(workers: Workers | None) -> DistributionContext:
    import tensorflow as tf
    from tensorflow.python.eager import context

    if workers is None:
        raise ConfigError("This process has no other workers; see StrategyOptions.cluster.")
    if context.context()._initialized:
        raise ConfigError(
            "--strategy multiworker has to be made before TensorFlow is used for anything else. A "
            "tfds: corpus uses it; write that to a file first."
        )
    gpus = len(tf.config.list_physical_devices("GPU"))
    # TensorFlow relies on it, and waits forever where it is not so.
    workers.check_same("number of GPUs", gpus)
    cluster = workers.cluster
    strategy = tf.distribute.MultiWorkerMirroredStrategy(
        tf.distribute.cluster_resolver.SimpleClusterResolver(
            tf.train.ClusterSpec({"worker": list(cluster.addresses)}),
            task_type="worker",
            task_id=cluster.index,
            rpc_layer="grpc",
            num_accelerators={"GPU": gpus},
        )
    )
    words = f"worker {cluster.index} of {len(cluster)}, with " + (
        f"{gpus} GPUs" if gpus else "the CPU"
    )
    if cluster.is_chief:
        words += "; it writes the run, evaluates and decides"
    return DistributionContext("multiworker", words, strategy, workers)
