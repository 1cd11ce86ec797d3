"""One way to name a model: a folder, a preset, a pack, an address, or a repository of the Hub."""

from __future__ import annotations

import difflib
import os
from pathlib import Path
from typing import Any

from ..errors import ConfigError
from .pack import read_manifest

FOLDER = Path(__file__).resolve().parent
SUFFIX = ".zip"


def locate(name: str | os.PathLike) -> Path:
    """The run or pack on disk that a name means, fetched if it is somewhere else.

    | name | what it is |
    |---|---|
    | `runs/en-de` | the folder of a run; what is on disk wins over all below |
    | `dates-en-zh`, `dates-en-zh@1` | a preset of this package, of any or this version |
    | `pack.zip` | a pack, or a folder with its members |
    | `https://host/pack.zip#sha256=HEX` | a pack elsewhere, kept in the cache |
    | `hf://owner/name`, `hf://owner/name@revision` | a pack on the Hugging Face Hub |

    Args:
        name: The name.

    Returns:
        A folder or file.

    Raises:
        ConfigError: There is no such model, it cannot be fetched, or it is another file than the
            checksum says.
    """
    text = os.fspath(name)
    if os.path.exists(on_disk := os.path.expanduser(text)):
        return Path(on_disk)
    if text.startswith(("https://", "http://", "hf://")):
        from . import remote

        return remote.fetch_from_hub(text) if text.startswith("hf:") else remote.fetch(text)
    if text.startswith(("hf:", "tfds:")):
        raise ConfigError(
            f"{text} names texts, for --train and --valid; a model on the Hugging Face Hub is "
            "hf://owner/name."
        )
    return _preset(text)


def preset_names() -> list[str]:
    """The names of the presets of this package."""
    return sorted(path.stem for path in FOLDER.glob(f"*{SUFFIX}"))


def presets() -> dict[str, dict[str, Any]]:
    """The manifests of the presets of this package, by name, with `"file"`, the path of each."""
    paths = {name: FOLDER / f"{name}{SUFFIX}" for name in preset_names()}
    return {name: {**read_manifest(path), "file": path} for name, path in paths.items()}


def _preset(text: str) -> Path:
    name, at, version = text.partition("@")
    if name not in (names := preset_names()):
        close = difflib.get_close_matches(name, names, 3, 0.5)
        hint = f" Close to it: {', '.join(close)}." if close else ""
        raise ConfigError(
            f"{text} is no run folder, no pack and no preset.{hint} `attention-zoo list` shows the "
            "presets."
        )
    path = FOLDER / f"{name}{SUFFIX}"
    if at and version != str(there := read_manifest(path)["version"]):
        raise ConfigError(
            f"{text}: this attention-zoo has version {there} of {name}. Give {name}@{there}, or "
            "install the attention-zoo that had the other."
        )
    return path
