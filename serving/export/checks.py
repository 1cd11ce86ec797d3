"""Checks that a SavedModel must pass before it is published.

An export that loads in Python can still be broken in a server. Each check looks for one way in
which that happens, by doing what the server does, and says in one line what it found:

| check | passed if |
|---|---|
| `warm-up` | the C++ loader takes it, and the requests that lie beside it are answered |
| `session` | every signature answers in the C++ session, with XLA off unless it is asked for |
| `same results` | the answers are those of the pipeline in Python: strings equal, numbers to 1e-4 |
| `weights` | the weights lie on disk once |
| `operations` | a stock server has every operation, and nothing asks for XLA without that |
| `outputs` | every output is a plain tensor of strings, integers, float32 or bool, a row a text |
| `batch` | the answer for a text does not depend on the other texts of the request |

All but `same results` and `weights` need the SavedModel alone; they run in a process of their own
that never imports TensorFlow's Python package:

    python -m attention_zoo.serving.export.checks exports/en-de/1
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from google.protobuf.message import DecodeError

from ..runtime import c_api, dtypes, operations
from ..runtime.errors import ServingError
from ..runtime.session import SavedModelSession, Signature, TensorSpec
from .check_report import Arrays, CheckReport, CheckResult, write_report
from .comparison import compare_replies, same_values, shorten
from .warmup import WARMUP_SAMPLES, warm_up

MAX_WEIGHTS_RATIO = 1.2
# The variables' file also holds the object graph: a constant part and one for each variable.
WEIGHTS_ALLOWANCE = 4096
ALLOWANCE_PER_VARIABLE = 512
CALL_SECONDS = 300.0  # a call that takes longer has a loop without an end
OUTPUT_TYPES = frozenset({"string", "float", "bool"}) | dtypes.SIGNED_INTEGERS


def callable_signatures(session: SavedModelSession) -> dict[str, Signature]:
    """The signatures meant for clients: not those with which TensorFlow initialises a model."""
    return {
        name: signature
        for name, signature in sorted(session.signatures.items())
        if not name.startswith("__")
    }


def make_requests(session: SavedModelSession, samples: Sequence[str]) -> dict[str, Arrays]:
    """A request with all samples for each signature; its second text is the samples, turned."""
    return {
        name: {
            alias: _make_input(spec, samples, turn)
            for turn, (alias, spec) in enumerate(sorted(signature.inputs.items()))
        }
        for name, signature in callable_signatures(session).items()
    }


def _make_input(spec: TensorSpec, samples: Sequence[str], turn: int) -> np.ndarray:
    if spec.dtype is dtypes.STRING:
        turned = [*samples[turn:], *samples[:turn]]
        return np.array([text.encode("utf-8") for text in turned], dtype=object)
    inner = [size if size > 0 else 1 for size in (spec.shape or (-1,))[1:]]
    return np.ones([len(samples), *inner], spec.dtype.numpy or np.float32)


def check_warmup(session: SavedModelSession, path: str | os.PathLike) -> CheckResult:
    """Makes the warm-up requests twice: what the first round takes, later requests do not."""
    try:
        cold = warm_up(session, path)
        warm = warm_up(session, path)
    except ServingError as error:
        return CheckResult("warm-up", False, " ".join(error.message.split()))
    if not cold.records:
        return CheckResult("warm-up", True, "it brings no warm-up requests", {"requests": 0})
    numbers = {
        "requests": cold.records,
        "first slowest": cold.slowest,
        "then slowest": warm.slowest,
        "then": warm.seconds,
        "seconds": cold.seconds,
        "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    found = (
        f"{cold.records} requests, the slowest {cold.slowest * 1000:.0f} ms, and "
        f"{warm.slowest * 1000:.0f} ms when warm; the first round {cold.seconds:.1f} s, and "
        f"{numbers['megabytes']:.0f} MB of memory at most"
    )
    return CheckResult("warm-up", True, found, numbers)


def check_session(
    session: SavedModelSession, requests: dict[str, Arrays]
) -> tuple[CheckResult, dict[str, Arrays]]:
    """Calls every signature and hands out the replies of those that answered."""
    replies: dict[str, Arrays] = {}
    errors = []
    if not requests:
        errors.append("it has no signature that a client can call")
    start = time.perf_counter()
    for name, inputs in requests.items():
        try:
            replies[name] = session.run(name, inputs, timeout=CALL_SECONDS)
        except ServingError as error:
            reason = " ".join(error.message.split())
            errors.append(f"signature '{name}' answers {error.code.name}: {reason}")
    seconds = time.perf_counter() - start
    found = "; ".join(errors) or f"{len(replies)} signatures answer ({', '.join(replies)})"
    numbers = {"signatures": len(requests), "answered": len(replies), "seconds": seconds}
    return CheckResult("session", not errors, found, numbers), replies


def check_operations(
    path: str | os.PathLike, known: frozenset[str], xla: bool = False
) -> CheckResult:
    """Looks for operations that a stock server lacks and, unless it may be, for XLA compilation."""
    saved_model = operations.read_saved_model(path)
    compiled = operations.compiled_functions(saved_model)
    unknown = operations.unknown_operations(saved_model, known)
    errors = []
    if compiled and not xla:
        errors.append(
            f"{len(compiled)} functions or nodes ask for XLA compilation (the first: "
            f"{compiled[0]}), which a stock server has switched off; export with jit_compile=False"
        )
    for operation, place in sorted(unknown.items()):
        errors.append(f"a stock server has no operation {operation} (used in {place})")
    count = operations.count_operations(saved_model)
    using = f"{len(compiled)} functions or nodes compiled by XLA" if compiled else "no XLA"
    found = "; ".join(errors) or f"{count} different operations, all in a stock server; {using}"
    numbers = {"operations": count, "unknown": len(unknown), "compiled": len(compiled)}
    return CheckResult("operations", not errors, found, numbers)


def check_outputs(
    session: SavedModelSession, requests: dict[str, Arrays], replies: dict[str, Arrays]
) -> CheckResult:
    """Checks rank, type and number of rows of everything that goes in and comes out."""
    errors: list[str] = []
    count = 0
    for name, signature in callable_signatures(session).items():
        for kind, specs in (("input", signature.inputs), ("output", signature.outputs)):
            for alias, spec in specs.items():
                count += 1
                where = f"{kind} '{alias}' of '{name}'"
                errors.extend(f"{where} {fault}" for fault in _spec_faults(kind, spec))
        rows = min((len(array) for array in requests.get(name, {}).values()), default=0)
        for alias, array in replies.get(name, {}).items():
            where = f"output '{alias}' of '{name}'"
            errors.extend(f"{where} {fault}" for fault in _reply_faults(array, rows))
    errors = list(dict.fromkeys(errors))
    found = (
        "; ".join(errors) or f"{count} inputs and outputs, each a plain tensor with a row a text"
    )
    return CheckResult("outputs", not errors, found, {"tensors": count, "faults": len(errors)})


def _spec_faults(kind: str, spec: TensorSpec) -> list[str]:
    if not spec.tensor:
        return ["is a ragged or sparse tensor, which cannot be served; convert it to a dense one"]
    faults = []
    if kind == "output" and spec.dtype.name not in OUTPUT_TYPES:
        faults.append(
            f"has type {spec.dtype.name}; serve strings, signed integers, float32 or bool, which "
            "every client can read"
        )
    if spec.shape == ():
        faults.append("is a scalar; it needs a row for each text")
    elif spec.shape is not None and spec.shape[0] != -1:
        faults.append(f"is fixed to {spec.shape[0]} rows; its first dimension must vary")
    return faults


def _reply_faults(array: np.ndarray, rows: int) -> list[str]:
    if array.ndim == 0:
        return ["is a scalar; it needs a row for each text"]
    faults = []
    if len(array) != rows:
        faults.append(f"has {len(array)} rows for a request of {rows}")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        bad = int(array.size - np.isfinite(array).sum())
        faults.append(f"has {bad} values that are not finite, which JSON cannot hold")
    return faults


def check_batches(
    session: SavedModelSession, requests: dict[str, Arrays], replies: dict[str, Arrays]
) -> CheckResult:
    """Sends each row alone and compares it with the same row of the whole request."""
    errors = []
    rows = 0
    largest = 0.0
    for name, together in replies.items():
        inputs = requests[name]
        total = min(len(array) for array in inputs.values())
        for row in range(total):
            rows += 1
            single = {alias: array[row : row + 1] for alias, array in inputs.items()}
            try:
                alone = session.run(name, single, timeout=CALL_SECONDS)
            except ServingError as error:
                errors.append(f"'{name}' fails on row {row} alone: {error.message.splitlines()[0]}")
                continue
            for alias, array in together.items():
                if array.ndim == 0 or len(array) != total or alone[alias].ndim == 0:
                    continue  # the check on outputs says so
                equal, difference = same_values(alone[alias][0], array[row], padded=True)
                largest = max(largest, difference)
                if not equal:
                    errors.append(
                        f"'{alias}' of '{name}' depends on the other rows of the request: row "
                        f"{row} gives {shorten(alone[alias][0])} alone and {shorten(array[row])} "
                        f"among {len(array)}"
                    )
    found = "; ".join(errors[:3]) or f"{rows} rows, the same alone and together"
    numbers = {"rows": rows, "differences": len(errors), "largest difference": largest}
    return CheckResult("batch", not errors, found, numbers)


def check_same_results(replies: dict[str, Arrays], expected: dict[str, Arrays]) -> CheckResult:
    """Compares the replies of the C++ session with those of the pipeline in Python."""
    return compare_replies("same results", replies, expected, "in the C++ session", "in Python")


def check_weights(path: str | os.PathLike, model_bytes: int, num_variables: int) -> CheckResult:
    """Compares the size of the variables on disk with that of the model's weights."""
    files = list((Path(path) / "variables").glob("variables.data-*"))
    on_disk = sum(file.stat().st_size for file in files)
    allowed = (
        MAX_WEIGHTS_RATIO * model_bytes + WEIGHTS_ALLOWANCE + ALLOWANCE_PER_VARIABLE * num_variables
    )
    ratio = on_disk / max(1, model_bytes)
    found = f"{on_disk:,} bytes of variables on disk for {model_bytes:,} bytes of weights"
    if on_disk > allowed:
        found += (
            f" ({ratio:.2f} times, at most {MAX_WEIGHTS_RATIO} allowed): they are written more "
            "than once; add endpoints without track(model)"
        )
    numbers = {"on disk": on_disk, "weights": model_bytes, "ratio": ratio}
    return CheckResult("weights", on_disk <= allowed, found, numbers)


