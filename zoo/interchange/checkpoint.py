"""Weights of a checkpoint folder as NumPy arrays: safetensors, and PyTorch's files without PyTorch.

A file of PyTorch's is a pickle, which can name any function to be called. Here it can name those
that make a tensor and nothing else, so that reading a file runs no code of it.
"""

from __future__ import annotations

import json
import math
import mmap
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import ml_dtypes
import numpy as np

from ..errors import ConfigError
from ..tensor_files import read_tensors

Weights = Mapping[str, np.ndarray]

_STORAGES = {
    "DoubleStorage": np.float64,
    "FloatStorage": np.float32,
    "HalfStorage": np.float16,
    "BFloat16Storage": ml_dtypes.bfloat16,
    "LongStorage": np.int64,
    "IntStorage": np.int32,
}
_MAGIC = 0x1950A86A20F9469CFC6C  # in front of the files that PyTorch wrote before version 1.6
_PROTOCOL = 1001
_REMEDY = (
    "save it again with transformers, `model.save_pretrained(folder)`, which writes "
    "model.safetensors"
)


def read_weights(folder: Path) -> Weights:
    """Reads the weights of a checkpoint by their names.

    Args:
        folder: Has `model.safetensors` or `pytorch_model.bin`, or several files of one of them and
            an index.

    Returns:
        Arrays in the types of the file.

    Raises:
        ConfigError: There are none, a file is damaged, or it holds anything but tensors.
    """
    for name, read in (("model.safetensors", _safetensors), ("pytorch_model.bin", _pytorch)):
        if (folder / name).is_file():
            return dict(_checked(folder / name, read))
        index = folder / f"{name}.index.json"
        if index.is_file():
            files = sorted(set(read_json(index).get("weight_map", {}).values()))
            # Only beside the index: what a file says is no path to follow.
            paths = [folder / Path(file).name for file in files]
            return {key: value for path in paths for key, value in _checked(path, read)}
    raise ConfigError(
        f"{folder} has neither model.safetensors nor pytorch_model.bin. Give the folder of a "
        "checkpoint, as transformers saves it."
    )


def read_json(path: Path) -> dict[str, Any]:
    """Reads a JSON object.

    Raises:
        ConfigError: The file is something else.
        OSError: It cannot be read.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(f"{path} is not readable JSON: {error}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path} is no JSON object.")
    return values


def _checked(path: Path, read: Any) -> Iterator[tuple[str, np.ndarray]]:
    """The arrays of a file; whatever is wrong with it is told in one line."""
    try:
        yield from read(path)
    except OSError:
        raise
    except Exception as error:  # there are as many kinds of errors as ways of being damaged
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ConfigError(
            f"{path} cannot be read: {reason}. Copy it again, or {_REMEDY}."
        ) from error


def _safetensors(path: Path) -> Iterator[tuple[str, np.ndarray]]:
    """The arrays of a safetensors file."""
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        yield from read_tensors(data).items()


def _pytorch(path: Path) -> Iterator[tuple[str, np.ndarray]]:
    """The tensors of a state dictionary that `torch.save` wrote."""
    with open(path, "rb") as file:
        found = _zipped(file) if zipfile.is_zipfile(file) else _legacy(file)
    if not isinstance(found, dict):
        raise ValueError("it holds no weights by name")
    for name, value in found.items():
        if isinstance(value, np.ndarray):
            yield str(name), value


def _zipped(file: IO[bytes]) -> Any:
    """The object in a file of PyTorch 1.6 and later: a pickle, and a file for each storage."""
    with zipfile.ZipFile(file) as archive:
        (main,) = (name for name in archive.namelist() if name.endswith("/data.pkl"))
        folder = main.removesuffix("data.pkl")
        stored: dict[str, np.ndarray] = {}

        def storage(dtype, key: str, size: int) -> np.ndarray:
            if key not in stored:
                stored[key] = np.frombuffer(archive.read(f"{folder}data/{key}"), dtype)
            return stored[key]

        with archive.open(main) as pickled:
            return _TensorUnpickler(pickled, storage).load()


def _legacy(file: IO[bytes]) -> Any:
    """The object in an older file: five pickles, then all storages, each after its length."""
    file.seek(0, 2)
    length = file.tell()
    file.seek(0)
    stored: dict[str, np.ndarray] = {}

    def storage(dtype, key: str, size: int) -> np.ndarray:
        if not 0 <= size <= length:
            raise ValueError(f"a storage of {size} numbers in {length} bytes")
        return stored.setdefault(key, np.zeros(size, dtype))

    parts = []
    for _ in range(5):
        parts.append(_TensorUnpickler(file, storage).load())
        if parts[0] != _MAGIC or parts[1:2] not in ([], [_PROTOCOL]):
            raise ValueError("it is no file of torch.save")
    for key in parts[4]:
        size = int.from_bytes(file.read(8), "little")
        values = stored[key]
        if size != len(values):
            raise ValueError(f"storage {key} has {size} numbers in place of {len(values)}")
        values[:] = np.frombuffer(file.read(values.nbytes), values.dtype)
    return parts[3]


class _TensorUnpickler(pickle.Unpickler):
    """Reads dictionaries of tensors, and refuses every other class and function by name."""

    def __init__(self, file: IO[bytes], storage: Any):
        super().__init__(file)
        self._storage = storage

    def find_class(self, module: str, name: str) -> Any:
        known = {
            ("collections", "OrderedDict"): OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2"): _tensor,
            ("torch._utils", "_rebuild_parameter"): lambda data, *_: data,
        }
        if (module, name) in known:
            return known[module, name]
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is no part of a tensor")

    def persistent_load(self, pid: Any) -> np.ndarray:
        _, dtype, key, _, size, *_ = pid
        return self._storage(dtype, str(key), int(size))


def _tensor(storage: np.ndarray, offset: int, size: tuple, stride: tuple, *_: Any) -> np.ndarray:
    """The tensor that is a view of a storage."""
    if len(size) != len(stride) or min((offset, *size, *stride), default=0) < 0:
        raise ValueError(f"a tensor of shape {size} with strides {stride}")
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if math.prod(size) and last >= len(storage):
        raise ValueError(f"a tensor of shape {size} lies outside of its storage")
    strides = [step * storage.itemsize for step in stride]
    return np.lib.stride_tricks.as_strided(storage[offset:], size, strides, writeable=False)
