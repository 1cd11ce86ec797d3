"""Distribution strategies: one device, several of a machine, several machines, or a TPU.

All of them compute the same: each batch is split over the replicas of the model, each replica adds
its share to the gradients, and the weights are those that one replica with the whole batch learns.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...zoo.cpus import available_cpus
from ...zoo.errors import ConfigError
from .cluster import Cluster
from .workers import Workers

if TYPE_CHECKING:
    import tensorflow as tf

    from ...zoo.models.encoder_decoder import EncoderDecoder
    from ..data.batch_stream import BatchStream

STRATEGIES = ("auto", "single", "mirrored", "multiworker", "tpu")


@dataclass(frozen=True)
class StrategyOptions:
    """Options that choose the devices and machines of a training.

    Attributes:
        name: One of `STRATEGIES`.
        workers: `host:port,...` of all workers; those of `TF_CONFIG` if `None`.
        index: Index of this worker, from 0.
        replicas: Number of devices of `mirrored`; all GPUs if `None`. Without a GPU, the CPU is
            divided into that many devices, for a trial.

    Raises:
        ConfigError: The strategy is unknown, or options contradict each other.
    """

    name: str = "auto"
    workers: str | None = None
    index: int | None = None
    replicas: int | None = None

    def __post_init__(self) -> None:
        if self.name not in STRATEGIES:
            raise ConfigError(
                f"--strategy is one of {', '.join(STRATEGIES)}. Received: {self.name}"
            )
        if self.workers is None and self.index is not None:
            raise ConfigError("--index is the number of this worker in --workers; give both.")
        if self.workers is not None and self.name not in ("auto", "multiworker"):
            raise ConfigError(f"--workers is for --strategy multiworker, not {self.name}.")
        if self.replicas is not None and self.name != "mirrored":
            raise ConfigError(f"--replicas is for --strategy mirrored, not {self.name}.")

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
        return cluster


class DistributionContext:
    """The replicas of a model, and the part of them that runs in this process.

    Args:
        name: Name of the strategy, as on the command line.
        devices: Description of the devices for people.
        strategy: Strategy of TensorFlow; `None` for one replica on the default device.
        workers: The other processes of the training, if there are any.
    """

    def __init__(
        self,
        name: str = "single",
        devices: str = "one device",
        strategy: tf.distribute.Strategy | None = None,
        workers: Workers | None = None,
    ):
        self.name = name
        self.devices = devices
        self.strategy = strategy
        self.workers = workers

    @property
    def replicas(self) -> int:
        """Number of replicas on all machines."""
        return 1 if self.strategy is None else self.strategy.num_replicas_in_sync

    @property
    def is_chief(self) -> bool:
        """True for the process that writes the run, evaluates and decides."""
        return self.workers is None or self.workers.is_chief

    def __str__(self) -> str:
        if self.replicas == 1:
            return f"strategy {self.name}: {self.devices}"
        return (
            f"strategy {self.name}: {self.devices}; each batch is split over {self.replicas} "
            "replicas"
        )

    def scope(self) -> AbstractContextManager[Any]:
        """The scope in which the model and its optimizer are made."""
        return nullcontext() if self.strategy is None else self.strategy.scope()

    def prepare(self, model: EncoderDecoder, static: bool = False) -> None:
        """Gives each replica its own dropout seed, once the variables of the model have values.

        The seeds of the first replica stay as they are, so a checkpoint of them is one of all.

        Args:
            model: A model made in `scope`.
            static: Whether all batches of one length have the same number of rows.
        """
        model.static_shapes = static or self.name == "tpu"
        if self.strategy is None:
            return
        first = 0
        if self.workers is not None:
            first = self.workers.cluster.index * (self.replicas // len(self.workers.cluster))
        for variable in model.variables:
            if variable.name != "seed_generator_state":
                continue
            seed, drawn = (int(number) for number in variable.numpy())
            parts = self.strategy.experimental_local_results(variable.value)
            for number, part in enumerate(parts, start=first):
                part.assign([(seed + number) % 2**31, drawn])

    def dataset(
        self, batches: BatchStream, start_step: int, accumulate: int = 1, static: bool = False
    ) -> Any:
        """The batches of this process, as `fit` takes them.

        Args:
            batches: The stream of all batches.
            start_step: Number of steps that have been made.
            accumulate: Number of batches in a step.
            static: Whether batches are filled up with padding rows, so that there are few shapes.
        """
        from ..data.batch_stream import Share

        if self.strategy is None:
            return batches.dataset(start_step, accumulate, Share(static=static))
        import tensorflow as tf

        def pipeline(context: tf.distribute.InputContext) -> tf.data.Dataset:
            replicas = context.num_replicas_in_sync
            here = replicas // context.num_input_pipelines
            few_shapes = static or self.name == "tpu"
            share = Share(replicas, context.input_pipeline_id * here, here, few_shapes)
            # Otherwise the replicas ask each other before every step whether all have a batch.
            endless = tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY)
            return batches.dataset(start_step, accumulate, share).apply(endless)

        return self.strategy.distribute_datasets_from_function(pipeline)

    def fit(self, model: EncoderDecoder, dataset: Any, callbacks: list[Any]) -> None:
        """Trains in one endless epoch, until a callback stops the model.

        Args:
            model: A model compiled in `scope`.
            dataset: The batches of `dataset`.
            callbacks: Keras callbacks, one of which stops the model.
        """
        if self.strategy is None:
            model.fit(dataset, shuffle=False, verbose=0, callbacks=callbacks)
            return
        from .patched_fit import patched_fit

        with patched_fit():
            model.fit(dataset, shuffle=False, verbose=0, callbacks=callbacks)

    def coordinate(self, value: Any, decision: Callable[[list[Any]], Any]) -> Any:
        """Makes one decision for all workers from their values; see `Workers.coordinate`.

        Args:
            value: The value of this worker: JSON or bytes.
            decision: Called at the chief alone with the list of all values.

        Returns:
            The result of `decision`, the same at all workers.
        """
        if self.workers is None:
            return decision([value])
        return self.workers.coordinate(value, decision)

    def broadcast_from_chief(
        self, make: Callable[[], Any], pack: Callable[[Any], bytes], unpack: Callable[[bytes], Any]
    ) -> Any:
        """Makes an object at the chief and sends it to all workers.

        Args:
            make: Makes the object; called at the chief alone.
            pack: Converts the object to bytes, at the chief.
            unpack: Restores the object from those bytes, at the other workers.

        Returns:
            The object.
        """
        if self.workers is None:
            return make()
        made: list[Any] = []

        def packed(values: list[Any]) -> bytes:
            made.append(make())
            return pack(made[0])

        received = self.workers.coordinate(None, packed)
        return made[0] if made else unpack(received)

    def ask_chief_to_stop(self) -> None:
        """Asks the chief to stop the training; see `Workers.ask_chief_to_stop`."""
        if self.workers is not None and not self.workers.is_chief:
            self.workers.ask_chief_to_stop()

    def check_same(self, what: str, value: Any) -> None:
        """Checks that a value is equal at all workers; see `Workers.check_same`.

        Args:
            what: Name of the value in the error message.
            value: The value of this worker: JSON.

        Raises:
            WorkerError: A worker has another value than the chief.
        """
        if self.workers is not None:
            self.workers.check_same(what, value)


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
    name = "multiworker" if workers is not None else options.name
    if name == "auto":
        name = _best()
    makers = {
        "mirrored": lambda: _mirrored(options.replicas),
        "multiworker": lambda: _multiworker(workers),
        "tpu": _tpu,
    }
    return makers[name]() if name in makers else DistributionContext("single", _default_device())


def _best() -> str:
    """The name of the strategy that uses all devices of this machine."""
    import tensorflow as tf

    if os.environ.get("TPU_NAME") or tf.config.list_physical_devices("TPU"):
        return "tpu"
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


def _tpu() -> DistributionContext:
    """Connects to a TPU as the documentation of TPUStrategy does; not tried on a TPU."""
    import tensorflow as tf

    name = os.environ.get("TPU_NAME", "local")
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu=name)
        if name != "local":
            tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
    except (ValueError, RuntimeError, tf.errors.OpError) as error:
        reason = str(error).splitlines()[0].split(". ")[0].rstrip(".")  # of a page about kernels
        raise ConfigError(
            f"No TPU was found as {name!r} ({reason}). On a TPU VM nothing need be set; elsewhere "
            "TPU_NAME is its name or grpc:// address."
        ) from error
    strategy = tf.distribute.TPUStrategy(resolver)
    return DistributionContext(
        "tpu", f"TPU {name}, {strategy.num_replicas_in_sync} cores", strategy
    )
