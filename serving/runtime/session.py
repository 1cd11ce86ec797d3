"""A SavedModel in TensorFlow's C++ session: what a server holds of a model."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import c_api, dtypes, protos
from .errors import Code, ServingError


@dataclass(frozen=True)
class TensorSpec:
    """A named input or output of a signature.

    Attributes:
        tensor: its name in the graph, such as `serving_default_text:0`; empty if it is composed
            of several tensors (ragged, sparse), which no client can be given.
        dtype: its data type.
        shape: its dimensions, -1 where they vary; `None` if not even their number is fixed.
        dim_names: the names of the dimensions, usually empty.
    """

    tensor: str
    dtype: dtypes.DType
    shape: tuple[int, ...] | None
    dim_names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Signature:
    """A function of a SavedModel that clients can call."""

    name: str
    method_name: str
    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]


class SavedModelSession:
    """A SavedModel loaded by TensorFlow's C++ loader, run by its C++ executor.

    It may be called from many threads at once; a call holds the interpreter only while tensors are
    copied in and out. XLA is as the process has it: a server turns it off with
    `c_api.disable_xla()`.

    Args:
        path: folder with `saved_model.pb` and `variables/`.
        tags: of the graph to load.
        intra_op_threads: threads within an operation; 0 leaves it to TensorFlow. A session with
            a number of threads of its own has its own threads, others share theirs.
        inter_op_threads: operations at a time; 0 leaves it to TensorFlow.

    Raises:
        ServingError: if the model cannot be loaded, with TensorFlow's reason.

    Example:

    >>> session = SavedModelSession("exports/en-de/1")
    >>> session.run("serving_default", {"text": np.array(["a house"])})["text"]
    array([b'ein Haus'], dtype=object)
    """

    def __init__(
        self,
        path: str | os.PathLike,
        tags: Iterable[str] = ("serve",),
        intra_op_threads: int = 0,
        inter_op_threads: int = 0,
    ):
        self.path = os.fspath(path)
        self._api = c_api.library()
        c_api.load_text_operations()
        self._condition = threading.Condition()
        self._running = 0
        self._closed = False
        self._graph = self._api.TF_NewGraph()
        self._session = None
        try:
            meta_graph = self._load(list(tags), intra_op_threads, inter_op_threads)
        except ServingError:
            self._api.TF_DeleteGraph(self._graph)
            self._closed = True
            raise
        # All signatures as a SignatureDefMap of TensorFlow Serving, with what is not read here.
        self.signature_map: bytes = _signature_bytes(meta_graph)
        self.signatures: dict[str, Signature] = {
            name: read_signature(name, proto) for name, proto in meta_graph.signature_def.items()
        }
        self._endpoints: dict[str, c_api.Output] = {}

    def _load(self, tags: list[str], intra: int, inter: int):
        """Fills the graph and opens the session; returns the MetaGraphDef."""
        api = self._api
        options = api.TF_NewSessionOptions()
        buffer = api.TF_NewBuffer()
        try:
            if intra or inter:
                config = protos.ConfigProto(
                    intra_op_parallelism_threads=intra,
                    inter_op_parallelism_threads=inter,
                    use_per_session_threads=True,
                ).SerializeToString()
                with c_api.status() as status:
                    api.TF_SetConfig(options, config, len(config), status)
            names = (ctypes.c_char_p * len(tags))(*(tag.encode() for tag in tags))
            with c_api.status() as status:
                self._session = api.TF_LoadSessionFromSavedModel(
                    options,
                    None,
                    os.fsencode(self.path),
                    names,
                    len(tags),
                    self._graph,
                    buffer,
                    status,
                )
            data = ctypes.string_at(buffer.contents.data, buffer.contents.length)
            return protos.MetaGraphDef.FromString(data)
        finally:
            api.TF_DeleteBuffer(buffer)
            api.TF_DeleteSessionOptions(options)

    def signature(self, name: str) -> Signature:
        """The signature of this name.

        Raises:
            ServingError: FAILED_PRECONDITION if the model has none of this name.
        """
        found = self.signatures.get(name)
        if found is None:
            raise ServingError(
                Code.FAILED_PRECONDITION, f'Serving signature key "{name}" not found.'
            )
        return found

    def run(
        self,
        signature: str,
        inputs: Mapping[str, np.ndarray],
        outputs: Iterable[str] | None = None,
        timeout: float | None = None,
    ) -> dict[str, np.ndarray]:
        """Calls a signature.

        Args:
            signature: its name.
            inputs: an array for each input; strings as `str` or `bytes`.
            outputs: names of the outputs to compute; all if `None`.
            timeout: seconds after which the call ends with DEADLINE_EXCEEDED.

        Returns:
            An array for each output; strings as arrays of `bytes` objects.

        Raises:
            ServingError: with the code and message of TensorFlow.
        """
        called = self.signature(signature)
        names = list(called.outputs) if outputs is None else list(outputs)
        tensors: list[int] = []
        self._enter()  # before anything is looked up in the graph, which `close` frees
        try:
            feeds = [self._endpoint(called.inputs[name]) for name in inputs]
            fetches = [self._endpoint(called.outputs[name]) for name in names]
            for array in map(np.asarray, inputs.values()):
                tensors.append(c_api.to_tensor(array, dtypes.from_numpy(array.dtype)))
            arrays = self._run(feeds, tensors, fetches, timeout)
        finally:
            for tensor in tensors:
                c_api.delete_input(tensor)
            self._leave()
        return dict(zip(names, arrays, strict=True))

    def _run(
        self,
        feeds: list[c_api.Output],
        tensors: list[int],
        fetches: list[c_api.Output],
        timeout: float | None,
    ) -> list[np.ndarray]:
        api = self._api
        results = (ctypes.c_void_p * len(fetches))()
        options = None
        if timeout is not None:
            data = protos.RunOptions(timeout_in_ms=max(1, int(timeout * 1000))).SerializeToString()
            options = api.TF_NewBufferFromString(data, len(data))
        try:
            with c_api.status() as status:
                api.TF_SessionRun(
                    self._session,
                    options,
                    (c_api.Output * len(feeds))(*feeds),
                    (ctypes.c_void_p * len(tensors))(*tensors),
                    len(feeds),
                    (c_api.Output * len(fetches))(*fetches),
                    results,
                    len(fetches),
                    None,
                    0,
                    None,
                    status,
                )
            return [c_api.to_array(tensor) for tensor in results if tensor]
        finally:
            if options is not None:
                api.TF_DeleteBuffer(options)
            for tensor in results:
                if tensor:
                    api.TF_DeleteTensor(tensor)

    def _endpoint(self, spec: TensorSpec) -> c_api.Output:
        """The graph's output of this name, looked up once."""
        known = self._endpoints.get(spec.tensor)
        if known is not None:
            return known
        operation, _, index = spec.tensor.partition(":")
        handle = self._api.TF_GraphOperationByName(self._graph, operation.encode())
        number = int(index or 0)
        if not handle or number >= self._api.TF_OperationNumOutputs(handle):
            raise ServingError(
                Code.FAILED_PRECONDITION,
                f'The graph of {self.path} has no tensor "{spec.tensor}"; '
                "ragged and sparse tensors cannot be passed through a signature",
            )
        self._endpoints[spec.tensor] = c_api.Output(handle, number)
        return self._endpoints[spec.tensor]

    def _enter(self) -> None:
        with self._condition:
            if self._closed:
                raise ServingError(Code.UNAVAILABLE, f"The session of {self.path} is closed")
            self._running += 1

    def _leave(self) -> None:
        with self._condition:
            self._running -= 1
            self._condition.notify_all()

    def close(self) -> None:
        """Waits for the calls under way, then frees the model; further calls are refused."""
        with self._condition:
            if self._closed:
                return
            self._closed = True
            self._condition.wait_for(lambda: self._running == 0)
        with c_api.status() as status:
            self._api.TF_CloseSession(self._session, status)
        with c_api.status() as status:
            self._api.TF_DeleteSession(self._session, status)
        self._api.TF_DeleteGraph(self._graph)

    def __enter__(self) -> SavedModelSession:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def _signature_bytes(meta_graph) -> bytes:
    signatures = protos.SignatureMap()
    for name, proto in meta_graph.signature_def.items():
        signatures.signature_def[name].CopyFrom(proto)
    return signatures.SerializeToString()


def read_signature(name: str, proto: Any) -> Signature:
    """The signature of a SignatureDef message."""
    return Signature(
        name=name,
        method_name=proto.method_name,
        inputs={alias: _to_spec(proto.inputs[alias]) for alias in sorted(proto.inputs)},
        outputs={alias: _to_spec(proto.outputs[alias]) for alias in sorted(proto.outputs)},
    )


def _to_spec(info) -> TensorSpec:
    shape = info.tensor_shape
    return TensorSpec(
        tensor=info.name,
        dtype=dtypes.from_number(info.dtype),
        shape=None if shape.unknown_rank else tuple(dim.size for dim in shape.dim),
        dim_names=tuple(dim.name for dim in shape.dim),
    )
