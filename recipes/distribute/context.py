"""The context in which a model is made and trained: its replicas, devices and other workers."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from .workers import Workers

if TYPE_CHECKING:
    import tensorflow as tf

    from ...zoo.models.encoder_decoder import EncoderDecoder
    from ..core.config import RunConfig
    from ..data.batch_stream import BatchStream
    from .tensorflow_process import TensorFlowProcess


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

    @property
    def tensorflow(self) -> TensorFlowProcess | None:
        """The process that evaluates a training which TensorFlow does not run."""
        return None

    def check(self, config: RunConfig) -> None:
        """Refuses settings that cannot be had here."""

    def scope(self) -> AbstractContextManager[Any]:
        """The scope in which the model and its optimizer are made."""
        return nullcontext() if self.strategy is None else self.strategy.scope()

    def prepare(self, model: EncoderDecoder, static: bool = False) -> None:
        """Gives each replica its own dropout seed, once the variables of the model have values.

        The seeds of the first replica stay as they are, so a checkpoint of them is one of all.

        Args:
            model: A model made in `scope`.
            static: Whether all batches of one length have the same number of rows, as XLA needs
                them, which then compiles the step of each replica.
        """
        model.static_shapes = static
        if self.strategy is None:
            return
        model.compiles_replicas = static
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
            share = Share(replicas, context.input_pipeline_id * here, here, static)
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
