"""Inputs of commands: lines, the sources in them, and paths to write to."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...zoo.errors import DataError
from ...zoo.files import file_above
from ...zoo.text.source_format import Source
from .app import Refused

if TYPE_CHECKING:
    from ...zoo.pipeline.text_to_text import TextToText
    from ..core.config import RunConfig
    from ..core.run import Run


def open_run(name: str | Path, task: str | None = None, model: Path | None = None) -> Run:
    """The run of a name, with the files of its own parts that the user gives."""
    from ..core.packed_run import open_run as open_named
    from ..core.parts import import_file
    from ..core.task import task as task_meant

    own = {} if model is None else vars(import_file(str(model).partition(":")[0]))
    classes = {name: value for name, value in own.items() if isinstance(value, type)}
    return open_named(name, task_meant(task) if task else None, classes)


def read_lines(path: Path | None) -> list[str]:
    """The lines of a file, or of stdin."""
    try:
        data = path.read_bytes() if path else sys.stdin.buffer.read()
        lines = data.decode().split("\n")
    except OSError as error:
        raise Refused(f"{path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise Refused(
            f"{path or 'stdin'} is not UTF-8 (byte {error.start}); convert it first."
        ) from error
    # Files that were put together have a byte order mark wherever another began.
    lines = [line.removeprefix("\ufeff").removesuffix("\r") for line in lines]
    if not lines[-1]:
        lines.pop()
    if not lines:
        raise Refused(f"{path or 'stdin'} has no lines; give one text a line.")
    return lines


def sources_of(config: RunConfig, lines: list[str], length: int | None = None) -> list[Source]:
    """The sources in some lines, with a wish for a length."""
    from ..core.task import parse_of, parse_source, source_format

    inputs, parse = source_format(config), parse_of(config)
    sources: list[Source] = []
    for number, line in enumerate(lines, start=1):
        try:
            sources.append(parse_source(line, inputs, parse))
        except DataError as error:
            where = f"text {number:,}: " if len(lines) > 1 else ""
            raise DataError(f"{where}{error}") from error
    if length is None:
        return sources
    if all(item.kind != "length" for item in inputs.inputs):
        raise Refused(f"--length is for summarization; this run is of {config.task}.")
    return [
        {**({inputs.main: source} if isinstance(source, str) else source), "length": length}
        for source in sources
    ]


def check_file(path: Path) -> None:
    """Refuses an output that cannot be written, before there is anything to write."""
    if path.exists() and not path.is_file():
        found = "a folder" if path.is_dir() else "no regular file"
        raise Refused(f"{path} is {found}; give --output a file, or leave it out for stdout.")
    if not path.resolve().parent.is_dir():
        raise Refused(f"There is no folder {path.parent} to write {path} into; make it first.")


def check_folder(path: Path) -> None:
    """Refuses an output that cannot be a folder, before there is anything to write."""
    file = path if path.exists() and not path.is_dir() else file_above(path)
    if file is not None:
        raise Refused(f"{file} is a file; give --output a folder.")


def given(**options: Any) -> dict[str, Any]:
    """The options that were given."""
    return {name: value for name, value in options.items() if value is not None}


def say_cut(model: TextToText, sources: list[Source], truncate: bool) -> None:
    """Refuses sources that are too long, or says on stderr that a part of them is read."""
    long = model.too_long(sources)
    check_cut(model, len(long), truncate, f", among them text {long[0] + 1}" if long else "")
    if long:
        print(cut_line(model, len(long)), file=sys.stderr)


def truncated_line(numbers: list[int]) -> str:
    """That some outputs are not those of whole texts."""
    outputs = "output is" if len(numbers) == 1 else "outputs are"
    return (
        f"{len(numbers):,} {outputs} of a part of the text, or as long as --max-length and "
        f"--max-length-ratio allow; among them text {numbers[0]}"
    )


def check_cut(model: TextToText, count: int, truncate: bool, which: str = "") -> None:
    """Refuses sources that are too long if nobody asked for a part; tasks may have a rule."""
    if count and not truncate and model.source_format.leave_out_long:
        raise Refused(
            f"{count:,} sources are longer than the {model.max_source_length} tokens that the "
            f"model reads{which}; with --truncate the {model.source_format.keep} of each is read."
        )


def cut_line(model: TextToText, count: int) -> str:
    """That a part of some sources is read."""
    kept, sources = model.source_format.keep, "source" if count == 1 else "sources"
    return f"{count:,} {sources} longer than {model.max_source_length} tokens: the {kept} read"
