"""Transport of a client's calls over gRPC."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Any

import grpc
import numpy as np

from ..runtime import dtypes, protos
from ..runtime.errors import Code, ServingError, invalid_argument
from ..runtime.tensor_protos import fill_tensor, read_tensor
from .retry import Retry
from .transports import Access, ServerAddress, Target, too_late, unreachable

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
_WAIT = "grpc-retry-pushback-ms"  # in the trailers of a server: when to ask again, or never


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


def _read_response(response: Any) -> dict[str, list]:
    """The outputs of a reply, a `PredictResponse`, bytes as text."""
    outputs = {}
    for name, proto in response.outputs.items():
        try:
            outputs[name] = _plain(read_tensor(proto, _MAX_REPLY).tolist())
        except (ValueError, TypeError, OverflowError) as error:
            kind = dtypes.from_number(proto.dtype).name
            raise ServingError(
                Code.INTERNAL, f"The output '{name}' of type {kind} cannot be read: {error}"
            ) from error
    return outputs


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(element) for element in value]
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _to_error(error: grpc.RpcError, address: ServerAddress, timeout: float) -> ServingError:
    """The error of a call that failed."""
    code = Code(error.code().value[0])
    message = error.details() or code.name
    if code == Code.DEADLINE_EXCEEDED:
        return too_late(timeout)
    if code == Code.UNAVAILABLE and ("connect" in message.lower() or "handshake" in message):
        return unreachable(address, ConnectionError(message))
    wait = dict(error.trailing_metadata() or ()).get(_WAIT, "0")
    found = ServingError(code, message, permanent=_TOO_LARGE in message or not wait.isdigit())
    found.retry_after = 0.0 if found.permanent else int(wait) / 1000
    return found


class GrpcTransport:
    """gRPC; the server is told how long it has.

    Args:
        address: of the server.
        target: what to ask.
        access: credentials.
    """

    def __init__(self, address: ServerAddress, target: Target, access: Access):
        self._address = address
        self._target = target
        self._metadata = [(name.lower(), value) for name, value in access.headers.items()]
        # Not that of `grpc.aio`, which belongs to one event loop.
        if address.scheme == "grpcs":
            credentials = grpc.ssl_channel_credentials(*access.pem())
            self._channel = grpc.secure_channel(address.authority, credentials, CHANNEL_OPTIONS)
        else:
            self._channel = grpc.insecure_channel(address.authority, CHANNEL_OPTIONS)
        self._predict = self._channel.unary_unary(
            _PREDICT,
            request_serializer=protos.PredictRequest.SerializeToString,
            response_deserializer=protos.PredictResponse.FromString,
        )

    async def call(
        self, signature: str, inputs: Mapping[str, list], timeout: float
    ) -> dict[str, list]:
        request = make_request(self._target, signature, inputs)
        loop, done = asyncio.get_running_loop(), asyncio.Event()

        def tell(call: Any) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(done.set)

        call = self._predict.future(request, timeout=timeout, metadata=self._metadata)
        call.add_done_callback(tell)
        try:
            await done.wait()
            return _read_response(call.result())
        except grpc.RpcError as error:
            raise _to_error(error, self._address, timeout) from error
        finally:
            call.cancel()  # if nobody waits for it any more

    async def close(self) -> None:
        self._channel.close()
