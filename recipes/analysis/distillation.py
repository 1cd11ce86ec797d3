"""Distillation: a student learns from targets that its teacher has written."""

from __future__ import annotations

import json
import os
import signal
import zlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ...zoo.errors import ConfigError, DataError
from ...zoo.files import claimed, write_json, written_atomically
from ...zoo.pipeline.text_to_text import TextToText
from ..core.config import Budget, RunConfig
from ..core.corpora import check_files, read_corpora
from ..core.interruption import Interrupted, StopNow, StopRequest
from ..core.part_writer import Pace
from ..core.run import Run
from ..data.corpus import NOT_JSON, PairCorpus
from ..data.pair_files import json_lines
from ..training.launch import check_runs, run_task
from .comparable import ADVICE, check_comparable
from .comparison import Comparison, compare
from .comparison_report import to_markdown
from .experiment import forget

CHUNK = 1024  # sources between two saves; always the same, so that batches are the same again
REQUEST, TARGETS, TRAIN, VALID = "request.json", "targets.jsonl", "train.jsonl", "valid.jsonl"


@dataclass(frozen=True)
class Distillation:
    """Everything that a student learns from, and how long.

    Attributes:
        teacher: The run whose model writes targets.
        config: Config of the student on the user's files.
        sources: Further sources, which need no targets.
        mix: `"originals"` to learn from the pairs of the files too, or `"none"`.
        beam_size: Beam size of the teacher; that of its run if `None`.
    """

    teacher: Run
    config: RunConfig
    sources: Sequence[str] = ()
    mix: str = "originals"
    beam_size: int | None = None


def distill(
    request: Distillation,
    output: str | Path,
    budget: Budget,
    report: Callable[[str], None] = print,
) -> Comparison:
    """Lets a teacher write targets, trains a student on them, and compares the two.

    The same call resumes what was stopped or killed, and with a larger budget continues the
    training. The student is a run of its own; `distilled/` in its folder has the targets and the
    pairs that it learns from.

    Args:
        request: Teacher, student and texts.
        output: Folder of the student.
        budget: Budget of its training.
        report: Called with each line of progress.

    Returns:
        Teacher and student on the validation rows, which is also reported.

    Raises:
        ConfigError: The teacher, the settings or the folder cannot be used; nothing was written.
        DataError: A corpus cannot be used.
        Interrupted: SIGINT or SIGTERM was received.

    Reference:
        Kim and Rush 2016, https://aclanthology.org/D16-1139
    """
    run, teacher = Run(output), request.teacher
    theirs = teacher.read_config()
    teacher.check_model_file()
    train, valid = (str(run.distilled_path / name) for name in (TRAIN, VALID))
    # In the direction of the teacher's files, so that one file is read alike for both runs.
    config = replace(request.config, train=train, valid=valid, reverse=theirs.reverse)
    check_runs([config], budget)
    advice = {
        **ADVICE,
        "bleu_tokenize": f" Give --set bleu_tokenize={theirs.bleu_tokenize}.",
        "metric": "take a teacher with another metric.",
    }
    names = teacher.name, f"{run.name}, the student"
    check_comparable(dict(zip(names, (theirs, config), strict=True)), theirs.metric, valid, advice)
    run.check(config)
    check_files(request.config)
    corpora = _read_texts(request.config)
    for corpus in corpora:
        report(corpus.report())
    with claimed(run.folder):
        _write_corpora(request, corpora, run.distilled_path, theirs.reverse, report)
    forget()
    try:
        run_task(config, output, budget, report)
    finally:
        forget()
    comparison = compare([teacher, run], valid, report=report)
    report(to_markdown(comparison))
    return comparison


def _read_texts(config: RunConfig) -> tuple[PairCorpus, PairCorpus]:
    """The corpora of a config, whose sources are one text each."""
    train, valid = read_corpora(config)
    if not isinstance(train, PairCorpus):
        raise ConfigError(
            f"{config.train} is prepared, it has no texts; give the files themselves."
        )
    if not all(isinstance(source, str) for source in (*train.sources, *valid.sources)):
        raise ConfigError(
            f"A teacher writes targets for sources of one text; those of {config.task} have "
            "several inputs. Distill translation or summarization, or a task of your own."
        )
    return train, valid


