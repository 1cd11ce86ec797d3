"""Warm-up: requests that lie beside a model and are made before anyone else's.

The first call of a graph is up to a hundred times slower than the next ones. TensorFlow Serving
makes the calls in `assets.extra/tf_serving_warmup_requests` while it loads a version, and refuses
the version if one of them fails: what cannot answer never gets a request.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from google.protobuf.message import DecodeError

from ...zoo.text.source_format import Source
from ..runtime import protos
from ..runtime.errors import Code, ServingError, invalid_argument
from ..runtime.records import read_records, write_records
from ..runtime.session import SavedModelSession
from ..runtime.tensor_protos import fill_tensor, read_tensor

WARMUP_FILE = Path("assets.extra") / "tf_serving_warmup_requests"
MAX_RECORDS = 1000
# Texts for a model without better ones: short and long, empty, several scripts, white space, digits
# and lines, as a server is sent them.
WARMUP_SAMPLES = (
    "A small house stands by the river.",
    "",
    "Yes",
    "On 24 December 2031 at 16:45 two trains from the north, both late, met in the old town.",
    "我们明天下午三点在图书馆见面。",
    "  two   spaces\tand a tab ",
    "Größe, façade & “quotes” – 100 %",
    "Dr. Roe paid 3.5 dollars. Why?\n\n没有人知道。他走了。\n",
)
_MAX_TENSOR_BYTES = 64 * 2**20
_DEFAULT_SIGNATURE = "serving_default"


@dataclass(frozen=True)
class WarmupResult:
    """Cost of warming up.

    Attributes:
        records: the number of calls.
        slowest: seconds of the slowest call.
        seconds: all calls together.
    """

    records: int
    slowest: float
    seconds: float


def choose_batches(samples: Sequence[Source], large: int = 8) -> list[list[Source]]:
    """Batches of several lengths and sizes.

    The shortest sample alone, two of middle length, the longest alone, and many of every length.
    """
    by_length = sorted((s for s in samples if sample_text(s)), key=lambda s: len(sample_text(s)))
    if not by_length:
        return []
    mixed = [by_length[index % len(by_length)] for index in range(large)]
    middle = len(by_length) // 2
    two = [by_length[middle], by_length[middle - 1]]
    return [[by_length[0]], two, [by_length[-1]], mixed]


def sample_text(sample: Source) -> str:
    """All texts of a sample in one."""
    if isinstance(sample, str):
        return sample
    return " ".join(value for value in sample.values() if isinstance(value, str) and value)


def write_warmup(
    path: str | os.PathLike,
    model: str,
    inputs: Mapping[str, Mapping[str, np.dtype]],
    samples: Sequence[Source],
    shapes: Sequence[Sequence[Source]] = (),
) -> int:
    """Writes the warm-up requests of a model that takes a text or a number a row.

    Args:
        path: folder of the version.
        model: name under which it is served.
        inputs: the types of the inputs of each signature by name, `object` for texts.
        samples: texts such as it will be sent, or inputs by name. A text stands for every input
            that is one; so does that of a sample for those which it does not name.
        shapes: further batches of them, for the signature that is called by default alone.

    Returns:
        The number of requests.
    """
    records = []
    for signature, types in sorted(inputs.items()):
        further = shapes if signature == _DEFAULT_SIGNATURE else ()
        for batch in [*further, *choose_batches(samples)]:
            log = protos.PredictionLog()
            request = log.predict_log.request
            request.model_spec.name = model
            request.model_spec.signature_name = signature
            for name, dtype in types.items():
                column = np.array([_input(sample, name, dtype) for sample in batch], dtype)
                fill_tensor(request.inputs[name], column)
            records.append(log.SerializeToString(deterministic=True))
    file = Path(path) / WARMUP_FILE
    file.parent.mkdir(exist_ok=True)
    write_records(file, records)
    return len(records)


def _input(sample: Source, name: str, dtype: np.dtype) -> bytes | int:
    named = {} if isinstance(sample, str) else sample
    if dtype == np.dtype(object):
        return str(named.get(name, sample_text(sample))).encode("utf-8")
    return int(named.get(name, 0))


def read_rows(path: str | os.PathLike) -> list[dict[str, str]]:
    """Rows of texts in the warm-up requests of a version, each once, by the names of inputs.

    Args:
        path: Folder of the version; one without requests has no rows.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is damaged.
    """
    file, rows = Path(path) / WARMUP_FILE, {}
    try:
        for record in read_records(file) if file.exists() else ():
            inputs = protos.PredictionLog.FromString(record).predict_log.request.inputs
            names = sorted(name for name in inputs if inputs[name].string_val)
            columns = [
                [text.decode("utf-8", "replace") for text in inputs[name].string_val]
                for name in names
            ]
            for texts in zip(*columns, strict=False):
                row = dict(zip(names, texts, strict=True))
                rows[tuple(row.items())] = row
    except DecodeError as error:
        raise ValueError(f"{file} is damaged: {error}") from error
    return list(rows.values())


def warm_up(session: SavedModelSession, path: str | os.PathLike) -> WarmupResult:
    """Makes the warm-up requests in the folder of a version; none if there is no file.

    Raises:
        ServingError: if the file is damaged or cannot be read, or a request fails.
    """
    file = Path(path) / WARMUP_FILE
    if not file.exists():
        return WarmupResult(0, 0.0, 0.0)
    durations = []
    try:
        for index, record in enumerate(read_records(file)):
            if index == MAX_RECORDS:
                raise invalid_argument(
                    f"Number of warmup records exceeds the maximum ({MAX_RECORDS}) at {file}"
                )
            log = protos.PredictionLog.FromString(record)
            start = time.perf_counter()
            _replay(session, log, index)
            durations.append(time.perf_counter() - start)
    except (OSError, ValueError, TypeError, OverflowError, DecodeError) as error:
        raise ServingError(Code.DATA_LOSS, f"Cannot read warm-up requests: {error}") from error
    return WarmupResult(len(durations), max(durations, default=0.0), sum(durations))


def _replay(session: SavedModelSession, log, index: int) -> None:
    if not log.HasField("predict_log"):
        raise ServingError(
            Code.UNIMPLEMENTED, f"Warm-up request {index} is none for Predict; leave it out"
        )
    request = log.predict_log.request
    name = request.model_spec.signature_name or _DEFAULT_SIGNATURE
    arrays = {
        alias: read_tensor(request.inputs[alias], _MAX_TENSOR_BYTES)
        for alias in sorted(request.inputs)
    }
    try:
        signature = session.signature(name)
        for kind, asked, known in (
            ("input", arrays, signature.inputs),
            ("output", request.output_filter, signature.outputs),
        ):
            for alias in asked:
                if alias not in known:
                    raise invalid_argument(f"signature {name} has no {kind} {alias}")
        session.run(name, arrays, list(request.output_filter) or None)
    except ServingError as error:
        raise ServingError(
            error.code, f"Warm-up request {index} of {session.path} fails: {error.message}"
        ) from error
