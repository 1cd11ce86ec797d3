"""The seal of an export: the checksums of its files when the gates had passed it.

A disk that is full, a copy that was cut off or a hand that meant well changes a model behind the
back of its maker. What TensorFlow does with such files ranges from an error over wrong answers to
the end of the process that loads them. A server that finds a seal compares it first.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

from ..runtime.errors import Code, ServingError

SEAL_FILE = Path("assets.extra") / "attention_zoo_seal.json"
_CHUNK = 2**20


def _sealed_files(path: Path) -> Iterator[Path]:
    """What a server loads; the card, the warm-up and the batching of a version may be changed."""
    yield path / "saved_model.pb"
    for folder in ("variables", "assets"):
        yield from sorted(file for file in (path / folder).rglob("*") if file.is_file())


def _checksum(file: Path) -> str:
    digest = hashlib.sha256()
    with open(file, "rb") as opened:
        while data := opened.read(_CHUNK):
            digest.update(data)
    return digest.hexdigest()


def write_seal(path: str | os.PathLike) -> Path:
    """Seals the SavedModel in a folder and returns the file with its checksums."""
    folder = Path(path)
    sums = {str(file.relative_to(folder)): _checksum(file) for file in _sealed_files(folder)}
    seal = folder / SEAL_FILE
    seal.parent.mkdir(exist_ok=True)
    seal.write_text(json.dumps({"sha256": sums}, indent=1) + "\n", encoding="utf-8")
    return seal


def check_seal(path: str | os.PathLike) -> bool:
    """Whether a SavedModel is sealed, and as it was when it was sealed.

    Returns:
        False if it has no seal.

    Raises:
        ServingError: DATA_LOSS, naming the file that is missing or differs.
    """
    folder = Path(path)
    seal = folder / SEAL_FILE
    if not seal.exists():
        return False
    try:
        sums = json.loads(seal.read_text(encoding="utf-8"))["sha256"]
        expected = {str(name): str(value) for name, value in sums.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ServingError(Code.DATA_LOSS, f"The seal {seal} cannot be read: {error}") from error
    for name, value in expected.items():
        file = folder / name
        try:
            same = ".." not in Path(name).parts and _checksum(file) == value
        except OSError as error:
            raise ServingError(
                Code.DATA_LOSS, f"{file} cannot be read: {error.strerror or error}"
            ) from error
        if not same:
            raise ServingError(
                Code.DATA_LOSS,
                f"{file} is not the file that was published: its checksum differs. Copy the "
                "version again, or export it anew",
            )
    return True
