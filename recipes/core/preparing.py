"""Preparing a corpus of any size: `attention-zoo prepare`.

Two passes over the rows, of which never more than some thousands are held. The first counts them,
finds the bad ones and draws a sample, from which the tokens are learnt; the second writes the
rows as tokens.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ... import __version__
from ...zoo.errors import ConfigError
from ...zoo.files import claimed, file_above, partial_file, write_json, written_atomically
from ...zoo.text.source_format import Source
from ..data.corpus import NOT_JSON
from ..data.files.tables import split_columns
from ..data.pair_files import is_named, is_parallel
from ..data.pair_store import PairWriter, id_type
from ..data.prepared import (
    BAKED,
    FORMAT,
    HELD_OUT,
    MANIFEST,
    SAMPLE,
    SOURCE_TOKENIZER,
    TOKENIZER,
    UNFINISHED,
    PreparedCorpus,
    PreparedPart,
    is_prepared,
    load_tokenizer,
)
from ..data.reservoir import Reservoir
from .config import RunConfig
from .interruption import Interrupted
from .part_writer import Pace, PartWriter, Row, read_part, sample_size, turned
from .task import task_of

# From which the tokens are learnt, half a gigabyte in SentencePiece; see `sample_size`.
SAMPLE_ROWS = 200_000
SAMPLE_CHARACTERS = 16_000_000
KEPT_ROWS = 20_000  # of the sample, for what needs texts


@dataclass(frozen=True)
class Request:
    """Request of a preparation.

    Attributes:
        config: the task and the settings, of which those in `BAKED` matter, `seed`, `reverse` and
            `start_from`, a run whose tokens are taken.
        corpora: one or several, each as `train --train` takes it.
        weights: of each in what is read; as large as they are if left out.
        sample_rows: most rows from which the tokens are learnt.
        held_out: share of the rows that are held out to validate with; none if left out.

    Raises:
        ConfigError: weights that are not positive, or not as many as corpora.
    """

    config: RunConfig
    corpora: tuple[str, ...]
    weights: tuple[float, ...] | None = None
    sample_rows: int = SAMPLE_ROWS
    held_out: float | None = None

    def __post_init__(self) -> None:
        if not self.corpora:
            raise ConfigError("prepare needs at least one --train.")
        if self.weights is None:
            return
        if len(self.weights) != len(self.corpora):
            raise ConfigError(
                f"--weights needs a number for each --train. Received: {len(self.weights)} for "
                f"{len(self.corpora)}"
            )
        if not all(0 < weight < float("inf") for weight in self.weights):
            raise ConfigError(f"--weights must be positive. Received: {self.weights}")

    def to_dict(self) -> dict[str, Any]:
        """All that decides what is in the folder."""
        config = self.config
        return {
            "attention_zoo": __version__,
            "format": FORMAT,
            "task": config.task,
            "start_from": config.start_from,
            "settings": {name: getattr(config, name) for name in (*BAKED, "reverse")},
            "seed": config.seed,
            "corpora": list(self.corpora),
            "weights": list(self.weights) if self.weights else None,
            "sample_rows": self.sample_rows,
            "held_out": self.held_out,
            "files": {path: size for spec in self.corpora for path, size in _files(spec).items()},
        }


def _files(spec: str) -> dict[str, list[int]]:
    """Size and time of each file of a spec, by which a change is noticed."""
    paths = spec.split(",") if is_parallel(spec) else [split_columns(spec)[0]]
    found = {}
    for path in paths:
        expanded = os.path.expanduser(path.strip())
        if os.path.isfile(expanded):
            found[path] = [os.stat(expanded).st_size, os.stat(expanded).st_mtime_ns]
    return found


def prepare(
    request: Request, output: str | Path, report: Callable[[str], None] = print
) -> PreparedCorpus:
    """Prepares corpora into a folder, or goes on where that was stopped.

    Args:
        request: what.
        output: the folder.
        report: takes each line of progress.

    Raises:
        ConfigError: the folder holds something else, or no tokens can be learnt.
        DataError: a corpus that cannot be used; see `read_pairs`.
        Interrupted: Ctrl-C came; the same call goes on.
    """
    return _Preparation(request, Path(output), report).run()


@dataclass
class _State:
    """Progress of a preparation, kept in the folder after every block of rows."""

    request: dict[str, Any]
    rows: list[int] = field(default_factory=list)  # usable ones of each corpus; empty before
    parts: list[PreparedPart] = field(default_factory=list)
    checksum: int = 0  # of the rows that are written

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> _State:
        parts = [PreparedPart.from_dict(part) for part in values["parts"]]
        return cls(values["request"], values["rows"], parts, values["checksum"])


class _Preparation:
    """One call of `prepare`."""

    def __init__(self, request: Request, folder: Path, report: Callable[[str], None]):
        self.request = request
        self.config = request.config
        self.task = task_of(self.config)
        self.folder = folder
        self.report = report
        self.state = _State(request.to_dict())

    def run(self) -> PreparedCorpus:
        if self._is_whole():
            self.report(f"{self.folder} is whole")
            return PreparedCorpus(self.folder)
        try:
            with claimed(self.folder):
                if not self.state.rows:
                    self._read_all()
                self._encode_all()
                return self._finish()
        except KeyboardInterrupt:
            raise Interrupted(signal.SIGINT, "stopped; give the same command to go on") from None

    def _is_whole(self) -> bool:
        """True where nothing is left to do; takes up the state of a stopped preparation."""
        for spec in self.request.corpora:
            if not is_named(spec) and is_prepared(spec):
                raise ConfigError(f"{spec} is prepared already.")
        manifest, unfinished = self.folder / MANIFEST, self.folder / UNFINISHED
        if manifest.is_file():
            self._check_same(_read_json(manifest, ("request",))["request"])
            return True
        if unfinished.is_file():
            values = _read_json(unfinished, ("request", "rows", "parts"))
            self._check_same(values["request"])
            self.state = _State.from_dict(values)
            return False
        # All that a kill in the very first write leaves.
        partial = {partial_file(unfinished)}
        if self.folder.exists() and (
            not self.folder.is_dir() or set(self.folder.iterdir()) - partial
        ):
            raise ConfigError(
                f"{self.folder} exists and is no prepared corpus; give another --output."
            )
        if (file := file_above(self.folder)) is not None:
            raise ConfigError(f"{file} is a file, no folder for a corpus; give another --output.")
        return False

    def _check_same(self, found: dict[str, Any]) -> None:
        ours, theirs = (
            {**request, **request["settings"], "settings": None}
            for request in (self.state.request, found)
        )
        for name in ours:
            if theirs.get(name) != ours[name]:
                raise ConfigError(
                    f"{self.folder} is of another `attention-zoo prepare`: {name} was "
                    f"{theirs.get(name)} and is {ours[name]} now. Remove it or give another "
                    "--output."
                )

    def _save(self) -> None:
        write_json(self.folder / UNFINISHED, self.state.to_dict(), indent=None)

    # The first pass

    def _read_all(self) -> None:
        """Counts the rows, learns the tokens from a sample of them, and keeps some."""
        pace = Pace(self.report, "read")
        samples = [self._reservoir(number) for number in range(self._num_samples())]
        rows, parts = [], []
        held: list[Row] = []
        for number, spec in enumerate(self.request.corpora):
            sample = samples[number % len(samples)]

            count = itertools.count()

            def take(line: int, source: Source, target: str, add=sample.add, n=count) -> None:
                add(turned((line, source, target), self.config.reverse))
                pace.add(1)
                next(n)

            def hold(line: int, source: Source, target: str) -> None:
                if len(held) < KEPT_ROWS:
                    held.append(turned((line, source, target), self.config.reverse))

            corpus = read_part(self.request.held_out, self.task, spec, take, hold)
            rows.append(next(count))
            parts.append(PreparedPart(spec, num_skipped=corpus.num_skipped, skipped=corpus.skipped))
        pace.end()
        kept = [row for sample in samples for row in sample.kept]
        if self.config.start_from is None:
            self.report(f"learning tokens from {len(kept):,} of {sum(rows):,} rows")
        else:
            self.report(f"with the tokens of {self.config.start_from}")
        from .run_tokenizer import new_tokenizer

        tokenizer = new_tokenizer(
            self.config, [source for _, source, _ in kept], [target for _, _, target in kept]
        )
        self._save()  # before anything else: it says whose folder this is
        for name, model in ((SOURCE_TOKENIZER, tokenizer.source), (TOKENIZER, tokenizer)):
            if name == TOKENIZER or not tokenizer.shares_vocabulary:
                with written_atomically(self.folder / name) as aside:
                    aside.write_bytes(model.model)
        share = max(1, KEPT_ROWS // len(samples))
        self._write_texts(SAMPLE, [row for sample in samples for row in sample.draw(share)])
        if self.request.held_out:
            self._write_texts(HELD_OUT, held)
        self.state.rows, self.state.parts = rows, parts
        self._save()

    def _num_samples(self) -> int:
        """One for all corpora; with weights one for each, as large as its weight."""
        return 1 if self.request.weights is None else len(self.request.corpora)

    def _reservoir(self, number: int) -> Reservoir[Row]:
        weights = self.request.weights or (1.0,)
        share = weights[number] / sum(weights)
        rows = max(1, round(share * self.request.sample_rows))
        seed = self.config.seed + number
        return Reservoir(rows, share * SAMPLE_CHARACTERS, sample_size, seed)

    def _write_texts(self, name: str, rows: list[Row]) -> None:
        lines = (json.dumps({"source": row[1], "target": row[2]}) + "\n" for row in rows)
        with written_atomically(self.folder / name) as aside:
            aside.write_text("".join(lines), encoding="utf-8")

    # The second pass

    def _encode_all(self) -> None:
        tokenizer = load_tokenizer(self.folder, self.config.shared_vocabulary)
        config, parts = self.config, self.state.parts
        self.id_type = id_type(
            max(tokenizer.vocab_size, tokenizer.source.vocab_size),
            max(config.max_source_length, config.max_target_length),
        )
        rows, tokens = (sum(getattr(part, name) for part in parts) for name in ("pairs", "tokens"))
        writer = PairWriter(self.folder, rows, tokens, self.id_type, self.state.checksum)

        def save() -> None:
            self.state.checksum = writer.checksum
            self._save()

        pace = Pace(self.report, "encoded", sum(self.state.rows))
        for part, usable in zip(parts, self.state.rows, strict=True):
            pace.skip(part.rows_read)
            if part.rows_read < usable:
                held_out = self.request.held_out
                PartWriter(config, writer, part, tokenizer, pace, save, held_out).run(usable)
            if not part.pairs:
                from ..data.batching import all_too_long

                limits = config.max_source_length, config.max_target_length
                raise all_too_long(part.rows_read, *limits)
        pace.end()

    def _finish(self) -> PreparedCorpus:
        parts = self.state.parts
        request = self.state.request
        values = {name: request[name] for name in ("format", "task", "settings", "weights")}
        values |= {"ids": self.id_type, "checksum": self.state.checksum}
        values |= {"held_out": self.request.held_out}
        values |= {"parts": [part.to_dict() for part in parts], "request": request}
        write_json(self.folder / MANIFEST, values, indent=None)
        (self.folder / UNFINISHED).unlink()
        for part in parts:
            self.report(part.report())
        corpus = PreparedCorpus(self.folder)
        self.report(corpus.report())
        return corpus


def _read_json(path: Path, names: tuple[str, ...]) -> dict[str, Any]:
    """The values in a file, which has these names at least."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, *NOT_JSON) as error:
        raise ConfigError(f"{path} cannot be read ({error}); remove its folder.") from error
    missing = [name for name in names if not isinstance(values, dict) or name not in values]
    if missing:
        raise ConfigError(f"{path} has no {', '.join(missing)}; remove its folder.")
    return values
