"""Models of a folder or of a `models.config`."""

from __future__ import annotations

import os
from pathlib import Path

from ..runtime.config_files import read_models
from ..runtime.errors import Code, ServingError
from ..runtime.model_config import ModelConfig
from ..runtime.versions import find_models


def find_configs(directory: str | os.PathLike) -> list[ModelConfig]:
    """The models in a folder: of one model with its versions, or of several such folders.

    A file is read as a `models.config`. Of several folders, one without versions is a model too:
    its first version may come while the others are served.

    Raises:
        ServingError: if there is no version of any model.
    """
    path = Path(directory)
    if path.is_file():
        return read_models(path)
    if not path.is_dir():
        raise ServingError(Code.NOT_FOUND, f"Nothing to serve: {path} does not exist")
    models = find_models(path)
    if not models:
        below = [child for child in sorted(path.glob("*/")) if find_models(child)]
        raise ServingError(
            Code.NOT_FOUND,
            f"Nothing to serve: {path} has no versions of a model. "
            + (
                f"Its folder {below[0]} has: serve that"
                if below
                else "Give a folder such as models/ or models/en-de/ where models/en-de/1/ is what "
                "`attention-zoo export` wrote"
            ),
        )
    if path.resolve() not in [base_path.resolve() for base_path in models.values()]:
        hidden = (".", "_")
        others = {
            child.name: child
            for child in path.iterdir()
            if child.is_dir() and child.name[0] not in hidden and os.access(child, os.R_OK)
        }
        models = {**models, **others}
    return [ModelConfig(name, base_path) for name, base_path in sorted(models.items())]
