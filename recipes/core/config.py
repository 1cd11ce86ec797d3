"""Settings of a run: every value that is needed to repeat it."""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ...zoo.errors import ConfigError
from ..data.prepared import RENAMED, present_names
from ..data.splitting import share_of
from .options import (
    SEED,
    DataOptions,
    EvaluationOptions,
    OptimizerOptions,
    SearchOptions,
    TokenizerOptions,
    setting,
)
from .parts import Parts, plain


# The bases in this order give the fields in the order of the reverse.
@dataclass(frozen=True)
class RunConfig(SearchOptions, EvaluationOptions, OptimizerOptions, DataOptions, TokenizerOptions):
    """All that decides what a run learns; the same values and data give the same weights.

    How long it learns (`--max-steps`, `--max-minutes`) is not part of it: a run may be gone on
    with. Each value can be set with `--set name=value` on the command line.
    """

    task: str = "translation"
    model: str = "rnn-bahdanau"
    model_options: dict[str, Any] = field(default_factory=dict)  # --set model.dropout=0.2
    train: str | None = None  # a pair file; the embedded default if None
    valid: str | None = None  # a pair file, or a share of `train` that is held out
    reverse: bool = False  # source and target swapped
    start_from: str | None = None  # a run whose weights and subwords are the first of this one
    keep_state: bool = False  # its optimizer state and its steps too
    seed: int = setting(1, "of weights, dropout and the order of the data", SEED)

    parts: Parts = field(default_factory=Parts, compare=False, repr=False)

    @property
    def holds_out(self) -> bool:
        """True if a share of the training corpus is held out to validate with."""
        return self.train is not None and (self.valid is None or share_of(self.valid) is not None)

    @property
    def validated_with(self) -> tuple[Any, ...]:
        """Identity of the validation rows: a file, a share of one, or a seed of the default."""
        if self.holds_out:
            return self.train, self.valid, self.filter_rows
        return self.valid, self.seed if self.valid is None else None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.train is None and self.valid is not None:
            raise ConfigError(
                "--valid needs --train too; give both, or neither for the embedded default."
            )
        share_of(self.valid)

    def may_change(self) -> set[str]:
        """Names of the settings that may be others when a run of this config is resumed.

        They say how it is run. Data is known by its checksum, so a file of it may move.
        """
        names = {f.name for f in dataclasses.fields(self) if not f.metadata.get("learned", True)}
        if self.average_last:
            names -= {"evaluate_every"}  # the weights are those of evaluations
        if self.train is not None:
            names.add("train")
        if self.valid is not None and share_of(self.valid) is None:
            names.add("valid")
        return names

    def to_dict(self) -> dict[str, Any]:
        """The settings by name, as JSON has them."""
        # The task and the model first.
        names = dict.fromkeys(["task", "model", *(f.name for f in dataclasses.fields(self))])
        del names["parts"]
        options = {name: plain(value) for name, value in self.model_options.items()}
        return {**{name: getattr(self, name) for name in names}, "model_options": options}

    @classmethod
    def from_dict(cls, values: dict[str, Any], parts: Parts | None = None) -> RunConfig:
        """The config of the settings that `to_dict` gave, also that of an earlier version."""
        # Files had no filter before; the embedded default has none.
        values = {"filter_rows": values.get("train") is None, **present_names(values)}
        unknown = set(values) - {f.name for f in dataclasses.fields(cls)}
        if unknown:
            raise ConfigError(
                f"This run was written with settings that are not known here: "
                f"{', '.join(sorted(unknown))}. Use the version of attention-zoo that wrote it."
            )
        hints = typing.get_type_hints(cls)
        for name, value in values.items():
            _check_type(name, value, hints[name])
        return cls(**values, parts=parts or Parts())

    def with_settings(self, settings: Iterable[str] | Mapping[str, Any]) -> RunConfig:
        """The config with other values of some settings.

        Args:
            settings: `name=value` strings, or values by name; `model.name` is of the model.
        """
        known = {name for name, _, _ in describe_settings()}
        hints = typing.get_type_hints(type(self))
        changes: dict[str, Any] = {}
        model_options = dict(self.model_options)
        are_values = isinstance(settings, Mapping)
        pairs = settings.items() if isinstance(settings, Mapping) else map(_split, settings)
        for name, value in pairs:
            if name.startswith("model."):
                option = value if are_values else _literal(value)
                model_options[name.removeprefix("model.")] = option
            elif name in known:
                changes[name] = value if are_values else _parse(name, value, hints[name])
                _check_type(name, changes[name], hints[name])
            elif name in RENAMED:
                raise ConfigError(f"The setting {name} is called {RENAMED[name]} now.")
            else:
                raise ConfigError(
                    f"There is no setting {name!r}.{hint(name, known)} Known: "
                    f"{', '.join(sorted(known))}, and model.NAME for an argument of the model."
                )
        return dataclasses.replace(self, model_options=model_options, **changes)


