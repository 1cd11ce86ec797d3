"""Parts of a run that users bring: where they come from, and how they are found again.

A part is named by its origin, `/path/to/file.py:NAME` or `module:NAME`. Code of a file runs only
if the user gives that file; a module is imported only if it is installed.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import sysconfig
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any
from zlib import crc32

from ...zoo.errors import ConfigError
from ...zoo.registry import PACKAGE

if TYPE_CHECKING:
    from ...zoo.catalog import CatalogEntry
    from ...zoo.text.source_format import SourceFormat
    from ..metrics.metric import Metric
    from .task import Task

_ROOT = Path(__file__).resolve().parents[2]
_FOLDERS = ("layers", "zoo", "serving", "recipes")
_modules_of_files: dict[str, Path] = {}  # by name, what `import_file` imported
_added_folders: set[Path] = set()  # of these files, for what lies beside them
_being_imported: list[Path] = []


@dataclass(frozen=True)
class Parts:
    """Objects behind the names of a config.

    Attributes:
        task: The task, if it was given as an object.
        model: The catalog entry of the model, if it was given as an object.
        metric: The metric that decides, if it was given as an object.
        schedule: The schedule of the learning rate, if it was given as an object.
        source_format: The format of the sources as the run has saved it.
        origins: Where parts of the run come from that are not the package's own, by `"task"`,
            `"parse"`, `"metric"`, `"schedule"`, `"model"` and the names of Keras classes.
    """

    task: Task | None = None
    model: CatalogEntry | None = None
    metric: Metric | None = None
    schedule: Callable[..., Any] | None = None
    source_format: SourceFormat | None = None
    origins: Mapping[str, str] = field(default_factory=dict)


def plain(value: Any) -> Any:
    """A value as JSON has it: of a Keras object, such as a layer, its config.

    Raises:
        ConfigError: It is neither.
    """
    if isinstance(value, (str, int, float, list, tuple, dict, type(None))):
        return list(value) if isinstance(value, tuple) else value
    import keras

    try:
        return keras.saving.serialize_keras_object(value)
    except Exception as error:
        raise ConfigError(
            f"{value!r} cannot be written into a run; give a layer that has a get_config, or a "
            "registered name."
        ) from error


def live(value: Any) -> Any:
    """The value that `plain` was made of."""
    if not isinstance(value, dict) or "class_name" not in value:
        return value
    import keras

    return keras.saving.deserialize_keras_object(value)


def is_file_spec(spec: str) -> bool:
    """Tells `file.py` and `file.py:NAME` from names and modules."""
    return spec.endswith(".py") or ".py:" in spec


def load_object(spec: str, default: str | None = None) -> Any:
    """Imports what the user names by `file.py:NAME` or `module:NAME`.

    Args:
        spec: The file or module, and the name in it.
        default: The name, where the spec has none.

    Raises:
        ConfigError: There is no such file, module or name, or its code fails.
    """
    where, _, name = spec.rpartition(":") if ":" in spec else (spec, "", "")
    name = name or default or ""
    if not name:
        raise ConfigError(f"Expected FILE:NAME. Received: {spec}")
    module = import_file(where) if where.endswith(".py") else _import_installed(where)
    if module is None:
        raise ConfigError(f"There is no module {where!r} installed here. Received: {spec}")
    try:
        return getattr(module, name)
    except AttributeError:
        raise ConfigError(f"{where} has no {name}. Received: {spec}") from None


def import_file(path: str | Path) -> ModuleType:
    """Imports a Python file that the user gives, once.

    Modules beside the file can be imported by it, as if it were run.

    Raises:
        ConfigError: The file does not exist, or its code fails.
    """
    found = Path(path).expanduser().resolve()
    if not found.is_file():
        raise ConfigError(f"{path} does not exist. Give the path of a Python file.")
    if (module := imported_file(found)) is not None:
        return module
    if (own := _module_of_package(found)) is not None:
        return importlib.import_module(own)
    name = found.stem
    if name in sys.modules or importlib.util.find_spec(name.partition(".")[0]) is not None:
        name = f"{name}_{crc32(str(found).encode()):08x}"
    spec = importlib.util.spec_from_file_location(name, found)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    _modules_of_files[name] = found
    if str(found.parent) not in sys.path:
        sys.path.append(str(found.parent))
        _added_folders.add(found.parent)
    _being_imported.append(found)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name], _modules_of_files[name]
        lines = [
            f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == str(found)
        ]
        where = f"{path}:{lines[-1]}" if lines else str(path)
        raise ConfigError(f"{where} fails with {type(error).__name__}: {error}") from error
    finally:
        _being_imported.pop()
    return module


def imported_file(path: Path) -> ModuleType | None:
    """The module of a file that this process has imported or runs, or `None`."""
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None)
        if file and Path(file).name == path.name and Path(file).resolve() == path:
            return module
    return None


def is_importing_file() -> bool:
    """Tells whether a user's file is being imported just now, rather than run."""
    return bool(_being_imported)


