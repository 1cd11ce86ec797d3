"""The configuration files of TensorFlow Serving: read and written.

`models.config` names the models, their versions and labels; the batching file says how requests
are put together; the monitoring file opens the page of metrics. All three are protocol buffers in
text form, which the official server and this one read alike.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from google.protobuf import text_format
from google.protobuf.message import DecodeError, Message
from tensorflow_serving.config import model_server_config_pb2

from ...zoo.files import written_atomically
from . import protos
from .batching_parameters import BatchingParameters
from .errors import Code, ServingError, invalid_argument
from .model_config import ModelConfig, VersionPolicy

MODELS_FILE = "models.config"
BATCHING_FILE = "batching.config"
MONITORING_FILE = "monitoring.config"
VERSION_BATCHING_FILE = "batching_params.pbtxt"
METRICS_PATH = "/monitoring/prometheus/metrics"
PLATFORM = "tensorflow"
_WRAPPED = (
    "max_batch_size",
    "batch_timeout_micros",
    "max_enqueued_batches",
    "num_batch_threads",
    "enable_large_batch_splitting",
    "max_execution_batch_size",
)


def _parse(text: str, message: Message, source: str) -> Any:
    try:
        return text_format.Parse(text, message)
    except text_format.ParseError as error:
        raise invalid_argument(f"Cannot read {source}: {error}") from error


def read_models(path: str | os.PathLike) -> list[ModelConfig]:
    """The models of a `models.config`.

    Raises:
        ServingError: if there is no such file, or it is no such configuration.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ServingError(Code.NOT_FOUND, f"Cannot read {path}: {error}") from error
    config = _parse(text, model_server_config_pb2.ModelServerConfig(), str(path))
    try:
        return configs_of(config)
    except ServingError as error:
        raise ServingError(error.code, f"Cannot serve {path}: {error.message}") from error


def configs_of(message: model_server_config_pb2.ModelServerConfig) -> list[ModelConfig]:
    """The models of a `ModelServerConfig`.

    Raises:
        ServingError: if it lists no models, or one that cannot be served.
    """
    if message.WhichOneof("config") != "model_config_list":
        raise invalid_argument(
            "ServerModelConfig type not supported. Only ModelConfigList is currently supported"
        )
    configs = [_config_of(entry) for entry in message.model_config_list.config]
    names = [config.name for config in configs]
    for name in names:
        if names.count(name) > 1:
            raise invalid_argument(f"Illegal to list model {name} multiple times in config list")
    return configs


def read_config_message(data: bytes) -> list[ModelConfig]:
    """The models of a `ModelServerConfig` as it comes over gRPC.

    Raises:
        ServingError: if the bytes are no such message, or a model cannot be served.
    """
    try:
        message = model_server_config_pb2.ModelServerConfig.FromString(data)
    except DecodeError as error:
        raise invalid_argument("The bytes of the config are no ModelServerConfig") from error
    return configs_of(message)


def _config_of(entry: Any) -> ModelConfig:
    for text in (entry.name, entry.base_path):
        if not text.isprintable():  # such as a line break, or the NUL that no path has
            raise invalid_argument(f"A name and a base path are printable. Received: {text!r}")
    if not entry.name:
        raise invalid_argument("A model in the config list has no name")
    if not entry.base_path:
        raise invalid_argument(f"Model {entry.name} has no base path in its config")
    if entry.model_platform not in ("", PLATFORM):
        raise invalid_argument(
            f"Model {entry.name} has platform {entry.model_platform}; this server has {PLATFORM}"
        )
    if not entry.model_platform and entry.model_type != model_server_config_pb2.TENSORFLOW:
        raise invalid_argument(
            f"Model {entry.name} has no platform in its config, without which no model server "
            f"takes it: add model_platform: '{PLATFORM}'"
        )
    labels = {label: int(number) for label, number in entry.version_labels.items()}
    policy = entry.model_version_policy
    chosen = policy.WhichOneof("policy_choice")
    if chosen == "specific":
        if not policy.specific.versions:
            raise invalid_argument(f"Model {entry.name} asks for specific versions and names none")
        wanted = VersionPolicy(specific=tuple(policy.specific.versions))
    elif chosen == "all":
        wanted = VersionPolicy(all=True)
    else:
        wanted = VersionPolicy(latest=max(1, policy.latest.num_versions))
    return ModelConfig(entry.name, Path(entry.base_path), wanted, labels)


