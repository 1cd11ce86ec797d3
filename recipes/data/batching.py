"""Token-budgeted batches of similar lengths, in an order that depends only on seed and epoch."""

from __future__ import annotations

import functools
import itertools
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ...zoo.errors import DataError
from ...zoo.text.bpe_dropout import BpeDropout
from ...zoo.text.composing import encode_sources, number_unknown
from ...zoo.text.source_format import PLAIN, Source, SourceFormat
from ...zoo.text.special_ids import UNKNOWN_ID
from ...zoo.text.tokenizer import Tokenizer
from .batch_stream import BatchStream, PlannedBatch, padded
from .bucketing import check_budget_of_batch, length_bounds, plan_batches, round_up


@dataclass(frozen=True)
class TokenizedPairs:
    """Token ids of a corpus, without start and end.

    Attributes:
        sources: int32 arrays, one for each row, negative for unknown pieces, see
            `zoo.text.unknown`.
        targets: int32 arrays, one for each row.
        too_long: Number of rows that were left out because a side exceeds its limit.
        cut: Number of sources of which a part was left out.
        rows: Row of the corpus of each pair; `None` if no row was left out.
    """

    sources: list[np.ndarray]
    targets: list[np.ndarray]
    too_long: int = 0
    cut: int = 0
    rows: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.sources)

    def checksum(self) -> int:
        """A checksum that changes with any row and with their order."""
        value = 0
        for ids in itertools.chain(self.sources, self.targets):
            value = zlib.crc32(len(ids).to_bytes(4, "little") + ids.tobytes(), value)
        return value

    def split_anew(
        self, source: BpeDropout, target: BpeDropout, random: np.random.Generator
    ) -> TokenizedPairs:
        """Splits the same texts into other tokens, by BPE-dropout.

        A row that would become longer than the longest of its side stays as it is.

        Args:
            source: BPE-dropout of the sources.
            target: BPE-dropout of the targets.
            random: Draws the merges that are left out.

        Returns:
            The pairs with new ids.
        """

        def side(rows: list[np.ndarray], dropout: BpeDropout) -> list[np.ndarray]:
            longest = max(map(len, rows))
            anew = dropout([np.where(row < 0, UNKNOWN_ID, row) for row in rows], random)
            for row, new in zip(rows, anew, strict=True):
                new[new == UNKNOWN_ID] = row[row <= UNKNOWN_ID]
            return [
                new if len(new) <= longest else row for row, new in zip(rows, anew, strict=True)
            ]

        return replace(self, sources=side(self.sources, source), targets=side(self.targets, target))

    @classmethod
    def encode(
        cls,
        sources: Sequence[Source],
        targets: list[str],
        tokenizer: Tokenizer,
        max_source_length: int,
        max_target_length: int,
        source_format: SourceFormat = PLAIN,
        allow_empty: bool = False,
    ) -> TokenizedPairs:
        """Encodes both sides of a corpus.

        Rows with a target above its limit are left out. Longer sources are cut as the format says,
        or their rows are left out too.

        Args:
            sources: Source of each row.
            targets: Target of each row.
            tokenizer: The tokenizer, with that of the sources.
            max_source_length: Limit of a source in tokens, end included.
            max_target_length: Limit of a target in tokens, end included.
            source_format: Inputs of a source, and the part that is kept of long ones.
            allow_empty: Whether all rows may be left out.

        Returns:
            The token ids of the rows.

        Raises:
            DataError: All rows are left out.
        """
        written = tokenizer.encode(targets)
        if source_format.target_tag is not None:
            tag = np.array([tokenizer.id_of(source_format.target_tag)], np.int32)
            written = [np.concatenate([tag, row]) for row in written]
        inputs = source_format.inputs, source_format.leave_out_long, source_format.tag
        if inputs == (PLAIN.inputs, True, None):
            # The same ids as in the graph, in half of the time.
            ids = tokenizer.source.encode([str(source) for source in sources])
            lengths = np.array([len(row) for row in ids])
        else:
            ids, lengths = encode_sources(
                tokenizer.source, source_format, sources, max_source_length
            )
        fits = lengths < max_source_length
        kept = [
            (source, target, row)
            for row, (source, fit, target) in enumerate(zip(ids, fits, written, strict=True))
            if (fit or not source_format.leave_out_long) and len(target) < max_target_length
        ]
        if not kept and not allow_empty:
            raise all_too_long(len(sources), max_source_length, max_target_length)
        unknown = [i for i, (source, _, _) in enumerate(kept) if UNKNOWN_ID in source]
        numbered = number_unknown(
            tokenizer,
            source_format,
            [sources[kept[i][2]] for i in unknown],
            [targets[kept[i][2]] for i in unknown],
            max_source_length,
        )
        for i, pair in zip(unknown, numbered, strict=True):
            kept[i] = (*pair, kept[i][2])
        cut = 0 if source_format.leave_out_long else int((~fits).sum())
        return cls(
            [source for source, _, _ in kept],
            [target for _, target, _ in kept],
            len(sources) - len(kept),
            cut,
            np.array([row for _, _, row in kept], np.int64),
        )


def all_too_long(rows: int, max_source_length: int, max_target_length: int) -> DataError:
    """The error of a corpus of which no row is short enough.

    Args:
        rows: Number of rows of the corpus.
        max_source_length: Limit of the source in tokens, end included.
        max_target_length: Limit of the target in tokens, end included.
    """
    return DataError(
        f"All {rows} rows are longer than {max_source_length} source or {max_target_length} target "
        "tokens; raise max_source_length or max_target_length."
    )


