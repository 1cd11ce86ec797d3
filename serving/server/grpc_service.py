"""The gRPC interface of TensorFlow Serving: its services, with messages as the official ones."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from google.protobuf.message import DecodeError

from ..runtime import protos
from ..runtime.config_files import read_config_message
from ..runtime.errors import Code, ServingError, invalid_argument, not_found
from ..runtime.model_config import check_inside
from ..runtime.session import Signature
from ..runtime.tensor_protos import declared_bytes, fill_tensor, read_tensor
from .inference import (
    DEFAULT_SIGNATURE,
    InferenceCore,
    ModelSpec,
    check_inputs,
    deadline_after,
    in_daemon_thread,
)

_LOG = logging.getLogger("attention_zoo.serving")
_MAX_MESSAGE = 1024  # bytes
_SIGNATURE_DEF = "signature_def"
_SIGNATURE_MAP_TYPE = "type.googleapis.com/tensorflow.serving.SignatureDefMap"
# Of the official server, which has no packages in them.
_HEALTH_NAMES = ("", "PredictionService", "ModelService")
_Methods = dict[str, tuple[Callable[..., Awaitable[Any]], Any]]
_FAILED = (grpc.StatusCode.INTERNAL, "The server failed to answer; its log says why")
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


def _status_code(code: Code) -> grpc.StatusCode:
    return next(status for status in grpc.StatusCode if status.value[0] == code)


def _cut(message: str) -> str:
    """A message that fits into the trailer of a reply, whose limit is one of bytes."""
    data = message.encode("utf-8", "replace")
    if len(data) <= _MAX_MESSAGE:
        return message
    return f"{data[:_MAX_MESSAGE].decode('utf-8', 'ignore')}...TRUNCATED"


class Services:
    """Services of TensorFlow Serving and `grpc.health.v1.Health` on an `InferenceCore`.

    The official server says once that it is well and never again looks; this one says so for as
    long as it has a model that can be used.

    Args:
        core: Runs the requests.
        folders: Folders from which a configuration that comes over gRPC may take models; `None`
            refuses every configuration.
        max_tensor_bytes: Size of the largest tensor that a request may ask to make.
    """

    def __init__(
        self,
        core: InferenceCore,
        folders: Sequence[Path] | None = (),
        max_tensor_bytes: int = 16 * 2**20,
    ):
        self._core = core
        self._folders = folders
        self._max_tensor_bytes = max_tensor_bytes

    def handlers(self) -> tuple[grpc.GenericRpcHandler, ...]:
        """Makes what a server of gRPC calls."""
        services: dict[str, _Methods] = {
            "tensorflow.serving.PredictionService": {
                "Predict": (self._predict, protos.PredictRequest),
                "GetModelMetadata": (self._metadata, protos.GetModelMetadataRequest),
            },
            "tensorflow.serving.ModelService": {
                "GetModelStatus": (self._status, protos.GetModelStatusRequest),
                "HandleReloadConfigRequest": (self._reload, protos.ReloadConfigRequest),
            },
            "grpc.health.v1.Health": {"Check": (self._check_health, protos.HealthCheckRequest)},
        }
        return tuple(_handler(self._core, name, methods) for name, methods in services.items())

    async def _predict(self, request: Any, timeout: float | None) -> Any:
        deadline, spec = deadline_after(timeout), _spec_of(request)
        with self._core.admit(spec, deadline), self._core.use(spec) as handle:
            name = request.model_spec.signature_name or DEFAULT_SIGNATURE
            signature = handle.session.signature(name)
            check_inputs(signature, request.inputs)
            # A message may be short and declare a large tensor.
            size = request.ByteSize() + sum(map(declared_bytes, request.inputs.values()))
            inputs = await self._core.aside(size, lambda: self._read_inputs(request), deadline)
            wanted = _check_filter(signature, list(request.output_filter))
            outputs = await self._core.predict(handle, signature, inputs, wanted, deadline)
            response = protos.PredictResponse()
            _fill_spec(response.model_spec, handle.name, handle.version, name)
        size = sum(array.nbytes for array in outputs.values())
        await self._core.aside(size, lambda: _fill_outputs(response, outputs), deadline)
        return response

    def _read_inputs(self, request: Any) -> dict[str, np.ndarray]:
        inputs = {}
        for alias in sorted(request.inputs):
            try:
                inputs[alias] = read_tensor(request.inputs[alias], self._max_tensor_bytes)
            except (ValueError, TypeError, OverflowError) as error:
                raise invalid_argument(f"tensor parsing error: {alias}") from error
        return inputs

    async def _metadata(self, request: Any, timeout: float | None) -> Any:
        spec = _spec_of(request)
        if not request.metadata_field:
            raise invalid_argument(
                "GetModelMetadataRequest must specify at least one metadata_field"
            )
        for field in request.metadata_field:
            if field != _SIGNATURE_DEF:
                raise invalid_argument(f"Metadata field {field} is not supported")
        response = protos.GetModelMetadataResponse()
        with self._core.use(spec) as handle:
            _fill_spec(response.model_spec, handle.name, handle.version, "")
            packed = response.metadata[_SIGNATURE_DEF]
            packed.type_url = _SIGNATURE_MAP_TYPE
            packed.value = handle.session.signature_map
        return response

    async def _status(self, request: Any, timeout: float | None) -> Any:
        spec = _spec_of(request)
        response = protos.GetModelStatusResponse()
        for found in self._core.manager.status(spec.name, spec.version):
            status = response.model_version_status.add(version=found.number, state=found.state)
            error = found.error
            status.status.error_code = error.code if error else Code.OK
            status.status.error_message = error.message if error else ""
        return response

    async def _reload(self, request: Any, timeout: float | None) -> Any:
        if self._folders is None:
            raise ServingError(
                Code.PERMISSION_DENIED, "This server takes no configuration from clients"
            )
        try:
            configs = read_config_message(request.config)
            check_inside(configs, self._folders)
            # Not in the threads of the event loop, which it waits for at its end.
            await in_daemon_thread(lambda: self._core.manager.reload(configs))
        except ServingError as error:
            _LOG.error("The models stay as they were: %s", error)
            raise
        response = protos.ReloadConfigResponse()
        response.status.error_code = Code.OK
        return response

    async def _check_health(self, request: Any, timeout: float | None) -> Any:
        if request.service not in _HEALTH_NAMES:
            raise not_found("unknown service")
        serving = any(self._core.manager.models().values())
        return protos.HealthCheckResponse(status=1 if serving else 2)


def _fill_outputs(response: Any, outputs: Mapping[str, np.ndarray]) -> None:
    for alias, array in outputs.items():
        fill_tensor(response.outputs[alias], array)


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


def _handler(core: InferenceCore, service: str, methods: _Methods) -> grpc.GenericRpcHandler:
    """Makes the methods of a service, which count calls and turn errors into a status.

    Bytes that are no message of the right kind reach a method as `None`: gRPC itself would write a
    traceback into the log for every one that a client sends.

    Args:
        core: Counts the calls.
        service: Full name of the service.
        methods: By name a coroutine function, called with the message and the seconds left or
            `None`, and the class of the message.
    """
    handlers = {
        name: grpc.unary_unary_rpc_method_handler(
            _method(core, name, answer),
            request_deserializer=_or_none(message.FromString),
            response_serializer=lambda response: response.SerializeToString(),
        )
        for name, (answer, message) in methods.items()
    }
    return grpc.method_handlers_generic_handler(service, handlers)


def _method(core: InferenceCore, api: str, answer: Callable[..., Awaitable[Any]]) -> Callable:
    async def method(request: Any, context: grpc.aio.ServicerContext) -> Any:
        if request is None:
            await context.abort(*_NO_MESSAGE)
        start = time.perf_counter()
        code = Code.CANCELLED
        try:
            response = await answer(request, context.time_remaining())
            code = Code.OK
            return response
        except ServingError as error:
            code = error.code
            await context.abort(_status_code(code), _cut(error.message))
        except Exception:
            code = Code.INTERNAL
            _LOG.exception("Cannot answer %s", api)
            await context.abort(*_FAILED)
        finally:
            if "model_spec" in request.DESCRIPTOR.fields_by_name:
                seconds = time.perf_counter() - start
                core.count_request(request.model_spec.name, api, "GRPC", seconds, code)

    return method


def _or_none(deserialize: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    def tolerant(data: bytes) -> Any:
        try:
            return deserialize(data)
        except DecodeError:
            return None

    return tolerant
