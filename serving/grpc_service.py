"""The gRPC interface of TensorFlow Serving, on its official service definitions.

Importing this module imports TensorFlow: the messages of `tensorflow-serving-api` need it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import grpc
from google.protobuf import any_pb2
from google.protobuf.message import DecodeError
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from . import protos
from .config_files import configs_of
from .errors import Code, ServingError, invalid_argument
from .inference import DEFAULT_SIGNATURE, InferenceCore, ModelSpec, check_inputs, deadline_after
from .session import Signature
from .tensor_protos import fill_tensor, read_tensor

_LOG = logging.getLogger("attention_zoo.serving")
_MAX_MESSAGE = 1024
_SIGNATURE_DEF = "signature_def"
_NO_MESSAGE = (grpc.StatusCode.INVALID_ARGUMENT, "The bytes of the request are no such message")


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
    """Turns errors into the status of a call, and counts calls."""

    def __init__(self, core: InferenceCore):
        self._core = core

    async def _answer(
        self,
        api: str,
        request: Any,
        context: grpc.aio.ServicerContext,
        make: Callable[[], Awaitable[Any]],
    ) -> Any:
        if request is None:
            await context.abort(*_NO_MESSAGE)
        start = time.perf_counter()
        code = Code.CANCELLED
        try:
            response = await make()
            code = Code.OK
            return response
        except ServingError as error:
            code = error.code
            await context.abort(_status_code(code), _cut(error.message))
        except Exception:
            code = Code.INTERNAL
            _LOG.exception("Cannot answer a call of gRPC")
            await context.abort(
                grpc.StatusCode.INTERNAL, "The server failed to answer; its log says why"
            )
        finally:
            seconds = time.perf_counter() - start
            self._core.count_request(request.model_spec.name, api, "GRPC", seconds, code)


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
        super().__init__(core)
        self._max_tensor_bytes = max_tensor_bytes

    async def Predict(self, request, context):
        async def make():
            return await self._predict(request, context.time_remaining())

        return await self._answer("Predict", request, context, make)

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
            fill_tensor(response.outputs[alias], array)
        return response

    async def GetModelMetadata(self, request, context):
        async def make():
            return self._metadata(request)

        return await self._answer("GetModelMetadata", request, context, make)

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
        return await self._refuse("Classify", request, context, "classification")

    async def Regress(self, request, context):
        return await self._refuse("Regress", request, context, "regression")

    async def MultiInference(self, request, context):
        await context.abort(
            grpc.StatusCode.UNIMPLEMENTED, "This server answers Predict; it has no MultiInference"
        )

    async def _refuse(self, api: str, request, context, kind: str):
        async def make():
            self._core.use(_spec_of(request)).release()
            raise invalid_argument(
                f"Expected {kind} signature method_name to be tensorflow/serving/{api.lower()}. "
                "Was: tensorflow/serving/predict"
            )

        return await self._answer(api, request, context, make)


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

    async def GetModelStatus(self, request, context):
        async def make():
            return self._status(request)

        return await self._answer("GetModelStatus", request, context, make)

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
        if request is None:
            await context.abort(*_NO_MESSAGE)
        try:
            configs = configs_of(request.config)
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(None, self._core.manager.reload, configs)
        except ServingError as error:
            await context.abort(_status_code(error.code), _cut(error.message))
        response = model_management_pb2.ReloadConfigResponse()
        response.status.error_code = Code.OK
        return response


class HealthService:
    """`grpc.health.v1.Health`: whether the server takes requests.

    The official server says once that it is well and never again looks; this one says so for as
    long as it has a model that can be used.
    """

    NAME = "grpc.health.v1.Health"
    SERVICES = ("", "tensorflow.serving.PredictionService", "tensorflow.serving.ModelService")

    def __init__(self, core: InferenceCore):
        self._core = core

    def handler(self) -> grpc.GenericRpcHandler:
        """What a server of gRPC calls."""
        check = grpc.unary_unary_rpc_method_handler(
            self._check,
            request_deserializer=protos.HealthCheckRequest.FromString,
            response_serializer=protos.HealthCheckResponse.SerializeToString,
        )
        return grpc.method_handlers_generic_handler(self.NAME, {"Check": check})

    async def _check(self, request, context):
        if request is None or request.service not in self.SERVICES:
            await context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
        serving = any(self._core.manager.models().values())
        return protos.HealthCheckResponse(status=1 if serving else 2)


class _TolerantHandler(grpc.GenericRpcHandler):
    """The methods of another handler, which get `None` for bytes that are no message.

    Without it gRPC would write a traceback into the log for every one that a client sends.
    """

    def __init__(self, handler: grpc.GenericRpcHandler):
        self._handler = handler

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """The method that a call asks for."""
        method = self._handler.service(handler_call_details)
        if method is None:
            return None
        return method._replace(request_deserializer=_or_none(method.request_deserializer))


class _TolerantServer:
    """What the generated code takes for a server to put its methods on."""

    def __init__(self, server: grpc.aio.Server):
        self._server = server

    def add_generic_rpc_handlers(self, handlers: Iterable[grpc.GenericRpcHandler]) -> None:
        """Puts methods on the server."""
        self._server.add_generic_rpc_handlers(tuple(map(_TolerantHandler, handlers)))

    def add_registered_method_handlers(self, service: str, methods: Any) -> None:
        """Newer generated code registers its methods twice; the generic ones are enough."""


def _or_none(deserialize: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    def tolerant(data: bytes) -> Any:
        try:
            return deserialize(data)
        except DecodeError:
            return None

    return tolerant


def add_services(server: grpc.aio.Server, core: InferenceCore) -> None:
    """Puts all services on a server of gRPC."""
    tolerant = _TolerantServer(server)
    tolerant.add_generic_rpc_handlers((HealthService(core).handler(),))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
        PredictionService(core), tolerant
    )
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(ModelService(core), tolerant)
