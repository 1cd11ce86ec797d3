"""Trainings that follow from another run.

Warm starts are from its weights and its tokenizer, `train --start-from`, and with `--keep-state`
from all of its state; a corpus is prepared for them in its tokens, `prepare --start-from`. Or
they have its settings alone, `train --config`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from ...zoo.catalog import CatalogEntry
from ...zoo.errors import ConfigError
from ...zoo.models.encoder_decoder import EncoderDecoder
from ..core.checkpoint import Checkpoints
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
    keep_state: bool = False,
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
        keep_state: whether the state of its optimizer, its average and its steps go on too.

    Raises:
        ConfigError: the folder is no run, or of another task or model, or the tokens would not be
            its own; or there is no state to go on from.

    Example:

    >>> config = start_config("runs/en-de", "translation", train="law.tsv", valid="law-dev.tsv")
    """
    chosen = task_meant(task)
    run, theirs = _run_and_config(folder, chosen, model)
    check_direction(chosen, reverse)
    options = {**run.former_defaults(), **theirs.model_options}
    # What nobody sets is as in that run, and does not follow from the corpus.
    values: dict[str, Any] = {"start_from": str(folder), "model_options": options, "stated": None}
    values["keep_state"] = keep_state
    if train is None and valid is None:
        values["reverse"] = theirs.reverse != reverse
    else:
        values |= {"train": train, "valid": valid, **settings_of_corpus(train, reverse)}
    settings, objects = named(settings)
    values["parts"] = replace(theirs.parts, **objects)
    config = replace(theirs, **values).with_settings(settings)
    check_names(config)
    _check_tokens(config, theirs)
    if keep_state:
        start_state(config)
    return config


def config_of_file(
    path: str | Path,
    task: str | Task,
    model: str | CatalogEntry | Callable | None = None,
    train: str | None = None,
    valid: str | None = None,
    reverse: bool = False,
    settings: Sequence[str] | Mapping[str, Any] = (),
) -> RunConfig:
    """The config in the `config.json` of a run, or a copy of it; over it what the user says.

    Args:
        path: the file, or the folder of the run.
        task: its recipe.
        model: another model, whose arguments are its own again.
        train: another corpus.
        valid: what else to validate with.
        reverse: whether source and target are swapped; as in the file if false.
        settings: `name=value` strings, or values by name.

    Raises:
        ConfigError: the file is no config, or of another task, or a setting is impossible.

    Example:

    >>> config = config_of_file("runs/en-de/config.json", "translation", settings={"seed": 2})
    """
    chosen, path = task_meant(task), Path(path)
    run = Run(path if path.is_dir() else path.parent)
    run.config_path = run.config_path if path.is_dir() else path
    if not run.config_path.is_file():
        raise ConfigError(f"There is no file {run.config_path}; give the config.json of a run.")
    theirs = run.read_config()
    if theirs.task != chosen.name:
        raise ConfigError(f"{path} is of {theirs.task}. Received: {chosen.name}")
    name, own = (theirs.model, None) if model is None else model_of(model)
    options = {**run.former_defaults(), **theirs.model_options} if name == theirs.model else {}
    values: dict[str, Any] = {"model": name, "model_options": options, "stated": None}
    values |= {} if train is None else {"train": train, **settings_of_corpus(train, reverse)}
    values |= {} if valid is None else {"valid": valid}
    values |= {"reverse": True} if reverse else {}
    check_direction(chosen, reverse)
    settings, objects = named(settings)
    parts = replace(_parts(chosen, own, theirs), **objects)
    config = replace(theirs, **values, parts=parts).with_settings(settings)
    check_names(config)
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
        ConfigError: the folder is no run, or of another task; the run has no vocabulary yet, or a
            damaged one; the tokens would not be its own.
    """
    chosen = task_meant(task)
    run, theirs = _run_and_config(folder, chosen)
    check_direction(chosen, reverse)
    check_baked(settings)
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


def start_state(config: RunConfig) -> Checkpoints:
    """The checkpoints that a run with `--keep-state` goes on from.

    Raises:
        ConfigError: there are none.
    """
    checkpoints = open_run(str(config.start_from)).checkpoints
    if not checkpoints.paths():
        raise ConfigError(
            f"{config.start_from} has no checkpoint, as what is packed has none. Leave out "
            "--keep-state to start from its best weights."
        )
    return checkpoints


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
    return run, replace(config, parts=_parts(task, own, config))


def _parts(task: Task, model: CatalogEntry | None, theirs: RunConfig) -> Parts:
    """The parts of what follows from a run.

    Nothing of it is the new run's but the origins, should the model be one that they find. Nor is
    how its sources are read, unless that is not how the task does it.
    """
    inputs = theirs.parts.source_format
    usual = task.source_format.inputs, task.source_format.tag, task.source_format.target_tag
    if inputs is not None and (inputs.inputs, inputs.tag, inputs.target_tag) == usual:
        inputs = None
    return Parts(task, model, source_format=inputs, origins=theirs.parts.origins)


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
