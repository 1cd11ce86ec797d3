"""Commands that serve exported models: serve, serve-config.

Neither loads TensorFlow's Python package: a run is exported in a process of its own.
"""

from __future__ import annotations

import logging
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..core.tensorflow_setup import quiet_libraries
from . import server_options as given
from .app import Refused, app, local
from .export import exported
from .server_options import AUTO, LOCAL, OFFICIAL

if TYPE_CHECKING:
    from ...serving.runtime.model_config import ModelConfig
    from ...serving.server.server_options import ServerOptions
    from ...serving.server.tf_model_server import ServerFiles


def _models_of(
    directory: Path, policy: str | None, labels: list[str] | None, name: str | None = None
) -> list[ModelConfig]:
    """The models of a folder as they are to be served."""
    from ...serving.runtime.model_config import VersionPolicy, with_labels
    from ...serving.server.sources import find_configs

    configs = find_configs(directory)
    if policy is not None:
        chosen = VersionPolicy.parse(policy)
        configs = [replace(config, policy=chosen) for config in configs]
    if name is not None:
        if not name or set(name) & set("/:"):
            raise Refused(
                "--model-name is part of addresses, so it is not empty and has no / and no colon. "
                f"Received: {name!r}"
            )
        if len(configs) != 1:
            raise Refused(f"--model-name is for one model; {directory} has {len(configs)}.")
        configs = [replace(configs[0], name=name)]
    return with_labels(configs, labels or [])


@app.command(rich_help_panel="Serve")
def serve(
    directory: given.Directory = None,
    server: given.Server = AUTO,
    rest_port: given.RestPort = 8501,
    grpc_port: given.GrpcPort = 8500,
    host: given.Host = "127.0.0.1",
    rest: given.Rest = True,
    grpc: given.Grpc = True,
    page: given.ShowPage = True,
    cors: given.Cors = False,
    monitoring_file: given.MonitoringFile = None,
    models_config: given.ModelsConfig = None,
    models_config_poll: given.ModelsConfigPoll = 1.0,
    model_base_path: given.BasePath = None,
    model_name: given.ModelName = None,
    version_policy: given.Policy = None,
    labels: given.Labels = None,
    unready_labels: given.UnreadyLabels = False,
    poll: given.Poll = 1.0,
    warm_up: given.WarmUp = True,
    try_first: given.TryFirst = True,
    require_all: given.RequireAll = False,
    reload: given.Reload = True,
    reload_from: given.ReloadFrom = None,
    batching: given.Batching = True,
    batching_file: given.BatchingFile = None,
    per_model_batching: given.PerModelBatching = True,
    timeout_ms: given.TimeoutMs = 30000,
    receive_timeout: given.ReceiveTimeout = 60.0,
    max_body_mb: given.MaxBodyMb = 16,
    max_bodies_mb: given.MaxBodiesMb = 256,
    max_pending: given.MaxPending = 1000,
    threads: given.Threads = None,
    intra_op_threads: given.IntraOpThreads = None,
    inter_op_threads: given.InterOpThreads = 0,
    xla_cpu_compilation: given.XlaCpuCompilation = False,
    grace: given.Grace = 10.0,
) -> int:
    """Serve exported models over REST and gRPC, as TensorFlow Serving does.

    Example: `attention-zoo serve models`, then `curl -d '{"instances": ["a house"]}'
    http://127.0.0.1:8501/v1/models/en-de:predict`
    """
    source = _source(Path(directory) if directory else None, models_config, model_base_path)
    if source == models_config and (version_policy or labels or model_name):
        raise Refused("A models.config says itself which versions, labels and names it serves.")
    from ...serving.runtime.config_files import METRICS_PATH, read_batching, read_monitoring
    from ...serving.server.server_options import ServerOptions
    from ...serving.server.tf_model_server import ServerFiles

    options = ServerOptions(
        host=host,
        rest_port=rest_port if rest else None,
        grpc_port=grpc_port if grpc else None,
        poll_seconds=poll,
        reread_seconds=models_config_poll or None,
        timeout=timeout_ms / 1000,
        receive_timeout=receive_timeout,
        max_body_bytes=max_body_mb * 2**20,
        max_bodies_bytes=max_bodies_mb * 2**20,
        max_pending=max_pending,
        enable_batching=batching,
        batching=read_batching(_text(batching_file), str(batching_file)) if batching_file else None,
        per_model_batching=per_model_batching,
        warm_up=warm_up,
        try_first=try_first,
        require_all=require_all,
        unready_labels=unready_labels,
        num_threads=threads,
        cors=cors,
        page=page,
        intra_op_threads=intra_op_threads,
        inter_op_threads=inter_op_threads,
        xla_cpu_compilation=xla_cpu_compilation,
        metrics_path=(
            read_monitoring(_text(monitoring_file), str(monitoring_file))
            if monitoring_file
            else METRICS_PATH
        ),
        reload=reload,
        reload_from=tuple(reload_from or ()),
        grace=grace,
    )
    if not (rest or grpc):
        raise Refused("A server without REST and gRPC answers nobody; leave out one of the two.")
    source = exported(directory) if directory else source
    configs = _models_of(source, version_policy, labels, model_name)
    files = ServerFiles(models_config, batching_file if batching else None, monitoring_file)
    return _run(server, source, configs, options, files)


