"""TensorFlow's C API through ctypes: sessions over a SavedModel, as a C++ server runs them.

Nothing here imports TensorFlow's Python package: the shared libraries inside its installation are
opened directly, with the operations of TF Text. A process that only serves starts in a second, and
what it runs is what `tensorflow_model_server` runs: the C++ loader and the C++ executor.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import importlib.util

# Before the libraries of TensorFlow are opened: they have functions of the same names as those of
# OpenSSL, and whatever is loaded later takes theirs, which fails.
import ssl  # noqa: F401
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from . import dtypes
from .errors import Code, ServingError

_POINTER = ctypes.c_void_p
_TSTRING_BYTES = 24
_DISABLE_XLA_SYMBOL = "_ZN10tensorflow21DisableXlaCompilationEv"


class Buffer(ctypes.Structure):
    """TF_Buffer: bytes and who frees them."""

    _fields_ = [("data", _POINTER), ("length", ctypes.c_size_t), ("deallocator", _POINTER)]


class Output(ctypes.Structure):
    """TF_Output: one output of an operation in a graph."""

    _fields_ = [("operation", _POINTER), ("index", ctypes.c_int)]


_TYPES: dict[str, Any] = {
    "none": None,
    "pointer": _POINTER,
    "pointers": ctypes.POINTER(_POINTER),
    "int": ctypes.c_int,
    "int64": ctypes.c_int64,
    "int64s": ctypes.POINTER(ctypes.c_int64),
    "size": ctypes.c_size_t,
    "chars": ctypes.c_char_p,
    "strings": ctypes.POINTER(ctypes.c_char_p),
    "buffer": ctypes.POINTER(Buffer),
    "outputs": ctypes.POINTER(Output),
}
# Result, function, arguments.
_FUNCTIONS = """
pointer TF_NewStatus
none TF_DeleteStatus pointer
int TF_GetCode pointer
chars TF_Message pointer
buffer TF_NewBuffer
buffer TF_NewBufferFromString chars size
none TF_DeleteBuffer buffer
buffer TF_GetAllOpList
pointer TF_LoadLibrary chars pointer
pointer TF_NewGraph
none TF_DeleteGraph pointer
pointer TF_GraphOperationByName pointer chars
int TF_OperationNumOutputs pointer
pointer TF_NewSessionOptions
none TF_DeleteSessionOptions pointer
none TF_SetConfig pointer chars size pointer
pointer TF_LoadSessionFromSavedModel pointer buffer chars strings int pointer buffer pointer
none TF_CloseSession pointer pointer
none TF_DeleteSession pointer pointer
none TF_SessionRun pointer buffer outputs pointers int outputs pointers int pointers int buffer
  pointer
