"""Runs by name: the folder of one, or a pack, which is used where a run is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...zoo.catalog import MODELS
from ...zoo.decoding.shortlist import Shortlist
from ...zoo.errors import ConfigError
from ...zoo.models.encoder_decoder import EncoderDecoder
from ...zoo.pipeline.text_to_text import TextToText
from ...zoo.presets.names import locate
from ...zoo.presets.pack import (
    CONFIG,
    METRICS,
    SHORTLIST,
    SOURCE_TOKENIZER,
    TOKENIZER,
    WEIGHTS,
    Pack,
    is_pack,
    read_pack,
)
from ...zoo.presets.weights import unpack_weights
from ...zoo.text.source_format import Source
from ...zoo.text.tokenizer import Tokenizer
from .model import build_model
from .run import Run
from .task import TASKS, task_of

if TYPE_CHECKING:
    from .task import Task


class PackedRun(Run):
    """The run in a pack, in memory: all that uses a run and does not train it.

    Its model is made by the catalog of this package from the settings, so that a pack can name
    nothing that would be imported.

    Args:
        pack: The pack.
        task: The task of the run, if it is the user's own.
    """

    def __init__(self, pack: Pack, task: Task | None = None):
        super().__init__(pack.path, task)
        self.pack = pack
        self.config_path = pack.path / CONFIG  # as messages name it

    @property
    def name(self) -> str:
        return self.pack.manifest["name"]

    def read_values(self) -> dict[str, Any]:
        values = self.pack.json(CONFIG)
        if own := own_parts(values):
            raise ConfigError(
                f"{self.folder} is refused: it names {', '.join(own)}, and a pack brings no code. "
                "Ask for the folder of the run, and give --task or --model."
            )
        return values

    def read_metrics(self) -> dict[str, Any]:
        return self.pack.json(METRICS)

    def read_samples(self) -> list[Source] | None:
        inputs = task_of(self.read_config())
        return [
            inputs.parse_source(line) for line in self.pack.manifest.get("examples", ())
        ] or None

    def read_tokenizer(self) -> Tokenizer:
        members = self.pack.members
        try:
            return Tokenizer(members[TOKENIZER], members.get(SOURCE_TOKENIZER))
        except ValueError as error:
            raise ConfigError(f"{self.folder}: {error}") from error

    def read_shortlist(self) -> Shortlist | None:
        data = self.pack.members.get(SHORTLIST)
        return None if data is None else Shortlist.from_bytes(data)

    def check_model_file(self) -> None:
        pass

    def read_model(self) -> EncoderDecoder:
        # As it was made: what has another default by now has that of then.
        config = self.read_config()
        options = {**self.former_defaults(), **config.model_options}
        try:
            model = build_model(replace(config, model_options=options), self.read_tokenizer())
            model.set_weights(unpack_weights(self.pack.members[WEIGHTS]))
        except (TypeError, ValueError) as error:
            reason = " ".join(str(error).split())[:300]
            raise ConfigError(
                f"{self.folder} does not fit {config.model} of this attention-zoo; install the "
                f"version {self.pack.manifest.get('attention_zoo')}, which packed it. {reason}"
            ) from error
        return model


def own_parts(values: Mapping[str, Any]) -> list[str]:
    """Names what a config needs that is not of this package, and where it comes from.

    Args:
        values: Of the `config.json` of a run.
    """
    parts, options = values.get("parts") or {}, values.get("model_options") or {}
    found = [f"{name} ({origin})" for name, origin in parts.items()]
    for what, known in (("task", TASKS), ("model", MODELS)):
        if what not in parts and values.get(what) not in list(known):
            found.append(f"the {what} {values.get(what)!r}")
    objects = [name for name, value in options.items() if isinstance(value, dict)]
    return found + [f"an object as model.{name}" for name in objects]


def open_run(
    name: str | Path,
    task: Task | None = None,
    custom_objects: Mapping[str, Any] | None = None,
) -> Run:
    """Opens the run that a name means.

    Args:
        name: As of `attention_zoo.load`.
        task: The task of the run, if it is the user's own.
        custom_objects: Keras classes of the user's own that the model is made of, by name.

    Raises:
        ConfigError: There is no such run, or its pack is damaged.
    """
    path = locate(name)
    return PackedRun(read_pack(path), task) if is_pack(path) else Run(path, task, custom_objects)


def load(
    name: str | Path,
    truncate: bool | None = None,
    custom_objects: Mapping[str, Any] | None = None,
    **generation: Any,
) -> TextToText:
    """Loads a trained model: `attention_zoo.load("dates-en-zh").predict(["May 5"])`.

    Args:
        name: The folder of a run, a preset such as `"dates-en-zh"` or `"dates-en-zh@1"`, the
            path of a pack, `"https://host/pack.zip#sha256=HEX"`, or `"hf://owner/name"`.
        truncate: Cuts sources that are too long; if `None` as the task says.
        custom_objects: Keras classes of your own that the model is made of, by name, where their
            module is not installed.
        **generation: Fields of `GenerationOptions` that replace those of the run.

    Returns:
        The best model of the run with its tokenizer and its search.

    Raises:
        ConfigError: There is no such run, it has no model yet, or is damaged; a class of your own
            is not there; or the options are impossible.
    """
    return open_run(name, custom_objects=custom_objects).load(truncate, **generation)
