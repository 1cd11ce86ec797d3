"""Batches of a prepared corpus, of which only a pool is in memory at a time.

A pool is the next part of the stream: rows of shards in an order drawn from a seed, from each of
several corpora as many as its weight says. The rows of a pool are put into batches as those of an
epoch in memory are. The number of batches of a pool follows from the lengths alone, so that any
step is found without reading what comes before it.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from .batch_stream import Batch, BatchStream, padded, teacher_forced, without_unknown
from .bucketing import (
    batch_sizes,
    bounds_of_counts,
    check_budget_of_batch,
    plan_batches,
    round_up,
)
from .prepared import PreparedCorpus
from .shards import Ragged, Shard, read_lengths, read_shard

# A pool is shuffled as a whole. More of it mixes more, and takes more memory: 4 bytes a token,
# and three times as much while one pool follows the other.
POOL_ROWS = 1 << 18
POOL_TOKENS = 1 << 23
READERS = 2  # threads; a shard of a million tokens takes one about a tenth of a second


@dataclass(frozen=True)
class Piece:
    """Consecutive rows of one shard."""

    part: int
    shard: int
    start: int
    stop: int


class PreparedBatches(BatchStream):
    """The batches of a prepared corpus; see the head of this module.

    Each corpus in it is read from end to end before a row of it is repeated, with its shards in
    another order each time. An epoch has as many rows as all of them together.

    Args:
        corpus: The prepared corpus.
        tokens: Budget of a batch, as for `TokenBatches`.
        seed: Seed of the order.
        bucket_count: Number of bounds for each of source and target.
        pool_rows: Approximate limit of the rows of a pool.
        pool_tokens: Approximate limit of the tokens of a pool.
        copy_unknown: As for `TokenBatches`.

    Raises:
        DataError: The longest row does not fit into a batch.
    """

    def __init__(
        self,
        corpus: PreparedCorpus,
        tokens: int,
        seed: int = 0,
        bucket_count: int = 12,
        pool_rows: int = POOL_ROWS,
        pool_tokens: int = POOL_TOKENS,
        copy_unknown: bool = False,
    ):
        self.corpus = corpus
        self.tokens = tokens
        self.seed = seed
        self.copy_unknown = copy_unknown
        self.num_pairs = len(corpus)
        self.too_long = sum(part.too_long for part in corpus.parts)
        self.cut = sum(part.cut for part in corpus.parts)
        # One more than the text, as in `TokenBatches`.
        self.source_bounds = _bounds([part.source_lengths for part in corpus.parts], bucket_count)
        self.target_bounds = _bounds([part.target_lengths for part in corpus.parts], bucket_count)
        check_budget_of_batch(int(max(self.source_bounds[-1], self.target_bounds[-1])), tokens)
        shares = corpus.shares()
        means = [sum(s.tokens for s in part.shards) / part.pairs for part in corpus.parts]
        mean = sum(float(share) * mean for share, mean in zip(shares, means, strict=True))
        rows = max(1, min(pool_rows, int(pool_tokens / max(mean, 1.0))))
        self._pools_in_epoch = math.ceil(self.num_pairs / rows)
        # As fractions: the pools of one corpus, all of one size, end where its epochs end.
        self._rows_in_pool = [share * self.num_pairs / self._pools_in_epoch for share in shares]
        self._counts: list[int] = []  # batches of each pool, as far as it was needed
        self._order = functools.lru_cache(maxsize=2 * len(shares))(self._shard_order)
        # 144 numbers a shard.
        self._shapes_of_shard = functools.lru_cache(maxsize=None)(self._count_shapes)

    # What is in a pool

    def pieces(self, pool: int) -> list[Piece]:
        """The pieces of shards in a pool."""
        found: list[Piece] = []
        for part, rows in enumerate(self._rows_in_pool):
            start, stop = math.floor(pool * rows), math.floor((pool + 1) * rows)
            found += self._pieces_between(part, start, stop)
        return found

    def _pieces_between(self, part: int, start: int, stop: int) -> Iterator[Piece]:
        """Rows of the endless stream of one corpus."""
        pairs = self.corpus.parts[part].pairs
        while start < stop:
            epoch, position = divmod(start, pairs)
            order, ends = self._order(part, epoch)
            number = int(np.searchsorted(ends, position, side="right"))
            shard = int(order[number])
            rows = self.corpus.parts[part].shards[shard].rows
            first = position - (int(ends[number]) - rows)
            last = min(rows, first + stop - start)
            yield Piece(part, shard, first, last)
            start += last - first

    def _shard_order(self, part: int, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """The shards of a corpus in the order of an epoch, and the rows up to the end of each."""
        shards = self.corpus.parts[part].shards
        order = np.random.default_rng([self.seed, 0, part, epoch]).permutation(len(shards))
        return order, np.cumsum([shards[i].rows for i in order])

    def _shard(self, piece: Piece) -> Shard:
        return self.corpus.parts[piece.part].shards[piece.shard]

    def _lengths(self, piece: Piece) -> np.ndarray:
        lengths = read_lengths(self.corpus.folder, self._shard(piece))
        return lengths[piece.start : piece.stop]

    def plan(self, pool: int, lengths: np.ndarray) -> list[np.ndarray]:
        """Rows of each batch of a pool, as numbers in the pool.

        Args:
            pool: Number of the pool.
            lengths: Number of source and target tokens of its rows, (rows, 2).

        Returns:
            Row numbers of each batch.
        """
        if not len(lengths):
            return []
        source = round_up(lengths[:, 0] + 1, self.source_bounds)
        target = round_up(lengths[:, 1] + 1, self.target_bounds)
        random = np.random.default_rng([self.seed, 1, pool])
        return plan_batches(source, target, self.tokens, random)

    # Where a batch is

    def _count_shapes(self, part: int, shard: int) -> np.ndarray:
        rows = self.corpus.parts[part].shards[shard].rows
        return self._shapes(self._lengths(Piece(part, shard, 0, rows)))

    def _shapes(self, lengths: np.ndarray) -> np.ndarray:
        """Number of rows with each pair of bounds; those of the target change slowest."""
        source = np.searchsorted(self.source_bounds, lengths[:, 0] + 1)
        target = np.searchsorted(self.target_bounds, lengths[:, 1] + 1)
        width = len(self.source_bounds)
        return np.bincount(target * width + source, minlength=width * len(self.target_bounds))

    def _batches_in_pool(self, pool: int) -> int:
        """Number of batches in a pool, from the lengths of its rows alone."""
        while len(self._counts) <= pool:
            shapes = np.zeros(len(self.source_bounds) * len(self.target_bounds), np.int64)
            for piece in self.pieces(len(self._counts)):
                if piece.stop - piece.start == self._shard(piece).rows:
                    shapes += self._shapes_of_shard(piece.part, piece.shard)
                else:
                    shapes += self._shapes(self._lengths(piece))
            longer = np.maximum.outer(self.target_bounds, self.source_bounds).ravel()
            self._counts.append(len(batch_sizes(longer, shapes, self.tokens)))
        return self._counts[pool]

    def _find(self, batch: int) -> tuple[int, int]:
        """The pool of a batch of the stream, and the number of the batch in it."""
        for pool in itertools.count():
            if batch < self._batches_in_pool(pool):
                return pool, batch
            batch -= self._batches_in_pool(pool)
        raise AssertionError

    def batches_in_epoch(self) -> int:
        """Number of batches in the first epoch."""
        return sum(map(self._batches_in_pool, range(self._pools_in_epoch)))

    def lengths(self) -> Iterator[np.ndarray]:
        """Tokens of source and target of all pairs, their ends included, (rows, 2) in parts."""
        for part in self.corpus.parts:
            for shard in part.shards:
                yield read_lengths(self.corpus.folder, shard) + 1

    def rows_of_batch(self, number: int) -> np.ndarray:
        """Rows of a batch, as `PreparedCorpus.origins` numbers them."""
        pool, position = self._find(number)
        pieces = self.pieces(pool)
        rows = [
            self.corpus.first_rows(piece.part)[piece.shard] + np.arange(piece.start, piece.stop)
            for piece in pieces
        ]
        plan = self.plan(pool, np.concatenate([self._lengths(piece) for piece in pieces]))
        return np.concatenate(rows)[plan[position]]

    def checksum(self) -> int:
        """A number that other rows, or the same in another order, would not have."""
        return self.corpus.checksum

    # What is in a batch

    def stream(self, start_batch: int = 0) -> Iterator[Batch]:
        """The batches from number `start_batch` of the endless stream on."""
        first, position = self._find(start_batch)
        for pool, (source, target) in self._read_pools(first):
            lengths = np.stack([source.lengths, target.lengths], axis=1)
            for rows in self.plan(pool, lengths)[position:]:
                yield self._batch(source, target, rows)
            position = 0

    def _read_pools(self, first: int) -> Iterator[tuple[int, tuple[Ragged, Ragged]]]:
        """The rows of each pool from `first` on; the next one is read while one is in use."""
        readers = ThreadPoolExecutor(READERS, thread_name_prefix="shards")
        reading: dict[Shard, Future[tuple[Ragged, Ragged]]] = {}

        def begin(pool: int) -> dict[Shard, Future[tuple[Ragged, Ragged]]]:
            """Starts reading the shards of a pool, but for those that are being read."""
            return {
                shard: reading.get(shard)
                or readers.submit(read_shard, self.corpus.folder, shard, self.corpus.compressed)
                for shard in dict.fromkeys(map(self._shard, self.pieces(pool)))
            }

        def rows_of(piece: Piece) -> list[Ragged]:
            sides = now[self._shard(piece)].result()
            return [side.part(piece.start, piece.stop) for side in sides]

        try:
            reading = begin(first)
            for pool in itertools.count(first):
                now, reading = reading, begin(pool + 1)
                parts = [rows_of(piece) for piece in self.pieces(pool)]
                now = {}
                if parts:
                    source, target = (Ragged.join(side) for side in zip(*parts, strict=True))
                    del parts
                    yield pool, (source, target)
        finally:
            readers.shutdown(cancel_futures=True)

    def _batch(self, source: Ragged, target: Ragged, rows: np.ndarray) -> Batch:
        """Model inputs and labels of some rows of a pool."""
        batch = teacher_forced(
            _padded(source, rows, self.source_bounds), _padded(target, rows, self.target_bounds)
        )
        return without_unknown(batch, self.copy_unknown)


def _padded(side: Ragged, rows: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """Rows with their ends, padded to the first bound that holds all of them."""
    starts, lengths = side.splits[rows], side.splits[rows + 1] - side.splits[rows]
    width = int(round_up(lengths.max(keepdims=True) + 1, bounds)[0])
    positions = np.arange(lengths.sum()) + np.repeat(
        starts - (np.cumsum(lengths) - lengths), lengths
    )
    return padded(side.values[positions], lengths, width)


def _bounds(counts: list[list[int]], bucket_count: int) -> np.ndarray:
    """Bounds of lengths, given the histograms of all corpora."""
    total = np.zeros(max(map(len, counts)), np.int64)
    for of_part in counts:
        total[: len(of_part)] += of_part
    lengths = np.flatnonzero(total)
    return bounds_of_counts(lengths + 1, total[lengths], bucket_count)
