"""Warm starts: a training from the weights and tokenizer of another run, `train --start-from`, and
a corpus that is prepared for it in its tokens, `prepare --start-from`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from ...zoo.catalog import CatalogEntry
from ...zoo.errors import ConfigError
from ...zoo.models.encoder_decoder import EncoderDecoder
from ..core.config import RunConfig
from ..core.make_config import check_baked, check_direction, check_names, named, settings_of_corpus
from ..core.model import model_of
from ..core.options import TokenizerOptions
from ..core.packed_run import open_run
from ..core.parts import Parts
from ..core.run import Run
from ..core.task import Task
from ..core.task import task as task_meant
from ..data.prepared import BAKED

# What the tokens follow from: they are those of the run that is started from.
OF_TOKENS = tuple(f.name for f in fields(TokenizerOptions) if f.name != "bpe_dropout")


def start_config(
    folder: str | Path,
    task: str | Task,
    model: str | CatalogEntry | Callable | None = None,
    train: str | None = None,
    valid: str | None = None,
    reverse: bool = False,
    settings: Sequence[str] | Mapping[str, Any] = (),
) -> RunConfig:
    """The config of a run that starts from another: the settings of that one, over them the user's.

    Args:
        folder: of the run that is started from, or another name as of `attention_zoo.load`.
        task: its recipe.
        model: its model, which need not be said.
        train: a corpus; that of the other run, and what that validates with, if left out.
        valid: what to validate with.
        reverse: whether source and target are swapped, of the corpora that are given, or once more
            of those of the other run.
        settings: `name=value` strings, or values by name.

    Raises:
        ConfigError: the folder is no run, or of another task or model, or the tokens would not be
            its own.

    Example:

    >>> config = start_config("runs/en-de", "translation", train="law.tsv", valid="law-dev.tsv")
    """
    chosen = task_meant(task)
    run, theirs = _run_and_config(folder, chosen, model)
    check_direction(chosen, reverse)
    options = {**run.former_defaults(), **theirs.model_options}
    # What nobody sets is as in that run, and does not follow from the corpus.
    values: dict[str, Any] = {"start_from": str(folder), "model_options": options, "stated": None}
    if train is None and valid is None:
        values["reverse"] = theirs.reverse != reverse
    else:
        values |= {"train": train, "valid": valid, **settings_of_corpus(train, reverse)}
    settings, objects = named(settings)
    values["parts"] = replace(theirs.parts, **objects)
    config = replace(theirs, **values).with_settings(settings)
    check_names(config)
    _check_tokens(config, theirs)
    return config


def start_preparation(
    folder: str | Path, task: str | Task, reverse: bool = False, settings: Sequence[str] = ()
) -> RunConfig:
    """The config for `attention-zoo prepare` of a corpus for runs that start from another.

    Args:
        folder: of the run whose tokens are taken, and its longest lengths unless they are said.
        task: its recipe.
        reverse: whether source and target are swapped.
        settings: `name=value` strings, of what is baked in.

    Raises:
        ConfigError: the folder is no run, or of another task; the run has two vocabularies, or none
            yet, or a damaged one; the tokens would not be its own.
    """
    chosen = task_meant(task)
    run, theirs = _run_and_config(folder, chosen)
    check_direction(chosen, reverse)
    check_baked(settings)
    if not theirs.shared_vocabulary:
        raise ConfigError(
            f"{folder} has a vocabulary for sources and one for targets, a prepared corpus has one "
            "for both; train on the files themselves."
        )
    if not run.tokenizer_path.is_file():
        raise ConfigError(f"{folder} has no tokens yet: its training has not begun.")
    run.read_tokenizer()  # before a long text is read
    values = {name: getattr(theirs, name) for name in BAKED}
    parts = Parts(task=chosen)
    config = RunConfig(
        chosen.name, start_from=str(folder), reverse=reverse, parts=parts, **values
    ).with_settings(settings)
    _check_tokens(config, theirs)
    return config


def load_start(config: RunConfig, model: EncoderDecoder) -> None:
    """Gives a model the best weights of the run that its own starts from.

    Raises:
        ConfigError: that run has no model yet, or one of other shapes.
    """
    found = open_run(str(config.start_from)).read_model()
    ours, theirs = ([tuple(w.shape) for w in m.weights] for m in (model, found))
    if ours != theirs:
        options = ", ".join(f"model.{name}={value}" for name, value in config.model_options.items())
        raise ConfigError(
            f"The weights of {config.start_from} do not fit {config.model} with {options or 'this'}"
            f": {_difference(model, found)}. Leave out what changes the shape of the model."
        )
    model.set_weights(found.get_weights())


def _run_and_config(
    folder: str | Path, task: Task, model: str | CatalogEntry | Callable | None = None
) -> tuple[Run, RunConfig]:
    """The run that is started from, which has this task and model."""
    run = open_run(folder)
    config = run.read_config()
    name, own = (config.model, None) if model is None else model_of(model)
    for what, asked, found in (("task", task.name, config.task), ("model", name, config.model)):
        if asked != found:
            raise ConfigError(
                f"--start-from {folder} is a run with the {what} {found}, which is that of the new "
                f"run too. Received: {asked}"
            )
    # Nothing of it is the new run's but the origins, should the model be one that they find.
    # Nor is how its sources are read, unless that is not how the task does it.
    inputs = config.parts.source_format
    usual = task.source_format.inputs, task.source_format.tag, task.source_format.target_tag
    if inputs is not None and (inputs.inputs, inputs.tag, inputs.target_tag) == usual:
        inputs = None
    parts = Parts(task, own, source_format=inputs, origins=config.parts.origins)
    return run, replace(config, parts=parts)


def _check_tokens(config: RunConfig, theirs: RunConfig) -> None:
    folder = config.start_from
    for name in OF_TOKENS:
        ours, found = getattr(config, name), getattr(theirs, name)
        if ours != found:
            raise ConfigError(
                f"The tokens of what starts from {folder} are those of {folder}: leave out "
                f"{name}, which is {found} there. Received: {name}={ours}"
            )


def _difference(model: EncoderDecoder, found: EncoderDecoder) -> str:
    """The first weight that two models do not have alike."""
    for ours, theirs in zip(model.weights, found.weights, strict=False):
        if tuple(ours.shape) != tuple(theirs.shape):
            name = "/".join(ours.path.split("/")[1:])
            return f"{name} has the shape {tuple(theirs.shape)} there and {tuple(ours.shape)} here"
    return f"{len(found.weights)} weights there and {len(model.weights)} here"
