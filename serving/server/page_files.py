"""The demo page: the addresses outside of `/v1` that a browser asks for."""

from __future__ import annotations

import json
from functools import lru_cache
from importlib.resources import files
from pathlib import Path

from aiohttp import web

from ...zoo import visualization
from ..export.warmup import WARMUP_SAMPLES, read_rows
from ..runtime.errors import ServingError
from .models import ModelManager

EXAMPLES = 6
FOLDER = Path(__file__).parents[1] / "page"
# What draws attention is that of the pages of explanations.
VIEWER = [Path(str(files(visualization) / name)) for name in ("viewer.js", "viewer.css")]
_INDEX = "index.html"
_TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
# It runs its own scripts, asks its own server, and is shown in nobody's frame. Should a text ever
# get into it as markup, a browser would still not act on it.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    # The page of one version of the package never runs with scripts of another.
    "Cache-Control": "no-cache",
}


@lru_cache(maxsize=1)
def page_files() -> dict[str, tuple[str, bytes]]:
    """Type and content of each file by its address; the page itself is at `/`."""
    return {
        f"/{'' if path.name == _INDEX else path.name}": (_TYPES[path.suffix], path.read_bytes())
        for path in sorted([*FOLDER.iterdir(), *VIEWER])
        if path.suffix in _TYPES
    }


def write_page(folder: str | Path) -> None:
    """Writes the files of the page into a folder, for any web server to serve.

    Args:
        folder: The folder, which is made.
    """
    Path(folder).mkdir(parents=True, exist_ok=True)
    for path in [*FOLDER.iterdir(), *VIEWER]:
        (Path(folder) / path.name).write_bytes(path.read_bytes())


class DemoPage:
    """Answers what the demo page asks for beside the REST interface.

    `/models.json` lists the models that can be asked, which TensorFlow Serving has no address for,
    with some texts to ask them, which are those of their warm-up requests.

    Args:
        manager: the models.
    """

    def __init__(self, manager: ModelManager):
        self._manager = manager
        self._files = page_files()

    def answer(self, method: str, path: str) -> web.Response | None:
        """The reply to a request, or `None` if nothing of the page is meant."""
        if method not in ("GET", "HEAD"):
            return None
        if path == "/models.json":
            return _reply("application/json", self._models())
        if path in self._files:
            return _reply(*self._files[path])
        return None

    def _models(self) -> bytes:
        models = [
            {
                "name": name,
                "versions": versions,
                "labels": self._manager.labels(name),
                "examples": self._examples(name),
            }
            for name, versions in sorted(self._manager.models().items())
        ]
        return json.dumps({"models": models}, ensure_ascii=False).encode()

    def _examples(self, name: str) -> list[dict[str, str]]:
        try:
            with self._manager.use(name) as handle:
                return list(_examples_in(handle.session.path))
        except ServingError:  # of no version, while all are loaded
            return []


@lru_cache(maxsize=256)
def _examples_in(path: Path) -> tuple[dict[str, str], ...]:
    """Rows to ask a version, the shortest first, with the inputs of its first warm-up request.

    Texts that warm up any model are no example of what one is for.
    """
    try:
        rows = read_rows(path)
    except (OSError, ValueError):
        return ()
    alike = [row for row in rows if row.keys() == rows[0].keys() and all(row.values())]
    own = [row for row in alike if not {*row.values()} & {*WARMUP_SAMPLES}]
    return tuple(sorted(own, key=lambda row: sum(map(len, row.values())))[:EXAMPLES])


def _reply(content_type: str, body: bytes) -> web.Response:
    charset = None if content_type == "image/svg+xml" else "utf-8"
    return web.Response(body=body, content_type=content_type, charset=charset, headers=_HEADERS)
