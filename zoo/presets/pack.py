"""A pack: a trained model as one file that holds data and nothing to run.

| member | holds |
|---|---|
| `manifest.json` | what the model is, and size and SHA-256 of every other member |
| `README.md` | the model card, with the front matter that the Hugging Face Hub reads |
| `config.json`, `metrics.json` | settings and scores of the run, without paths |
| `tokenizer.model`, `source_tokenizer.model` | the SentencePiece models |
| `shortlist.safetensors` | the likely target tokens for those of a source, if there are some |
| `weights.safetensors` | the weights in the order of the model, without those of the optimizer |

It is a zip file, or a folder with these files, as a repository of the Hub has them. Nothing is
unpacked to disk, nothing is pickled, and no member says what is to be imported.
"""

from __future__ import annotations

import hashlib
import json
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import ConfigError
from ..files import written_atomically

FORMAT = 1
MANIFEST, CARD, CONFIG, METRICS = "manifest.json", "README.md", "config.json", "metrics.json"
TOKENIZER, SOURCE_TOKENIZER = "tokenizer.model", "source_tokenizer.model"
WEIGHTS, SHORTLIST = "weights.safetensors", "shortlist.safetensors"
REQUIRED = (MANIFEST, CARD, CONFIG, METRICS, TOKENIZER, WEIGHTS)
MEMBERS = (*REQUIRED, SOURCE_TOKENIZER, SHORTLIST)
NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
# No model of the catalog has more bytes. What unfolds to more than 64 times its size is no model:
# weights are noise to a compressor; only of small members that is nothing to look at.
MOST_BYTES, SMALL, MOST_UNFOLDED = 2 << 30, 1 << 20, 64
_DAMAGED = (
    *(zipfile.BadZipFile, zlib.error, struct.error, EOFError),
    *(LookupError, RuntimeError, ValueError),
)


class _Source(NamedTuple):
    """Names of the members that there are, and what reads one."""

    names: set[str]
    read: Callable[[str], bytes]


@dataclass(frozen=True)
class Pack:
    """A pack in memory, all of it checked.

    Attributes:
        path: Its file or folder.
        manifest: What it says of the model.
        members: The content of the other members by name.
    """

    path: Path
    manifest: Mapping[str, Any]
    members: Mapping[str, bytes]

    def json(self, member: str) -> dict[str, Any]:
        """The object in a JSON member.

        Raises:
            ConfigError: It is something else.
        """
        return _json(self.path, member, self.members[member])


def is_pack(path: Path) -> bool:
    """True for a file, and for a folder that has a manifest."""
    return path.is_file() or (path / MANIFEST).is_file()


def write_pack(path: Path, manifest: Mapping[str, Any], members: Mapping[str, bytes]) -> None:
    """Writes a pack; the same content gives the same bytes.

    Args:
        path: The file.
        manifest: What the model is; format and checksums are added.
        members: All others by name.
    """
    listed = {
        name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        for name, data in members.items()
    }
    values = {"format": FORMAT, **manifest, "members": listed}
    text = json.dumps(values, ensure_ascii=False, indent=2).encode()
    with written_atomically(path) as aside, zipfile.ZipFile(aside, "w") as archive:
        for name, data in {MANIFEST: text, **members}.items():
            info = zipfile.ZipInfo(name)  # of 1980, as a clock would make each build another file
            # As it is, what readers would refuse: a table that is nearly all zeros.
            folds = len(data) > SMALL + MOST_UNFOLDED // 2 * len(zlib.compress(data, 1))
            info.compress_type = zipfile.ZIP_STORED if folds else zipfile.ZIP_DEFLATED
            info.external_attr = 0o644 << 16
            archive.writestr(info, data, compresslevel=9)


def read_manifest(path: Path) -> dict[str, Any]:
    """Reads the manifest of a pack, and no other member.

    Raises:
        ConfigError: It is no pack, or damaged, or of a newer version.
    """
    with _opened(path) as source:
        return _manifest(path, source)


