"""Whether a server has what it was told to serve, and what to say where it has not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ..runtime.errors import Code, ServingError
from ..runtime.model_config import ModelConfig
from .model_state import State, Version

Versions = Mapping[str, Mapping[int, Version]]


def model_fault(config: ModelConfig, versions: Versions) -> str | None:
    """Why a model cannot be served, if it cannot."""
    # Versions from elsewhere, of a model that was moved, are on their way out.
    known = [
        version
        for version in versions.get(config.name, {}).values()
        if version.path.parent == config.base_path
    ]
    if any(version.state == State.AVAILABLE for version in known):
        return None
    errors = [f"version {version.number}: {version.error}" for version in known]
    if errors:
        joined = " ".join("; ".join(errors).split())
        return f"No version of model {config.name} can be served: {joined}"
    return (
        f"No versions of model {config.name} found under base path {config.base_path}. "
        "Did you forget to name its folder as a number (such as '1')?"
    )


def label_faults(configs: Iterable[ModelConfig], versions: Versions) -> list[str]:
    """What is wrong with the labels of some models: those of versions that are not served."""
    return [
        f"Request to assign label to version {number} of model {config.name}, which is not "
        "currently available for inference"
        for config in configs
        for number in config.labels.values()
        if (found := versions.get(config.name, {}).get(number)) is None
        or found.state != State.AVAILABLE
    ]


def check_readiness(configs: Iterable[ModelConfig], versions: Versions, labels: bool) -> None:
    """Raises an error unless every model can be served.

    Args:
        configs: the models.
        versions: what became of their versions.
        labels: whether every label must name a version that can be used.

    Raises:
        ServingError: UNAVAILABLE for a model, FAILED_PRECONDITION for a label.
    """
    configs = list(configs)
    faults = [fault for config in configs if (fault := model_fault(config, versions))]
    if faults:
        raise ServingError(Code.UNAVAILABLE, "; ".join(faults))
    if labels and (wrong := label_faults(configs, versions)):
        raise ServingError(Code.FAILED_PRECONDITION, wrong[0])