def check_directory(
    path: str | os.PathLike, samples: Sequence[str], known: frozenset[str], xla: bool = False
) -> CheckReport:
    """All checks that need only the SavedModel, in this process.

    Args:
        path: folder of one version.
        samples: texts to send.
        known: names of the operations that TensorFlow itself has.
        xla: whether functions may be compiled by XLA.
    """
    try:
        found_operations = check_operations(path, known, xla)
    except (OSError, DecodeError) as error:
        return CheckReport([CheckResult("session", False, f"cannot read saved_model.pb: {error}")])
    if found_operations.numbers["unknown"]:
        # A graph with an operation that is not there can abort the process that loads it.
        fault = "not loaded: it has operations that a stock server lacks"
        found = CheckResult("session", False, fault)
        return CheckReport([found, found_operations])
    try:
        session = SavedModelSession(path)
    except ServingError as error:
        reason = " ".join(error.message.split())
        found = CheckResult("session", False, f"the C++ loader refuses it: {reason}")
        return CheckReport([found, found_operations])
    with session:
        warmed = check_warmup(session, path)
        requests = make_requests(session, samples)
        answered, replies = check_session(session, requests)
        results = [
            warmed,
            answered,
            found_operations,
            check_outputs(session, requests, replies),
            check_batches(session, requests, replies),
        ]
    return CheckReport(results, requests, replies)


