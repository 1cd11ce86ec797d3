"""The local server: TensorFlow Serving's REST and gRPC interfaces over its C++ session."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from aiohttp import web

from . import c_api
from .errors import Code, ServingError
from .inference import InferenceCore
from .model_config import ModelConfig
from .models import ModelManager
from .rest import RestApi
from .versions import find_models

_LOG = logging.getLogger("attention_zoo.serving")
LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class ServerOptions:
    """How a server listens and what it takes.

    Args:
        host: address to listen on; the default can be reached from this machine alone.
        rest_port: port of REST; 0 takes a free one, `None` offers no REST.
        grpc_port: port of gRPC; 0 takes a free one, `None` offers no gRPC.
        poll_seconds: time between two looks for new versions; 0 never looks again.
        timeout: seconds after which a request over REST is given up.
        max_body_bytes: the largest body or message that is read.
        grace: seconds that requests under way are given when the server stops.
    """

    host: str = LOOPBACK
    rest_port: int | None = 8501
    grpc_port: int | None = 8500
    poll_seconds: float = 1.0
    timeout: float = 30.0
    max_body_bytes: int = 64 * 2**20
    grace: float = 10.0


@dataclass(frozen=True)
class Address:
    """Where a running server listens, and what it serves.

    Attributes:
        host: the address.
        rest_port: port of REST, or `None`.
        grpc_port: port of gRPC, or `None`.
        models: the versions that can be used, by model.
    """

    host: str
    rest_port: int | None
    grpc_port: int | None
    models: Mapping[str, list[int]]

    @property
    def rest_url(self) -> str:
        """Where clients of REST connect to."""
        return f"http://{self._authority(self.rest_port)}"

    @property
    def grpc_url(self) -> str:
        """Where clients of gRPC connect to."""
        return f"grpc://{self._authority(self.grpc_port)}"

    def _authority(self, port: int | None) -> str:
        if port is None:
            raise ValueError("The server was started without this interface.")
        host = LOOPBACK if self.host in ("0.0.0.0", "::", "") else self.host
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def find_configs(directory: str | os.PathLike) -> list[ModelConfig]:
    """The models in a folder: of one model with its versions, or of several such folders.

    Raises:
        ServingError: if there is no version of any model.
    """
    path = Path(directory)
    if not path.is_dir():
        what = "is no folder" if path.exists() else "does not exist"
        raise ServingError(Code.NOT_FOUND, f"Nothing to serve: {path} {what}")
    models = find_models(path)
    if not models:
        raise ServingError(
            Code.NOT_FOUND,
            f"Nothing to serve: {path} has no versions of a model. Give a folder such as "
            f"exports/ or exports/en-de/ where exports/en-de/1/ is what `attention-zoo export` "
            "wrote",
        )
    return [ModelConfig(name, base_path) for name, base_path in models.items()]


class ModelServer:
    """A server in an event loop.

    Args:
        configs: the models.
        options: how it listens.
    """

    def __init__(self, configs: Sequence[ModelConfig], options: ServerOptions | None = None):
        self.options = options or ServerOptions()
        self.manager = ModelManager(configs, poll_seconds=self.options.poll_seconds)
        self.core = InferenceCore(self.manager)
        self._runner: web.AppRunner | None = None
        self._grpc_server: Any = None

    async def start(self) -> Address:
        """Loads the models, then opens the ports.

        Raises:
            ServingError: if a model cannot be served or a port not be opened.
        """
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(None, self.manager.start)
            rest_port = await self._start_rest()
            grpc_port = await self._start_grpc()
        except BaseException:
            await self.stop(0.0)
            raise
        return Address(self.options.host, rest_port, grpc_port, self.manager.models())

    async def _start_rest(self) -> int | None:
        options = self.options
        if options.rest_port is None:
            return None
        api = RestApi(self.core, options.timeout, options.max_body_bytes)
        self._runner = web.AppRunner(
            api.application(), access_log=None, shutdown_timeout=options.grace
        )
        await self._runner.setup()
        listener = _listen(options.host, options.rest_port, "REST")
        await web.SockSite(self._runner, listener).start()
        return listener.getsockname()[1]

    async def _start_grpc(self) -> int | None:
        options = self.options
        if options.grpc_port is None:
            return None
        import grpc

        from .grpc_service import add_services

        # Without this option two servers could share a port, and each get half of the requests.
        settings = [
            ("grpc.so_reuseport", 0),
            ("grpc.max_receive_message_length", options.max_body_bytes),
            ("grpc.max_send_message_length", -1),
        ]
        self._grpc_server = grpc.aio.server(options=settings)
        add_services(self._grpc_server, self.core)
        host = f"[{options.host}]" if ":" in options.host else options.host
        with contextlib.suppress(RuntimeError):
            port = self._grpc_server.add_insecure_port(f"{host}:{options.grpc_port}")
            if port:
                await self._grpc_server.start()
                return port
        raise _port_error(options.host, options.grpc_port, "gRPC")

    async def stop(self, grace: float | None = None) -> None:
        """Takes no further requests, finishes those under way, closes the ports, frees models."""
        grace = self.options.grace if grace is None else grace
        ending = []
        if self._grpc_server is not None:
            ending.append(self._grpc_server.stop(grace))
        if self._runner is not None:
            ending.append(self._runner.cleanup())
        await asyncio.gather(*ending)
        await asyncio.get_running_loop().run_in_executor(None, self.manager.stop, grace)
        self.core.close()


def _listen(host: str, port: int, interface: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except (OSError, OverflowError) as error:
        listener.close()
        raise _port_error(host, port, interface, error) from error
    return listener


def _port_error(
    host: str, port: int, interface: str, error: Exception | None = None
) -> ServingError:
    reason = f": {getattr(error, 'strerror', None) or error}" if error else ""
    return ServingError(
        Code.UNAVAILABLE,
        f"Cannot listen on {host}:{port} for {interface}{reason}. Choose another port, or 0 for a "
        "free one",
    )


def serve(
    directory: str | os.PathLike,
    rest_port: int | None = 8501,
    grpc_port: int | None = 8500,
    host: str = LOOPBACK,
    ready: Callable[[Address], None] | None = None,
) -> None:
    """Serves the models of a folder until the process is told to stop (SIGTERM, Ctrl-C).

    XLA is switched off for the whole process, as in the official server.

    Args:
        directory: folder of one model with its versions, or of several such folders.
        rest_port: port of REST; 0 takes a free one, `None` offers no REST.
        grpc_port: port of gRPC; 0 takes a free one, `None` offers no gRPC.
        host: address to listen on; the default can be reached from this machine alone.
        ready: called with the address once requests are answered.

    Raises:
        ServingError: if there is nothing to serve, or a port cannot be opened.
    """
    configs = find_configs(directory)
    if grpc_port is not None:
        # Before the C API is opened, so that both use one copy of TensorFlow's libraries.
        from . import grpc_service  # noqa: F401
    c_api.disable_xla()
    server = ModelServer(
        configs, ServerOptions(host=host, rest_port=rest_port, grpc_port=grpc_port)
    )
    asyncio.run(_serve_until_told(server, ready))


async def _serve_until_told(server: ModelServer, ready: Callable[[Address], None] | None) -> None:
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        # Only the main thread of a process is told of signals.
        with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
            loop.add_signal_handler(number, told.set)
    address = await server.start()
    try:
        if ready is not None:
            ready(address)
        await told.wait()
    finally:
        await server.stop()


class ServerThread:
    """A server in a thread of this process, for tests, notebooks and demonstrations.

    XLA stays as it is, since the process may train with it.

    Args:
        directory: folder of one model with its versions, or of several such folders.
        options: how it listens; free ports by default.
        configs: the models, in place of a folder.

    Example:

    >>> with ServerThread("exports") as server:
    ...     Client(server.address.rest_url, model="en-de").translate(["a house"])
    """

    def __init__(
        self,
        directory: str | os.PathLike | None = None,
        options: ServerOptions | None = None,
        configs: Sequence[ModelConfig] | None = None,
    ):
        if configs is None:
            if directory is None:
                raise ValueError("Give a folder, or configs of models. Received: neither")
            configs = find_configs(directory)
        self.server = ModelServer(configs, options or ServerOptions(rest_port=0, grpc_port=0))
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="attention-zoo-server", daemon=True)
        self._address: Address | None = None

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    @property
    def address(self) -> Address:
        """Where it listens."""
        if self._address is None:
            raise RuntimeError("The server is not running; use it as `with ServerThread(...)`.")
        return self._address

    def __enter__(self) -> ServerThread:
        self._thread.start()
        try:
            self._address = self._call(self.server.start())
        except BaseException:
            self._end()
            raise
        return self

    def _call(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._call(self.server.stop())
        self._address = None
        self._end()