def origin_of(value: Any) -> str | None:
    """Origin of an object: `FILE:NAME`, or `MODULE:NAME` if it can be imported by that.

    Returns:
        The origin, or `None` for an object of the package itself.
    """
    module_name, name = _home(value)
    file = getattr(sys.modules.get(module_name), "__file__", None)
    path = None if file is None else Path(file).resolve()
    if module_name.partition(".")[0] == PACKAGE or (path and _module_of_package(path)):
        return None
    if path and (module_name in ("__main__", *_modules_of_files) or _lies_alone(module_name, path)):
        return f"{path}:{name}"
    return f"{module_name}:{name}"


def find_part(kind: str, name: str, origin: str, option: str) -> Any:
    """Finds a part of a run by its origin.

    Args:
        kind: What it is, for the message.
        name: Its name in the run.
        origin: Where it was, as the run says.
        option: The option by which the user gives its file.

    Raises:
        ConfigError: It is in a file that the user has not given, or in a module that is not
            installed.
    """
    where, _, attribute = origin.rpartition(":")
    path, told = Path(where), f"The {kind} {name} of this run"
    if path.is_absolute():
        module = imported_file(path)
        if module is None and path.parent not in _added_folders:
            module = _import_installed(path.stem, path)  # where the user's own path has it
        if module is None and path.is_file():
            raise ConfigError(
                f"{told} is in {where}, whose code runs only if you give it: {option} {where}"
            )
        if module is None:
            raise ConfigError(f"{told} was in {where}, which is gone; give the file: {option} FILE")
    elif where == "__main__":
        module = sys.modules["__main__"]
    else:
        module = _import_installed(where)
        if module is None:
            raise ConfigError(
                f"{told} was in the module {where}, which is not installed here; install it, or "
                f"give its file: {option} FILE"
            )
    found: Any = module
    for part in attribute.split("."):
        found = getattr(found, part, None)
    if found is None:
        place = "an interactive session" if where == "__main__" else where
        raise ConfigError(f"{told} was made in {place}, which has it no longer: {option} FILE")
    return found


def _import_installed(name: str, file: Path | None = None) -> ModuleType | None:
    """The module of a name, imported, or `None` if it is not installed or is another file's."""
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return None
    if spec is None or (file is not None and Path(spec.origin or "").resolve() != file):
        return None
    return importlib.import_module(name)


def _lies_alone(module: str, path: Path) -> bool:
    """Tells a module beside a script from a package and what is installed."""
    installed = map(sysconfig.get_paths().get, ("purelib", "platlib", "stdlib"))
    return "." not in module and not any(path.is_relative_to(folder or "/") for folder in installed)


def _module_of_package(path: Path) -> str | None:
    """The name of a module of the package by its file, or `None`."""
    if not path.is_relative_to(_ROOT):
        return None
    parts = path.relative_to(_ROOT).with_suffix("").parts
    return ".".join((PACKAGE, *parts)) if parts[0] in _FOLDERS else None


def _home(value: Any) -> tuple[str, str]:
    """Module and name of an object; of a mere value, those of a variable that holds it."""
    if hasattr(value, "__qualname__"):
        return value.__module__, value.__qualname__
    homes = [
        (module_name, name)
        for module_name, module in list(sys.modules.items())
        for name, found in list(getattr(module, "__dict__", {}).items())
        if found is value and module_name != "__mp_main__"  # another name of the script
    ]
    # What a script imports is of the module that it imports it from.
    homes.sort(key=lambda home: home[0] == "__main__")
    return homes[0] if homes else ("__main__", "")
