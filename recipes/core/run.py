"""A run is a folder: all that is needed to repeat it, to go on with it and to use it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ... import __version__
from ...zoo.decoding.shortlist import Shortlist
from ...zoo.errors import ConfigError
from ...zoo.files import file_above, partial_file, read_object, write_json, written_atomically
from ...zoo.models.encoder_decoder import EncoderDecoder
from ...zoo.pipeline.text_to_text import TextToText
from ...zoo.text.source_format import Source
from ...zoo.text.tokenizer import Tokenizer
from .checkpoint import Checkpoints
from .config import RunConfig
from .make_config import config_of_values, settings_of
from .model import defaults_of
from .saved_model import origins_of, read_model, text_to_text
from .task import Task, source_format

SAMPLES = 8  # sources that a run keeps of its validation data


class Run:
    """The files of one run.

    | file | what |
    |---|---|
    | `config.json` | every setting, the version that wrote it, checksums of the texts |
    | `tokenizer.model` | the SentencePiece model |
    | `source_tokenizer.model` | that of the source, if it has a vocabulary of its own |
    | `shortlist.safetensors` | the likely target tokens for those of a source, if there are some |
    | `checkpoints/` | the state of training, to go on from |
    | `model.keras` | the best model so far by the validation metric |
    | `samples.json` | some sources of the validation data, with which an export warms up a server |
    | `metrics.json` | the course of training and the scores of the best model |
    | `tensorboard/` | what TensorBoard shows |
    | `distilled/` | of a student: the targets of its teacher and the pairs that it learns from |

    Args:
        folder: the folder, which need not exist.
        task: The task of the run, if it is the user's own.
        custom_objects: Keras classes of the user's own that the model is made of, by name.
    """

    def __init__(
        self,
        folder: str | Path,
        task: Task | None = None,
        custom_objects: Mapping[str, Any] | None = None,
    ):
        self.folder = Path(folder)
        self.task = task
        self.custom_objects = custom_objects or {}
        self.config_path = self.folder / "config.json"
        self.tokenizer_path = self.folder / "tokenizer.model"
        self.source_tokenizer_path = self.folder / "source_tokenizer.model"
        self.shortlist_path = self.folder / "shortlist.safetensors"
        self.samples_path = self.folder / "samples.json"
        self.model_path = self.folder / "model.keras"
        self.metrics_path = self.folder / "metrics.json"
        self.tensorboard_path = self.folder / "tensorboard"
        self.distilled_path = self.folder / "distilled"
        self.checkpoints = Checkpoints(self.folder / "checkpoints")

    @property
    def name(self) -> str:
        """The name of the folder, under which the model is exported and compared."""
        return self.folder.resolve().name

    def open(
        self,
        config: RunConfig,
        texts: Mapping[str, int] | None = None,
        model: EncoderDecoder | None = None,
        **generation: Any,
    ) -> bool:
        """Claims the folder for a config; returns whether the run was begun before.

        What a kill has left of files that were being written is removed. `config.json` of a run
        that goes on takes over the settings that may change.

        Args:
            config: of the run.
            texts: checksums of the texts that are learnt from, `"train"`, and validated with,
                `"valid"`, which a run remembers from when it is begun.
            model: the model, of which the run says where its classes come from.
            **generation: fields of `GenerationOptions` that follow from the training corpus.

        Raises:
            ConfigError: as `check`.
        """
        begun = self.check(config, texts)
        for path in (*self._partial_files(), *self.checkpoints.partial_files()):
            path.unlink(missing_ok=True)
        if begun:
            if changes := self.changes(config):
                new = {name: now for name, (_, now) in changes.items()}
                write_json(self.config_path, {**self.read_values(), **new})
            return True
        self.folder.mkdir(parents=True, exist_ok=True)
        values = {
            "attention_zoo": __version__,
            **config.to_dict(),
            "model_defaults": defaults_of(config),
            "source_format": source_format(config).to_dict(),
            "parts": origins_of(config, model),
            "stated": None if config.stated is None else sorted(config.stated),
            **({"texts": dict(texts)} if texts else {}),
            **({"generation": generation} if generation else {}),
        }
        write_json(self.config_path, values)
        return False

    def check(self, config: RunConfig, texts: Mapping[str, int] | None = None) -> bool:
        """True where the run of a config was begun here; nothing is written.

        Args:
            config: of the run.
            texts: checksums as of `open`; not looked at if left out.

        Raises:
            ConfigError: the folder holds a run that learns something else, or from other texts, or
                files that are no run.
        """
        if self.config_path.exists():
            others, _ = self._differences(config)
            if others:
                told = ", ".join(
                    f"{name} is {before!r} there and {now!r} here"
                    for name, (before, now) in others.items()
                )
                raise ConfigError(
                    f"{self.folder} holds another run: {told}. Give another --output, or the same "
                    "settings to go on with that run. What it has learned is gone on with under "
                    f"other settings by --start-from {self.folder} --keep-state."
                )
            changed = self.changed_texts(texts or {})
            if changed:
                kinds = {"train": "training", "valid": "validation"}
                files = {getattr(config, name) or "the embedded default" for name in changed}
                raise ConfigError(
                    f"{self.folder} was begun with other {' and '.join(kinds[n] for n in changed)} "
                    f"texts than {' and '.join(sorted(files))} has now. Go on with those texts, or "
                    f"learn on from that run with --start-from {self.folder} and another --output."
                )
            return True
        if self.folder.exists() and (
            not self.folder.is_dir()
            or set(self.folder.iterdir()) - self._partial_files() - {self.distilled_path}
        ):
            raise ConfigError(
                f"{self.folder} exists and is no run of attention-zoo; give another --output."
            )
        if (file := file_above(self.folder)) is not None:
            raise ConfigError(f"{file} is a file, no folder for runs; give another --output.")
        return False

    def _partial_files(self) -> set[Path]:
        """Files in the folder whose writing was interrupted."""
        tokenizers = self.source_tokenizer_path, self.tokenizer_path
        whole = [self.config_path, *tokenizers, self.model_path, self.metrics_path]
        return {partial_file(path) for path in (*whole, self.samples_path, self.shortlist_path)}

    def read_config(self) -> RunConfig:
        """The settings of the run."""
        return self._read_config()[0]

    def changed_texts(self, texts: Mapping[str, int]) -> list[str]:
        """Names of the texts with other checksums than when the run was begun.

        Args:
            texts: checksums as of `open`. Those that an older run does not know have not changed.
        """
        known = self._texts()
        return [name for name, found in texts.items() if known.get(name, found) != found]

    def _texts(self) -> dict[str, int]:
        """The checksums of the texts that the run was begun with; none of an older run."""
        known = self.read_values().get("texts", {})
        if not isinstance(known, dict):
            raise ConfigError(f"{self.config_path}: texts is no object: {known!r}")
        return known

    def generation(self) -> dict[str, Any]:
        """The fields of `GenerationOptions` that follow from the training corpus."""
        return self.read_values().get("generation", {})

    def read_metrics(self) -> dict[str, Any]:
        """`metrics.json` of the run; nothing if it has not ended."""
        path = self.metrics_path
        return read_object(path, "the metrics of a run") if path.exists() else {}

    def former_defaults(self) -> dict[str, Any]:
        """The arguments of its model whose default is another now than when the run was begun."""
        config, defaults = self._read_config()
        now = defaults_of(config)
        return {n: defaults[n] for n in now.keys() & defaults if defaults[n] != now[n]}

    def read_values(self) -> dict[str, Any]:
        """Values of `config.json`."""
        if not self.config_path.is_file():
            raise ConfigError(
                f"{self.folder} is no run: it has no config.json. Give the folder that was given "
                "to `attention-zoo train` as --output."
            )
        values = read_object(self.config_path, "the config of a run")
        if not isinstance(values.get("generation", {}), dict):
            raise ConfigError(f"{self.config_path}: generation is no object.")
        return values

    def _read_config(self) -> tuple[RunConfig, dict[str, Any]]:
        """The settings of the run, and the defaults of its model when it was begun."""
        try:
            config, defaults = config_of_values(self.read_values(), self.task)
            # Runs of version 0.1.0 may have none: those of today are taken for theirs.
            return config, defaults_of(config) if defaults is None else defaults
        except ValueError as error:
            raise ConfigError(f"{self.config_path}: {error}") from error

    def changes(self, config: RunConfig) -> dict[str, tuple[Any, Any]]:
        """The settings with which a run goes on, of those that may change: before, and now."""
        return self._differences(config)[1] if self.config_path.exists() else {}

    def _differences(self, config: RunConfig) -> tuple[dict[str, tuple], dict[str, tuple]]:
        """Settings that are others in the folder: those of another run, those that may change."""
        begun, defaults = self._read_config()
        ours = settings_of(config, defaults_of(config))
        # An option that the model has got since is as it is where nobody gives it.
        theirs = settings_of(begun, {**defaults_of(begun), **defaults})
        values = {n: (theirs.get(n), ours.get(n)) for n in {**ours, **theirs}}
        different = {name: (there, here) for name, (there, here) in values.items() if there != here}
        free = config.may_change() & begun.may_change()
        free -= {"train", "valid"} - self._texts().keys()
        others = {name: both for name, both in different.items() if name not in free}
        return others, {name: both for name, both in different.items() if name in free}

    def save_model(self, model: EncoderDecoder) -> None:
        """Writes the model without its optimizer: checkpoints have that, to go on from."""
        optimizer, compiled = getattr(model, "optimizer", None), model.compiled
        model.optimizer, model.compiled = None, False
        try:
            with written_atomically(self.model_path) as aside:
                model.save(aside)
        finally:
            model.optimizer, model.compiled = optimizer, compiled

    def save_samples(self, sources: Sequence[Source]) -> None:
        """Writes some sources, from the shortest to the longest, and a text of two lines."""
        form = source_format(self.read_config())
        by_text = {form.to_text(source): source for source in sources}
        ordered = [by_text[text] for text in sorted(by_text, key=len)]
        count = min(SAMPLES, len(ordered))
        chosen = [ordered[i * (len(ordered) - 1) // max(1, count - 1)] for i in range(count)]
        if form.can_be_split and len(chosen) > 1:
            chosen.append("\n".join(map(form.to_text, chosen[:2])))
        write_json(self.samples_path, chosen)

    def read_samples(self) -> list[Source] | None:
        """Sources that the run has saved; `None` of a run without them, such as an earlier one."""
        try:
            samples = json.loads(self.samples_path.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError) as error:
            raise ConfigError(f"{self.samples_path} is not readable JSON: {error}") from error
        texts = [list(s.values()) if isinstance(s, dict) else [s] for s in samples]
        if not all(isinstance(text, str | int) for row in texts for text in row):
            raise ConfigError(f"{self.samples_path} is not a list of sources")
        return samples

    def save_shortlist(self, shortlist: Shortlist) -> None:
        """Writes the likely target tokens for those of a source."""
        with written_atomically(self.shortlist_path) as aside:
            aside.write_bytes(shortlist.to_bytes())

    def save_tokenizer(self, tokenizer: Tokenizer) -> None:
        """Writes the tokenizer: the last file that is written says that all are there."""
        if not tokenizer.shares_vocabulary:
            with written_atomically(self.source_tokenizer_path) as aside:
                tokenizer.source.save(aside)
        with written_atomically(self.tokenizer_path) as aside:
            aside.write_bytes(tokenizer.model)

    def read_tokenizer(self) -> Tokenizer:
        """The tokenizer of the run, with that of its sources.

        Raises:
            ConfigError: a file is damaged.
            OSError: one is not there, that of the sources among them if they have their own.
        """
        paths = [self.tokenizer_path]
        if not self.read_config().shared_vocabulary:
            paths.append(self.source_tokenizer_path)
        try:
            return Tokenizer.load(*paths)
        except ValueError as error:
            names = " or ".join(map(str, paths))
            raise ConfigError(f"{names} cannot be read. {error}") from error

    def read_shortlist(self) -> Shortlist | None:
        """The likely target tokens for those of a source, if the run has some."""
        path = self.shortlist_path
        return Shortlist.from_bytes(path.read_bytes()) if path.exists() else None

    def load(self, truncate: bool | None = None, **generation: Any) -> TextToText:
        """The best model of the run with its tokenizer.

        Args:
            truncate: whether sources that are too long are cut; if `None` as the task says.
            **generation: fields of `GenerationOptions` that replace those of the run.

        Raises:
            ConfigError: the folder is no run, has no model yet, or a file of it is damaged; or the
                options are impossible.
        """
        config = self.read_config()
        model, tokenizer = self.read_model(), self.read_tokenizer()
        options = {**self.generation(), **generation}
        try:
            likely = self.read_shortlist()
            return text_to_text(model, tokenizer, config, self.name, truncate, likely, **options)
        except ValueError as error:
            raise ConfigError(f"{self.folder}, {config.task}: {error}") from error

    def check_model_file(self) -> None:
        """Refuses a run that has no model yet."""
        if not self.model_path.is_file():
            raise ConfigError(
                f"{self.folder} has no model.keras yet: its training was stopped before the first "
                "evaluation, or could not write it. Go on with `attention-zoo train`."
            )

    def read_model(self) -> EncoderDecoder:
        """The best model of the run.

        Raises:
            ConfigError: there is none yet, or its file is damaged.
        """
        config = self.read_config()
        self.check_model_file()
        return read_model(self.model_path, config.parts.origins, self.custom_objects)
