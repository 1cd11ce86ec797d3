"""The base of attention layers with kernels: how those are made, and adapted by LoRA."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from ..ops.arguments import positive_int
from .base import Attention

_KINDS = {
    "initializer": keras.initializers,
    "regularizer": keras.regularizers,
    "constraint": keras.constraints,
}


class KernelAttention(Attention):
    """Attention whose score or output has kernels.

    Args:
        dropout: share of the weights set to zero while training.
        kernel_initializer: initializer of the kernels.
        seed: seed of the dropout.
        kernel_regularizer: regularizer of the kernels.
        kernel_constraint: constraint of the kernels.
        **kwargs: as for every Keras layer.
    """

    def __init__(
        self,
        dropout: float = 0.0,
        kernel_initializer: Any = "glorot_uniform",
        seed: int | None = None,
        kernel_regularizer: Any = None,
        kernel_constraint: Any = None,
        **kwargs,
    ):
        super().__init__(dropout=dropout, seed=seed, **kwargs)
        self._options: tuple[str, ...] = ()
        self._set_options(
            kernel_initializer=kernel_initializer,
            kernel_regularizer=kernel_regularizer,
            kernel_constraint=kernel_constraint,
        )

    def _set_options(self, **options: Any) -> None:
        """Sets initializers, regularizers and constraints, which `get_config` has too."""
        for name, value in options.items():
            setattr(self, name, _KINDS[name.rpartition("_")[2]].get(value))
        self._options = (*self._options, *options)

    def _add_kernel(self, name: str, shape: tuple, initializer: Any = None):
        """Adds a kernel, with an initializer that has seeds of its own."""
        return self.add_weight(
            name=name,
            shape=shape,
            initializer=initializer or self.kernel_initializer.clone(),
            regularizer=self.kernel_regularizer,
            constraint=self.kernel_constraint,
        )

    def enable_lora(self, rank: int, lora_alpha: float | None = None) -> None:
        """Freezes the kernels and lets a product of two thin matrices be learnt beside each.

        As with Keras's layers, a file has the kernels with what was learnt, and no more.

        Args:
            rank: width of the matrices.
            lora_alpha: the product counts `lora_alpha / rank` times; `rank` if `None`.

        Raises:
            ValueError: if there are no kernels yet, or the layer has matrices already.

        Example:

        >>> attention = attention_zoo.layers.SelfAttention(num_heads=2, key_dim=4)
        >>> attention.build((None, None, 8))
        >>> attention.enable_lora(rank=2)

        Reference: "LoRA", Hu et al., 2021, https://arxiv.org/abs/2106.09685
        """
        kernels = [v for v in self.trainable_weights if "kernel" in v.name and len(v.shape) == 2]
        if not self.built or any("_lora_" in v.name for v in self.weights):
            raise ValueError(
                f"{self.name}: LoRA is for kernels that are there, and once: call or build the "
                f"layer before. Received: built={self.built}, kernels={[v.name for v in kernels]}"
            )
        positive_int("rank", rank)
        self.lora_scale = (rank if lora_alpha is None else lora_alpha) / rank
        # Keras has no public way to add weights to a layer that is built; its own layers do this.
        self._tracker.unlock()
        for kernel in kernels:
            kernel.trainable = False
            for part, shape, initializer in (
                ("a", (kernel.shape[0], rank), "he_uniform"),
                ("b", (rank, kernel.shape[1]), "zeros"),
            ):
                name = f"{kernel.name}_lora_{part}"
                setattr(self, name, self.add_weight(shape, initializer, name=name))
        self._tracker.lock()

    def _cast(self, variable):
        first = getattr(self, f"{variable.name}_lora_a", None)
        if first is None:
            return super()._cast(variable)
        return super()._cast(variable + self._lora_product(variable.name))

    def _lora_product(self, name):
        first, second = (getattr(self, f"{name}_lora_{part}") for part in "ab")
        return self.lora_scale * ops.matmul(first, second)

    def save_own_variables(self, store):
        variables: dict[str, Any] = {}
        super().save_own_variables(variables)
        for index, variable in variables.items():
            if hasattr(self, f"{variable.name}_lora_a"):
                store[index] = ops.convert_to_numpy(variable + self._lora_product(variable.name))
            elif "_lora_" not in variable.name:  # those come after all others
                store[index] = variable

    def load_own_variables(self, store):
        variables: dict[str, Any] = {}
        super().save_own_variables(variables)
        if not any("_lora_" in variable.name for variable in variables.values()):
            super().load_own_variables(store)
            return
        for index, variable in variables.items():
            if "_lora_" not in variable.name:
                variable.assign(store[index])
            elif variable.name.endswith("_b"):
                variable.assign(ops.zeros(variable.shape))

    def get_config(self):
        options = {
            name: _KINDS[name.rpartition("_")[2]].serialize(getattr(self, name))
            for name in self._options
            if getattr(self, name) is not None
        }
        return {**super().get_config(), **options}
