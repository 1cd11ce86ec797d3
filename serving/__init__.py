"""Export to TensorFlow Serving, the gates of an export, a local server and its clients.

Nothing is imported before it is used: a client over REST needs neither TensorFlow nor Keras. The
function that exports is `attention_zoo.serving.export.export`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .async_client import AsyncClient
    from .client import Client, ClientError, Prediction, Score, Translation
    from .errors import Code, ServingError
    from .export import ExportError
    from .retry import Retry
    from .server import Address, ServerOptions, ServerThread, serve
    from .session import SavedModelSession

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
    "async_client": ("AsyncClient",),
    "client": ("Client",),
    "questions": ("ClientError", "Prediction", "Score", "Translation"),
    "retry": ("Retry",),
    "errors": ("Code", "ServingError"),
    "export": ("ExportError",),
    "server": ("Address", "ServerOptions", "ServerThread", "serve"),
    "session": ("SavedModelSession",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{home}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
