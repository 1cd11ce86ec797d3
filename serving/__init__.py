"""Export to TensorFlow Serving, the checks of an export, a local server and its clients.

Nothing is imported before it is used: a client over REST needs neither TensorFlow nor Keras. The
function that exports is `attention_zoo.serving.export.export.export`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..zoo.registry import names_from

if TYPE_CHECKING:
    from .client.client import AsyncClient, Client, ClientError, Prediction, Score, Translation
    from .client.retry import Retry
    from .export.export import ExportError
    from .runtime.errors import Code, ServingError
    from .runtime.session import SavedModelSession
    from .server.server import Address, ServerOptions, ServerThread, serve

__all__ = [
    "Address",
    "AsyncClient",
    "Client",
    "ClientError",
    "Code",
    "ExportError",
    "Prediction",
    "Retry",
    "SavedModelSession",
    "Score",
    "ServerOptions",
    "ServerThread",
    "ServingError",
    "Translation",
    "serve",
]

_HOMES = {
    "client.client": ("AsyncClient", "Client"),
    "client.requests": ("ClientError", "Prediction", "Score", "Translation"),
    "client.retry": ("Retry",),
    "runtime.errors": ("Code", "ServingError"),
    "export.export": ("ExportError",),
    "server.server": ("Address", "ServerOptions", "ServerThread", "serve"),
    "runtime.session": ("SavedModelSession",),
}
_PUBLIC = {name: f".{home}" for home, names in _HOMES.items() for name in names}
__getattr__ = names_from(__name__, _PUBLIC)


def __dir__() -> list[str]:
    return sorted(__all__)
