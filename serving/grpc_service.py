"""The gRPC interface of TensorFlow Serving, on its official service definitions.

Importing this module imports TensorFlow: the messages of `tensorflow-serving-api` need it.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import numpy as np
from google.protobuf import any_pb2
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from . import dtypes
from .errors import Code, ServingError, invalid_argument
from .inference import DEFAULT_SIGNATURE, InferenceCore, ModelSpec, check_inputs, deadline_after
from .session import Signature

_LOG = logging.getLogger("attention_zoo.serving")
_MAX_MESSAGE = 1024
_SIGNATURE_DEF = "signature_def"
# The field of a TensorProto that holds the values of each type, where it is not `int_val`.
_FIELDS = {
    "float": "float_val",
    "double": "double_val",
    "string": "string_val",
    "int64": "int64_val",
    "bool": "bool_val",
    "uint32": "uint32_val",
    "uint64": "uint64_val",
}
_INT_VAL = frozenset({"int32", "int16", "int8", "uint8", "uint16"})


def read_tensor(proto: tensor_pb2.TensorProto, max_bytes: int) -> np.ndarray:
    """The array of a TensorProto.

    Args:
        proto: the message; values that are missing at its end repeat the last one.
        max_bytes: the largest array that is made.

    Raises:
        ValueError: if the message is no tensor, or one that is too large.
    """
    dtype = dtypes.from_number(proto.dtype)
    shape = [dim.size for dim in proto.tensor_shape.dim]
    if dtype.numpy is None or proto.tensor_shape.unknown_rank or any(n < 0 for n in shape):
        raise ValueError("not a tensor")
    size = 1
    for dimension in shape:
        size *= dimension
    if size * dtype.numpy.itemsize > max_bytes:
        raise ValueError("too large")
    if proto.tensor_content:
        if dtype is dtypes.STRING:
            raise ValueError("strings have no content")
        return np.frombuffer(proto.tensor_content, dtype.numpy).reshape(shape)
    field = "int_val" if dtype.name in _INT_VAL else _FIELDS.get(dtype.name)
    if field is None:
        raise ValueError("no values of this type")
    values = list(getattr(proto, field))
    if len(values) > size:
        raise ValueError("more values than the shape has room for")
    if not values:
        values = [b"" if dtype is dtypes.STRING else 0] * size
    array = np.empty(size, dtype.numpy)
    array[: len(values)] = values
    array[len(values) :] = values[-1] if values else 0
    return array.reshape(shape)


def write_tensor(array: np.ndarray) -> tensor_pb2.TensorProto:
    """The TensorProto of an array, its values in the field of their type."""
    dtype = dtypes.from_numpy(array.dtype)
    proto = tensor_pb2.TensorProto(dtype=dtype.number)
    proto.tensor_shape.SetInParent()
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)
    field = "int_val" if dtype.name in _INT_VAL else _FIELDS.get(dtype.name)
    if field is None:
        proto.tensor_content = array.tobytes()
    else:
        getattr(proto, field).extend(array.ravel().tolist())
    return proto


def _spec_of(request: Any) -> ModelSpec:
    if not request.HasField("model_spec"):
        raise invalid_argument("Missing ModelSpec")
    spec = request.model_spec
    chosen = spec.WhichOneof("version_choice")
    return ModelSpec(
        name=spec.name,
        version=spec.version.value if chosen == "version" else None,
        label=spec.version_label if chosen == "version_label" else None,
    )


class _Answers:
    """Turns errors into the status of a call."""

    async def _answer(
        self, context: grpc.aio.ServicerContext, make: Callable[[], Awaitable[Any]]
    ) -> Any:
        try:
            return await make()
        except ServingError as error:
            await context.abort(_status_code(error.code), _cut(error.message))
        except Exception as error:
            if isinstance(error, grpc.aio.AbortError):
                raise
            _LOG.exception("Cannot answer a call of gRPC")
            await context.abort(
                grpc.StatusCode.INTERNAL, "The server failed to answer; its log says why"
            )


def _status_code(code: Code) -> grpc.StatusCode:
    return next(status for status in grpc.StatusCode if status.value[0] == code)


def _cut(message: str) -> str:
    return message if len(message) <= _MAX_MESSAGE else f"{message[:_MAX_MESSAGE]}...TRUNCATED"


class PredictionService(_Answers, prediction_service_pb2_grpc.PredictionServiceServicer):
    """`tensorflow.serving.PredictionService` on an `InferenceCore`.

    Args:
        core: runs the requests.
        max_tensor_bytes: the largest tensor that a request may ask to make.
    """

    def __init__(self, core: InferenceCore, max_tensor_bytes: int = 256 * 2**20):
        self._core = core
        self._max_tensor_bytes = max_tensor_bytes

    async def Predict(self, request, context):
        async def make():
            return await self._predict(request, context.time_remaining())

        return await self._answer(context, make)

    async def _predict(
        self, request: predict_pb2.PredictRequest, timeout: float | None
    ) -> predict_pb2.PredictResponse:
        deadline = deadline_after(timeout)
        with self._core.use(_spec_of(request)) as handle:
            name = request.model_spec.signature_name or DEFAULT_SIGNATURE
            signature = handle.session.signature(name)
            check_inputs(signature, request.inputs)
            inputs = {}
            for alias in sorted(request.inputs):
                try:
                    inputs[alias] = read_tensor(request.inputs[alias], self._max_tensor_bytes)
                except (ValueError, TypeError, OverflowError) as error:
                    raise invalid_argument(f"tensor parsing error: {alias}") from error
            wanted = _check_filter(signature, list(request.output_filter))
            outputs = await self._core.predict(handle, signature, inputs, wanted, deadline)
            response = predict_pb2.PredictResponse()
            _fill_spec(response.model_spec, handle.name, handle.version, name)
        for alias, array in outputs.items():
            response.outputs[alias].CopyFrom(write_tensor(array))
        return response

    async def GetModelMetadata(self, request, context):
        async def make():
            return self._metadata(request)

        return await self._answer(context, make)

    def _metadata(self, request: get_model_metadata_pb2.GetModelMetadataRequest):
        spec = _spec_of(request)
        if not request.metadata_field:
            raise invalid_argument(
                "GetModelMetadataRequest must specify at least one metadata_field"
            )
        for field in request.metadata_field:
            if field != _SIGNATURE_DEF:
                raise invalid_argument(f"Metadata field {field} is not supported")
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        with self._core.use(spec) as handle:
            _fill_spec(response.model_spec, handle.name, handle.version, "")
            signatures = get_model_metadata_pb2.SignatureDefMap.FromString(
                handle.session.signature_map
            )
        packed = any_pb2.Any()
        packed.Pack(signatures)
        response.metadata[_SIGNATURE_DEF].CopyFrom(packed)
        return response

    async def Classify(self, request, context):
        return await self._refuse(request, context, "classification", "classify")

    async def Regress(self, request, context):
        return await self._refuse(request, context, "regression", "regress")

    async def MultiInference(self, request, context):
        await context.abort(
            grpc.StatusCode.UNIMPLEMENTED, "This server answers Predict; it has no MultiInference"
        )

    async def _refuse(self, request, context, kind: str, verb: str):
        async def make():
            self._core.use(_spec_of(request)).release()
            raise invalid_argument(
                f"Expected {kind} signature method_name to be tensorflow/serving/{verb}. "
                "Was: tensorflow/serving/predict"
            )

        return await self._answer(context, make)


def _fill_spec(spec: Any, name: str, version: int, signature: str) -> None:
    spec.name = name
    spec.version.value = version
    spec.signature_name = signature


def _check_filter(signature: Signature, aliases: list[str]) -> list[str] | None:
    """The outputs that a request wants; `None` if it wants all."""
    for index, alias in enumerate(aliases):
        if alias not in signature.outputs:
            names = ",".join(sorted(signature.outputs))
            raise invalid_argument(
                f"output tensor alias not found in signature: {alias} "
                f"Outputs expected to be in the set {{{names}}}."
            )
        if alias in aliases[:index]:
            raise invalid_argument(f"duplicate output tensor alias: {alias}")
    return aliases or None


class ModelService(_Answers, model_service_pb2_grpc.ModelServiceServicer):
    """`tensorflow.serving.ModelService` on an `InferenceCore`.

    Args:
        core: has the models.
    """

    def __init__(self, core: InferenceCore):
        self._core = core

    async def GetModelStatus(self, request, context):
        async def make():
            return self._status(request)

        return await self._answer(context, make)

    def _status(self, request: get_model_status_pb2.GetModelStatusRequest):
        spec = _spec_of(request)
        response = get_model_status_pb2.GetModelStatusResponse()
        for found in self._core.manager.status(spec.name, spec.version):
            status = response.model_version_status.add(version=found.version, state=found.state)
            error = found.error
            status.status.error_code = error.code if error else Code.OK
            status.status.error_message = error.message if error else ""
        return response

    async def HandleReloadConfigRequest(self, request, context):
        await context.abort(
            grpc.StatusCode.UNIMPLEMENTED, "This server reads its models from its folder"
        )


def add_services(server: grpc.aio.Server, core: InferenceCore) -> None:
    """Puts both services on a server of gRPC."""
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
        PredictionService(core), server
    )
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(ModelService(core), server)
