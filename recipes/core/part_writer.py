"""The second pass of `attention-zoo prepare` over one corpus: from rows to tokens."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from ...zoo.errors import DataError
from ...zoo.text.source_format import Source
from ..data.corpus import PairCorpus, StreamedRows
from ..data.pair_store import PairWriter
from ..data.prepared import PreparedPart
from ..data.splitting import HoldOut
from .config import RunConfig
from .task import Task, source_format, task_of

if TYPE_CHECKING:
    from ...zoo.text.tokenizer import Tokenizer
    from ..data.batching import TokenizedPairs

CHUNK = 2048  # rows that are encoded at a time
ENCODERS = 2  # threads
# Written at a time, which is what a kill costs.
BLOCK_TOKENS = 1 << 20
BLOCK_ROWS = 1 << 16
SECONDS = 5.0  # between two lines
LOOK_EVERY = 256  # rows between two looks at the clock
LONGEST_WORD = 24

Row = tuple[int, Source, str]  # line, source, target


class Pace:
    """Counts rows and reports them.

    Args:
        report: takes each line.
        done: what was done with the rows, as in "read".
        total: how many there are, if that is known.
    """

    def __init__(self, report: Callable[[str], None], done: str, total: int | None = None):
        self._report = report
        self._done = done
        self._total = total
        self._rows = self._skipped = 0
        self._begin = self._last = time.perf_counter()
        self._look_at = 0

    def add(self, rows: int) -> None:
        """So many more rows are done."""
        self._rows += rows
        if self._rows < self._look_at:
            return
        self._look_at = self._rows + LOOK_EVERY
        now = time.perf_counter()
        if now - self._last >= SECONDS:
            self._last = now
            self._report(self._line(now))

    def skip(self, rows: int) -> None:
        """So many rows were done before, and count for nothing in the rate."""
        self._rows += rows
        self._skipped += rows

    def end(self) -> None:
        """All is done."""
        self._report(self._line(time.perf_counter()))

    def _line(self, now: float) -> str:
        rate = (self._rows - self._skipped) / max(now - self._begin, 1e-9)
        line = f"{self._done} {self._rows:,} rows"
        if self._total:
            line += f" of {self._total:,} ({self._rows / self._total:.0%})"
        line += f", {rate:,.0f} rows/s"
        if self._total and rate and self._rows < self._total:
            line += f", {(self._total - self._rows) / rate / 60:.1f} min left"
        return line


def turned(row: Row, reverse: bool) -> Row:
    """A row, or the same the other way round."""
    line, source, target = row
    if not reverse:
        return row
    if not isinstance(source, str):
        raise DataError("Sources of several inputs cannot be targets; leave out --reverse.")
    return line, target, source


def sample_size(row: Row) -> int:
    """Size of a row in the sample that tokens are learnt from, in characters.

    What SentencePiece holds are the words; without spaces, as in Chinese, those are whole
    sentences, and take some 140 bytes a character (BPE; measured): such characters count for four.
    """
    _, source, target = row
    texts = [source] if isinstance(source, str) else [str(text) for text in source.values()]
    return sum(
        len(text) + 3 * sum(len(word) for word in text.split() if len(word) > LONGEST_WORD)
        for text in (*texts, target)
    )


def read_part(
    share: float | None,
    task: Task,
    spec: str,
    learn: Callable[[int, Source, str], None],
    hold: Callable[[int, Source, str], None] = lambda line, source, target: None,
) -> PairCorpus:
    """Reads a corpus row by row, and parts it if a share is held out.

    Args:
        share: the share, or `None`.
        task: whose corpus it is.
        spec: the corpus.
        learn: takes line, source and target of the rows that are learnt.
        hold: takes those of the rows that are held out.

    Returns:
        The bad rows, in a corpus without rows.
    """
    parted = HoldOut(task.source_format, share, learn, hold) if share else None
    rows = StreamedRows(spec, parted.add if parted else learn)
    task.read_rows(spec, rows)
    if parted:
        parted.end()
    return rows.finish(min_pairs=2)


class PartWriter:
    """Writes one corpus of those that are prepared together.

    Args:
        config: the task and the settings that are baked in.
        writer: takes the rows.
        part: what is known of the corpus; how far it is written, too.
        tokenizer: makes the tokens.
        pace: is told of the rows.
        save: is called after each block, when `part` says what is there.
        held_out: share of the rows that are left out.
    """

    def __init__(
        self,
        config: RunConfig,
        writer: PairWriter,
        part: PreparedPart,
        tokenizer: Tokenizer,
        pace: Pace,
        save: Callable[[], None],
        held_out: float | None = None,
    ):
        self.held_out, self.taken = held_out, 0
        self.config, self.task = config, task_of(config)
        self.writer, self.part, self.tokenizer = writer, part, tokenizer
        self.pace, self.save = pace, save
        self.chunk: list[Row] = []
        self.chunks = part.rows_read // CHUNK
        self.to_skip = part.rows_read  # what is written already
        self.waiting: deque[tuple[list[Row], Future[TokenizedPairs]]] = deque()
        self._clear()

    def _clear(self) -> None:
        self.sources: list[np.ndarray] = []
        self.targets: list[np.ndarray] = []
        self.lines: list[int] = []
        self.num_tokens = 0

    def run(self, rows: int) -> None:
        """Reads the corpus from its start, passing over what is written already.

        Args:
            rows: how many usable ones there were in the first pass.

        Raises:
            DataError: now there are more or fewer.
        """
        with ThreadPoolExecutor(ENCODERS) as self.encoders:
            read_part(self.held_out, self.task, self.part.spec, self._take)
            if self.chunk:
                self._submit()
            while self.waiting:
                self._collect()
        if self.taken != rows:
            raise DataError(
                f"{self.part.spec} changed while it was prepared: it had {rows:,} rows and has "
                f"{self.taken:,}. Remove {self.writer.folder} and prepare it again."
            )
        if self.lines:
            self._write()
        self.save()

    def _take(self, line: int, source: Source, target: str) -> None:
        self.taken += 1
        if self.to_skip:
            self.to_skip -= 1
            return
        self.chunk.append(turned((line, source, target), self.config.reverse))
        if len(self.chunk) == CHUNK:
            self._submit()

    def _submit(self) -> None:
        chunk, self.chunk = self.chunk, []
        self.waiting.append((chunk, self.encoders.submit(self._encode, chunk, self.chunks)))
        self.chunks += 1
        if len(self.waiting) > 2 * ENCODERS:
            self._collect()

    def _encode(self, chunk: list[Row], number: int) -> TokenizedPairs:
        from ..data.batching import TokenizedPairs

        config = self.config
        _, sources, targets = (list(column) for column in zip(*chunk, strict=True))
        corpus = PairCorpus(sources, targets, self.part.spec)
        # What a task draws by chance, it draws anew for each chunk.
        corpus = self.task.prepare(corpus, config.seed + number)
        return TokenizedPairs.encode(
            corpus.sources,
            corpus.targets,
            self.tokenizer,
            config.max_source_length,
            config.max_target_length,
            source_format(config),
            allow_empty=True,
        )

    def _collect(self) -> None:
        """Takes the oldest chunk that is encoded, or waits for it."""
        chunk, future = self.waiting.popleft()
        pairs = future.result()
        part = self.part
        part.rows_read += len(chunk)
        part.too_long += pairs.too_long
        part.cut += pairs.cut
        assert pairs.rows is not None
        self.sources += pairs.sources
        self.targets += pairs.targets
        self.lines += [chunk[row][0] for row in pairs.rows]
        self.num_tokens += sum(map(len, pairs.sources)) + sum(map(len, pairs.targets))
        self.pace.add(len(chunk))
        if self.num_tokens >= BLOCK_TOKENS or len(self.lines) >= BLOCK_ROWS:
            self._write()

    def _write(self) -> None:
        part = self.part
        self.writer.append(self.sources, self.targets, self.lines)
        part.pairs += len(self.lines)
        part.tokens += self.num_tokens
        part.source_lengths = _count(part.source_lengths, self.sources)
        part.target_lengths = _count(part.target_lengths, self.targets)
        self._clear()
        self.save()


def _count(counts: list[int], rows: list[np.ndarray]) -> list[int]:
    """Adds the lengths of some more rows to the counts."""
    more = np.bincount([len(row) for row in rows], minlength=len(counts))
    more[: len(counts)] += np.array(counts, np.int64)
    return more.tolist()
