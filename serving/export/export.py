"""Writing a text-to-text model as a SavedModel that a stock TensorFlow Serving runs."""

from __future__ import annotations

import math
import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ...zoo.files import check_local, claimed
from ...zoo.text.source_format import Source
from ..runtime.batching_parameters import BatchingParameters
from ..runtime.config_files import VERSION_BATCHING_FILE, batching_text
from ..runtime.versions import UNPUBLISHED, check_version, find_versions, remove_abandoned
from . import checks
from .check_report import Arrays, CheckReport, CheckResult, ExportError
from .clean_process import check_in_clean_process
from .manifest import write_manifest
from .model_card import CARD_FILE, render_card
from .variants import check_variant, compress, describe_variant
from .warmup import WARMUP_SAMPLES, sample_text, write_warmup

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]*")


class TextToText(Protocol):
    """Pipeline from text to text, as `export` uses it."""

    model: Any

    def signatures(self) -> Mapping[str, Any]:
        """`tf.function`s by name, each with an input signature and a dict of outputs."""

    def trackables(self) -> Sequence[Any]:
        """The resources that the signatures use beside the model's weights, such as a tokenizer."""

    def predict(self, texts: Sequence[str]) -> Any:
        """The best output for each text."""


def export(
    text_to_text: TextToText,
    directory: str | os.PathLike,
    version: int | None = None,
    *,
    name: str | None = None,
    keep: int | None = None,
    samples: Sequence[Source] | None = None,
    batching: BatchingParameters | None = None,
    notes: str = "",
    report: Callable[[CheckResult], None] | None = None,
    variant: str = "float32",
    quality: Callable[[Any], Mapping[str, float]] | None = None,
    compiled: bool = False,
) -> Path:
    """Publishes a model as `directory/name/version/`, if it passes every check.

    The SavedModel is written beside its final place under a name that a server takes no notice of,
    checked there, and then renamed: a server that watches the folder never sees half a model. If a
    check refuses it, or anything else goes wrong, nothing is left behind.

    Beside the model lie the requests with which a server warms it up, the parameters with which it
    puts requests together, and a card that says what the model is and what was measured.

    Args:
        text_to_text: pipeline with `signatures()`, `trackables()` and `model`.
        directory: folder of all models; made if missing.
        version: number of the version; one above the highest there if `None`.
        name: name of the model, which becomes part of its address; the pipeline's `name`, or else
            its model's, if `None`.
        keep: how many of the newest versions stay; the new one always does. All if `None`.
        samples: texts, or inputs by name, that warm up a server and whose texts the checks send; a
            mixture of short, long and odd ones if `None`.
        batching: how a server puts requests together; batches of up to 256 if `None`.
        notes: what else the model's card says, in Markdown: its data, its scores.
        report: called with the result of each check.
        variant: how the weights are stored: "float32", "float16" or "int8".
        quality: scores of a pipeline by name; what a variant loses by it stands in the card.
        compiled: whether XLA compiles the search, for servers that are started with
            `--xla_cpu_compilation_enabled`; others refuse the version.

    Returns:
        The folder of the new version.

    Raises:
        ExportError: if the version exists, the name cannot be served, or a check fails.
        ConfigError: if the directory is the address of a store.

    Example:

    >>> export(attention_zoo.load("runs/en-de"), "exports")
    PosixPath('exports/rnn-bahdanau/1')
    """
    from . import compiled as compiling  # with TensorFlow, which clients need not have
    from .saved_model import write_saved_model

    check_local(directory)
    named = name or getattr(text_to_text, "name", None) or text_to_text.model.name
    model_directory = Path(directory) / _check_name(named)
    if keep is not None and keep < 1:
        raise ExportError(f"At least the new version has to stay. Received: keep={keep}")
    if version is not None:
        try:
            check_version(version)
        except ValueError as error:
            raise ExportError(str(error)) from error
        _refuse_existing(model_directory, version)
    samples = list(WARMUP_SAMPLES if samples is None else samples)
    weights: Sequence[Any] = text_to_text.model.weights
    tables = [x for x in text_to_text.trackables() if hasattr(x, "dtype") and hasattr(x, "shape")]
    if check_variant(variant) != "float32":
        text_to_text, weights, loss = _compressed(text_to_text, variant, quality)
        notes = f"{notes}\n\n{loss}"
    texts, shapes, served = [*map(sample_text, samples)], [], text_to_text
    if compiled:
        if variant != "float32":
            raise ExportError(
                f"What is compiled is stored as float32; leave out one. Received: {variant}"
            )
        served = compiling.with_compiled_search(text_to_text)
        shapes = [*compiling.shape_samples(served, texts)]
        notes = f"{notes}\n\n{compiling.NOTE}"
    remove_abandoned(model_directory)
    with _aside(model_directory) as temporary:
        traced: Mapping[str, Any] = write_saved_model(served, temporary)
        functions = text_to_text.signatures()
        _write_extras(temporary, model_directory.name, functions, samples, shapes, batching)
        if compiled:  # it has to answer as the graph does
            traced = functions
        results = _check(text_to_text, temporary, traced, texts, [*weights, *tables], compiled)
        for result in results:
            if report is not None:
                report(result)
        failed = [result for result in results if not result.passed]
        if failed:
            raise ExportError(
                f"The check '{failed[0].name}' refuses this export: {failed[0].found}. "
                "Nothing was published",
                results,
            )
        card = render_card(model_directory.name, temporary, results, notes)
        (temporary / CARD_FILE).write_text(card, encoding="utf-8")
        write_manifest(temporary)
        published = _publish(temporary, model_directory, version)
    if keep is not None:
        _remove_old(model_directory, keep, published)
    return published