pointer TF_AllocateTensor int int64s int size
none TF_DeleteTensor pointer
int TF_TensorType pointer
int TF_NumDims pointer
int64 TF_Dim pointer int
size TF_TensorByteSize pointer
pointer TF_TensorData pointer
none TF_StringInit pointer
none TF_StringCopy pointer chars size
none TF_StringDealloc pointer
pointer TF_StringGetDataPointer pointer
size TF_StringGetSize pointer
"""


def _package_folder(name: str) -> Path | None:
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(spec.submodule_search_locations[0])


@functools.cache
def library() -> ctypes.CDLL:
    """The C API of the installed TensorFlow, with its signatures declared."""
    folder = _package_folder("tensorflow")
    if folder is None:
        raise ImportError(
            "Serving a SavedModel needs TensorFlow. Install it: pip install tensorflow"
        )
    suffixes = (".so.2", ".2.dylib", ".dylib")
    for suffix in suffixes:
        if (folder / f"libtensorflow_cc{suffix}").exists():
            framework = folder / f"libtensorflow_framework{suffix}"
            # The libraries of TF Text look for these symbols among the global ones.
            ctypes.CDLL(str(framework), ctypes.RTLD_GLOBAL)
            api = ctypes.CDLL(str(folder / f"libtensorflow_cc{suffix}"), ctypes.RTLD_GLOBAL)
            break
    else:
        raise ImportError(
            f"The TensorFlow in {folder} has no libtensorflow_cc with one of the endings "
            f"{', '.join(suffixes)}; use the official package for Linux or macOS."
        )
    for line in _FUNCTIONS.replace("\n  ", " ").split("\n")[1:-1]:
        result, name, *arguments = line.split()
        function = getattr(api, name)
        function.restype = _TYPES[result]
        function.argtypes = [_TYPES[argument] for argument in arguments]
    return api


@functools.cache
def load_text_operations() -> int:
    """Registers the operations of TF Text, if it is installed, and counts its libraries."""
    folder = _package_folder("tensorflow_text")
    files = sorted(folder.glob("python/*/_*.so")) if folder else []
    for file in files:
        with status() as checked:
            library().TF_LoadLibrary(str(file).encode(), checked)
    return len(files)


def disable_xla() -> bool:
    """Turns XLA compilation off in this process for good, as a stock server does at its start.

    Returns:
        False if this TensorFlow does not export the switch.
    """
    try:
        switch = getattr(library(), _DISABLE_XLA_SYMBOL)
    except AttributeError:
        return False
    switch.restype = None
    switch()
    return True


@contextlib.contextmanager
def status() -> Iterator[int]:
    """A TF_Status for one call; raises `ServingError` at the end unless it is OK."""
    api = library()
    handle = api.TF_NewStatus()
    try:
        yield handle
        code = api.TF_GetCode(handle)
        if code:
            message = api.TF_Message(handle).decode("utf-8", "replace")
            raise ServingError(Code(code) if code <= 16 else Code.UNKNOWN, message)
    finally:
        api.TF_DeleteStatus(handle)


def to_tensor(array: np.ndarray, dtype: dtypes.DType) -> int:
    """A new TF_Tensor with the values of `array`; `delete_input` frees it."""
    api = library()
    shape = (ctypes.c_int64 * array.ndim)(*array.shape)
    if dtype is not dtypes.STRING:
        values = np.ascontiguousarray(array, dtype.numpy)
        tensor = api.TF_AllocateTensor(dtype.number, shape, array.ndim, values.nbytes)
        ctypes.memmove(api.TF_TensorData(tensor), values.ctypes.data, values.nbytes)
        return tensor
    encoded = [_to_bytes(value) for value in array.ravel().tolist()]
    tensor = api.TF_AllocateTensor(dtype.number, shape, array.ndim, len(encoded) * _TSTRING_BYTES)
    address = api.TF_TensorData(tensor)
    for value in encoded:
        api.TF_StringInit(address)
        api.TF_StringCopy(address, value, len(value))
        address += _TSTRING_BYTES
    return tensor


def _to_bytes(value: object) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape")
    raise ValueError(
        "A string tensor takes str or bytes; convert the values first. "
        f"Received: {type(value).__name__}"
    )


def delete_input(tensor: int) -> None:
    """Frees a tensor of `to_tensor`, its strings included."""
    api = library()
    if api.TF_TensorType(tensor) == dtypes.STRING.number:
        address = api.TF_TensorData(tensor)
        for _ in range(api.TF_TensorByteSize(tensor) // _TSTRING_BYTES):
            api.TF_StringDealloc(address)
            address += _TSTRING_BYTES
    api.TF_DeleteTensor(tensor)


def to_array(tensor: int) -> np.ndarray:
    """The values of a TF_Tensor as a NumPy array; strings as `bytes` objects."""
    api = library()
    dtype = dtypes.from_number(api.TF_TensorType(tensor))
    shape = tuple(api.TF_Dim(tensor, axis) for axis in range(api.TF_NumDims(tensor)))
    if dtype.numpy is None:
        raise ServingError(Code.UNIMPLEMENTED, f"A tensor of type {dtype.name} cannot be returned")
    if dtype is dtypes.STRING:
        address = api.TF_TensorData(tensor)
        values = np.empty(int(np.prod(shape, dtype=np.int64)), dtype=object)
        for index in range(values.size):
            size = api.TF_StringGetSize(address)
            values[index] = ctypes.string_at(api.TF_StringGetDataPointer(address), size)
            address += _TSTRING_BYTES
        return values.reshape(shape)
    size = api.TF_TensorByteSize(tensor)
    array = np.empty(shape, dtype.numpy)
    if size:
        ctypes.memmove(array.ctypes.data, api.TF_TensorData(tensor), size)
    return array
