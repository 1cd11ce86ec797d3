"""Versions of a model on disk: `base/<number>/`, as TensorFlow Serving finds them."""

from __future__ import annotations

import fcntl
import logging
import os
import re
import shutil
from pathlib import Path

_LOG = logging.getLogger("attention_zoo.serving")
MAX_VERSION = 2**63 - 1
UNPUBLISHED = ".unpublished-"  # begins the name of a version that is being written
_NUMBER = re.compile(r"[0-9]+")


def find_versions(base_path: str | os.PathLike) -> dict[int, Path]:
    """The folders below `base_path` whose names are numbers, by number, lowest first.

    Leading zeros are allowed; anything that is no number, such as a version that is being written,
    is left out. A folder that does not exist has no versions.
    """
    found: dict[int, Path] = {}
    try:
        entries = sorted(os.scandir(os.fspath(base_path)), key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    for entry in entries:
        if _NUMBER.fullmatch(entry.name) and entry.is_dir():
            number = int(entry.name)
            if number <= MAX_VERSION:
                found.setdefault(number, Path(entry.path))
    return dict(sorted(found.items()))


class VersionFolders:
    """Looks for the versions of models, and logs once what is wrong with a folder."""

    def __init__(self) -> None:
        self._said: dict[str, str] = {}

    def versions(self, name: str, base_path: str | os.PathLike) -> dict[int, Path]:
        """The versions of a model by number; none where its folder cannot be read."""
        try:
            found = find_versions(base_path)
            missing = f"No versions of model {name} found under base path {base_path}"
            fault = "" if found else missing
        except OSError as error:
            found, fault = {}, f"Cannot look for versions of model {name}: {error}"
        if fault and fault != self._said.get(name):
            _LOG.warning("%s", fault)
        self._said[name] = fault
        return found


def find_models(directory: str | os.PathLike) -> dict[str, Path]:
    """The models in a folder, by name.

    Args:
        directory: the folder of one model, which holds versions, or a folder of such folders.

    Returns:
        Base paths by name; empty if there is no version anywhere. A folder in it that may not be
        read, such as the `lost+found` of a volume, is no model.
    """
    directory = Path(directory)
    if find_versions(directory):
        return {os.path.basename(os.path.abspath(directory)): directory}
    try:
        children = sorted(child for child in directory.iterdir() if child.is_dir())
    except (FileNotFoundError, NotADirectoryError):
        return {}
    return {child.name: child for child in children if _has_versions(child)}


def _has_versions(base_path: Path) -> bool:
    try:
        return bool(find_versions(base_path))
    except PermissionError:
        return False


def check_version(version: int) -> int:
    """`version`, if a server can serve a version of this number.

    Raises:
        ValueError: if it is no whole number from 0 to 2**63 - 1.
    """
    if isinstance(version, bool) or not isinstance(version, int) or not 0 <= version <= MAX_VERSION:
        raise ValueError(
            f"A version is a whole number from 0 to 2**63 - 1. Received: version={version!r}"
        )
    return version


def remove_abandoned(base_path: str | os.PathLike) -> None:
    """Removes what exports that were killed have left beside the versions of a model."""
    for path in Path(base_path).glob(f"{UNPUBLISHED}*"):
        if _has_no_writer(path):
            shutil.rmtree(path, ignore_errors=True)


def _has_no_writer(folder: Path) -> bool:
    """Tells if no living process has locked a folder, on a file system that has locks."""
    descriptors = []
    try:
        for _ in range(2):
            descriptors.append(os.open(folder, os.O_RDONLY))
            fcntl.flock(descriptors[-1], fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return len(descriptors) == 2  # it is locked for this process
    except OSError:
        pass
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
    return False
