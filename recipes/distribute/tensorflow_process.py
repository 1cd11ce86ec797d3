"""A process on TensorFlow beside one that trains on JAX: it decodes, scores and saves."""

from __future__ import annotations

import atexit
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any

_CODE = f"import sys; from {__name__} import serve; serve(int(sys.argv[1]))"


class TensorFlowProcess:
    """A process with TensorFlow's Keras that calls functions with what they are given.

    It starts at once, on the CPU, and ends with this process, however that ends.
    """

    def __init__(self) -> None:
        self._connection, theirs = Pipe()
        environment = {name: v for name, v in os.environ.items() if name != "XLA_FLAGS"}
        environment |= {"KERAS_BACKEND": "tensorflow", "CUDA_VISIBLE_DEVICES": "-1"}
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
        self._process = subprocess.Popen(
            [sys.executable, "-c", _CODE, str(theirs.fileno())],
            env=environment,
            pass_fds=[theirs.fileno()],
            start_new_session=True,  # Ctrl-C is for the training, which decides what follows
        )
        theirs.close()
        self._one_call = threading.Lock()
        atexit.register(self._process.kill)

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Calls a function of the package there, and returns what it returns or raises."""
        message, answer = pickle.dumps((function, arguments)), Future()  # type: bytes, Future
        # In a thread, as a signal may end the wait for an answer, but must not cut one in two.
        exchange = threading.Thread(target=self._exchange, args=(message, answer), daemon=True)
        exchange.start()
        value, error = answer.result()
        if error is not None:
            raise error
        return value

    def _exchange(self, message: bytes, answer: Future) -> None:
        with self._one_call:
            try:
                self._connection.send_bytes(message)
                answer.set_result(self._connection.recv())
            except (EOFError, OSError):
                ended = RuntimeError("The process on TensorFlow beside the training has ended.")
                answer.set_result((None, ended))


def serve(descriptor: int) -> None:
    """Answers the calls that come through a pipe, until it is closed."""
    from ..core.tensorflow_setup import load_tensorflow

    load_tensorflow()
    connection = Connection(descriptor)
    while True:
        try:
            message = connection.recv_bytes()
        except EOFError:
            return
        connection.send_bytes(_answer(message))


def _answer(message: bytes) -> bytes:
    """The result of a call, or else its error."""
    try:
        function, arguments = pickle.loads(message)
        return pickle.dumps((function(*arguments), None))
    except Exception as error:
        try:
            return pickle.dumps((None, error))
        except Exception:  # there are errors that cannot be sent
            return pickle.dumps((None, RuntimeError(f"{type(error).__name__}: {error}")))
