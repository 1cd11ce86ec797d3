"""Where a server is told which models to serve: a folder, or a file that may change."""

from __future__ import annotations

import os
from collections.abc import Sequence
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
        raise ServingError(
            Code.NOT_FOUND,
            f"Nothing to serve: {path} has no versions of a model. Give a folder such as "
            f"exports/ or exports/en-de/ where exports/en-de/1/ is what `attention-zoo export` "
            "wrote",
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


class ChangedFile:
    """Reads a `models.config` again whenever it was written.

    Args:
        path: the file.
        configs: what was read in it. As it may have changed since, the first call reads it again.
    """

    def __init__(self, path: str | os.PathLike, configs: Sequence[ModelConfig]):
        self._path = Path(path)
        self._configs = list(configs)
        self._seen: tuple[int, int] | None = None

    def _stamp(self) -> tuple[int, int]:
        status = self._path.stat()
        return status.st_mtime_ns, status.st_ino

    def __call__(self) -> list[ModelConfig] | None:
        """The models, if the file has changed."""
        stamp = self._stamp()
        if stamp == self._seen:
            return None
        first, self._seen = self._seen is None, stamp
        configs = read_models(self._path)
        return None if first and configs == self._configs else configs
