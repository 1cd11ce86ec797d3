"""Reading conversations: the turns before, a text, and the reply to it.

| spec | content |
|---|---|
| `train.jsonl`, `.json` | a conversation a row: a list of texts, or `{"turns": ["...", ...]}` |
| the same | `{"messages": [{"role": "user", "content": "..."}, ...]}`, as chat models have it |
| any other of `read_pairs` | a row is a text and the reply to it |

Every turn of a conversation but the first is learned as a reply to the turns before it. Where the
text of a pair is the reply of the row before, the pairs belong to one conversation.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ...zoo.errors import DataError
from ...zoo.text.source_format import Source
from .corpus import Rows, flaw, is_blank
from .files.columns import named_pair
from .files.tables import Table
from .pair_files import add_pairs, is_parallel, open_corpus, read_rows

_TURNS = ("turns", "messages", "conversations", "conversation", "dialog", "dialogue", "utterances")
_NOT_SAID = ("system", "developer", "tool", "function")  # roles of what no one in a chat says

# More of a history than any setting reads is not kept with every reply.
MAX_TURNS = 16


def read_conversation_rows(spec: str, rows: Rows) -> None:
    """Reads a corpus of replies with the turns before them, row by row.

    Sources have a `text` and a `history`, one turn a line. Rows that cannot be used are
    conversations with one turn, empty turns, and lines that are not UTF-8.

    Args:
        spec: A spec of the table at the head of this module.
        rows: Collects the rows, good and bad.

    Raises:
        DataError: The corpus is missing or damaged.
    """
    if is_parallel(spec):
        read_rows(spec, JoinedPairs(rows))
        return
    table = open_corpus(spec, rows)
    if not _are_conversations(table):
        add_pairs(table, JoinedPairs(rows))
        return
    rows.tell(f"conversations, {table.form}")
    for line, record in table.read(lambda line, reason: rows.skip(table.name, line, reason)):
        _add_record(rows, table.name, line, record)


def turns_of(record: Any) -> list[str] | None:
    """The turns of a conversation as JSON has it, without the instructions of a chat model.

    Returns:
        The turns, or `None` if the record is no conversation.
    """
    if isinstance(record, dict):
        record = next((record[name] for name in _TURNS if name in record), None)
    if not isinstance(record, list):
        return None
    turns = [_text_of(turn) for turn in record if _is_said(turn)]
    return None if any(turn is None for turn in turns) else [str(turn) for turn in turns]


def _is_said(turn: Any) -> bool:
    return not isinstance(turn, dict) or turn.get("role", turn.get("from")) not in _NOT_SAID


def _text_of(turn: Any) -> str | None:
    """The text of a turn, or of a message with a role."""
    if isinstance(turn, dict):
        turn = next((turn[name] for name in ("content", "value", "text") if name in turn), None)
    if isinstance(turn, list):  # parts of a message, pictures among them
        parts = [part.get("text") for part in turn if isinstance(part, dict)]
        turn = " ".join(part for part in parts if isinstance(part, str))
    return turn if isinstance(turn, str) else None


def _are_conversations(table: Table) -> bool:
    """True unless the rows of a table are pairs."""
    first = table.head[0] if table.head else None
    if table.wanted or not (isinstance(first, dict) or table.form.startswith("JSON")):
        return False
    # An object of neither kind says so in each row.
    return not (isinstance(first, dict) and turns_of(first) is None and named_pair(list(first)))


def replies(turns: Sequence[str]) -> Iterable[tuple[Source, str]]:
    """Each turn but the first as the reply to the one before it, with the earlier turns."""
    for i in range(1, len(turns)):
        history = "\n".join(turns[max(0, i - 1 - MAX_TURNS) : i - 1])
        yield {"history": history, "text": turns[i - 1]}, turns[i]


class JoinedPairs(Rows):
    """Adds the earlier turns to pairs of text and reply that continue from row to row.

    Args:
        rows: Collects the replies with their history.
    """

    def __init__(self, rows: Rows):
        super().__init__(rows.corpus.name)
        self.streamed = rows.streamed
        self._rows = rows
        self._turns: list[str] = []

    def add_clean(
        self, line: int, source: Source, target: str, alternatives: tuple[str, ...] = ()
    ) -> None:
        # A turn is a line of the history, so there is no line break in it.
        turns, text, target = self._turns, " ".join(str(source).split()), " ".join(target.split())
        if not turns or turns[-1] != text:
            turns[:] = [text]
        history = "\n".join(turns[-1 - MAX_TURNS : -1])
        others = tuple(" ".join(other.split()) for other in alternatives)
        self._rows.add_clean(line, {"history": history, "text": text}, target, others)
        turns.append(target)
        del turns[: -1 - MAX_TURNS]

    def skip(self, file: str, line: int, reason: str) -> None:
        self._rows.skip(file, line, reason)

    def tell(self, note: str) -> None:
        self._rows.tell(note)


def parse_turns(line: str) -> Source:
    """The source in a line: turns separated by tabs, of which the last is to be answered."""
    turns = [turn.strip() for turn in line.split("\t") if not is_blank(turn)] or [""]
    return {"history": "\n".join(turns[:-1]), "text": turns[-1]}


def join_turns(turns: Sequence[Any]) -> str:
    """Turns as the lines of one text.

    Raises:
        DataError: A turn is not a text.
    """
    for number, turn in enumerate(turns, start=1):
        if not isinstance(turn, str):
            raise DataError(
                f"A history is a list of texts. Received as turn {number}: {turn!r:.60}"
            )
    return "\n".join(" ".join(turn.split()) for turn in turns if not is_blank(turn))


def _add_record(rows: Rows, file: str, number: int, record: Any) -> None:
    turns = turns_of(record)
    if turns is None:
        found = f", found {', '.join(map(str, record))}" if isinstance(record, dict) else ""
        rows.skip(file, number, f'expected a list of texts under "turns"{found}')
        return
    turns = [" ".join(turn.split()) for turn in turns]
    if len(turns) < 2:
        rows.skip(file, number, f"a conversation has two turns at least, this one {len(turns)}")
        return
    reason = flaw(*turns) or ("a turn is empty" if any(map(is_blank, turns)) else None)
    if reason is not None:
        rows.skip(file, number, reason)
        return
    for source, reply in replies(turns):
        rows.add_clean(number, source, reply)
