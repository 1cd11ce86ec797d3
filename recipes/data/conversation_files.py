"""Reading conversations: the turns before, a text, and the reply to it.

| spec | what it is |
|---|---|
| `train.jsonl` | a conversation a row: `{"turns": ["...", "...", ...]}` or a list of texts |
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
from .pair_files import read_json_lines, read_rows

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
    if not spec.removesuffix(".gz").endswith(".jsonl"):
        read_rows(spec, JoinedPairs(rows))
        return
    for number, record in read_json_lines(spec, rows):
        _add_record(rows, spec, number, record)


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
    turns = record.get("turns") if isinstance(record, dict) else record
    if not isinstance(turns, list) or not all(isinstance(turn, str) for turn in turns):
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
