"""Packs from elsewhere: from an address, with its checksum, and from the Hugging Face Hub."""

from __future__ import annotations

import fcntl
import http.client
import importlib
import ipaddress
import os
import re
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urldefrag, urlsplit

from ..errors import ConfigError
from ..files import sha256_of
from .pack import MEMBERS, MOST_BYTES

SECONDS = 30.0  # without an answer
_BLOCK = 1 << 20


def cache_folder(*parts: str) -> Path:
    """The folder for what can be fetched or made again, by the rules of XDG."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    home = Path(base) if os.path.isabs(base) else Path.home() / ".cache"
    return home.joinpath("attention-zoo", *parts)


def fetch(address: str) -> Path:
    """Fetches a pack once; a download that was interrupted is gone on with.

    Args:
        address: `https://host/pack.zip#sha256=HEX`; `http` from this machine alone.

    Returns:
        The file in the cache.

    Raises:
        ConfigError: The address is not of that form or cannot be reached, or what is there has
            another checksum.
    """
    url, fragment = urldefrag(address)
    _check_scheme(url)
    expected = fragment.removeprefix("sha256=").lower()
    if not re.fullmatch("[0-9a-f]{64}", expected):
        raise ConfigError(
            f"A pack is fetched with its checksum: {url}#sha256= and 64 hexadecimal digits, as "
            f"`sha256sum` prints. Received: {address}"
        )
    path = cache_folder("packs", f"{expected}.zip")
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path.with_suffix(".part"), "ab+") as part:
        fcntl.flock(part, fcntl.LOCK_EX)  # two that fetch the same wait for each other
        if path.is_file() and sha256_of(path) == expected:
            os.unlink(part.name)
            return path
        resumed = part.seek(0, os.SEEK_END) > 0
        found = _download(url, part, path.parent)
        if resumed and found != expected:  # what was there was the beginning of another file
            part.truncate(0)
            found = _download(url, part, path.parent)
        if found == expected:
            os.replace(part.name, path)
            return path
        os.unlink(part.name)
    raise ConfigError(
        f"{url} is not what was asked for: its SHA-256 is {found}, and {expected} was expected. "
        "Nothing of it was kept."
    )


def fetch_from_hub(address: str, files: Sequence[str] = MEMBERS) -> Path:
    """The folder of a repository on the Hugging Face Hub, in the cache of `huggingface_hub`.

    Args:
        address: `hf://owner/name`, or with `@` and a revision.
        files: Names or patterns of the files that are fetched; those of a pack if left out.

    Raises:
        ConfigError: The address is not of that form, the package is not installed, or the
            repository cannot be reached.
    """
    match = re.fullmatch(r"hf://([\w.-]+/[\w.-]+)(?:@([\w./-]+))?", address)
    if match is None:
        raise ConfigError(
            "A model on the Hugging Face Hub is hf://owner/name or hf://owner/name@revision; "
            f"hf:NAME, without slashes, is a dataset. Received: {address}"
        )
    try:
        hub = importlib.import_module("huggingface_hub")
    except ImportError:
        raise ConfigError(
            f"{address} needs the package huggingface_hub: pip install 'attention-zoo[hub]'"
        ) from None
    try:
        folder = hub.snapshot_download(match[1], revision=match[2], allow_patterns=list(files))
    except Exception as error:  # of a repository that is not there, private, or not reached
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ConfigError(f"{address} cannot be fetched: {reason}") from error
    return Path(folder)


def _check_scheme(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(parts.hostname or "")):
        return
    raise ConfigError(f"Packs are fetched by https, from this machine also by http: {url}")


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class _CheckedRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to where an address itself may lead."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        _check_scheme(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _download(url: str, part: BinaryIO, cache: Path) -> str:
    """Adds to a file what it lacks; returns the SHA-256 of the whole.

    Raises:
        ConfigError: The address cannot be reached, or the connection ended too soon. What has come
            stays in the file.
    """
    done = part.seek(0, os.SEEK_END)
    request = urllib.request.Request(url, headers={"Range": f"bytes={done}-"} if done else {})
    opener = urllib.request.build_opener(_CheckedRedirects)
    try:
        with opener.open(request, timeout=SECONDS) as response:
            _receive(response, part)
    except (OSError, http.client.HTTPException) as error:
        # A range that begins at the end: all of it is there, or another file, as the checksum tells
        if not done or getattr(error, "code", None) != 416:
            reason = getattr(error, "reason", None) or error
            raise ConfigError(
                f"{url} cannot be fetched: {reason}. It is not in the cache, {cache}, either: try "
                "again with a network, or fetch the file elsewhere and give its path."
            ) from error
    part.flush()
    return sha256_of(Path(part.name))


def _receive(response: http.client.HTTPResponse, part: BinaryIO) -> None:
    if response.status != http.HTTPStatus.PARTIAL_CONTENT:
        part.truncate(0)
    begin, announced = part.seek(0, os.SEEK_END), response.length
    while block := response.read(_BLOCK):
        part.write(block)
        if part.tell() > MOST_BYTES:
            part.truncate(0)
            raise ConfigError(f"A pack has at most {MOST_BYTES:,} bytes; this one has more.")
    if announced is not None and part.tell() < begin + announced:
        part.flush()
        raise ConnectionError(f"it ended after {part.tell():,} of {begin + announced:,} bytes")
