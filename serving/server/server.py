"""The local server: TensorFlow Serving's REST and gRPC interfaces over its C++ session."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from aiohttp import web

from ..runtime import c_api
from ..runtime.metrics import Metrics
from ..runtime.model_config import ModelConfig, folders_of
from ..runtime.versions import remove_abandoned
from .connections import end_unread_replies, max_connections, raise_descriptor_limit
from .inference import InferenceCore, in_daemon_thread
from .loading import Loader
from .models import ModelManager
from .poller import ChangedFile
from .rest import RestApi
from .server_options import LOOPBACK, Address, ServerOptions, listen, port_error
from .sources import find_configs

_LOG = logging.getLogger("attention_zoo.serving")
_IDLE_SECONDS = 75.0  # after which a connection without a request is closed
_LAST_SECONDS = 0.5
# A request may be on its way over a connection that looks idle here.
_IDLE_AT_THE_END = 1.0
_BACKLOG = 1024  # connections that may come at once; the system holds them until they are taken


class _OneLine(logging.Filter):
    """Keeps names that clients and folders bring from forging lines of the log."""

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        record.msg = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
        record.args = ()
        return True


_LOG.addFilter(_OneLine())


class ModelServer:
    """A server in an event loop.

    Args:
        configs: the models.
        options: how it listens.
        reread: asked for the models again and again; answers `None` if nothing changed.
    """

    def __init__(
        self,
        configs: Sequence[ModelConfig],
        options: ServerOptions | None = None,
        reread: Callable[[], Sequence[ModelConfig] | None] | None = None,
    ):
        self.options = options or ServerOptions()
        self.metrics = Metrics()
        self._configs = list(configs)
        self.manager = ModelManager(
            configs,
            Loader(self.options, self.metrics),
            self.options.poll_seconds,
            reread,
            self.options.reread_seconds or 0.0,
            require_all=self.options.require_all,
            unready_labels=self.options.unready_labels,
        )
        self.core = InferenceCore(
            self.manager,
            self.metrics,
            self.options.num_threads,
            self.options.max_pending,
            max(self.options.max_bodies_bytes, self.options.max_body_bytes),
        )
        self._api: RestApi | None = None
        self._runner: web.AppRunner | None = None
        self._listening: asyncio.Server | None = None
        self._grpc_server: Any = None

    async def start(self) -> Address:
        """Opens the ports, then loads the models, whose states can be asked for meanwhile.

        Raises:
            ServingError: if a model cannot be served or a port not be opened.
        """
        try:
            rest_port = await self._start_rest()
            grpc_port = await self._start_grpc()
            await in_daemon_thread(self.manager.start)
        except BaseException:
            await self.stop(0.0)
            raise
        return Address(self.options.host, rest_port, grpc_port, self.manager.models())

    async def _start_rest(self) -> int | None:
        options = self.options
        if options.rest_port is None:
            return None
        listener = listen(options.host, options.rest_port, "REST")
        end_unread_replies(listener, options.receive_timeout)
        self._api = RestApi(self.core, options)
        self._runner = web.AppRunner(
            self._api.application(),
            access_log=None,
            shutdown_timeout=options.grace,
            keepalive_timeout=_IDLE_SECONDS,
            handler_cancellation=True,  # of clients that have gone
        )
        await self._runner.setup()
        assert self._runner.server is not None
        protocols = self._api.protocols(self._runner.server)
        loop = asyncio.get_running_loop()
        self._listening = await loop.create_server(protocols, sock=listener, backlog=_BACKLOG)
        return listener.getsockname()[1]

    async def _start_grpc(self) -> int | None:
        options = self.options
        if options.grpc_port is None:
            return None
        import grpc

        from .grpc_service import Services

        # Without this option two servers could share a port, and each get half of the requests.
        settings = [
            ("grpc.so_reuseport", 0),
            ("grpc.max_receive_message_length", options.max_body_bytes),
            ("grpc.max_send_message_length", -1),
            ("grpc.max_allowed_incoming_connections", max_connections(options.max_pending)),
        ]
        if options.receive_timeout:
            settings += [("grpc.server_handshake_timeout_ms", int(1000 * options.receive_timeout))]
        self._grpc_server = grpc.aio.server(options=settings)
        folders = [*folders_of(self._configs), *options.reload_from] if options.reload else None
        services = Services(self.core, folders, options.max_body_bytes)
        self._grpc_server.add_generic_rpc_handlers(services.handlers())
        host = f"[{options.host}]" if ":" in options.host else options.host
        with contextlib.suppress(RuntimeError):
            port = self._grpc_server.add_insecure_port(f"{host}:{options.grpc_port}")
            if port:
                await self._grpc_server.start()
                return port
        raise port_error(options.host, options.grpc_port, "gRPC")

    async def stop(self, grace: float | None = None) -> bool:
        """Takes no further connections, answers what comes over those there are, frees models.

        Returns:
            Whether all has ended. What takes longer than the grace period goes on in threads that
            nobody can end, since they are in TensorFlow.
        """
        grace = self.options.grace if grace is None else grace
        end = time.monotonic() + grace
        ending = []
        if self._grpc_server is not None:
            ending.append(self._grpc_server.stop(grace))
        if self._listening is not None:
            self._listening.close()
        if self._runner is not None:
            ending.append(self._stop_rest(self._runner, min(grace, _IDLE_AT_THE_END)))
        await asyncio.gather(*ending)
        freed = await in_daemon_thread(lambda: self.manager.stop(_left(end)))
        closed = await in_daemon_thread(lambda: self.core.close(_left(end)))
        return freed and closed

    async def _stop_rest(self, runner: web.AppRunner, seconds: float) -> None:
        """Ends each connection with its next answer, and after some time those that are idle."""
        assert self._api is not None
        self._api.stopping = True
        end = time.monotonic() + seconds
        while runner.server is not None and runner.server.connections and time.monotonic() < end:
            await asyncio.sleep(0.02)
        await runner.cleanup()
        if self._api.connections is not None:
            self._api.connections.close()


def _left(end: float) -> float:
    """Seconds until a moment, but some for what is only just ending."""
    return max(_LAST_SECONDS, end - time.monotonic())


def serve(
    directory: str | os.PathLike,
    rest_port: int | None = 8501,
    grpc_port: int | None = 8500,
    host: str = LOOPBACK,
    ready: Callable[[Address], None] | None = None,
    options: ServerOptions | None = None,
    configs: Sequence[ModelConfig] | None = None,
) -> bool:
    """Serves the models of a folder until the process is told to stop (SIGTERM, Ctrl-C).

    Told twice, the process ends at once. XLA is switched off for the whole process unless the
    options ask for it, as in the official server.

    Args:
        directory: folder of one model with its versions, or of several such folders; or a
            `models.config`, which is read again when it changes.
        rest_port: port of REST; 0 takes a free one, `None` offers no REST.
        grpc_port: port of gRPC; 0 takes a free one, `None` offers no gRPC.
        host: address to listen on; the default can be reached from this machine alone.
        ready: called with the address once requests are answered.
        options: everything else; the host and the ports are those above.
        configs: the models of the folder, where not every one is to be served as it lies there.

    Returns:
        Whether all requests have ended. If not, what is left of them keeps the process until it
        is ended with `os._exit`.

    Raises:
        ServingError: if there is nothing to serve, or a port cannot be opened.
    """
    configs = find_configs(directory) if configs is None else configs
    if options is None or not options.xla_cpu_compilation:
        c_api.disable_xla()
    raise_descriptor_limit()
    for config in configs:
        remove_abandoned(config.base_path)
    chosen = replace(
        options or ServerOptions(), host=host, rest_port=rest_port, grpc_port=grpc_port
    )
    reread = None
    if Path(directory).is_file() and chosen.reread_seconds is not None:
        reread = ChangedFile(directory, configs)
    server = ModelServer(configs, chosen, reread)
    return asyncio.run(_serve_until_told(server, ready))


async def _serve_until_told(server: ModelServer, ready: Callable[[Address], None] | None) -> bool:
    told = asyncio.Event()

    def tell(number: int) -> None:
        if told.is_set():
            os._exit(128 + number)
        told.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        # Only the main thread of a process is told of signals.
        with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
            loop.add_signal_handler(number, tell, number)
    stopping = asyncio.ensure_future(told.wait())
    starting = asyncio.ensure_future(server.start())
    await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if not starting.done():
        starting.cancel()
        await asyncio.wait({starting})
        return False
    address = starting.result()
    try:
        if ready is not None:
            ready(address)
        await stopping
    except BaseException:
        await server.stop()
        raise
    return await server.stop()


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
        # Handlers of connections that their clients left open.
        left = asyncio.all_tasks(self._loop)
        for task in left:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))

    @property
    def address(self) -> Address:
        """Address of the running server."""
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

    def __exit__(self, *error: object) -> None:
        self._call(self.server.stop())
        self._address = None
        self._end()