def read_pack(path: Path) -> Pack:
    """Reads a pack and checks all of it.

    Args:
        path: Its file, or the folder of its members.

    Raises:
        ConfigError: It is no pack, is damaged or was changed, is of a newer version, or has a
            member that a pack has not.
    """
    with _opened(path) as source:
        manifest = _manifest(path, source)
        members = {}
        for name, expected in manifest["members"].items():
            data = source.read(name)
            found = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            if found != expected:
                raise ConfigError(
                    f"{path} was damaged or changed: {name} has not the checksum of its manifest. "
                    "Get the pack again from where it is kept."
                )
            members[name] = data
    return Pack(path, manifest, members)


@contextmanager
def _opened(path: Path) -> Iterator[_Source]:
    if path.is_dir():
        names = {name for name in MEMBERS if (path / name).is_file()}
        yield _Source(names, lambda name: (path / name).read_bytes())
        return
    try:
        with zipfile.ZipFile(path) as archive:
            _check_members(path, archive.infolist())
            # Reading a member gives no more bytes than the size that was checked.
            yield _Source(set(archive.namelist()), archive.read)
    except ConfigError:
        raise
    except _DAMAGED as error:
        reason = str(error) or type(error).__name__
        raise ConfigError(
            f"{path} is no pack of attention-zoo, or was cut or damaged ({reason}). Get it again "
            "from where it is kept."
        ) from error


def _check_members(path: Path, infos: list[zipfile.ZipInfo]) -> None:
    """Refuses names that lead elsewhere, links, twins, and what unfolds to too much."""
    for info in infos:
        name = info.filename
        parts = re.split(r"[/\\]", name)
        if ".." in parts or parts[0] == "" or ":" in parts[0]:
            raise ConfigError(f"{path} is refused: its member {name!r} leads out of the archive.")
        if stat.S_ISLNK(info.external_attr >> 16):
            raise ConfigError(f"{path} is refused: its member {name!r} is a link.")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ConfigError(f"{path} is refused: {name!r} is compressed by another method.")
        if info.file_size > SMALL + MOST_UNFOLDED * info.compress_size:
            raise ConfigError(
                f"{path} is refused: {name!r} unfolds from {info.compress_size:,} to "
                f"{info.file_size:,} bytes, which no weights do."
            )
    if (unfolded := sum(info.file_size for info in infos)) > MOST_BYTES:
        raise ConfigError(
            f"{path} is refused: it unfolds to {unfolded:,} bytes, more than {MOST_BYTES:,}."
        )
    names = [info.filename for info in infos]
    if twins := {name for name in names if names.count(name) > 1}:
        raise ConfigError(f"{path} is refused: it has two members {min(twins)!r}.")


def _manifest(path: Path, source: _Source) -> dict[str, Any]:
    """The manifest; the version is looked at before what a newer one may do in another way."""
    if MANIFEST not in source.names:
        raise ConfigError(f"{path} is no pack of attention-zoo: it has no {MANIFEST}.")
    values = _json(path, MANIFEST, source.read(MANIFEST))
    number = values.get("format")
    if type(number) is not int or number < 1:
        raise ConfigError(f"{path} is no pack of attention-zoo: its manifest has no format.")
    if number > FORMAT:
        raise ConfigError(
            f"{path} is a pack of format {number}, of a newer attention-zoo than this one, which "
            f"reads format {FORMAT}: pip install --upgrade attention-zoo"
        )
    if others := source.names - set(MEMBERS):
        raise ConfigError(
            f"{path} is refused: it has a member {min(others)!r}, and a pack has no others than "
            f"{', '.join(MEMBERS)}."
        )
    listed = values.get("members")
    if not isinstance(listed, dict) or {MANIFEST, *listed} != source.names:
        raise ConfigError(f"{path} was changed: its members are not those of its manifest.")
    if lacking := set(REQUIRED) - source.names:
        raise ConfigError(f"{path} is no pack of attention-zoo: it has no {min(lacking)}.")
    name, version = values.get("name"), values.get("version")
    if not isinstance(name, str) or not NAME.fullmatch(name) or type(version) is not int:
        raise ConfigError(f"{path} has no name and version: {name!r}, {version!r}.")
    return values


def _json(path: Path, member: str, data: bytes) -> dict[str, Any]:
    try:
        values = json.loads(data)
        if isinstance(values, dict):
            return values
        reason = "it is no object"
    except (ValueError, RecursionError) as error:
        reason = str(error)
    raise ConfigError(f"{path} is damaged: {member} is not as expected, {reason}.")
