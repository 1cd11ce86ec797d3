"""Settings of a run: every value that is needed to repeat it."""

from __future__ import annotations

import dataclasses
import difflib
import math
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

USUAL_MINUTES, USUAL_EPOCHS = 60.0, 150


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
    start_from: str | None = None  # a run whose weights and tokens are the first of this one
    keep_state: bool = False  # its optimizer state and its steps too
    seed: int = setting(1, "of weights, dropout and the order of the data", SEED)

    parts: Parts = field(default_factory=Parts, compare=False, repr=False)
    # Names of what a user or a recipe has set, "model.dropout" among them; the others may follow
    # from the corpus. `None`: all are taken as they are.
    stated: frozenset[str] | None = field(default=None, compare=False, repr=False)

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
        del names["parts"], names["stated"]
        options = {name: plain(value) for name, value in self.model_options.items()}
        return {**{name: getattr(self, name) for name in names}, "model_options": options}

    @classmethod
    def from_dict(cls, values: dict[str, Any], parts: Parts | None = None) -> RunConfig:
        """The config of the settings that `to_dict` gave, also that of an earlier version."""
        # Files had no filter before; the embedded default has none.
        values = {"filter_rows": values.get("train") is None, **present_names(values)}
        stated = values.pop("stated", None)
        unknown = set(values) - ({f.name for f in dataclasses.fields(cls)} - {"parts", "stated"})
        if unknown:
            raise ConfigError(
                f"This run was written with settings that are not known here: "
                f"{', '.join(sorted(unknown))}. Use the version of attention-zoo that wrote it."
            )
        hints = typing.get_type_hints(cls)
        for name, value in values.items():
            _check_type(name, value, hints[name])
        names = None if stated is None else frozenset(stated)
        return cls(**values, parts=parts or Parts(), stated=names)

    def is_stated(self, name: str) -> bool:
        """True if a setting has the value that somebody set, or that nothing may replace."""
        return self.stated is None or name in self.stated

    def with_settings(self, settings: Iterable[str] | Mapping[str, Any]) -> RunConfig:
        """The config with other values of some settings.

        Args:
            settings: `name=value` strings, or values by name; `model.name` is of the model.
        """
        known = {name for name, _, _ in describe_settings()}
        hints = typing.get_type_hints(type(self))
        changes: dict[str, Any] = {}
        model_options = dict(self.model_options)
        stated: set[str] = set()
        are_values = isinstance(settings, Mapping)
        pairs = settings.items() if isinstance(settings, Mapping) else map(_split, settings)
        for name, value in pairs:
            stated.add(name)
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
        if self.stated is not None:
            changes["stated"] = self.stated | stated
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
    """Budget of a training, over all of its parts together.

    Attributes:
        max_steps: Steps in all.
        max_minutes: Minutes in all.
        max_epochs: Epochs in all, which `in_steps` turns into steps.
    """

    max_steps: int | None = None
    max_minutes: float | None = None
    max_epochs: int | None = None

    @property
    def is_limited(self) -> bool:
        """True if there is an end other than that of patience."""
        return self != Budget()

    def in_steps(self, epoch_steps: int) -> Budget:
        """The budget without epochs, of so many steps each."""
        if self.max_epochs is None:
            return self
        steps = self.max_epochs * epoch_steps
        return Budget(min(steps, self.max_steps or steps), self.max_minutes)

    def total_steps(self, planned: int = 0) -> int:
        """Steps of the whole training, where so many are planned; 0 if that is not known."""
        return min([n for n in (planned, self.max_steps) if n], default=0)

    def is_spent(self, steps: int, seconds: float, planned: int = 0) -> bool:
        """True if a limit is reached, or the steps that were planned within it are made."""
        return (
            (self.max_steps is not None and steps >= self.max_steps)
            or (self.max_minutes is not None and seconds >= 60 * self.max_minutes)
            or 0 < planned <= steps
        )

    def share(self, steps: int, seconds: float, planned: int = 0) -> float:
        """The share that is spent, in [0, 1].

        Args:
            steps: Steps made.
            seconds: Time of them.
            planned: Steps that were planned within the budget, of which it is the share then; 0
                before. Of both limits the one that comes first counts there.
        """
        if planned:
            return min(steps / self.total_steps(planned), 1.0)
        spent = [0.0]
        if self.max_steps is not None:
            spent.append(steps / self.max_steps)
        if self.max_minutes is not None:
            spent.append(seconds / (60 * self.max_minutes))
        return min(max(spent), 1.0)


def budget_of(max_steps: int | None, max_minutes: float | None, train: str | None = None) -> Budget:
    """The budget that a user means.

    Args:
        max_steps: Steps in all, if given.
        max_minutes: Minutes in all, if given; infinity for no limit.
        train: A corpus of the user's: without a limit it is learned from for an hour, or for so
            many epochs if they come first. The embedded default is learned until patience ends.
    """
    if max_minutes is not None and math.isinf(max_minutes):
        return Budget(max_steps)
    if train is None or max_steps is not None or max_minutes is not None:
        return Budget(max_steps, max_minutes)
    return Budget(None, USUAL_MINUTES, USUAL_EPOCHS)


def check_budget(config: RunConfig, budget: Budget) -> None:
    """Refuses a schedule that ends with the budget where there is none.

    Raises:
        ConfigError: neither limit is given.
    """
    if config.schedule in ("cosine", "cooldown") and not budget.is_limited:
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
