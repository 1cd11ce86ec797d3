"""Training on JAX: `keras.distribution` over the devices that JAX has, and nothing else of ours.

Batches, callbacks, checkpoints and the folder of a run are those of a training on TensorFlow. What
JAX cannot do, to decode and to save what is served, a process on TensorFlow does beside it.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import keras

from ...zoo.errors import ConfigError
from .context import DistributionContext
from .tensorflow_process import TensorFlowProcess

if TYPE_CHECKING:
    from ..core.config import RunConfig
    from ..data.batch_stream import BatchStream
    from .strategies import StrategyOptions

# How matrices are divided: the first of two by what it gives, the second by what it takes, so that
# devices have to meet once after both.
LAYOUTS = {
    r".*/((qkv|query|key|value)_kernel|expand/kernel|embeddings)": (None, "model"),
    r".*/((qkv|query|key|value)_bias|expand/bias)": ("model",),
    r".*/(output_kernel|contract/kernel)": ("model", None),
}


class JaxContext(DistributionContext):
    """The devices of a training on JAX, and the process on TensorFlow that evaluates it.

    Args:
        name: Name of the strategy, as on the command line.
        devices: Description of the devices for people.
        distribution: How weights and batches lie on the devices; `None` for a single one.
    """

    def __init__(self, name: str, devices: str, distribution: keras.distribution.Distribution):
        super().__init__(name, devices)
        self.distribution = distribution

    @cached_property
    def tensorflow(self) -> TensorFlowProcess:
        return TensorFlowProcess()

    @property
    def replicas(self) -> int:
        return 1 if self.distribution is None else self.distribution.num_model_replicas

    def check(self, config: RunConfig) -> None:
        """Refuses settings that are TensorFlow's alone.

        Raises:
            ConfigError: A setting is one of them.
        """
        if config.skip_nonfinite or config.precision == "mixed_float16":
            name = "skip_nonfinite" if config.skip_nonfinite else "precision"
            raise ConfigError(
                f"JAX trains without {name}={getattr(config, name)}: leave it out (mixed_bfloat16 "
                "needs neither), or train on TensorFlow, without KERAS_BACKEND=jax."
            )

    def dataset(
        self, batches: BatchStream, start_step: int, accumulate: int = 1, static: bool = False
    ) -> Any:
        from ..data.batch_stream import Share

        return batches.dataset(start_step, accumulate, Share(static=True, parts=self.replicas))

    def fit(self, model: keras.Model, dataset: Any, callbacks: list[Any]) -> None:
        model.fit(dataset, shuffle=False, verbose=0, callbacks=[_StateInVariables(), *callbacks])


class _StateInVariables(keras.callbacks.Callback):
    """Puts the state of a step into the variables, which `fit` does at its end alone."""

    def on_train_batch_end(self, batch, logs=None):
        self.model.jax_state_sync()


class _ModelParallel(keras.distribution.ModelParallel):
    """`ModelParallel` that leaves whole what its devices cannot divide evenly."""

    def get_variable_layout(self, variable):
        layout = super().get_variable_layout(variable)
        divided = [n for n, axis in zip(variable.shape, layout.axes, strict=True) if axis]
        if all(n % self.device_mesh.shape[1] == 0 for n in divided):
            return layout
        return keras.distribution.TensorLayout([None] * len(variable.shape), self.device_mesh)


def make_jax_strategy(options: StrategyOptions) -> JaxContext:
    """Makes the strategy, and makes Keras put all variables on its devices from now on.

    Args:
        options: The options of the user.

    Raises:
        ConfigError: There are not these devices.
    """
    import tensorflow as tf

    tf.config.set_visible_devices([], "GPU")  # it would take all of the memory for its texts
    found = keras.distribution.list_devices()
    name = options.name
    if name == "auto":
        name = "mirrored" if len(found) > 1 else "single"
    distribution, used, shards = None, 1, 1
    if name == "mirrored":
        used = len(found) if options.replicas is None else options.replicas
        if not 1 <= used <= len(found):
            raise ConfigError(f"JAX has {len(found)} devices. Received: --replicas {used}")
        distribution = keras.distribution.DataParallel(devices=found[:used])
    elif name == "sharded":
        copies, used = options.replicas or 1, len(found)
        shards = used // copies
        if shards < 2 or used % copies:
            raise ConfigError(
                f"--strategy sharded divides each copy of the weights over several devices. JAX "
                f"has {used}, for --replicas {copies}."
            )
        mesh = keras.distribution.DeviceMesh((copies, shards), ("batch", "model"), found)
        layouts = keras.distribution.LayoutMap(mesh)
        for pattern, axes in LAYOUTS.items():
            layouts[pattern] = axes
        distribution = _ModelParallel(layout_map=layouts, batch_dim_name="batch")
    keras.distribution.set_distribution(distribution)
    words = f"JAX on {used} of {len(found)} devices ({found[0].split(':')[0]})"
    words += f", the weights divided over {shards}" if shards > 1 else ""
    return JaxContext(name, words, distribution)
