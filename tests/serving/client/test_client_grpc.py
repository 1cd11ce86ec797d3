"""Clients over gRPC and a server that is busy, refuses or is silent."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest

from attention_zoo.serving.client.async_client import AsyncClient
from attention_zoo.serving.client.client import Client, ClientError, Prediction
from attention_zoo.serving.client.grpc_transport import CHANNEL_OPTIONS
from attention_zoo.serving.client.retry import Retry
from attention_zoo.serving.runtime import protos
from attention_zoo.serving.runtime.errors import Code
from attention_zoo.serving.runtime.tensor_protos import fill_tensor

QUICK = Retry(attempts=3, first_wait=0.01)


def ask(*arguments, text="a", **settings):
    """One prediction by a `Client`."""
    with Client(*arguments, **settings) as client:
        return client.predict([text])


def ask_async(*arguments, text="a", **settings):
    """One prediction by an `AsyncClient`."""

    async def asked():
        async with AsyncClient(*arguments, **settings) as client:
            return await client.predict([text])

    return asyncio.run(asked())


class Busy:
    """Answers `Predict`, after it has refused it some times."""

    def __init__(self):
        self.refusals = 0
        self.status = grpc.StatusCode.UNAVAILABLE
        self.calls = 0
        self.time_left = 0.0
        self.silence = threading.Event()
        self.silence.set()
        self.text = protos.PredictResponse().outputs["text"]
        fill_tensor(self.text, np.array([b"x"], object))
        limits = [("grpc.max_receive_message_length", 10_000)]
        self.server = grpc.server(ThreadPoolExecutor(2), options=limits)
        handler = grpc.unary_unary_rpc_method_handler(self.predict)
        self.server.add_generic_rpc_handlers(
            [
                grpc.method_handlers_generic_handler(
                    "tensorflow.serving.PredictionService", {"Predict": handler}
                )
            ]
        )
        self.url = f"grpc://127.0.0.1:{self.server.add_insecure_port('127.0.0.1:0')}"
        self.server.start()

    def predict(self, request, context):
        self.calls += 1
        self.time_left = context.time_remaining()
        self.silence.wait(10)
        if self.calls <= self.refusals:
            context.abort(self.status, "not now")
        reply = protos.PredictResponse()
        reply.outputs["text"].CopyFrom(self.text)
        fill_tensor(reply.outputs["score"], np.float32([1.0]))
        return reply.SerializeToString()


@pytest.fixture
def busy():
    made = Busy()
    yield made
    made.silence.set()
    made.server.stop(0).wait()


@pytest.mark.parametrize("ask", [ask, ask_async])
@pytest.mark.parametrize("status", ["UNAVAILABLE", "RESOURCE_EXHAUSTED"])
def test_a_busy_server_is_asked_again(status, ask, busy):
    busy.status, busy.refusals = grpc.StatusCode[status], 2
    assert ask(busy.url, "m", retry=QUICK) == [Prediction("x", 1.0)]
    assert busy.calls == 3


@pytest.mark.parametrize("ask", [ask, ask_async])
def test_a_server_is_not_asked_for_ever_nor_for_what_will_not_change(ask, busy):
    busy.refusals = 9
    with pytest.raises(ClientError, match="not now") as error:
        ask(busy.url, "m", retry=QUICK)
    assert (error.value.code, busy.calls) == (Code.UNAVAILABLE, 3)
    busy.status = grpc.StatusCode.INVALID_ARGUMENT
    with pytest.raises(ClientError, match="not now") as error:
        ask(busy.url, "m", retry=QUICK)
    assert (error.value.code, busy.calls) == (Code.INVALID_ARGUMENT, 4)


class Counted(Retry):
    """Counts how often a call was made again."""

    again = 0

    def wait_after(self, *arguments):
        wait = super().wait_after(*arguments)
        Counted.again += wait is not None
        return wait


@pytest.mark.parametrize("ask", [ask, ask_async])
def test_a_message_that_is_too_large_is_sent_once(ask, busy):
    """Such a message is refused with the code of a server that is busy."""
    Counted.again = 0
    with pytest.raises(ClientError, match=r"larger than max \(20\d\d\d vs. 10000\)") as error:
        ask(busy.url, "m", text="a" * 20_000, retry=Counted(first_wait=0.01))
    assert (error.value.code, Counted.again) == (Code.RESOURCE_EXHAUSTED, 0)


@pytest.mark.parametrize("ask", [ask, ask_async])
def test_a_reply_that_cannot_be_read_and_a_number_that_cannot_be_sent(ask, busy):
    busy.text.dtype = 19  # of float16, whose values have a field that is not read
    with pytest.raises(ClientError, match="output 'text' of type half cannot be read") as error:
        ask(busy.url, "m")
    assert error.value.code == Code.INTERNAL
    with pytest.raises(ClientError, match=r"'length' .* 32 bits.*: 1099511627776") as error:
        ask(busy.url, "m", text={"text": "a", "length": 2**40})
    assert error.value.code == Code.INVALID_ARGUMENT


def test_a_client_looks_for_its_server_as_often_as_it_asks_again():
    """By default gRPC would wait longer after each failure, up to two minutes."""
    options = dict(CHANNEL_OPTIONS)
    assert options["grpc.initial_reconnect_backoff_ms"] <= 1000 * Retry().first_wait
    assert options["grpc.max_reconnect_backoff_ms"] <= 1000 * Retry().longest_wait


@pytest.mark.parametrize("ask", [ask, ask_async])
def test_the_server_is_told_how_long_it_has(ask, busy):
    busy.silence.clear()
    with pytest.raises(ClientError, match=r"No answer within 0\.3") as error:
        ask(busy.url, "m", timeout=0.3)
    assert error.value.code == Code.DEADLINE_EXCEEDED
    assert 0 < busy.time_left < 0.35  # gRPC rounds