def _check_name(name: str) -> str:
    if not _NAME.fullmatch(name) or name.isdigit():
        suggested = re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip("-.") or "my-model"
        raise ExportError(
            "The name of a model is part of its address and of a folder: letters, digits, '_', "
            "'.' and '-', beginning with a letter, digit or '_'; digits alone are the name of a "
            f"version. Give one with --name, such as {suggested}. Received: name={name!r}"
        )
    return name


def _refuse_existing(model_directory: Path, version: int) -> None:
    if version in find_versions(model_directory):
        raise ExportError(
            f"{model_directory} already has version {version}, and a version that may be in use "
            "is never changed; leave out the version to get the next one"
        )


@contextmanager
def _aside(model_directory: Path) -> Iterator[Path]:
    """A new folder in `model_directory` under a name that is no version; gone at the end."""
    temporary = model_directory / f"{UNPUBLISHED}{uuid.uuid4().hex}"
    with ExitStack() as claim:
        try:
            claim.enter_context(claimed(temporary))
        except OSError as error:
            raise ExportError(f"Cannot write to {model_directory}: {error.strerror}") from error
        try:
            yield temporary
        finally:
            if temporary.exists():  # emptied; it is removed with those that were made for it
                shutil.rmtree(temporary, ignore_errors=True)
                with suppress(OSError):
                    temporary.mkdir()


def _write_extras(
    path: Path,
    name: str,
    functions: Mapping[str, Any],
    samples: Sequence[Source],
    shapes: Sequence[Sequence[Source]],
    batching: BatchingParameters | None,
) -> None:
    """Writes what a server reads beside the model itself."""
    inputs = {
        signature: {s.name: np.dtype(s.dtype.as_numpy_dtype) for s in function.input_signature}
        for signature, function in functions.items()
        if all(spec.shape.rank == 1 for spec in function.input_signature)
    }
    write_warmup(path, name, inputs, samples, shapes)
    parameters = batching or BatchingParameters(max_batch_size=256, max_enqueued_batches=100)
    (path / VERSION_BATCHING_FILE).write_text(batching_text(parameters), encoding="utf-8")


def _compressed(
    text_to_text: TextToText,
    variant: str,
    quality: Callable[[Any], Mapping[str, float]] | None,
) -> tuple[TextToText, Sequence[Any], str]:
    """The pipeline in a variant, its weights, and what to say of them."""
    made, weights = compress(text_to_text, variant)
    size, full = (sum(map(_num_bytes, w)) for w in (weights, text_to_text.model.weights))
    before, after = (quality(p) if quality else {} for p in (text_to_text, made))
    return made, weights, describe_variant(variant, size, full, before, after)


def _check(
    text_to_text: TextToText,
    path: Path,
    traced: Mapping[str, Any],
    samples: Sequence[str],
    weights: Sequence[Any],
    compiled: bool,
) -> list[CheckResult]:
    model_bytes = sum(_num_bytes(weight) for weight in weights)
    report: CheckReport = check_in_clean_process([path], samples, xla=compiled)[0]
    results = list(report.results)
    if report.requests:
        expected = _expected(text_to_text, traced, report)
        results.append(checks.check_same_results(report.replies, expected))
    results.append(checks.check_weights(path, model_bytes, len(weights)))
    return results


def _expected(
    text_to_text: TextToText, traced: Mapping[str, Any], report: CheckReport
) -> dict[str, Arrays]:
    """Asks the pipeline itself what the checks asked of the export."""
    import tensorflow as tf

    def call(name: str, functions: Mapping[str, Any]) -> Arrays:
        inputs = {alias: tf.constant(array) for alias, array in report.requests[name].items()}
        outputs = functions[name](**inputs)
        return {alias: tensor.numpy() for alias, tensor in outputs.items()}

    try:
        return {name: call(name, traced) for name in report.replies}
    except tf.errors.NotFoundError:
        # TensorFlow drops the resource of a tokenizer when seeds are set; the next prediction of
        # the pipeline makes a new one, and functions that use it.
        text_to_text.predict(["a"])
        return {name: call(name, text_to_text.signatures()) for name in report.replies}


def _num_bytes(weight: Any) -> int:
    import tensorflow as tf

    return math.prod(map(int, weight.shape)) * tf.as_dtype(weight.dtype).size


def _publish(temporary: Path, model_directory: Path, version: int | None) -> Path:
    """Renames the checked folder to its version; of two that race for one, one is told so."""
    while True:
        number = version
        if number is None:
            number = max(find_versions(model_directory), default=0) + 1
            while (model_directory / str(number)).exists():
                number += 1
        try:
            # A rename replaces an empty folder and refuses any other.
            os.rename(temporary, model_directory / str(number))
        except OSError:
            if version is None and (model_directory / str(number)).exists():
                continue
            _refuse_existing(model_directory, number)
            raise
        return model_directory / str(number)


def _remove_old(model_directory: Path, keep: int, published: Path) -> None:
    """Removes all but the newest versions and the one just published, each at one stroke."""
    old = list(find_versions(model_directory).values())[:-keep]
    for path in old:
        if path == published:  # under a low number that was asked for
            continue
        away = path.with_name(f"{UNPUBLISHED}{uuid.uuid4().hex}")
        os.rename(path, away)
        shutil.rmtree(away, ignore_errors=True)
