"""A session that records its batches, for the tests of putting requests together."""

from __future__ import annotations

import threading

import numpy as np

from attention_zoo.serving.runtime.errors import Code, ServingError


class Recorder:
    """A session that squares numbers, remembers its batches and can be held up."""

    path = "recorder"
    signature_map = b""

    def __init__(self):
        self.signatures = {}
        self.batches = []
        self.go = threading.Event()
        self.go.set()
        self.started = threading.Semaphore(0)
        self.timeouts = []
        self.closed = False

    def run(self, signature, inputs, outputs=None, timeout=None):
        self.started.release()
        self.batches.append({name: array.copy() for name, array in inputs.items()})
        self.timeouts.append(timeout)
        self.go.wait(10)
        x = inputs["x"]
        if signature == "scalar":
            return {"y": np.float32(1.0)}
        if signature == "short":
            return {"y": x[:1]}
        if (x == 13).any():
            raise ServingError(Code.INVALID_ARGUMENT, "13 is refused")
        return {"y": x * x}

    def close(self):
        self.closed = True


def x(*values):
    return {"x": np.float32(values)}


def hold(session, recorder):
    """Keeps the thread busy with a batch of its own, so that what follows has to wait."""
    recorder.go.clear()
    first = session.submit("f", x(1.0))
    recorder.started.acquire()
    return first
