"""Models and versions of a server: found on disk, loaded, used, replaced, freed.

A model is a base path with a folder for each version. The manager looks there again and again,
loads what its policy wants, and frees a version only when another one can take its place and the
last request that uses it is done. A version that cannot be loaded is reported and leaves the others
as they are.
"""

from __future__ import annotations

import copy
import functools
import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from ...zoo.cpus import available_cpus
from ..runtime.errors import Code, ServingError, invalid_argument, not_found
from ..runtime.model_config import ModelConfig
from ..runtime.session import SavedModelSession
from ..runtime.versions import VersionFolders
from .loading import LoadedSession
from .model_state import (
    Handle,
    State,
    Version,
    check_readiness,
    say_faults,
)
from .poller import Poller, SideBySide

_LOG = logging.getLogger("attention_zoo.serving")
_SIDE_BY_SIDE = 4  # versions that are loaded at a time, at least
_ENDED_VERSIONS_KEPT = 50  # in the status of a model that is published again and again


class ModelManager:
    """Loads and frees the versions of some models, and hands out those that are asked for.

    Args:
        configs: the models.
        load: opens the version in a folder.
        poll_seconds: time between two looks at the disk; 0 looks once, at the start.
        reread: asked for the models again and again; answers `None` if they are as they were.
        reread_seconds: time between two such questions.
        require_all: whether `start` fails unless every model can be served; otherwise only if
            none can, what is wrong with the others is logged, and a model whose newest version
            cannot be loaded is served in an older one.
        unready_labels: whether labels may name versions that are not served yet.

    Example:

    >>> manager = ModelManager([ModelConfig("en-de", Path("exports/en-de"))])
    >>> manager.start()
    >>> with manager.use("en-de") as handle:
    ...     handle.session.run("serving_default", inputs)
    """

    def __init__(
        self,
        configs: Sequence[ModelConfig],
        load: Callable[[Path], LoadedSession] = SavedModelSession,
        poll_seconds: float = 1.0,
        reread: Callable[[], Sequence[ModelConfig] | None] | None = None,
        reread_seconds: float = 1.0,
        require_all: bool = True,
        unready_labels: bool = False,
    ):
        self._load = load
        self._require_all = require_all
        self._unready_labels = unready_labels
        self._reread = reread
        self._told: Sequence[ModelConfig] | None = None  # to be served, and not served yet
        self._tried: list[list[int]] | None = None  # the versions with which that was tried
        self._condition = threading.Condition()
        self._reload_lock = threading.Lock()
        self._side_by_side = SideBySide(self._sync_model)
        self._slots = threading.Semaphore(max(_SIDE_BY_SIDE, available_cpus()))
        self._configs = {config.name: config for config in configs}
        self._versions: dict[str, dict[int, Version]] = {}
        self._folders = VersionFolders()
        self._stopped = threading.Event()
        look = functools.partial(self.sync, poll_seconds)
        self._poller = Poller({look: poll_seconds, self._follow: reread_seconds if reread else 0.0})
        self._unloading: list[threading.Thread] = []

    def start(self) -> None:
        """Loads every model and begins to watch the disk.

        Raises:
            ServingError: if a model, or without `require_all` every model, has no version that
                can be served, or a label names a version that is not served.
        """
        self._poller.start()
        try:
            self.sync()
            if self._require_all or say_faults(self._configs.values(), self._versions):
                self._check(self._configs.values())
        except ServingError:
            self.stop()
            raise

    def reload(self, configs: Sequence[ModelConfig]) -> None:
        """Serves these models in place of the ones before.

        The new ones are loaded before the others are freed. If one that is new or has changed
        cannot be served, everything stays as it was.

        Raises:
            ServingError: why a model cannot be served.
        """
        with self._reload_lock:
            before = self._configs
            # What is served now stays reachable until all of the new models are.
            self._configs = {**before, **{config.name: config for config in configs}}
            try:
                self.sync()
                self._configs = {config.name: config for config in configs}
                self._check([config for config in configs if before.get(config.name) != config])
            except Exception:
                self._configs = before
                self.sync()
                raise
            self.sync()
        _LOG.info("Serving %s", ", ".join(self._configs) or "no models")

    def _check(self, configs: Iterable[ModelConfig]) -> None:
        check_readiness(configs, self._versions, not self._unready_labels)

    def _follow(self) -> None:
        """Serves what `reread` says; what cannot be is tried again with other versions on disk."""
        assert self._reread is not None
        told = self._reread()
        if told is not None:
            self._told, self._tried = told, None
        if self._told is None:
            return
        found = [list(self._folders.versions(c.name, c.base_path)) for c in self._told]
        if found != self._tried:
            self._tried = found
            self.reload(self._told)
            self._told = None

    def sync(self, patience: float | None = None) -> None:
        """Looks at the disk once and brings every model to what its policy wants.

        Args:
            patience: seconds after which a model is left to itself; `None` waits for all.
        """
        try:
            self._side_by_side(list(self._configs.values()), patience)
        finally:
            for name in set(self._versions) - set(self._configs):
                self._unload(self._loaded(name))

    def _sync_model(self, config: ModelConfig) -> None:
        if self._stopped.is_set() or config.name not in self._configs:
            return
        on_disk = self._folders.versions(config.name, config.base_path)
        wanted = config.policy.wanted(on_disk)
        if not wanted:
            return  # whoever empties a folder by mistake keeps what is being served
        for number in sorted(wanted):
            if self._should_load(config.name, number, on_disk[number]):
                self._load_version(config.name, number, on_disk[number])
        if not self._require_all and not config.policy.specific and not self._loaded(config.name):
            self._fall_back(config.name, on_disk)
        loaded = self._loaded(config.name)
        if any(version.number in wanted for version in loaded):
            self._unload([version for version in loaded if version.number not in wanted])
        self._forget_ended(config.name)

    def _fall_back(self, name: str, on_disk: Mapping[int, Path]) -> None:
        """Loads the highest version that can be loaded, where none that is wanted can."""
        for number in sorted(on_disk, reverse=True):
            if self._should_load(name, number, on_disk[number]):
                self._load_version(name, number, on_disk[number])
                if self._loaded(name):
                    _LOG.warning("Model %s falls back to version %d", name, number)
                    return

    def _should_load(self, name: str, number: int, path: Path) -> bool:
        known = self._versions.get(name, {}).get(number)
        # Of another base path than before: other versions of the same numbers.
        return known is None or known.path.parent != path.parent or known.may_be_loaded()

    def _load_version(self, name: str, number: int, path: Path) -> None:
        version = Version(name, number, path, State.LOADING)
        with self._condition:
            earlier = self._versions.get(name, {}).get(number)
            if earlier is not None and earlier.path.parent == path.parent:
                version.failed_loads = earlier.failed_loads
            in_use = earlier if earlier and earlier.state == State.AVAILABLE else None
            if in_use is None:
                self._enter(version)
        start = time.perf_counter()
        try:
            with self._slots:
                session = self._load(path)
        except Exception as fault:  # whatever a version does, the others are served
            error = ServingError(Code.INTERNAL, f"{type(fault).__name__}: {fault}")
            if isinstance(fault, ServingError):
                error = fault
            _LOG.error("Model %s version %d cannot be loaded: %s", name, number, error)
            if in_use is not None:
                raise  # it stays what it is, and so does the base path
            with self._condition:
                version.state, version.error = State.END, error
                version.failed_loads += 1
                version.failed_at = time.monotonic()
            return
        with self._condition:
            stopped = self._stopped.is_set()
            if not stopped:
                version.session, version.state = session, State.AVAILABLE
                self._enter(version)
        if stopped:  # nobody waited for it
            session.close()
            version.state = State.END
            return
        if in_use is not None:
            self._unload([in_use])
        seconds = time.perf_counter() - start
        _LOG.info("Model %s version %d loaded from %s in %.1f s", name, number, path, seconds)

    def _enter(self, version: Version) -> None:
        versions = {**self._versions.get(version.model, {}), version.number: version}
        self._versions[version.model] = dict(sorted(versions.items()))

    def _loaded(self, name: str) -> list[Version]:
        with self._condition:
            versions = self._versions.get(name, {}).values()
            return [version for version in versions if version.state == State.AVAILABLE]

    def _unload(self, versions: Iterable[Version]) -> None:
        """Takes versions out of use; each is freed after its last request."""
        versions = list(versions)
        with self._condition:
            for version in versions:
                version.state = State.UNLOADING
        for version in versions:
            # Each in its own time: a slow request must not keep new versions from being loaded.
            thread = threading.Thread(
                target=self._free, args=(version,), name="attention-zoo-unload", daemon=True
            )
            thread.start()
            self._unloading = [*(t for t in self._unloading if t.is_alive()), thread]

    def _free(self, version: Version) -> None:
        with self._condition:
            self._condition.wait_for(lambda: version.users == 0)
            session, version.session = version.session, None
        assert session is not None
        session.close()
        with self._condition:
            version.state = State.END
        _LOG.info("Model %s version %d unloaded", version.model, version.number)

    def _forget_ended(self, name: str) -> None:
        with self._condition:
            versions = self._versions.get(name, {})
            ended = [number for number, v in versions.items() if v.state == State.END]
            for number in ended[:-_ENDED_VERSIONS_KEPT]:
                del versions[number]

    def use(self, name: str, version: int | None = None, label: str | None = None) -> Handle:
        """The version that a request asks for: by number, by label, or the highest one.

        Raises:
            ServingError: with the code and words of TensorFlow Serving if there is none.
        """
        if not name:
            raise invalid_argument("ModelSpec has no name specified.")
        with self._condition:
            if label is not None:
                config = self._configs.get(name)
                if config is None or label not in config.labels:
                    raise invalid_argument(f"Unrecognized servable version label: {label}")
                version = config.labels[label]
            found = self._available(name, version)
            if found is None:
                asked = f"Latest({name})" if version is None else f"Specific({name}, {version})"
                raise not_found(f"Servable not found for request: {asked}")
            found.users += 1
            return Handle(found, self._release)

    def _available(self, name: str, number: int | None) -> Version | None:
        versions = self._versions.get(name, {})
        available = [v for v in versions.values() if v.state == State.AVAILABLE]
        asked = [v for v in available if number in (None, v.number)]
        return max(asked, key=lambda v: v.number, default=None)

    def _release(self, version: Version) -> None:
        with self._condition:
            version.users -= 1
            self._condition.notify_all()

    def status(self, name: str, version: int | None = None) -> list[Version]:
        """Copies a version as it is now, or all versions of a model, highest first.

        Raises:
            ServingError: NOT_FOUND if there is none.
        """
        with self._condition:
            versions = self._versions.get(name, {})
            numbers = sorted(versions, reverse=True) if version is None else [version]
            if not numbers or numbers[0] not in versions:
                sought = "any versions" if version is None else f"version {version}"
                raise not_found(f"Could not find {sought} of model {name}")
            return [copy.copy(versions[number]) for number in numbers]

    def models(self) -> dict[str, list[int]]:
        """The versions that can be used of each model that is to be served."""
        with self._condition:
            return {
                name: [v.number for v in versions.values() if v.state == State.AVAILABLE]
                for name, versions in self._versions.items()
                if name in self._configs
            }

    def labels(self, name: str) -> dict[str, int]:
        """Returns the labels of a model and the versions that they name."""
        config = self._configs.get(name)
        return dict(config.labels) if config is not None else {}

    def stop(self, grace: float = 30.0) -> bool:
        """Ends the watch and frees every version, waiting `grace` seconds for requests at most.

        Returns:
            Whether all has ended: no request uses a version, and none is being loaded.
        """
        end = time.monotonic() + grace
        self._stopped.set()
        self._poller.stop(grace)
        for name in list(self._versions):
            self._unload(self._loaded(name))
        # A version that is being loaded frees itself.
        ending = [*self._side_by_side.threads, *self._unloading]
        for thread in ending:
            thread.join(max(0.0, end - time.monotonic()))
        if not self._reload_lock.acquire(timeout=max(0.0, end - time.monotonic())):
            return False
        self._reload_lock.release()
        return not any(thread.is_alive() for thread in ending)
