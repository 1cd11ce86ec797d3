"""Reading a corpus of questions: a context, a question about it, and the answer.

| spec | content |
|---|---|
| `train.tsv`, `.csv`, `.xlsx` | context, question, answer; or context and question, answer |
| `train.jsonl`, `.json` | rows `{"context": "...", "question": "...", "answer": "..."}` |
| `train.json` | as in SQuAD: data, paragraphs, context, qas, question, answers, text |
| `FILE#CONTEXT,QUESTION,ANSWER` | any of the first two, or `hf:NAME`, with its columns |

A question needs no context. Columns may be named in a first line: `context`, `question`, `answer`,
in any order. In two columns without names the last sentence of the first is the question. Where a
format has lists of answers, all are right and the first is learned; an empty list, as SQuAD 2.0 has
it, is that of a question without an answer: the output is to be empty. Files are opened, bad rows
counted, reported and skipped as in `read_pairs`.
"""

from __future__ import annotations

import json
from typing import Any

from ...zoo.errors import DataError
from ...zoo.text.sentences import split_sentences
from ...zoo.text.source_format import Source
from .corpus import NOT_JSON, Rows, flaw, is_blank
from .files.columns import Columns, alike, named_columns, words_of
from .files.opening import open_text, unpacked_name
from .files.tables import NULL, Table, split_columns
from .pair_files import open_corpus

COLUMNS = ("context", "question", "answer")
# Names that the columns have in files.
COLUMN_NAMES = {
    "context": words_of("context story passage paragraph document article text"),
    "question": words_of("question query"),
    "answer": words_of("answer answers"),
}


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
    path, wanted = split_columns(spec)
    if not wanted and unpacked_name(path).endswith(".json") and _is_squad(path):
        _read_squad(path, rows)
        return
    table = open_corpus(spec, rows)
    columns, roles = _columns(table)
    rows.tell(table.said(columns) if table.head else "")

    def skip(line: int, reason: str) -> None:
        rows.skip(table.name, line, reason)

    for line, values in table.rows(columns, skip):
        row = dict(zip(roles, values, strict=True))
        answers = _answers(row.get("answer"))
        if answers is None:
            skip(line, "the answer is no text")
            continue
        if isinstance(row.get("text"), str):
            row.update(split_question(row.pop("text")))
        _add(rows, table.name, line, row, answers)


def _columns(table: Table) -> tuple[Columns, tuple[str, ...]]:
    """The columns of a table and what is in each: a role, or "text" for context and question."""
    head = alike(table.head)
    if not head:
        return Columns(COLUMNS), COLUMNS
    found = named_columns(table.name, head, COLUMN_NAMES, table.wanted, ["context"])
    if found is not None:
        return found
    table.strict = True
    if isinstance(head[0], dict):
        raise DataError(
            f'{table.name}:1: expected "context", "question" and "answer", found '
            f"{', '.join(head[0])}. Say which they are, as in "
            f"{table.name}#context,question,answer"
        )
    roles = {2: ("text", "answer"), 3: COLUMNS}.get(len(head[0]))
    if roles is None or set(head[0]) & set(COLUMNS):
        raise DataError(
            f"{table.name}:1: {len(head[0])} columns, {', '.join(head[0])[:100]}. Expected "
            "context, question and answer, named in a first line or in this order, of which the "
            f"first two may be one; or say which they are, as in {table.name}#1,2,3"
        )
    return Columns(tuple(range(len(roles)))), roles


def _answers(value: Any) -> list[str] | None:
    """The texts of one answer or of several, also as `{"text": [...]}`; `None` if it is no text."""
    value = value.get("text") if isinstance(value, dict) else value
    answers = value if isinstance(value, list) else [value]
    return answers if all(isinstance(text, str) for text in answers) else None


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


def _add(rows: Rows, file: str, number: int, row: dict[str, Any], answers: list[Any]) -> None:
    context, question = row.get("context") or "", row.get("question")
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


def _is_squad(path: str) -> bool:
    """True for a JSON file that is neither a list of rows nor an object a line."""
    sample = open_text(path).sample.lstrip()
    try:
        is_lines = (
            isinstance(json.loads(sample.partition("\n")[0]), dict) and "\n" in sample.strip()
        )
    except NOT_JSON:
        is_lines = False
    return not is_lines and not sample.startswith("[")


def _read_squad(path: str, rows: Rows) -> None:
    text = open_text(path).read()
    if "\0" in text:
        raise DataError(f"{path}: {NULL}.")
    try:
        content = json.loads(text)
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
