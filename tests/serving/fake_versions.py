"""Versions of models that load at once, or fail when told to."""

from __future__ import annotations

import threading
import time

from attention_zoo.serving.runtime.errors import Code, ServingError


class FakeSession:
    """Stands for a loaded model; a file named `broken` makes it fail."""

    opened: list[str]

    def __init__(self, path):
        if (path / "broken").exists():
            raise ServingError(Code.DATA_LOSS, f"{path.name} is damaged")
        self.path = path
        self.closed = threading.Event()

    def close(self):
        self.closed.set()


def publish(base, number, broken=False):
    folder = base / f"new-{number}"
    folder.mkdir(parents=True)
    if broken:
        (folder / "broken").touch()
    folder.rename(base / str(number))


def states(manager, name="m"):
    return {status.number: status.state for status in manager.status(name)}


def wait_for(condition, seconds=5.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)
