"""Transport of a client's calls over gRPC."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import grpc
import numpy as np

from ..runtime import dtypes, protos
from ..runtime.errors import Code, ServingError, invalid_argument
from ..runtime.tensor_protos import fill_tensor, read_tensor
from .retry import Retry
from .transports import ServerAddress, Target, columns_of, too_late, unreachable

CHANNEL_OPTIONS = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # Between two attempts to connect gRPC would wait up to two minutes, and fail every call until
    # then, though the server may be back.
    ("grpc.initial_reconnect_backoff_ms", int(1000 * Retry.first_wait)),
    ("grpc.max_reconnect_backoff_ms", int(1000 * Retry.longest_wait)),
)
_MAX_REPLY = 2**31
# How gRPC itself refuses a message, with the code of a server that is busy.
_TOO_LARGE = "message larger than max"
_PREDICT = "/tensorflow.serving.PredictionService/Predict"


def make_request(target: Target, signature: str, inputs: Mapping[str, list]) -> Any:
    """The request of a call, a `PredictRequest`."""
    request = protos.PredictRequest()
    request.model_spec.name = target.model
    request.model_spec.signature_name = signature
    if target.version is not None:
        request.model_spec.version.value = target.version
    elif target.label is not None:
        request.model_spec.version_label = target.label
    for name, column in inputs.items():
        fill_tensor(request.inputs[name], _array(name, column))
    return request


def _array(name: str, column: list) -> np.ndarray:
    """Whole numbers as int32, texts as bytes."""
    if column and isinstance(column[0], int):
        limits = np.iinfo(np.int32)
        for number in column:
            if not limits.min <= number <= limits.max:
                raise invalid_argument(
                    f"'{name}' is sent as a whole number of 32 bits. Received: {number}"
                )
        return np.array(column, np.int32)
    array = np.empty(len(column), dtype=object)
    array[:] = [text.encode("utf-8", "surrogateescape") for text in column]
    return array


def read_response(response: Any) -> dict[str, list]:
    """The outputs of a reply, a `PredictResponse`.

    Raises:
        ServingError: if one is of a type that no text-to-text model has, or no tensor.
    """
    outputs = {}
    for name, proto in response.outputs.items():
        try:
            outputs[name] = read_tensor(proto, _MAX_REPLY)
        except (ValueError, TypeError, OverflowError) as error:
            kind = dtypes.from_number(proto.dtype).name
            raise ServingError(
                Code.INTERNAL, f"The output '{name}' of type {kind} cannot be read: {error}"
            ) from error
    return columns_of(outputs)


def _predict_method(channel: Any) -> Any:
    """The method of a channel, synchronous or not, that calls a model."""
    return channel.unary_unary(
        _PREDICT,
        request_serializer=protos.PredictRequest.SerializeToString,
        response_deserializer=protos.PredictResponse.FromString,
    )


def to_error(error: grpc.RpcError, address: ServerAddress, timeout: float) -> ServingError:
    """The error of a call that failed."""
    code = Code(error.code().value[0])
    message = error.details() or code.name
    if code == Code.DEADLINE_EXCEEDED:
        return too_late(timeout)
    if code == Code.UNAVAILABLE and "connect" in message.lower():
        return unreachable(address, ConnectionError(message))
    return ServingError(code, message, permanent=_TOO_LARGE in message)


class GrpcTransport:
    """gRPC; the server is told how long it has.

    Args:
        address: of the server.
        target: what to ask.
    """

    def __init__(self, address: ServerAddress, target: Target):
        self._address = address
        self._target = target
        self._channel = grpc.insecure_channel(address.authority, options=CHANNEL_OPTIONS)
        self._predict = _predict_method(self._channel)

    def call(self, signature: str, inputs: Mapping[str, list], timeout: float) -> dict[str, list]:
        request = make_request(self._target, signature, inputs)
        try:
            return read_response(self._predict(request, timeout=timeout))
        except grpc.RpcError as error:
            raise to_error(error, self._address, timeout) from error

    def close(self) -> None:
        self._channel.close()


class AsyncGrpcTransport:
    """gRPC for asyncio.

    Args:
        address: of the server.
        target: what to ask.
    """

    def __init__(self, address: ServerAddress, target: Target):
        self._address = address
        self._target = target
        self._channel: grpc.aio.Channel | None = None
        self._loop: asyncio.AbstractEventLoop | None = None  # whose the channel is
        self._predict: Any = None

    async def call(
        self, signature: str, inputs: Mapping[str, list], timeout: float
    ) -> dict[str, list]:
        loop = asyncio.get_running_loop()
        if self._channel is None or self._loop is not loop:
            self._channel = grpc.aio.insecure_channel(
                self._address.authority, options=CHANNEL_OPTIONS
            )
            self._loop = loop
            self._predict = _predict_method(self._channel)
        request = make_request(self._target, signature, inputs)
        try:
            return read_response(await self._predict(request, timeout=timeout))
        except grpc.RpcError as error:
            raise to_error(error, self._address, timeout) from error

    async def close(self) -> None:
        if self._channel is not None:
            await self._channel.close()
            self._channel = None
