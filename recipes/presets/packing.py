"""Packs of runs: a trained model as one file, and what the smaller weights lose."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ... import __version__
from ...zoo.errors import ConfigError, DataError
from ...zoo.presets.pack import (
    CARD,
    CONFIG,
    METRICS,
    NAME,
    SHORTLIST,
    SOURCE_TOKENIZER,
    TOKENIZER,
    WEIGHTS,
    Pack,
    write_pack,
)
from ...zoo.presets.weights import KINDS, pack_weights
from ...zoo.text.tokenizer import Tokenizer
from ..core.config import RunConfig
from ..core.corpora import OTHER_TEXTS, read_validation
from ..core.packed_run import PackedRun, own_parts
from ..core.run import Run
from ..core.task import TASKS, task_of
from ..data.corpus import PairCorpus
from ..metrics.scores import Scores, shown
from ..training.evaluation import Evaluator
from .card import render_card


@dataclass(frozen=True)
class About:
    """Facts that a run does not know of itself, for the card of its pack.

    Attributes:
        name: The name of the model, lower-case words with hyphens; that of the file if empty.
        version: A number that grows when the model becomes another.
        description: A line.
        languages: Codes such as `zh`.
        license: An SPDX expression.
        attribution: Whom its data are from.
        data: What it learned from; the file of the run if empty.
        examples: Texts to try it with.
        build: The commands that make it again.
        notes: More for the card, in Markdown.
        is_preset: True if it is called by its name, rather than as a file.
    """

    name: str = ""
    version: int = 1
    description: str = ""
    languages: tuple[str, ...] = ()
    license: str = ""
    attribution: str = ""
    data: str = ""
    examples: tuple[str, ...] = ()
    build: tuple[str, ...] = ()
    notes: str = ""
    is_preset: bool = False


def pack_run(
    run: Run,
    path: Path,
    weights: str = "int8",
    data: str | None = None,
    about: About | None = None,
    report: Callable[[str], None] = print,
) -> Path:
    """Packs a run, and measures what its weights lose.

    Args:
        run: The run.
        path: The file to write.
        weights: One of `KINDS`.
        data: Rows to score on; those that the run validated with if left out. Without either the
            pack says that nothing was measured.
        about: What the card says.
        report: Takes each line of what is found.

    Returns:
        The file.

    Raises:
        ConfigError: The run is of parts of the user's own, of which a pack has none, or the kind of
            weights or the name is not possible.
    """
    about = about or About()
    name = about.name or path.stem
    if weights not in KINDS:
        raise ConfigError(f"--weights is {', '.join(KINDS)}. Received: {weights}")
    if not NAME.fullmatch(name):
        raise ConfigError(
            f"The name of a pack is of lower-case letters, digits and hyphens: --name. "
            f"Received: {name}"
        )
    values = public_values(run)
    if own := own_parts(values):
        raise ConfigError(
            f"{run.folder} cannot be packed: it needs {', '.join(own)}, and a pack carries data "
            "alone. Give away the folder of the run with these files."
        )
    config, loaded = run.read_config(), run.load(truncate=True)
    metrics = run.read_metrics()
    members = {
        CONFIG: _json(values),
        METRICS: _json(metrics),
        **_tokenizers(loaded.tokenizer),
        WEIGHTS: pack_weights(
            ((weight.path, np.asarray(weight)) for weight in loaded.model.weights), weights
        ),
    }
    if loaded.generation.shortlist and loaded.shortlist is not None:
        members[SHORTLIST] = loaded.shortlist.to_bytes()
    manifest: dict[str, Any] = {
        "attention_zoo": __version__,
        "name": name,
        "version": about.version,
        "call": name if about.is_preset else path.name,
        "description": about.description or f"A model of {config.task}.",
        "task": config.task,
        "model": config.model,
        "languages": list(about.languages),
        "parameters": loaded.model.count_params(),
        "weights": weights,
        "license": about.license,
        "attribution": about.attribution,
        "data": about.data or f"`{values['train'] or 'the embedded default'}`",
        "metric": metrics.get("metric", config.metric),
        "examples": list(about.examples),
        "build": list(about.build),
    }
    # By the way on which it is opened anywhere: what does not fit is found here.
    packed = PackedRun(Pack(path, manifest, members)).load(truncate=True)
    corpus = _corpus(run, config, data, report)
    if corpus is None:
        found = Scores(metrics.get("valid") or {}, metrics.get("signatures") or {})
        full = None
        where = "the validation rows of the training, in float32"
    else:
        full = Evaluator(loaded, corpus, config).full()
        found = full if weights == "float32" else Evaluator(packed, corpus, config).full()
        where = f"{_without_folder(corpus.name)}, {len(corpus):,} rows"
        where += ", by which the best weights were chosen" if data is None else ""
        report(_loss_lines(weights, full, found))
    manifest |= {
        "scores": dict(found.values),
        "float32_scores": dict(full.values) if full and weights != "float32" else {},
        "signatures": dict(found.signatures),
        "scored_on": where,
    }
    card = render_card(manifest, metrics, about.notes)
    write_pack(path, manifest, {CARD: card.encode(), **members})
    report(f"{path}: {path.stat().st_size:,} bytes, {manifest['parameters']:,} parameters")
    return path


def public_values(run: Run) -> dict[str, Any]:
    """The settings of a run for others: no folders, nothing that only its training needed."""
    values = run.read_values()
    parts = dict(values.get("parts") or {})
    if parts.pop("schedule", None):
        values["schedule"] = RunConfig.schedule
    if parts.pop("metric", None) and values["task"] in TASKS:
        values["metric"] = TASKS[values["task"]].metric_names()[0]
    values["parts"] = parts
    for name in ("train", "valid", "start_from"):
        if values.get(name):
            values[name] = ",".join(map(_without_folder, values[name].split(",")))
    return values


def _without_folder(spec: str) -> str:
    return spec if spec.startswith(("hf:", "tfds:")) else Path(spec).name


def _json(values: Any) -> bytes:
    return json.dumps(values, ensure_ascii=False, indent=1).encode()


def _tokenizers(tokenizer: Tokenizer) -> dict[str, bytes]:
    if tokenizer.shares_vocabulary:
        return {TOKENIZER: tokenizer.model}
    return {TOKENIZER: tokenizer.model, SOURCE_TOKENIZER: tokenizer.source.model}


def _corpus(
    run: Run, config: RunConfig, data: str | None, report: Callable[[str], None]
) -> PairCorpus | None:
    """The rows to score on; `None` if those of the run are gone and nobody gave others."""
    if data is not None:
        return task_of(config).read_file(data, config.reverse, min_pairs=1)
    try:
        corpus = read_validation(config)
    except (ConfigError, DataError, OSError) as error:
        report(f"packed without a measurement, --data FILE gives one: {error}")
        return None
    if run.changed_texts({"valid": corpus.checksum}):
        report(OTHER_TEXTS)
    return corpus


def _loss_lines(kind: str, full: Scores, found: Scores) -> str:
    lines = [f"{'score':<16}{'float32':>9}{kind:>9}"]
    lines += [
        f"{name:<16}{shown(full.values[name]):>9}{shown(value):>9}"
        for name, value in found.values.items()
    ]
    return "\n".join(lines)
