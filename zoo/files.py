"""Files that are written as a whole or not at all."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from .errors import ConfigError


def file_above(folder: Path) -> Path | None:
    """The file in the place of one of the parent folders of a path, if there is one."""
    return next((path for path in folder.parents if path.exists() and not path.is_dir()), None)


def check_local(path: str | os.PathLike[str]) -> None:
    """Refuses the address of a store, such as gs://bucket/run, which would be a folder here.

    Raises:
        ConfigError: The path is an address.
    """
    first, *rest = Path(path).parts or ("",)
    if re.fullmatch(r"[A-Za-z][\w+.-]+:", first):
        address = f"{first}//{'/'.join(rest)}"
        raise ConfigError(
            f"Only folders of this machine are written to, not {address}. Mount the store as one, "
            "or write to a folder here and copy it there."
        )


def partial_file(path: Path) -> Path:
    """Path under which a file is written until it is whole."""
    return path.with_name(f".{path.stem}.partial{path.suffix}")


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Makes a folder and locks it for this process until the end of the `with` block.

    On a file system without locks it is not locked. A new folder that stays empty is removed, with
    those above it that were made for it.

    Raises:
        ConfigError: Another process has locked it, or it is the address of a store.
    """
    check_local(folder)
    new = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(
                f"Another process writes to {folder}: wait until it has ended, or give another "
                "--output."
            ) from None
        except OSError:
            pass
        yield
    finally:
        os.close(descriptor)
        with suppress(OSError):  # one is not empty
            for path in new:
                path.rmdir()


@contextmanager
def written_atomically(path: Path) -> Iterator[Path]:
    """Gives a path beside `path` to write to, and renames it to `path` at the end.

    The suffix stays the same, as writers choose their format by it. After an error or a kill
    `path` is what it was before. After a kill there may be a `partial_file` beside it.

    Raises:
        OSError: The file cannot be written; the error names `path`.
    """
    aside = partial_file(path)
    try:
        yield aside
        with open(aside, "rb") as file:
            os.fsync(file.fileno())
        os.replace(aside, path)
    except OSError as error:
        if error.errno is None or error.filename not in (None, str(aside)):
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        aside.unlink(missing_ok=True)


def sha256_of(path: Path) -> str:
    """The SHA-256 of what a file holds, in hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def write_json(path: Path, values: Any, indent: int | None = 2) -> None:
    """Writes JSON atomically.

    Args:
        path: The file.
        values: Whatever `json.dumps` takes.
        indent: Spaces of each level; `None` for all in one line.
    """
    text = json.dumps(values, ensure_ascii=False, indent=indent)
    with written_atomically(path) as aside:
        aside.write_text(text + "\n", encoding="utf-8")


def read_object(path: Path, what: str) -> dict[str, Any]:
    """Reads a JSON file that holds an object.

    Raises:
        ConfigError: It holds something else, which is told with `what` it should be.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not readable JSON: {error}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path} is not {what}; expected an object.")
    return values
