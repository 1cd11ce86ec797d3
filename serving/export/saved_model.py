"""Writes the SavedModel of a pipeline.

A step of decoding reads the weights in another form than a model keeps them in: the matrix of the
vocabulary the other way round, the scales of normalizations in the products after them, small ones
side by side. For one text that is a fifth of the time of a request. Here they are resources, as
lookup tables are, which a server fills when it has restored the variables: nothing of them is on
disk, and in memory they are there beside the variables.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from ...zoo.decoding.decode_loop import Packed, pack
from ...zoo.models.encoder_decoder import EncoderDecoder
from .check_report import ExportError

if TYPE_CHECKING:
    from .export import TextToText

MAIN_SIGNATURE = "serving_default"

_OF_THE_GRAPH = re.compile(r"\{\{.*?\}\}|\[Op:.*?\]")  # where an error of TensorFlow came up


def write_saved_model(text_to_text: TextToText, path: Path) -> dict[str, Any]:
    """Writes the SavedModel of a pipeline.

    Args:
        text_to_text: the pipeline.
        path: the folder that it is written to.

    Returns:
        What was traced for it, by signature: functions that read the prepared weights.

    Raises:
        ExportError: a signature is missing or cannot be served, or TensorFlow cannot write.
    """
    functions = dict(text_to_text.signatures())
    if MAIN_SIGNATURE not in functions:
        raise ExportError(
            f"A pipeline needs a signature '{MAIN_SIGNATURE}', the one that is called when a "
            f"request names none. Received: {sorted(functions)}"
        )
    for signature, function in functions.items():
        if getattr(function, "input_signature", None) is None:
            raise ExportError(
                f"The signature '{signature}' must be a tf.function with an input_signature, so "
                "that its number of rows is left open"
            )
    # As signatures alone: with Keras's ExportArchive they are attributes of what is saved as well,
    # for which TensorFlow traces each of them again and writes it twice.
    prepared = _prepared(text_to_text)
    with prepared.in_use() if prepared else nullcontext():
        traced = {name: _with_checked_shapes(function) for name, function in functions.items()}
    used = {id(v): v for function in traced.values() for v in function.graph.variables}
    saved = tf.Module()
    if prepared:
        used |= {id(v): v for v in prepared.variables}
        saved.prepared = prepared.resources
    # TensorFlow's variables, not the model with Keras's: those are written as copies, and a server
    # restores the copies alone.
    saved.weights = list(used.values())
    saved.resources = list(text_to_text.trackables())
    try:
        tf.saved_model.save(saved, str(path), signatures=traced)
    except (AssertionError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ExportError(f"TensorFlow cannot write this pipeline: {reason[:400]}") from error
    except tf.errors.OpError as error:  # such as of a full disk
        reason = " ".join(_OF_THE_GRAPH.sub("", error.message).split())
        reason = reason.rpartition("; ")[2]  # without the name of a file that has no name yet
        raise ExportError(f"TensorFlow cannot write to {path.parent}: {reason}") from error
    return traced


def _prepared(text_to_text: TextToText) -> PreparedWeights | None:
    """The weights that a server prepares when it loads the model, `None` where there are none."""
    # A variant restores its weights from what is stored of them, in each request.
    is_variant = "signatures" in vars(text_to_text)
    model = text_to_text.model
    return PreparedWeights(model) if isinstance(model, EncoderDecoder) and not is_variant else None


def _with_checked_shapes(function: Any) -> Any:
    """Traces a signature so that it refuses other shapes; a server feeds whatever it is sent."""
    specs = {spec.name: spec for spec in function.input_signature}

    def call(**inputs):
        # Anew, as the pipeline may have traced it already, without prepared weights.
        return function.python_function(
            *(tf.ensure_shape(inputs[name], spec.shape) for name, spec in specs.items())
        )

    return tf.function(call, autograph=False).get_concrete_function(**specs)


class PreparedWeights:
    """The step weights of a model as resources of a SavedModel.

    Args:
        model: the model; its variables have to be saved beside the resources.

    Attributes:
        resources: what a SavedModel has to track.
        variables: those that the resources are computed from.

    Example:

    >>> prepared = PreparedWeights(model)
    >>> with prepared.in_use():
    ...     traced = function.get_concrete_function()
    """

    def __init__(self, model: EncoderDecoder):
        self._model = model
        self._packed = pack(model.step_weights())
        is_tensor = [tf.is_tensor(x) for x in self._packed.tensors]

        def compute():
            packed = pack(model.step_weights())
            return [x for x, chosen in zip(packed.tensors, is_tensor, strict=True) if chosen]

        function = tf.function(compute, input_signature=[], autograph=False)
        self.variables = list(function.get_concrete_function().graph.variables)
        values = enumerate(function())
        # In place of each tensor its resource; all else, such as a switch, is as it was.
        self._slots = [
            _Prepared(function, *next(values)) if chosen else x
            for x, chosen in zip(self._packed.tensors, is_tensor, strict=True)
        ]
        self.resources = [x for x in self._slots if isinstance(x, _Prepared)]

    def read(self) -> Packed:
        """The weights, read off the resources."""
        tensors = [x.read() if isinstance(x, _Prepared) else x for x in self._slots]
        return self._packed._replace(tensors=tuple(tensors))

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Functions that are traced in here read the resources in place of the variables."""
        self._model.step_weights = self.read  # type: ignore[assignment,method-assign]
        try:
            yield
        finally:
            del self._model.step_weights


class _Prepared(tf.saved_model.experimental.TrackableResource):
    """One tensor that is computed when a SavedModel is loaded."""

    def __init__(self, compute: Callable[[], list[tf.Tensor]], number: int, value: tf.Tensor):
        super().__init__()
        self._compute, self._number = compute, number
        self._type: dict[str, Any] = {"dtype": value.dtype, "shape": value.shape}
        # Models that are loaded in one process share what has one name.
        self._name = f"prepared_{uuid.uuid4().hex}"
        self._assign(value)

    def _create_resource(self):
        return tf.raw_ops.VarHandleOp(**self._type, shared_name=self._name)

    def _initialize(self):
        self._assign(self._compute()[self._number])

    def _assign(self, value: tf.Tensor) -> None:
        tf.raw_ops.AssignVariableOp(resource=self.resource_handle, value=value)

    def read(self) -> tf.Tensor:
        value = tf.raw_ops.ReadVariableOp(resource=self.resource_handle, dtype=self._type["dtype"])
        value.set_shape(self._type["shape"])
        return value