def _source(directory: Path | None, models_config: Path | None, base_path: Path | None) -> Path:
    sources = [path for path in (directory, models_config, base_path) if path is not None]
    if len(sources) != 1:
        raise Refused("Say once what is to be served: DIR, or --models-config FILE.")
    return sources[0]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise Refused(f"{path} is no text: {error}") from error


def _run(
    server: str,
    source: Path,
    configs: list[ModelConfig],
    options: ServerOptions,
    files: ServerFiles,
) -> int:
    from ...serving.server.tf_model_server import PROGRAM, find_tf_model_server, run_tf_model_server

    if server not in (AUTO, LOCAL, OFFICIAL):
        raise Refused(f"--server is {AUTO}, {LOCAL} or {OFFICIAL}. Received: {server!r}")
    program = find_tf_model_server() if server != LOCAL else None
    if program is None and server == OFFICIAL:
        raise Refused(f"There is no {PROGRAM} on the PATH; --server {LOCAL} runs the local one.")
    if program is not None:
        print(
            f"Running {program}, which listens on every address of this machine; "
            f"--server {LOCAL} runs the local server, which listens on {options.host} alone.",
            file=sys.stderr,
        )
        return run_tf_model_server(program, configs, options, files)
    return _run_local(source, configs, options)


def _run_local(source: Path, configs: list[ModelConfig], options: ServerOptions) -> int:
    from ...serving.runtime import c_api

    with quiet_libraries():
        c_api.library()
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    logging.getLogger("attention_zoo.serving").setLevel(logging.INFO)
    # It would write a traceback for whatever nonsense a client sends; what is ours is logged by us.
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)
    from ...serving.server.server import Address
    from ...serving.server.server import serve as run_server

    def ready(address: Address) -> None:
        if address.rest_port is not None:
            print(f"REST {address.rest_url}{' (in a browser: the page)' if options.page else ''}")
        if address.grpc_port is not None:
            print(f"gRPC {address.grpc_url}")
        print("Ctrl-C stops it.", flush=True)

    ended = run_server(
        source, options.rest_port, options.grpc_port, options.host, ready, options, configs
    )
    if not ended:
        sys.stdout.flush()
        os._exit(0)  # what is left is in TensorFlow, and nobody waits for it
    return 0


@app.command(rich_help_panel="Serve")
def serve_config(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of models.")],
    output: Annotated[
        Path, typer.Argument(callback=local, metavar="OUTPUT", help="Folder for the files.")
    ],
    served_from: Annotated[
        str | None,
        typer.Option(
            metavar="PATH",
            help="Where the server finds the models, such as `/models` in a container; where they "
            "are now if left out.",
        ),
    ] = None,
    version_policy: given.Policy = None,
    labels: given.Labels = None,
    max_batch_size: given.MaxBatchSize = 256,
    batch_timeout_micros: given.BatchTimeout = 0,
    max_enqueued_batches: given.MaxBatches = 100,
    num_batch_threads: given.BatchThreads = None,
) -> None:
    """Write models.config, batching.config and monitoring.config for a TensorFlow Serving.

    Example: `attention-zoo serve-config models config --served-from /models --version-policy
    latest:2 --label stable=1 --label canary=2`
    """
    from ...serving.runtime.batching import BatchingParameters
    from ...serving.runtime.config_files import write_config
    from ...serving.runtime.versions import find_versions

    configs = [
        config
        for config in _models_of(directory, version_policy, labels)
        if find_versions(config.base_path)
    ]
    parameters = BatchingParameters(
        max_batch_size=max_batch_size,
        batch_timeout_micros=batch_timeout_micros,
        max_enqueued_batches=max_enqueued_batches,
        num_batch_threads=num_batch_threads,
    )
    for path in write_config(configs, output, served_from, parameters).values():
        print(f"wrote {path}")
