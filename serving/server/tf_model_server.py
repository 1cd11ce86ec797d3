"""Running the official `tensorflow_model_server` in place of the local one."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType

from ..runtime.config_files import MODELS_FILE, MONITORING_FILE, models_text, monitoring_text
from ..runtime.model_config import ModelConfig
from ..runtime.versions import find_versions
from .server_options import ServerOptions

PROGRAM = "tensorflow_model_server"


def find_tf_model_server() -> str | None:
    """The path of the official server, if it is on the PATH."""
    return shutil.which(PROGRAM)


@dataclass(frozen=True)
class ServerFiles:
    """The configuration files that its users gave for the official server.

    Attributes:
        models: a `models.config`, or `None` to write one.
        batching: a batching file, or `None`.
        monitoring: a monitoring file, or `None` to write one.
    """

    models: Path | None = None
    batching: Path | None = None
    monitoring: Path | None = None


def server_arguments(
    configs: Sequence[ModelConfig], options: ServerOptions, files: ServerFiles, folder: Path
) -> list[str]:
    """The command line of the official server; files that it needs are written to `folder`.

    Files that were given keep their names: what a link such as one of Kubernetes points to changes,
    and the server reads it again.
    """
    models, monitoring = files.models, files.monitoring
    if models is None:
        models = folder / MODELS_FILE
        models.write_text(models_text(_servable(configs)), encoding="utf-8")
    if monitoring is None and options.metrics_path is not None:
        monitoring = folder / MONITORING_FILE
        monitoring.write_text(monitoring_text(options.metrics_path), encoding="utf-8")
    values: dict[str, object] = {
        "port": _port(options.grpc_port),
        "rest_api_port": _port(options.rest_port),
        "model_config_file": os.path.abspath(models),
        "model_config_file_poll_wait_seconds": _whole(options.reread_seconds),
        "file_system_poll_wait_seconds": _whole(options.poll_seconds or None),
        "rest_api_timeout_in_ms": int(options.timeout * 1000),
        "rest_api_num_threads": options.num_threads,
        "rest_api_enable_cors_support": options.cors,
        "enable_batching": options.enable_batching,
        "enable_per_model_batching_parameters": (
            options.enable_batching and options.per_model_batching
        ),
        "batching_parameters_file": os.path.abspath(files.batching) if files.batching else None,
        "monitoring_config_file": os.path.abspath(monitoring) if monitoring else None,
        "enable_model_warmup": options.warm_up,
        "allow_version_labels_for_unavailable_models": options.unready_labels,
        "tensorflow_intra_op_parallelism": options.intra_op_threads or None,
        "tensorflow_inter_op_parallelism": options.inter_op_threads or None,
        "grpc_max_threads": options.num_threads,
        "xla_cpu_compilation_enabled": options.xla_cpu_compilation or None,
    }
    return [
        f"--{name}={str(value).lower() if isinstance(value, bool) else value}"
        for name, value in values.items()
        if value is not None
    ]


def _servable(configs: Sequence[ModelConfig]) -> list[ModelConfig]:
    """The models as the official server takes them.

    It refuses paths that are relative, and opens no port before every model has a version.
    """
    return [
        replace(config, base_path=Path(os.path.abspath(config.base_path)))
        for config in configs
        if find_versions(config.base_path)
    ]


def _port(port: int | None) -> int:
    """A port for the official server, to which 0 means none."""
    if port != 0:
        return port or 0
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _whole(seconds: float | None) -> int:
    """Seconds between two looks; less than one is one, and never is 0."""
    return 0 if seconds is None else max(1, round(seconds))


def run_tf_model_server(
    program: str, configs: Sequence[ModelConfig], options: ServerOptions, files: ServerFiles
) -> int:
    """Runs the official server until it ends, handing on SIGTERM and Ctrl-C.

    Args:
        program: its path.
        configs: the models, unless `files` has them.
        options: as for the local server. What the official one has no flag for is left out: the
            host, since it listens on every address, and the limits on bodies and requests.
        files: configuration files that it reads.

    Returns:
        Its exit status.
    """
    with tempfile.TemporaryDirectory(prefix="attention-zoo-serve-") as folder:
        arguments = server_arguments(configs, options, files, Path(folder))
        process = subprocess.Popen([program, *arguments])

        def hand_on(number: int, frame: FrameType | None) -> None:
            process.send_signal(number)

        numbers = (signal.SIGTERM, signal.SIGINT)
        before = {number: signal.signal(number, hand_on) for number in numbers}
        try:
            status = process.wait()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
    return status if status >= 0 else 128 - status
