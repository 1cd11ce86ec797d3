"""Inputs of commands: lines, the sources in them, and paths to write to."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ...zoo.errors import DataError
from ...zoo.files import file_above
from ...zoo.text.source_format import PLAIN, Source, SourceFormat
from ..data.conversation_files import turns_of
from ..data.corpus import flaw
from ..data.files.columns import Columns, alike, named_columns, pair_columns, wanted_columns
from ..data.files.opening import STDIN, open_text
from ..data.files.tables import Table, is_table, open_table
from ..data.question_files import COLUMN_NAMES
from .app import Refused

if TYPE_CHECKING:
    from ...zoo.pipeline.text_to_text import TextToText
    from ..core.config import RunConfig
    from ..core.run import Run

Result = TypeVar("Result")
MISSING_TOLD = 10  # outputs of which each is told


def open_run(name: str | Path, task: str | None = None, model: Path | None = None) -> Run:
    """The run of a name, with the files of its own parts that the user gives."""
    from ..core.packed_run import open_run as open_named
    from ..core.parts import import_file
    from ..core.task import task as task_meant

    own = {} if model is None else vars(import_file(str(model).partition(":")[0]))
    classes = {name: value for name, value in own.items() if isinstance(value, type)}
    return open_named(name, task_meant(task) if task else None, classes)


def read_lines(spec: str | None, inputs: SourceFormat = PLAIN) -> list[str]:
    """The texts in a file or in stdin, each as a line that `parse_source` takes.

    Args:
        spec: A file: of rows, such as `.csv` and `.jsonl`, of which the sources are taken; or of
            one text a line, as is stdin.
        inputs: What a source is made of.
    """
    if spec is not None and is_table(spec):
        return list(_sources_of_table(open_table(spec), inputs))
    name = spec or "stdin"
    lines = [line.removesuffix("\r") for line in open_text(spec or STDIN).lines()]
    if not lines:
        raise Refused(f"{name} has no lines; give one text a line.")
    for number, line in enumerate(lines, start=1):
        if (reason := flaw(line)) is not None:
            raise Refused(f"{name}:{number}: {reason}. Correct the line or convert the file.")
    return lines


def _sources_of_table(table: Table, inputs: SourceFormat) -> Iterator[str]:
    """The source of each row: its inputs by their names, or what a line of text would have."""

    def refuse(line: int, reason: str) -> None:
        raise Refused(f"{table.name}:{line}: {reason}.")

    main = inputs.main
    has_turns = any(item.kind == "turns" for item in inputs.inputs)
    if has_turns and table.head and turns_of(table.head[0]) is not None:
        for line, row in table.read(refuse):
            if not (turns := turns_of(row)):
                refuse(line, "expected a list of texts")
            else:
                yield json.dumps({"history": turns[:-1], main: turns[-1]})
        return
    columns, names = _columns_of_sources(table, inputs)
    print(f"{table.name}: {table.said(columns)}", file=sys.stderr)
    for line, row in table.rows(columns, refuse):
        source = {name: value for name, value in zip(names, row, strict=False) if value}
        text = source.get(main, "")
        if not isinstance(text, str):
            refuse(line, f"expected a text under {main}")
        if not names:
            yield "\t".join(row)
        else:
            # In a file of rows a tab is white space of the text, as it parts no columns there.
            plain = text.replace("\t", " ")
            yield json.dumps({**source, main: text}) if len(inputs.inputs) > 1 else plain


def _columns_of_sources(table: Table, inputs: SourceFormat) -> tuple[Columns, Sequence[str]]:
    """The columns of the inputs of a source, and the inputs that they are.

    No inputs where a row is what a line of text would be.
    """
    head, names = alike(table.head), [item.name for item in inputs.inputs]
    if not head:
        raise Refused(f"{table.name} has no rows; give one text a row.")
    roles = {name: COLUMN_NAMES.get(name, frozenset([name])) for name in names}
    found = named_columns(table.name, head, roles, table.wanted, names[:-1])
    if found is not None:
        return found
    if len(inputs.required) > 1:
        if isinstance(head[0], dict):
            raise Refused(
                f"{table.name} has {', '.join(head[0])}, expected {', '.join(names)}: say which, "
                f"as in {table.name}#{','.join(names)}"
            )
        return Columns(tuple(range(table.width))), ()
    if table.width == 1 and not isinstance(head[0], dict):
        return wanted_columns(table.name, head, ["1"], (1,)), names[-1:]
    pair = pair_columns(table.name, head)
    return Columns(pair.keys[:1], pair.header), names[-1:]


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


def in_parts(
    call: Callable[[list[Source]], Iterable[Result]], sources: list[Source], size: int = 1024
) -> Iterator[Result]:
    """The results of a call for each source, where so many at a time are given to it."""
    for start in range(0, len(sources), size):
        yield from call(sources[start : start + size])


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


def check_sources(model: TextToText, sources: list[Source], truncate: bool) -> None:
    """Refuses sources that are too long, or says on stderr that a part of them is read.

    Also says which have no language tag, if the model knows some.
    """
    long = model.too_long(sources)
    check_cut(model, len(long), truncate, f", among them text {long[0] + 1}" if long else "")
    if long:
        print(cut_line(model, len(long)), file=sys.stderr)
    if untagged := model.source_format.untagged(sources):
        begin = "text begins" if len(untagged) == 1 else "texts begin"
        print(
            f"{len(untagged):,} {begin} with none of the tags {' '.join(model.source_format.tags)},"
            f" so the model chooses the direction; among them text {untagged[0] + 1}",
            file=sys.stderr,
        )


def truncated_line(numbers: list[int]) -> str:
    """That some outputs are not those of whole texts."""
    outputs = "output is" if len(numbers) == 1 else "outputs are"
    return (
        f"{len(numbers):,} {outputs} of a part of the text, or as long as --max-length and "
        f"--max-length-ratio allow; among them text {numbers[0]}"
    )


def tell_truncated(numbers: list[int]) -> None:
    """Says on stderr that some outputs are not those of whole texts, if there are any."""
    if numbers:
        print(truncated_line(numbers), file=sys.stderr)


def tell_missing(missing: dict[int, tuple[str, ...]]) -> None:
    """Says on stderr which outputs lack addresses, placeholders or markup of their texts.

    Args:
        missing: What the output of a text lacks, by the number of the text.
    """
    for number, spans in itertools.islice(missing.items(), MISSING_TOLD):
        print(f"the output of text {number} lacks {' '.join(spans)}", file=sys.stderr)
    if (more := len(missing) - MISSING_TOLD) > 0:
        kinds = "addresses, placeholders or markup"
        print(f"and the outputs of {more:,} more lack {kinds} of their texts", file=sys.stderr)


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
