"""From the folder of a version to a session that answers at once: check, load, warm up, batch."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path

from ...zoo.cpus import available_cpus
from ..export.isolated_load import load_isolated
from ..export.manifest import check_manifest
from ..export.warmup import WarmupResult, warm_up
from ..runtime.batching import BatchingSession
from ..runtime.batching_parameters import BatchingParameters
from ..runtime.config_files import VERSION_BATCHING_FILE, read_batching
from ..runtime.errors import Code, ServingError
from ..runtime.metrics import Metrics
from ..runtime.operations import check_registered
from ..runtime.session import SavedModelSession
from .server_options import ServerOptions

_LOG = logging.getLogger("attention_zoo.serving")

LoadedSession = SavedModelSession | BatchingSession


@dataclass
class Loader:
    """Loads versions for a server.

    A version that brings a `batching_params.pbtxt` is served in batches, as is every version if
    `options.batching` is given.

    Args:
        options: Options of the server.
        metrics: Is told of warm-ups and batches.
    """

    options: ServerOptions = field(default_factory=ServerOptions)
    metrics: Metrics = field(default_factory=Metrics)

    def __call__(self, path: Path) -> LoadedSession:
        """The session of a version.

        Raises:
            ServingError: if it cannot be loaded, or a warm-up request fails.
        """
        _check_files(path)
        parameters = self._parameters(path)  # it is quick, and may be wrong
        published = check_manifest(path)
        compiled = check_registered(path, self.options.xla_cpu_compilation)
        if self.options.try_first and not published:
            load_isolated(path, xla=compiled)
        threads = self.options.intra_op_threads
        if threads is None:
            threads = max(1, available_cpus() // 4)
        session = SavedModelSession(
            path, intra_op_threads=threads, inter_op_threads=self.options.inter_op_threads
        )
        try:
            warmed = warm_up(session, path) if self.options.warm_up else WarmupResult(0, 0.0, 0.0)
        except BaseException as error:
            if isinstance(error, ServingError):
                self.metrics.warmup(str(path), 0.0, error.code)
            session.close()  # or its memory would never be freed
            raise
        if warmed.records:
            self.metrics.warmup(str(path), warmed.seconds)
            _LOG.info("%s: %d warm-up requests, %.1f s", path, warmed.records, warmed.seconds)
        if parameters is None:
            return session
        return BatchingSession(session, parameters, self.metrics.batch_observer())

    def _parameters(self, path: Path) -> BatchingParameters | None:
        if not self.options.enable_batching:
            return None
        file = path / VERSION_BATCHING_FILE
        if self.options.per_model_batching and file.exists():
            return read_batching(file.read_text(encoding="utf-8"), str(file))
        return self.options.batching


def _check_files(path: Path) -> None:
    """Refuses a version with something that is no file, such as a pipe, which never ends."""
    for file in path.rglob("*"):
        if file.exists() and not (file.is_file() or file.is_dir()):
            raise ServingError(Code.DATA_LOSS, f"{file} is neither a file nor a folder")