def main(arguments: Sequence[str] | None = None) -> int:
    """Checks folders of SavedModels; the exit status is 1 if one does not pass."""
    parser = argparse.ArgumentParser(
        prog="python -m attention_zoo.serving.export.checks",
        description="Checks that SavedModels run in a stock TensorFlow Serving.",
    )
    parser.add_argument("directories", nargs="+", help="folders, each of one version of a model")
    parser.add_argument("--samples", type=Path, help="JSON file with a list of texts to send")
    parser.add_argument("--xla", action="store_true", help="as a server with XLA switched on")
    parser.add_argument("--report", type=Path, help="JSON file to write results and replies to")
    options = parser.parse_args(arguments)
    samples = json.loads(options.samples.read_text()) if options.samples else WARMUP_SAMPLES
    known = operations.core_operations()
    if not options.xla:
        c_api.disable_xla()
    reports = [check_directory(path, samples, known, options.xla) for path in options.directories]
    for path, report in zip(options.directories, reports, strict=True):
        print(path)
        for result in report.results:
            print(f"  {result}")
    if options.report:
        sys.stdout.flush()
        options.report.write_text(json.dumps([write_report(report) for report in reports]))
    return 0 if all(report.passed for report in reports) else 1


if __name__ == "__main__":
    sys.exit(main())
