"""Distribution strategies: one device, several of a machine, several machines, or a TPU.

One recipe for all of them: a batch is dealt out over the replicas of the model, each replica adds
its share to the gradients, and the weights are those that one replica with the whole batch learns.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...zoo.errors import ConfigError
from ...zoo.processors import processors
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
        name: one of `STRATEGIES`.
        workers: `host:port,...` of all workers; `TF_CONFIG` if left out.
        index: number of this worker.
        replicas: devices to use under mirrored; all GPUs if left out. Without a GPU, so many parts
            of the CPU, to try it.

    Raises:
        ConfigError: an unknown strategy, or options that do not go together.
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
        """The workers of `--workers` or `TF_CONFIG`; none if this process trains alone.

        Raises:
            ConfigError: workers are asked for and not named, or named wrongly.
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


class Placement:
    """The replicas of a model, and which of them are in this process.

    Args:
        name: of the strategy, as on the command line.
        devices: what runs where, in words.
        strategy: TensorFlow's; none for one replica on the default device.
        workers: the other processes, if there are any.
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
        """True for the process that writes, evaluates and decides."""
        return self.workers is None or self.workers.is_chief

    def __str__(self) -> str:
        if self.replicas == 1:
            return f"strategy {self.name}: {self.devices}"
        return (
            f"strategy {self.name}: {self.devices}; each batch is dealt out over {self.replicas} "
            "replicas"
        )

    def scope(self) -> AbstractContextManager[Any]:
        """In which the model and its optimizer are made."""
        return nullcontext() if self.strategy is None else self.strategy.scope()

    def prepare(self, model: EncoderDecoder, static: bool = False) -> None:
        """Gives each replica a dropout of its own; to be called after its variables have values.

        The seeds of the first replica stay as they are, so a checkpoint of them is one of all.
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
        """The batches from a step on, as `fit` takes them; of few shapes if `static`."""
        from ..data.batch_stream import Share

        if self.strategy is None:
            return batches.dataset(start_step, accumulate, Share(static=static))
        import tensorflow as tf

        def pipeline(context: tf.distribute.InputContext) -> tf.data.Dataset:
            replicas = context.num_replicas_in_sync
            here = replicas // context.num_input_pipelines
            few_shapes = static or self.name == "tpu"
            share = Share(replicas, context.input_pipeline_id * here, here, few_shapes)
            # Else the replicas ask each other before every step whether all have a batch.
            endless = tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY)
            return batches.dataset(start_step, accumulate, share).apply(endless)

        return self.strategy.distribute_datasets_from_function(pipeline)

    def fit(self, model: EncoderDecoder, dataset: Any, callbacks: list[Any]) -> None:
        """One endless epoch; the callbacks end it."""
        if self.strategy is None:
            model.fit(dataset, shuffle=False, verbose=0, callbacks=callbacks)
            return
        from .mended_fit import mended_fit

        with mended_fit():
            model.fit(dataset, shuffle=False, verbose=0, callbacks=callbacks)

    def decide(self, value: Any, decision: Callable[[list[Any]], Any]) -> Any:
        """Result of the chief for the values of all workers; see `Workers.decide`."""
        if self.workers is None:
            return decision([value])
        return self.workers.decide(value, decision)

    def from_chief(
        self, make: Callable[[], Any], pack: Callable[[Any], bytes], unpack: Callable[[bytes], Any]
    ) -> Any:
        """Object of the chief at all workers: packed into bytes there and unpacked here."""
        if self.workers is None:
            return make()
        made: list[Any] = []

        def packed(values: list[Any]) -> bytes:
            made.append(make())
            return pack(made[0])

        received = self.workers.decide(None, packed)
        return made[0] if made else unpack(received)

    def ask_chief_to_stop(self) -> None:
        """Tells the chief at once that this worker has to end; see `Workers`."""
        if self.workers is not None and not self.workers.is_chief:
            self.workers.ask_chief_to_stop()

    def check_same(self, what: str, value: Any) -> None:
        """Refuses to go on unless all workers have the same value."""
        if self.workers is not None:
            self.workers.check_same(what, value)


def place(options: StrategyOptions, workers: Workers | None = None) -> Placement:
    """Makes the strategy; to be called before anything else is done with TensorFlow.

    Args:
        options: what the user said.
        workers: the others, who have been met, if `options.cluster()` names any.

    Raises:
        ConfigError: this machine cannot do it, and why.
    """
    name = "multiworker" if workers is not None else options.name
    if name == "auto":
        name = _best()
    makers = {
        "mirrored": lambda: _mirrored(options.replicas),
        "multiworker": lambda: _multiworker(workers),
        "tpu": _tpu,
    }
    return makers[name]() if name in makers else Placement("single", _default_device())


def _best() -> str:
    """The strategy that uses all there is in this machine."""
    import tensorflow as tf

    if os.environ.get("TPU_NAME") or tf.config.list_physical_devices("TPU"):
        return "tpu"
    return "mirrored" if len(tf.config.list_physical_devices("GPU")) > 1 else "single"


def _default_device() -> str:
    import tensorflow as tf

    gpus = len(tf.config.list_physical_devices("GPU"))
    unused = f" of {gpus}; --strategy mirrored uses all" if gpus > 1 else ""
    cores = processors()
    return f"one GPU{unused}" if gpus else f"the CPU, {cores} core{'s' * (cores > 1)}"


def _mirrored(replicas: int | None) -> Placement:
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
    return Placement("mirrored", words, tf.distribute.MirroredStrategy(devices))


def _divide_cpu(count: int) -> None:
    """Makes so many devices of the CPU."""
    import tensorflow as tf

    cpu = tf.config.list_physical_devices("CPU")[0]
    if len(tf.config.get_logical_device_configuration(cpu) or [cpu]) >= count:
        return
    try:
        tf.config.set_logical_device_configuration(
            cpu, [tf.config.LogicalDeviceConfiguration()] * count
        )
        # A replica that waits for the others holds a thread: with fewer of them than replicas, all
        # would wait for ever.
        tf.config.threading.set_inter_op_parallelism_threads(max(2 * count, processors()))
    except RuntimeError as error:
        raise ConfigError(
            f"The CPU cannot be divided into {count} devices any more: TensorFlow has been used in "
            "this process. Make the strategy first."
        ) from error


def _multiworker(workers: Workers | None) -> Placement:
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
    # TensorFlow takes it for granted, and waits for ever where it is not so.
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
    return Placement("multiworker", words, strategy, workers)


def _tpu() -> Placement:
    """As the documentation of TPUStrategy has it; not tried on a TPU."""
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
    return Placement("tpu", f"TPU {name}, {strategy.num_replicas_in_sync} cores", strategy)
