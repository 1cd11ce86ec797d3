"""Presets made anew: their data, their training and their pack, by recipes that are data."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from ...zoo.errors import ConfigError
from ..core.config import Budget, RunConfig
from ..core.make_config import make_config
from ..core.options import SearchOptions
from ..core.run import Run
from ..data.files.opening import open_text
from ..training.launch import run_task
from .packing import About, pack_run

RECIPES = Path(__file__).with_name("recipes.json")


@dataclass(frozen=True)
class Step:
    """A training; one of several begins with the weights of the one before it."""

    task: str
    model: str
    max_steps: int | None = None
    max_minutes: float | None = None
    reverse: bool = False
    settings: dict[str, Any] = field(default_factory=dict)
    model_options: dict[str, Any] = field(default_factory=dict)

    def config(self, train: str | None, valid: str | None, start: Path | None) -> RunConfig:
        """The config of the training."""
        settings = self.settings | {f"model.{k}": v for k, v in self.model_options.items()}
        if start is None:
            return make_config(self.task, self.model, train, valid, self.reverse, settings)
        from ..training.warm_start import start_config

        return start_config(start, self.task, self.model, train, valid, self.reverse, settings)

    def command(self, files: tuple[str, ...], start: str | None) -> str:
        """The same as a command, to read and repeat."""
        parts = ["attention-zoo", "train", self.task, "--model", self.model]
        parts += ["--train", files[0], "--valid", files[1], "--no-fit"] if files else []
        parts += ["--start-from", start] if start else []
        parts += ["--reverse"] if self.reverse else []
        parts += [] if self.max_steps is None else ["--max-steps", str(self.max_steps)]
        parts += [] if self.max_minutes is None else ["--max-minutes", str(self.max_minutes)]
        settings = self.settings | {f"model.{k}": v for k, v in self.model_options.items()}
        for name, value in settings.items():
            parts += ["--set", f"{name}={json.dumps(value) if type(value) is bool else value}"]
        return shlex.join(parts)


@dataclass(frozen=True)
class PresetRecipe:
    """Facts of a preset and how it is made.

    Attributes:
        about: Facts for its card.
        steps: The trainings.
        train: Files to learn from, in the folder of the data; none for the embedded default.
        test: The file that it is scored on, once.
        held_out: Rows of the first of them that decide which weights are best.
        several_references: True if a source with several targets counts as right with any.
    """

    about: About
    steps: tuple[Step, ...]
    train: tuple[str, ...] = ()
    test: str | None = None
    held_out: int = 1000
    several_references: bool = False


def preset_recipes() -> dict[str, PresetRecipe]:
    """The recipes by the names of the presets."""
    found = {}
    for name, values in json.loads(RECIPES.read_text(encoding="utf-8")).items():
        steps = tuple(Step(**step) for step in values.pop("steps"))
        own = {
            key: values.pop(key)
            for key in ("test", "held_out", "several_references")
            if key in values
        }
        train = tuple(values.pop("train", ()))
        for key in ("languages", "examples"):
            values[key] = tuple(values.get(key, ()))
        suffix = "jsonl" if own.get("several_references") else "tsv"
        files = ("train.tsv", f"valid.{suffix}") if train else ()
        commands = (
            f"attention-zoo presets build {name}{' --data FOLDER' if train else ''}",
            *(
                step.command(files, f"step-{number}" if number else None)
                for number, step in enumerate(steps)
            ),
        )
        about = About(name=name, build=commands, is_preset=True, **values)
        found[name] = PresetRecipe(about, steps, train, **own)
    return found


def build_preset(
    name: str,
    data: Path | None,
    folder: Path,
    output: Path,
    run: str | None = None,
    weights: str = "int8",
    report: Callable[[str], None] = print,
) -> Path:
    """Builds a preset: writes its data, trains it, scores and packs it.

    Args:
        name: The name.
        data: The folder with the files that the recipe names.
        folder: For the texts and runs on the way; a training in it that was stopped is gone on
            with.
        output: The file of the pack.
        run: The run of the last training, if it was made by the recipe already.
        weights: As of `pack_run`.
        report: Takes each line of progress.

    Returns:
        The pack.

    Raises:
        ConfigError: There is no such recipe, a file of it is not in the folder, or the given run
            was trained in another way.
    """
    recipes = preset_recipes()
    if name not in recipes:
        raise ConfigError(f"There is no recipe {name!r}. Known: {', '.join(recipes)}.")
    recipe = recipes[name]
    texts = _write_texts(recipe, data, folder) if recipe.train else _Texts()
    opened = Run(run or _train(recipe, texts, folder, report))
    if run is not None:
        _check_run(recipe, opened, texts)
    return pack_run(opened, output, weights, texts.test, texts.noted(recipe.about), report)


@dataclass(frozen=True)
class _Texts:
    """Files to learn from, to choose the best weights by, and to score on; the default if none."""

    train: str | None = None
    valid: str | None = None
    test: str | None = None
    note: str = ""

    def noted(self, about: About) -> About:
        notes = filter(None, [f"## Rows\n\n{self.note}" if self.note else "", about.notes])
        return replace(about, notes="\n\n".join(notes))


def _train(
    recipe: PresetRecipe, texts: _Texts, folder: Path, report: Callable[[str], None]
) -> Path:
    """Trains all steps; returns the folder of the last run."""
    last: Path | None = None
    for number, step in enumerate(recipe.steps, start=1):
        config = step.config(texts.train, texts.valid, last)
        last = folder / f"step-{number}"
        run_task(config, last, Budget(step.max_steps, step.max_minutes), report)
    assert last is not None
    return last


def _check_run(recipe: PresetRecipe, run: Run, texts: _Texts) -> None:
    """Refuses a run with other settings than those of the last step."""
    theirs, step = run.read_config(), recipe.steps[-1]
    ours = step.config(texts.train, texts.valid, run.folder if theirs.start_from else None)
    files = {name: getattr(theirs, name) for name in ("train", "valid", "start_from")}
    ours = replace(ours, **files)
    run.check(ours)
    search = {item.name for item in fields(SearchOptions)}
    for name, (there, here) in run.changes(ours).items():
        if name in search:  # it may change in a run, but the pack would answer otherwise
            raise ConfigError(
                f"{run.folder} is searched otherwise than by the recipe: {name} is {there!r} there "
                f"and {here!r} here. Train it once more with --set {name}={here}, which scores it."
            )


def _write_texts(recipe: PresetRecipe, data: Path | None, folder: Path) -> _Texts:
    """Writes the files of a training.

    Which rows are held out follows from their sources alone, and a source is on one side.
    """
    files = [*recipe.train, *([recipe.test] if recipe.test else [])]
    missing = [file for file in files if data is None or not (data / file).is_file()]
    if data is None or missing:
        raise ConfigError(
            f"{recipe.about.name} is made of {', '.join(files)}: give the folder that has them "
            f"with --data. Not there: {', '.join(missing)}"
        )
    rows, *more = ([*_rows(data / file)] for file in recipe.train)
    held = _held_out([_first(row) for row in rows], recipe.held_out)
    learned = [row for part in (rows, *more) for row in part if _first(row) not in held]
    chosen = [row for row in rows if _first(row) in held]
    tests = _rows(data / recipe.test) if recipe.test else []
    column = 1 if recipe.steps[0].reverse else 0
    known = {_letters(row, column) for row in learned}
    near = sum(_letters(row, column) in known for row in tests)
    note = (
        f"{len(learned):,} rows to learn from and {len(chosen):,} to choose the weights by. Of the "
        f"{len(tests):,} to score on, {near:,} have a source that is among the first but for case, "
        "space and punctuation."
    )
    folder.mkdir(parents=True, exist_ok=True)
    write = _write_references if recipe.several_references else _write
    return _Texts(
        _write(folder / "train", learned),
        write(folder / "valid", chosen),
        write(folder / "test", tests) if tests else None,
        note,
    )


def _held_out(sources: list[str], count: int) -> set[str]:
    """Sources of at least that many rows, in an order by chance that is always the same."""
    rows = Counter(sources)
    held: set[str] = set()
    total = 0
    for source in sorted(rows, key=lambda text: hashlib.sha256(text.encode()).hexdigest()):
        if total >= count:
            break
        held.add(source)
        total += rows[source]
    return held


def _rows(path: Path) -> list[str]:
    return [line.removesuffix("\r") for line in open_text(str(path)).lines()]


def _first(row: str) -> str:
    return row.partition("\t")[0]


def _letters(row: str, column: int) -> str:
    text = (row.split("\t") + [""])[column].casefold()
    return "".join(filter(str.isalnum, text))


def _write(path: Path, rows: list[str], suffix: str = ".tsv") -> str:
    path = path.with_suffix(suffix)
    path.write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
    return str(path)


def _write_references(path: Path, rows: list[str]) -> str:
    """Writes a JSON line for each source, with all of its targets."""
    targets: dict[str, list[str]] = {}
    for row in rows:
        source, *found = row.split("\t")
        targets.setdefault(source, []).extend(found)
    lines = [json.dumps({"source": s, "target": t}, ensure_ascii=False) for s, t in targets.items()]
    return _write(path, lines, ".jsonl")