def _write_corpora(
    request: Distillation,
    corpora: tuple[PairCorpus, PairCorpus],
    folder: Path,
    swapped: bool,
    report: Callable[[str], None],
) -> None:
    """Writes the targets of the teacher, and the files that the student reads."""
    train, valid = corpora
    originals = [(str(source), target) for source, target in train]
    sources = list(dict.fromkeys([*(source for source, _ in originals), *request.sources]))
    options = {} if request.beam_size is None else {"beam_size": request.beam_size}
    teacher = request.teacher.load(truncate=True, **options)
    folder.mkdir(parents=True, exist_ok=True)
    _claim(
        folder / REQUEST,
        {
            "teacher": _checksum(teacher),
            "generation": asdict(teacher.generation),
            "sources": zlib.crc32(json.dumps(sources).encode()),
            "train": train.checksum,
            "valid": valid.checksum,
            "mix": request.mix,
        },
    )
    targets = write_targets(teacher, sources, folder / TARGETS, report)
    pairs = [(source, target) for source, target in zip(sources, targets, strict=True) if target]
    report(
        f"{request.teacher.name} wrote {len(pairs):,} targets; {len(sources) - len(pairs):,} "
        "sources left out, as they or their targets are too long, or nothing was written"
    )
    if not pairs:
        raise DataError(f"{request.teacher.name} wrote no target that a student could learn.")
    pairs += originals if request.mix == "originals" else []
    learned = PairCorpus([source for source, _ in pairs], [target for _, target in pairs], TRAIN)
    for name, corpus in ((TRAIN, learned), (VALID, valid)):
        lines = json_lines(corpus.reversed() if swapped else corpus)
        with written_atomically(folder / name) as aside:
            aside.write_text(lines, encoding="utf-8")


def write_targets(
    teacher: TextToText,
    sources: Sequence[str],
    path: Path,
    report: Callable[[str], None] = print,
) -> list[str | None]:
    """Writes the teacher's targets of some sources into a file, chunk by chunk.

    Each line of the file is a chunk with its checksum, which is on the disk before the next one
    begins. What is there already is not written again, from the first line on that is not whole,
    as the last one after a kill.

    Args:
        teacher: The model with its search.
        sources: The sources, the same at each call.
        path: The file.
        report: Called with each line of progress.

    Returns:
        The target of each source; `None` where the source or the target was cut.

    Raises:
        Interrupted: SIGINT or SIGTERM was received.
    """
    targets, size = _read_targets(path, len(sources))
    pace = Pace(report, "distilled", len(sources))
    pace.skip(len(targets))
    with open(path, "ab") as file, StopRequest() as stop:
        file.truncate(size)
        while len(targets) < len(sources):
            chunk = sources[len(targets) : len(targets) + CHUNK]
            try:
                with stop.at_once():
                    found = teacher.predict(chunk)
            except StopNow:
                raise Interrupted(
                    stop.signal_number or signal.SIGTERM,
                    f"stopped after {len(targets):,} targets; give the same command to go on",
                ) from None
            texts = [None if one.truncated else one.text for one in found]
            line = {"first": len(targets), "checksum": _checksum_of(texts), "targets": texts}
            file.write(json.dumps(line).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
            targets += texts
            pace.add(len(texts))
    pace.end()
    return targets


def _read_targets(path: Path, count: int) -> tuple[list[str | None], int]:
    """Targets of the whole chunks at the start of a file, and the number of bytes they have."""
    targets: list[str | None] = []
    size = 0
    for line in path.read_bytes().splitlines(keepends=True) if path.exists() else []:
        try:
            values = json.loads(line)
            texts = values["targets"]
            whole = values["checksum"] == _checksum_of(texts) and values["first"] == len(targets)
            expected = min(CHUNK, count - len(targets))
        except (*NOT_JSON, KeyError, TypeError):
            break
        if not whole or len(texts) != expected or not line.endswith(b"\n"):
            break
        targets += texts
        size += len(line)
    return targets, size


def _checksum_of(texts: list[str | None]) -> int:
    return zlib.crc32(json.dumps(texts).encode())


def _checksum(model: TextToText) -> int:
    """A checksum of all that decides what a model writes, but for the options of its search."""
    value = zlib.crc32(model.tokenizer.model, zlib.crc32(model.tokenizer.source.model))
    for weight in model.model.get_weights():
        value = zlib.crc32(weight.tobytes(), value)
    return value


def _claim(path: Path, values: dict[str, Any]) -> None:
    """Refuses a folder with the targets of another distillation; else says what its are of."""
    if not path.exists():
        write_json(path, values)
        return
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except NOT_JSON as error:
        raise ConfigError(f"{path} cannot be read ({error}); remove its folder.") from error
    values = json.loads(json.dumps(values))
    if changed := [name for name in values if found.get(name) != values[name]]:
        raise ConfigError(
            f"{path.parent} was written with another {' and '.join(changed)}. Give the same "
            "teacher, files and options to go on, or another --output."
        )
