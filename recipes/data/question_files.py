"""Reading a corpus of questions: a context, a question about it, and the answer.

| spec | content |
|---|---|
| `train.tsv` | context TAB question TAB answer; or context and question TAB answer |
| `train.jsonl` | a row is `{"context": "...", "question": "...", "answer": "..."}` |
| `train.json` | as in SQuAD: data, paragraphs, context, qas, question, answers, text |

All may be compressed with gzip. A question needs no context. A TSV may begin with a line of names:
`context`, `question`, `answer`, in any order. In two columns without names the last sentence of the
first is the question. Where a format has lists of answers, all are right and the first is learned;
an empty list, as SQuAD 2.0 has it, is that of a question without an answer: the output is to be
empty.
Bad rows are counted, reported and skipped as in `read_pairs`.
"""

from __future__ import annotations

import json
from typing import Any

from ...zoo.errors import DataError
from ...zoo.text.sentences import split_sentences
from ...zoo.text.source_format import Source
from .corpus import NOT_JSON, NULL, Rows, flaw, is_blank
from .pair_files import read_json_lines, read_lines, read_texts

COLUMNS = ("context", "question", "answer")
# What a context is called elsewhere; a file that has these would be learned without its contexts.
_OTHER_NAMES = ("story", "passage", "paragraph", "document", "article", "text")


def read_question_rows(spec: str, rows: Rows) -> None:
    """Reads a corpus of questions row by row; a file in the format of SQuAD is read at once.

    Sources have a `context` and a `question`. Rows that cannot be used have an empty answer or
    question, or are not UTF-8.

    Args:
        spec: A path; see the table at the head of this module.
        rows: Collects the rows, good and bad.

    Raises:
        DataError: The corpus is missing, damaged, or has an unknown column.
    """
    suffix = spec.removesuffix(".gz").rsplit(".", 1)[-1]
    {"jsonl": _read_jsonl, "json": _read_squad}.get(suffix, _read_tsv)(spec, rows)


def split_question(text: str) -> dict[str, str]:
    """Context and question of a text whose last sentence is the question."""
    *context, question = split_sentences(text.strip()) or [""]
    return {"context": "".join(context).strip(), "question": question}


def parse_question(line: str) -> Source:
    """The source in a line: context TAB question, or a text that ends with its question.

    Raises:
        DataError: There are more columns, or a context has no question.
    """
    columns = [column.strip() for column in line.split("\t")]
    while len(columns) > 2 and not columns[-1]:
        columns.pop()
    if len(columns) > 2:
        raise DataError(
            "A source is context TAB question; the answer is not to be read: leave it out "
            f"(cut -f1,2). Received: {len(columns)} columns, {line[:60]!r}"
        )
    if len(columns) < 2:
        return split_question(line)
    context, question = columns
    if is_blank(question) and not is_blank(context):
        raise DataError(f"The question after the tab is empty. Received: {line[:60]!r}")
    return {"context": context, "question": question}


def _read_tsv(path: str, rows: Rows) -> None:
    names: tuple[str, ...] = ()
    for number, line in read_texts(path, rows):
        columns = [column.strip() for column in line.split("\t")]
        if not names:
            names = _names(path, columns)
            if names == tuple(columns):
                continue
        if len(columns) != len(names):
            rows.skip(path, number, f"{len(columns)} columns, expected {', '.join(names)}")
            continue
        row = dict(zip(names, columns, strict=True))
        if "text" in row:
            row.update(split_question(row.pop("text")))
        _add(rows, path, number, row, [row["answer"]])


def _names(path: str, first: list[str]) -> tuple[str, ...]:
    """The names of the columns, from the first row: its values, or by their number."""
    if set(first) & set(COLUMNS):  # one known name is enough to tell a misspelt one beside it
        unknown = [name for name in first if name not in COLUMNS]
        if unknown or len(set(first)) < len(first) or not {"question", "answer"} <= set(first):
            found = f"unknown column {', '.join(unknown)}" if unknown else f"columns {first}"
            raise DataError(
                f"{path}:1: {found}. Expected the columns {', '.join(COLUMNS)}, of which context "
                "may be missing. If this is no line of names, put one before it."
            )
        return tuple(first)
    if len(first) == 2:
        return ("text", "answer")
    if len(first) == 3:
        return COLUMNS
    raise DataError(
        f"{path}:1: {len(first)} columns. Expected context TAB question TAB answer, or context and "
        "question TAB answer."
    )


def _add(rows: Rows, file: str, number: int, row: dict[str, Any], answers: list[Any]) -> None:
    context, question = row.get("context", ""), row.get("question")
    if not isinstance(question, str) or not isinstance(context, str):
        rows.skip(file, number, f'expected texts under "{COLUMNS[0]}" and "{COLUMNS[1]}"')
        return
    texts = [str(answer).strip() for answer in answers if not is_blank(str(answer))]
    if answers == []:
        texts = [""]  # there is no answer
    reason = flaw(context, question, *map(str, answers))
    if reason is None and (is_blank(question) or not texts):
        reason = f"the {'question' if is_blank(question) else 'answer'} is empty"
    if reason is not None:
        rows.skip(file, number, reason)
        return
    source = {"context": context.strip(), "question": question.strip()}
    rows.add_clean(number, source, texts[0], tuple(dict.fromkeys(texts[1:])))


def _read_jsonl(path: str, rows: Rows) -> None:
    for number, row in read_json_lines(path, rows):
        if not isinstance(row, dict) or "question" not in row or "answer" not in row:
            found = ", ".join(map(str, row)) if isinstance(row, dict) else "no object"
            rows.skip(path, number, f'expected "question" and "answer", found {found}')
            continue
        other = [name for name in _OTHER_NAMES if name in row]
        if "context" not in row and other:
            rows.skip(path, number, f'unknown column {other[0]}; a context is under "context"')
            continue
        answer = row["answer"]
        answers = answer if isinstance(answer, list) else [answer]
        if not all(isinstance(text, str) for text in answers):
            rows.skip(path, number, "the answer is no text")
            continue
        _add(rows, path, number, row, answers)


def _read_squad(path: str, rows: Rows) -> None:
    text = b"\n".join(read_lines(path))
    if b"\0" in text:
        raise DataError(f"{path}: {NULL}.")
    try:
        content = json.loads(text.decode())
        paragraphs = [part for article in content["data"] for part in article["paragraphs"]]
        questions = [(part["context"], qa) for part in paragraphs for qa in part["qas"]]
        found = [(context, qa["question"], qa["answers"]) for context, qa in questions]
        texts = [[answer["text"] for answer in answers] for _, _, answers in found]
    except (*NOT_JSON, KeyError, TypeError) as error:
        raise DataError(
            f"{path} is no SQuAD file: {type(error).__name__} {error}. Expected data, paragraphs, "
            "context, qas, question and answers; or one object a line in a file ending in .jsonl."
        ) from error
    for number, ((context, question, _), answers) in enumerate(
        zip(found, texts, strict=True), start=1
    ):
        _add(rows, path, number, {"context": context, "question": question}, answers)
