"""Options of a server, its ports, and its address once it runs."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..runtime.batching_parameters import BatchingParameters
from ..runtime.config_files import METRICS_PATH
from ..runtime.errors import Code, ServingError

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class ServerOptions:
    """Options of a server.

    Args:
        host: address to listen on; the default can be reached from this machine alone.
        rest_port: port of REST; 0 takes a free one, `None` offers no REST.
        grpc_port: port of gRPC; 0 takes a free one, `None` offers no gRPC.
        poll_seconds: time between two looks for new versions; 0 never looks again.
        reread_seconds: time between two looks for a changed `models.config`; `None` never looks.
        timeout: seconds after which a request over REST is given up.
        receive_timeout: seconds that a client may take to send the head of its first request, and
            the body of any, and to take a reply; 0 for ever.
        max_body_bytes: the largest body or message that is read.
        max_bodies_bytes: in memory of all requests over REST that are under way; further ones
            are refused.
        max_pending: requests that may be under way or wait; beyond them they are refused, and so
            are those that are not expected to be answered before their deadline.
        enable_batching: whether requests are put together, where a version says how or
            `batching` does.
        batching: how requests are put together where a version does not say.
        per_model_batching: whether a version's own batching file is read.
        warm_up: whether the warm-up requests of a version are made before it is used.
        try_first: whether a version without a manifest is first loaded in a process of its
            own, so that a damaged one cannot end the server; takes a second or more.
        require_all: whether the server refuses to start unless every model can be served;
            otherwise it says what is wrong and serves the others.
        unready_labels: whether labels may name versions that are not served yet.
        num_threads: requests that run at a time outside batches; four a processor if `None`.
        cors: whether pages from elsewhere may read the answers of REST.
        intra_op_threads: threads within an operation; 0 leaves it to TensorFlow, which takes all
            processors. A quarter of them, at least one, if `None`: requests run side by side, and
            what a step of a decoder computes is soon done.
        inter_op_threads: operations at a time; 0 leaves it to TensorFlow.
        xla_cpu_compilation: whether versions that XLA compiles are served; others refuse them.
        metrics_path: where REST shows the page for Prometheus; `None` shows none.
        page: whether REST shows the demo page at `/`.
        reload: whether a configuration over gRPC may change what is served.
        reload_from: folders that a configuration over gRPC may take models from, beside those in
            which the models lie.
        grace: seconds that requests under way are given when the server stops.
    """

    host: str = LOOPBACK
    rest_port: int | None = 8501
    grpc_port: int | None = 8500
    poll_seconds: float = 1.0
    reread_seconds: float | None = 1.0
    timeout: float = 30.0
    receive_timeout: float = 60.0
    max_body_bytes: int = 16 * 2**20
    max_bodies_bytes: int = 256 * 2**20
    max_pending: int = 1000
    enable_batching: bool = True
    batching: BatchingParameters | None = None
    per_model_batching: bool = True
    warm_up: bool = True
    try_first: bool = False
    require_all: bool = False
    unready_labels: bool = False
    num_threads: int | None = None
    cors: bool = False
    intra_op_threads: int | None = None
    inter_op_threads: int = 0
    xla_cpu_compilation: bool = False
    metrics_path: str | None = METRICS_PATH
    page: bool = True
    reload: bool = True
    reload_from: tuple[Path, ...] = ()
    grace: float = 10.0


@dataclass(frozen=True)
class Address:
    """Address of a running server, and the models that it serves.

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
        """Address for clients of REST."""
        return f"http://{self._authority(self.rest_port)}"

    @property
    def grpc_url(self) -> str:
        """Address for clients of gRPC."""
        return f"grpc://{self._authority(self.grpc_port)}"

    def _authority(self, port: int | None) -> str:
        if port is None:
            raise ValueError("The server was started without this interface.")
        host = LOOPBACK if self.host in ("0.0.0.0", "::", "") else self.host
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def listen(host: str, port: int, interface: str) -> socket.socket:
    """A socket bound to a port, which nobody else listens on.

    Raises:
        ServingError: if the port cannot be opened.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except (OSError, OverflowError) as error:
        listener.close()
        raise port_error(host, port, interface, error) from error
    return listener


def port_error(
    host: str, port: int, interface: str, error: Exception | None = None
) -> ServingError:
    """The error of a port that cannot be opened."""
    reason = f": {getattr(error, 'strerror', None) or error}" if error else ""
    return ServingError(
        Code.UNAVAILABLE,
        f"Cannot listen on {host}:{port} for {interface}{reason}. Choose another port, or 0 for a "
        "free one",
    )
