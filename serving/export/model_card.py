"""The card of a published model: what it takes and returns, and what was measured before."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timezone
from importlib import metadata

from ... import __version__
from ..runtime.operations import read_saved_model
from ..runtime.session import Signature, TensorSpec, read_signature
from .check_report import CheckResult

CARD_FILE = "MODEL_CARD.md"
_PACKAGES = ("tensorflow", "tensorflow-cpu", "tensorflow-text", "keras", "sentencepiece")


def render_card(
    name: str,
    path: str | os.PathLike,
    results: Sequence[CheckResult],
    notes: str = "",
) -> str:
    """The card of a version, in Markdown.

    Args:
        name: of the model.
        path: folder with its `saved_model.pb`.
        results: what the checks found.
        notes: what its maker says of data and scores, in Markdown.
    """
    moment = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    parts = [f"# {name}", f"Published {moment}, as a SavedModel for TensorFlow Serving."]
    if notes.strip():
        parts.append(notes.strip())
    parts += ["## Signatures", _signature_table(_read_signatures(path))]
    parts += ["## Versions", _version_table(written_with())]
    parts += ["## Measured before it was published", _finding_table(results)]
    latency = _latency(results)
    if latency:
        parts.append(latency)
    return "\n\n".join(parts) + "\n"


def written_with() -> dict[str, str]:
    """The versions of what takes part in writing a SavedModel, by name."""
    found = {"attention-zoo": __version__, "Python": platform.python_version()}
    for package in _PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found


def _version_table(versions: Mapping[str, str]) -> str:
    rows = [f"| {name} | {version} |" for name, version in versions.items()]
    table = "\n".join(["| written with | version |", "|---|---|", *rows])
    ours = versions.get("tensorflow") or versions.get("tensorflow-cpu")
    if ours is None:
        return table
    minor = ".".join(ours.split(".")[:2])
    return (
        f"{table}\n\nTensorFlow promises that {minor} and later read it. An older server has to be "
        "tried: `python -m attention_zoo.serving.export.version_skew` does that."
    )


def _read_signatures(path: str | os.PathLike) -> list[Signature]:
    definitions = read_saved_model(path).meta_graphs[0].signature_def
    names = sorted(name for name in definitions if not name.startswith("__"))
    return [read_signature(name, definitions[name]) for name in names]


def _signature_table(signatures: Iterable[Signature]) -> str:
    rows = [
        f"| `{signature.name}` | {_tensors(signature.inputs)} | {_tensors(signature.outputs)} |"
        for signature in signatures
    ]
    return "\n".join(["| name | inputs | outputs |", "|---|---|---|", *rows])


def _tensors(specs: Mapping[str, TensorSpec]) -> str:
    return "<br>".join(f"`{name}` {spec.dtype.name} {_shape(spec)}" for name, spec in specs.items())


def _shape(spec: TensorSpec) -> str:
    if spec.shape is None:
        return "of any shape"
    sizes = ["B", *("?" if size < 0 else str(size) for size in spec.shape[1:])]
    return f"({', '.join(sizes[: len(spec.shape)])})"


def _finding_table(results: Sequence[CheckResult]) -> str:
    rows = [f"| {result.name} | {result.found} |" for result in results]
    return "\n".join(["| check | found |", "|---|---|", *rows])


def _latency(results: Sequence[CheckResult]) -> str:
    numbers = next((f.numbers for f in results if f.name == "warm-up"), {})
    if not numbers.get("requests"):
        return ""
    mean = numbers["then"] / numbers["requests"] * 1000
    return (
        f"A request took {mean:.0f} ms on the machine that published it, on average over "
        f"{numbers['requests']:.0f} requests of one to eight texts through all signatures, once "
        f"warm; the slowest first request took {numbers['first slowest'] * 1000:.0f} ms."
    )