def hint(name: str, known: Iterable[str]) -> str:
    """A sentence that names the setting, option or argument which may be meant; "" for none."""
    if "epoch" in name or name in ("steps", "minutes"):
        return " The length of a training is --max-steps or --max-minutes."
    if name in ("dropout", "layers", "num_layers", "units", "heads", "num_heads"):
        return f" An argument of the model is set as model.{name}."
    close = difflib.get_close_matches(name, list(known), n=1)
    return f" Did you mean {close[0]}?" if close else ""


@dataclass(frozen=True)
class Budget:
    """Budget of a training, over all of its parts together."""

    max_steps: int | None = None
    max_minutes: float | None = None

    def is_spent(self, steps: int, seconds: float) -> bool:
        return (self.max_steps is not None and steps >= self.max_steps) or (
            self.max_minutes is not None and seconds >= 60 * self.max_minutes
        )

    def share(self, steps: int, seconds: float) -> float:
        """The share that is spent, in [0, 1]; of both limits the one that comes first."""
        spent = [0.0]
        if self.max_steps is not None:
            spent.append(steps / self.max_steps)
        if self.max_minutes is not None:
            spent.append(seconds / (60 * self.max_minutes))
        return min(max(spent), 1.0)


def check_budget(config: RunConfig, budget: Budget) -> None:
    """Refuses a schedule that ends with the budget where there is none.

    Raises:
        ConfigError: neither limit is given.
    """
    if config.schedule in ("cosine", "cooldown") and budget == Budget():
        raise ConfigError(
            f"schedule={config.schedule} reaches zero when the training ends, so it must know "
            "when that is: give --max-steps or --max-minutes."
        )


def describe_settings() -> list[tuple[str, Any, str]]:
    """Name, default and description of every setting."""
    return [
        (f.name, f.default, f.metadata["description"])
        for f in dataclasses.fields(RunConfig)
        if "description" in f.metadata
    ]


def _split(setting: str) -> tuple[str, str]:
    """Name and value of `name=value`."""
    name, equals, text = setting.partition("=")
    if not equals:
        raise ConfigError(f"--set takes name=value. Received: {setting}")
    return name, text


def _literal(text: str) -> Any:
    """An int, float, bool or None where the text is one, else the text."""
    words = {"true": True, "false": False, "none": None}
    if text.lower() in words:
        return words[text.lower()]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _parse(name: str, text: str, hint: Any) -> Any:
    value = _literal(text)
    allowed = _types(hint)
    if str in allowed:
        return None if value is None and type(None) in allowed else text
    _check_type(name, value, hint, text)
    return float(value) if float in allowed and type(value) is int else value


def _check_type(name: str, value: Any, hint: Any, text: str | None = None) -> None:
    """Refuses a value of another type than that of its setting; whole numbers are floats too."""
    allowed = _types(hint)
    if type(value) in allowed or (float in allowed and type(value) is int):
        return
    kinds = " or ".join("None" if kind is type(None) else kind.__name__ for kind in allowed)
    received = f"{value!r}" if text is None else text
    raise ConfigError(f"{name} takes a value of type {kinds}. Received: {name}={received}")


def _types(hint: Any) -> tuple[type, ...]:
    kinds = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    return tuple(typing.get_origin(kind) or kind for kind in kinds)
