"""The manifest of an export: the checksums of its files when it had passed the checks.

A disk that is full, a copy that was cut off or a hand that meant well changes a model behind the
back of its maker. What TensorFlow does with such files ranges from an error over wrong answers to
the end of the process that loads them. A server that finds a manifest compares it first.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from ...zoo.files import sha256_of
from ..runtime.errors import Code, ServingError

MANIFEST_FILE = Path("assets.extra") / "attention_zoo_manifest.json"
_EARLIER_FILE = MANIFEST_FILE.with_name("attention_zoo_seal.json")  # of earlier exports


def _listed_files(folder: Path) -> dict[str, Path]:
    """Files that a server loads; card, warm-up and batching of a version may be changed."""
    files = [folder / "saved_model.pb"]
    for part in ("variables", "assets"):
        files += sorted((folder / part).rglob("*"))
    return {str(file.relative_to(folder)): file for file in files if file.is_file()}


def write_manifest(path: str | os.PathLike) -> Path:
    """Writes the checksums of the SavedModel in a folder, and returns their file."""
    folder = Path(path)
    sums = {name: sha256_of(file) for name, file in _listed_files(folder).items()}
    manifest = folder / MANIFEST_FILE
    manifest.parent.mkdir(exist_ok=True)
    manifest.write_text(json.dumps({"sha256": sums}, indent=1) + "\n", encoding="utf-8")
    return manifest


def check_manifest(path: str | os.PathLike) -> bool:
    """Compares the files of a SavedModel with its manifest.

    Args:
        path: Folder of one version.

    Returns:
        `False` if it has no manifest.

    Raises:
        ServingError: DATA_LOSS, naming the file that is missing, differs or was added.
    """
    folder = Path(path)
    manifest = folder / MANIFEST_FILE
    if not manifest.exists():
        manifest = folder / _EARLIER_FILE
    if not manifest.exists():
        return False
    try:
        sums = json.loads(manifest.read_text(encoding="utf-8"))["sha256"]
        expected = {str(name): value for name, value in sums.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ServingError(Code.DATA_LOSS, f"{manifest} cannot be read: {error}") from error
    # Files that are there, never names that the manifest brings: it may come from anywhere.
    files = _listed_files(folder)
    for name in sorted({*expected, *files}):
        try:
            same = name in files and sha256_of(files[name]) == expected.get(name)
        except OSError as error:
            raise ServingError(
                Code.DATA_LOSS, f"{folder / name} cannot be read: {error.strerror or error}"
            ) from error
        if not same:
            raise ServingError(
                Code.DATA_LOSS,
                f"{folder / name} is not the file that was published: it is missing, was added or "
                "its checksum differs. Copy the version again, or export it anew",
            )
    return True