class TokenBatches(BatchStream):
    """Endless epochs of batches of about `tokens` padded tokens on the longer side.

    Rows are shuffled, rows of similar length are put together, each batch is padded to bounds from
    a short list for source and target, so that the number of shapes is bounded, and the batches of
    an epoch are shuffled. The order is a function of `seed` and epoch alone: a run that is resumed
    at step k reads what it would have read.

    With BPE-dropout each epoch has its own tokens. It has as many batches as the first one: if its
    rows fill more, the last of them are left out, and if they fill fewer, some are read twice.

    Args:
        pairs: The corpus.
        tokens: Budget of a batch in padded tokens: rows times the longer of the two lengths.
        seed: Seed of the order and of BPE-dropout.
        bucket_count: Number of bounds for each of source and target.
        dropout: BPE-dropout of sources and of targets; the same tokens in each epoch if `None`.
        copy_unknown: Whether unknown pieces of a source are labels; otherwise nothing unknown is.

    Raises:
        DataError: The longest row does not fit into a batch.

    Example:

    >>> batches = TokenBatches(pairs, tokens=4096)
    >>> inputs, labels = next(batches.stream(start_batch=0))
    """

    def __init__(
        self,
        pairs: TokenizedPairs,
        tokens: int,
        seed: int = 0,
        bucket_count: int = 12,
        dropout: tuple[BpeDropout, BpeDropout] | None = None,
        copy_unknown: bool = False,
    ):
        self.pairs = pairs
        self.tokens = tokens
        self.seed = seed
        self.dropout = dropout
        self.copy_unknown = copy_unknown
        self.num_pairs, self.too_long, self.cut = len(pairs), pairs.too_long, pairs.cut
        # The stream reads ahead, so the epoch before may be asked for once more.
        self._epoch = functools.lru_cache(maxsize=2)(self._read_epoch)
        self._spelling = functools.lru_cache(maxsize=2)(self._spell)
        _, sources, targets = self._spelling(0)
        self.source_bounds = _bounds(pairs.sources, sources, bucket_count)
        self.target_bounds = _bounds(pairs.targets, targets, bucket_count)
        check_budget_of_batch(int(max(self.source_bounds[-1], self.target_bounds[-1])), tokens)
        self._batches = len(self._epoch(0).plan)

    def _spell(self, epoch: int) -> tuple[TokenizedPairs, np.ndarray, np.ndarray]:
        """The corpus in the tokens of an epoch, and the lengths of its sources and targets."""
        pairs = self.pairs
        if self.dropout is not None:
            random = np.random.default_rng([self.seed, epoch, 1])
            pairs = pairs.split_anew(*self.dropout, random)
        return pairs, _lengths(pairs.sources), _lengths(pairs.targets)

    def _read_epoch(self, epoch: int) -> _Epoch:
        pairs, sources, targets = self._spelling(0 if self.dropout is None else epoch)
        source = round_up(sources, self.source_bounds)
        target = round_up(targets, self.target_bounds)
        random = np.random.default_rng([self.seed, epoch])
        plan = plan_batches(source, target, self.tokens, random)
        return _Epoch(pairs, source, target, plan)

    def plan(self, epoch: int) -> list[np.ndarray]:
        """Row numbers of each batch of an epoch, in the order in which they are read."""
        return list(itertools.islice(itertools.cycle(self._epoch(epoch).plan), self._batches))

    def planned(self, number: int) -> PlannedBatch:
        """The rows and lengths of a batch, given its number in the stream."""
        epoch, position = divmod(number, self._batches)
        found = self._epoch(epoch)
        rows = found.plan[position % len(found.plan)]
        source, target = found.padded_source[rows].max(), found.padded_target[rows].max()
        return PlannedBatch(rows, int(source), int(target), epoch)

    def read(self, batch: PlannedBatch) -> tuple[np.ndarray, np.ndarray]:
        """Ids of the sources and of the targets of all rows, padded, each with its end."""
        pairs = self._epoch(batch.epoch).pairs
        return (
            _padded([pairs.sources[row] for row in batch.rows], batch.source_length),
            _padded([pairs.targets[row] for row in batch.rows], batch.target_length),
        )

    def lengths(self) -> Iterator[np.ndarray]:
        """Tokens of source and target of all pairs, their ends included, (rows, 2) in parts."""
        yield np.stack([_lengths(self.pairs.sources), _lengths(self.pairs.targets)], axis=1)

    def rows_of_batch(self, number: int) -> np.ndarray:
        """Rows of the corpus that a batch is made of."""
        pairs = self.planned(number).rows
        return pairs if self.pairs.rows is None else self.pairs.rows[pairs]

    def batches_in_epoch(self) -> int:
        """Number of batches in an epoch."""
        return self._batches

    def checksum(self) -> int:
        """A number that other rows, or the same in another order, would not have."""
        return self.pairs.checksum()


@dataclass(frozen=True)
class _Epoch:
    """The corpus as an epoch reads it: tokens, padded lengths and batches."""

    pairs: TokenizedPairs
    padded_source: np.ndarray
    padded_target: np.ndarray
    plan: list[np.ndarray]


def _padded(rows: list[np.ndarray], width: int) -> np.ndarray:
    if not rows:  # a worker may get none of the last rows
        return np.zeros((0, width), np.int32)
    return padded(np.concatenate(rows), np.array([len(row) for row in rows]), width)


def _lengths(rows: list[np.ndarray]) -> np.ndarray:
    """Ids of each row and one more, for the end of a source or the start of a target."""
    return np.array([len(ids) + 1 for ids in rows])


def _bounds(rows: list[np.ndarray], lengths: np.ndarray, count: int) -> np.ndarray:
    """The lengths to pad to: bounds of the first epoch, and the longest row of any epoch."""
    bounds = length_bounds(lengths, count)
    bounds[-1] = _lengths(rows).max()
    return bounds
