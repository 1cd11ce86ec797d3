"""The options of `attention-zoo serve` and `serve-config`, by group of the help.

Those that `tensorflow_model_server` has as well may be written by its names, with underscores.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

# What waits takes no longer: a year of seconds. What counts is held in 32 bits.
LONGEST, LARGEST = 365 * 24 * 3600, 2**31 - 1
LOCAL, OFFICIAL, AUTO = "local", "tensorflow_model_server", "auto"
_connection = partial(typer.Option, rich_help_panel="Connections")
_version = partial(typer.Option, rich_help_panel="Models and versions")
_batch = partial(typer.Option, rich_help_panel="Batching")
_limit = partial(typer.Option, rich_help_panel="Limits and threads")

Directory = Annotated[
    str | None,
    typer.Argument(
        metavar="DIR",
        help="Folder of models or of one model; or a preset or run, as for `predict`, which is "
        "exported into the cache once.",
    ),
]
Server = Annotated[
    str,
    typer.Option(
        metavar="|".join((AUTO, LOCAL, OFFICIAL)),
        help=f"`{AUTO}`: the official server if it is on the PATH, else the local one.",
    ),
]

_port = partial(_connection, min=0, max=65535, help="0 takes a free one.")
RestPort = Annotated[int, _port("--rest-port", "--rest_api_port")]
GrpcPort = Annotated[int, _port("--grpc-port", "--port")]
Host = Annotated[str, _connection(help="Address to listen on; 0.0.0.0 is every one.")]
Rest = Annotated[bool, _connection(help="Answer REST.")]
Grpc = Annotated[bool, _connection(help="Answer gRPC.")]
ShowPage = Annotated[
    bool,
    _connection("--page/--no-page", help="Show the demo page at the address of REST."),
]
Cors = Annotated[
    bool,
    _connection(
        "--cors",
        "--rest_api_enable_cors_support",
        help="Let pages from elsewhere read answers of REST.",
    ),
]
MonitoringFile = Annotated[
    Path | None,
    _connection(
        "--monitoring-file",
        "--monitoring_config_file",
        metavar="FILE",
        help="Where REST shows the metrics; /monitoring/prometheus/metrics if left out.",
    ),
]

ModelsConfig = Annotated[
    Path | None,
    _version(
        "--models-config",
        "--model_config_file",
        metavar="FILE",
        help="Models in place of DIR, as in `models.config`.",
    ),
]
ModelsConfigPoll = Annotated[
    float,
    _version(
        "--models-config-poll",
        "--model_config_file_poll_wait_seconds",
        min=0,
        max=LONGEST,
        metavar="SECONDS",
        help="Between two looks whether that file has changed; 0 never looks.",
    ),
]
BasePath = Annotated[
    Path | None,
    _version("--model-base-path", "--model_base_path", metavar="DIR", help="The same as DIR."),
]
ModelName = Annotated[
    str | None,
    _version(
        "--model-name",
        "--model_name",
        help="Of the one model of DIR; that of the folder if left out.",
    ),
]
Policy = Annotated[
    str | None,
    _version(metavar="POLICY", help="`latest:N`, `all` or `specific:N,N`; the newest if left out."),
]
Labels = Annotated[
    list[str] | None,
    _version(
        "--label",
        metavar="NAME=VERSION",
        help="Such as `stable=3`; of several models, MODEL:NAME=VERSION.",
    ),
]
UnreadyLabels = Annotated[
    bool,
    _version(
        "--unready-labels",
        "--allow_version_labels_for_unavailable_models",
        help="Labels may name versions that are not served yet.",
    ),
]
Poll = Annotated[
    float,
    _version(
        "--poll",
        "--file_system_poll_wait_seconds",
        min=0,
        max=LONGEST,
        metavar="SECONDS",
        help="Between two looks for new versions; 0 looks once.",
    ),
]
WarmUp = Annotated[
    bool,
    _version(
        "--warm-up/--no-warm-up",
        "--enable_model_warmup",
        help="Make the warm-up requests of a version before it is used.",
    ),
]
TryFirst = Annotated[
    bool, _version(help="Load a version without a manifest in a process of its own first.")
]
RequireAll = Annotated[bool, _version(help="Do not start unless every model can be served.")]
Reload = Annotated[
    bool, _version(help="Let a `HandleReloadConfigRequest` over gRPC change what is served.")
]
ReloadFrom = Annotated[
    list[Path] | None,
    _version(
        metavar="DIR",
        help="Folder from which a `HandleReloadConfigRequest` may load models, beside those in "
        "which the models lie; may be given more than once.",
    ),
]

Batching = Annotated[
    bool,
    _batch(
        "--batching/--no-batching",
        "--enable_batching",
        help="Run requests together that come together.",
    ),
]
BatchingFile = Annotated[
    Path | None,
    _batch(
        "--batching-file",
        "--batching_parameters_file",
        metavar="FILE",
        help="How, where a version does not say.",
    ),
]
PerModelBatching = Annotated[
    bool,
    _batch(
        "--per-model-batching/--no-per-model-batching",
        "--enable_per_model_batching_parameters",
        help="Read the `batching_params.pbtxt` of a version.",
    ),
]
MaxBatchSize = Annotated[int, _batch(min=1, max=LARGEST, help="Most rows in a batch.")]
BatchTimeout = Annotated[
    int, _batch(min=0, max=LARGEST, help="How long a batch waits for more while a thread is free.")
]
MaxBatches = Annotated[
    int, _batch(min=1, max=LARGEST, help="Batches that wait; further are refused.")
]
BatchThreads = Annotated[
    int | None,
    _batch(min=1, max=LARGEST, help="Batches that run at a time; one a processor if left out."),
]

TimeoutMs = Annotated[
    int,
    _limit(
        "--timeout-ms",
        "--rest_api_timeout_in_ms",
        min=1,
        max=1000 * LONGEST,
        help="After which a request over REST is given up.",
    ),
]
ReceiveTimeout = Annotated[
    float,
    _limit(
        min=0,
        max=LONGEST,
        metavar="SECONDS",
        help="For a client to send its request, and to take the reply; 0 is for ever.",
    ),
]
MaxBodyMb = Annotated[
    int, _limit(min=1, max=LARGEST, help="Largest request that is read, in megabytes.")
]
MaxBodiesMb = Annotated[
    int,
    _limit(min=1, max=LARGEST, help="Memory of all requests over REST under way, in megabytes."),
]
MaxPending = Annotated[
    int, _limit(min=1, max=LARGEST, help="Requests under way or waiting at most.")
]
Threads = Annotated[
    int | None,
    _limit(
        "--threads",
        "--rest_api_num_threads",
        min=1,
        max=LARGEST,
        help="Requests run at a time outside batches; four a processor if left out.",
    ),
]
IntraOpThreads = Annotated[
    int | None,
    _limit(
        "--intra-op-threads",
        "--tensorflow_intra_op_parallelism",
        min=0,
        max=LARGEST,
        help="Within an operation: a quarter of the processors if left out, all with 0.",
    ),
]
InterOpThreads = Annotated[
    int,
    _limit(
        "--inter-op-threads",
        "--tensorflow_inter_op_parallelism",
        min=0,
        max=LARGEST,
        help="Operations at a time; 0 leaves it to TensorFlow.",
    ),
]
XlaCpuCompilation = Annotated[
    bool,
    _limit(
        "--xla-cpu-compilation",
        "--xla_cpu_compilation_enabled",
        help="Compile what was exported with `--compiled`, while it is loaded.",
    ),
]
Grace = Annotated[
    float,
    _limit(
        min=0,
        max=LONGEST,
        metavar="SECONDS",
        help="For requests under way when the server is stopped.",
    ),
]

# Switches of `tensorflow_model_server`, which may have a value there: on and off as they are here.
_SWITCHES: dict[str, list[str | None]] = {
    "--xla_cpu_compilation_enabled": ["--xla-cpu-compilation", None],
    "--rest_api_enable_cors_support": ["--cors", None],
    "--allow_version_labels_for_unavailable_models": ["--unready-labels", None],
    "--enable_model_warmup": ["--warm-up", "--no-warm-up"],
    "--enable_batching": ["--batching", "--no-batching"],
    "--enable_per_model_batching_parameters": ["--per-model-batching", "--no-per-model-batching"],
}
_VALUES = {"true": 0, "1": 0, "false": 1, "0": 1}


def without_values(arguments: Sequence[str]) -> list[str]:
    """Arguments of `serve`, in which `--enable_batching=false` and its like are switches."""
    switched: list[str | None] = []
    for argument in arguments:
        name, _, value = argument.partition("=")
        if name in _SWITCHES and value.lower() in _VALUES:
            switched.append(_SWITCHES[name][_VALUES[value.lower()]])
        else:
            switched.append(argument)
    return [argument for argument in switched if argument is not None]
