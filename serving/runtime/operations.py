"""Operations that a stock TensorFlow Serving can run.

`tensorflow_model_server` links TensorFlow's own kernels and the operations of TF Text, and nothing
else that a text model uses. A SavedModel with any other operation is refused when it is loaded, or
when it is first called, on a machine where nobody looks.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError

from . import c_api, protos
from .errors import Code, ServingError

# The operations of TF Text that the official server links (its target `ops_lib`), by library.
_TEXT_OPERATIONS = """
CaseFoldUTF8 ConstrainedSequence FastBertNormalize FastWordpieceTokenizeWithOffsets
FindSourceOffsets MaxSpanningTree NormalizeUTF8 NormalizeUTF8WithOffsetsMap PhraseTokenize
RegexSplitWithOffsets RougeL SentenceFragments SentenceFragmentsV2 SentencepieceDetokenizeOp
SentencepieceIdToStringOp SentencepieceOp SentencepieceStringToIdOp SentencepieceTokenizeOp
SentencepieceTokenizeWithOffsetsOp SentencepieceVocabSizeOp SplitMergeTokenizeWithOffsets
TFText>BoiseTagsToOffsets TFText>ByteSplitByOffsets TFText>ByteSplitWithOffsets
TFText>FastSentencepieceDetokenize TFText>FastSentencepieceTokenize TFText>FastWordpieceDetokenize
TFText>NgramsStringJoin TFText>OffsetsToBoiseTags TFText>PhraseDetokenize
TFText>RoundRobinGenerateMasks TFText>RoundRobinTrim TFText>Utf8Binarize
TFText>WhitespaceTokenizeWithOffsetsV2 TokenizerFromLogits UnicodeScriptTokenizeWithOffsets
WhitespaceTokenizeWithOffsets WordpieceTokenizeWithOffsets
"""
TEXT_OPERATIONS = frozenset(_TEXT_OPERATIONS.split())

# Registered by TensorFlow, yet of no use in a stock server: they call back into the Python process
# that wrote the model, or into a compiler that the server has switched off.
_UNSERVABLE_PREFIXES = ("Xla", "_Xla", "TPU", "_TPU")
_UNSERVABLE = frozenset({"EagerPyFunc", "PyFunc", "PyFuncStateless", "XlaLaunch"})
_COMPILE_ATTRIBUTES = ("_XlaMustCompile", "_XlaCompile")


def read_saved_model(path: str | os.PathLike):
    """The SavedModel message of a folder."""
    return protos.SavedModel.FromString((Path(path) / "saved_model.pb").read_bytes())


def registered_operations() -> frozenset[str]:
    """The operations that this process can load."""
    buffer = c_api.library().TF_GetAllOpList()
    try:
        data = ctypes.string_at(buffer.contents.data, buffer.contents.length)
    finally:
        c_api.library().TF_DeleteBuffer(buffer)
    return frozenset(operation.name for operation in protos.OpList.FromString(data).op)


def core_operations() -> frozenset[str]:
    """The operations registered in this process, those of TF Text left out.

    Libraries of further operations that this process has opened count as registered: ask in a
    process that has opened none.
    """
    return registered_operations() - TEXT_OPERATIONS


def check_registered(path: str | os.PathLike, xla: bool = False) -> bool:
    """Refuses a SavedModel with an operation that this process lacks.

    Loading such a graph can end the process; this only reads it.

    Args:
        path: folder of one version.
        xla: whether this process compiles by XLA.

    Returns:
        Whether XLA compiles a part of it.

    Raises:
        ServingError: NOT_FOUND for a missing operation, DATA_LOSS for a file that is no model,
            FAILED_PRECONDITION for one that needs XLA where that is switched off.
    """
    if not (Path(path) / "saved_model.pb").exists():
        return False  # the loader says what it looked for
    try:
        saved_model = read_saved_model(path)
    except DecodeError as error:
        raise ServingError(
            Code.DATA_LOSS, f"{Path(path) / 'saved_model.pb'} is damaged: {error}"
        ) from error
    c_api.load_text_operations()
    known = registered_operations() | _functions(saved_model)
    for place, node in _nodes(saved_model):
        if node.op not in known:
            raise ServingError(
                Code.NOT_FOUND,
                f"Op type not registered '{node.op}' in this server; {path} uses it in {place}",
            )
    compiled = bool(compiled_functions(saved_model))
    if compiled and not xla:
        raise ServingError(
            Code.FAILED_PRECONDITION,
            f"{path} is compiled by XLA, which this server has switched off: start it with "
            "--xla_cpu_compilation_enabled, or export the model without --compiled",
        )
    return compiled


def _functions(saved_model) -> frozenset[str]:
    """The names of the functions that a SavedModel brings; they can be called as operations."""
    return frozenset(
        function.signature.name
        for meta_graph in saved_model.meta_graphs
        for function in meta_graph.graph_def.library.function
    )


def _nodes(saved_model) -> Iterator[tuple[str, Any]]:
    """Every node and the place it stands in."""
    for meta_graph in saved_model.meta_graphs:
        for node in meta_graph.graph_def.node:
            yield "the main graph", node
        for function in meta_graph.graph_def.library.function:
            for node in function.node_def:
                yield f"function {function.signature.name}", node


def unknown_operations(saved_model, known: frozenset[str]) -> dict[str, str]:
    """Each operation that a stock server lacks, with one place where it is used."""
    allowed = known | TEXT_OPERATIONS | _functions(saved_model)
    found: dict[str, str] = {}
    for place, node in _nodes(saved_model):
        unservable = node.op in _UNSERVABLE or node.op.startswith(_UNSERVABLE_PREFIXES)
        if unservable or node.op not in allowed:
            found.setdefault(node.op, place)
    return found


def compiled_functions(saved_model) -> list[str]:
    """The functions and nodes that ask for XLA compilation."""
    found = set()
    for place, node in _nodes(saved_model):
        if any(node.attr[name].b for name in _COMPILE_ATTRIBUTES if name in node.attr):
            found.add(f"node {node.name} in {place}")
    for meta_graph in saved_model.meta_graphs:
        for function in meta_graph.graph_def.library.function:
            if any(function.attr[n].b for n in _COMPILE_ATTRIBUTES if n in function.attr):
                found.add(f"function {function.signature.name}")
    return sorted(found)


def count_operations(saved_model) -> int:
    """The number of different operations in a SavedModel."""
    return len({node.op for _, node in _nodes(saved_model)})