def models_text(configs: Sequence[ModelConfig]) -> str:
    """The text of a `models.config` with these models."""
    message = model_server_config_pb2.ModelServerConfig()
    message.model_config_list.SetInParent()
    for config in configs:
        entry = message.model_config_list.config.add(
            name=config.name, base_path=str(config.base_path), model_platform=PLATFORM
        )
        policy = entry.model_version_policy
        if config.policy.all:
            policy.all.SetInParent()
        elif config.policy.specific:
            policy.specific.versions.extend(config.policy.specific)
        else:
            policy.latest.num_versions = config.policy.latest
        for label, number in sorted(config.labels.items()):
            entry.version_labels[label] = number
    return text_format.MessageToString(message)


def read_batching(text: str, source: str = BATCHING_FILE) -> BatchingParameters:
    """The parameters in the text of a batching file.

    Raises:
        ServingError: if it is no such text, or its parameters contradict each other.
    """
    message = _parse(text, protos.BatchingParameters(), source)
    values: dict[str, Any] = {
        name: getattr(message, name).value for name in _WRAPPED if message.HasField(name)
    }
    if message.allowed_batch_sizes:
        values["allowed_batch_sizes"] = tuple(message.allowed_batch_sizes)
    try:
        return BatchingParameters(
            pad_variable_length_inputs=message.pad_variable_length_inputs, **values
        )
    except ValueError as error:
        raise invalid_argument(f"Cannot use {source}: {error}") from error


def batching_text(parameters: BatchingParameters) -> str:
    """The text of a batching file with these parameters."""
    message = protos.BatchingParameters()
    for name in _WRAPPED:
        value = getattr(parameters, name)
        if value is not None and value is not False:
            getattr(message, name).value = value
    message.allowed_batch_sizes.extend(parameters.allowed_batch_sizes)
    message.pad_variable_length_inputs = parameters.pad_variable_length_inputs
    return text_format.MessageToString(message)


def monitoring_text(path: str = METRICS_PATH) -> str:
    """The text of a monitoring file that opens the page of metrics."""
    message = protos.MonitoringConfig()
    message.prometheus_config.enable = True
    message.prometheus_config.path = path
    return text_format.MessageToString(message)


def read_monitoring(text: str, source: str = MONITORING_FILE) -> str | None:
    """Reads the address of the page of metrics in a monitoring file; `None` if it opens none.

    Raises:
        ServingError: if it is no such text.
    """
    config = _parse(text, protos.MonitoringConfig(), source).prometheus_config
    if not config.enable:
        return None
    return config.path or METRICS_PATH


def write_config(
    configs: Sequence[ModelConfig],
    output: str | os.PathLike,
    served_from: str | None = None,
    batching: BatchingParameters | None = None,
) -> dict[str, Path]:
    """Writes the files with which a TensorFlow Serving serves some models.

    Args:
        configs: the models.
        output: folder to write to; made if missing.
        served_from: folder in which the server will find the models' folders, such as `/models`
            in a container; where they are now if `None`.
        batching: how requests are put together; the defaults if `None`.

    Returns:
        The files by name.

    Raises:
        ServingError: if a model cannot be configured.
    """
    _check_labels(configs)
    moved = [_move(config, served_from) for config in configs]
    parameters = batching or BatchingParameters(max_batch_size=256, max_enqueued_batches=100)
    texts = {
        MODELS_FILE: models_text(moved),
        BATCHING_FILE: batching_text(parameters),
        MONITORING_FILE: monitoring_text(),
    }
    folder = Path(output)
    folder.mkdir(parents=True, exist_ok=True)
    files = {name: folder / name for name in texts}
    for name, text in texts.items():
        with written_atomically(files[name]) as aside:
            aside.write_text(text, encoding="utf-8")
    return files


def _move(config: ModelConfig, served_from: str | None) -> ModelConfig:
    # Not what a link points to: it has another name, and may point elsewhere tomorrow.
    path = Path(os.path.abspath(config.base_path))
    if served_from is not None:
        path = Path(served_from) / path.name
    return ModelConfig(config.name, path, config.policy, config.labels)


def _check_labels(configs: Sequence[ModelConfig]) -> None:
    for config in configs:
        for label, number in config.labels.items():
            if config.policy.specific and number not in config.policy.specific:
                raise invalid_argument(
                    f"Label {label} of model {config.name} names version {number}, which is not "
                    f"served; the versions are {', '.join(map(str, config.policy.specific))}"
                )
