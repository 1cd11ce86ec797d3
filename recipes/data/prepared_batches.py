"""Batches of a prepared corpus, of which each process reads the rows it needs and no others.

The plan is that of `TokenBatches`: all rows of an epoch are shuffled, those of similar length put
together, and the batches shuffled. In memory are the numbers of the rows, sorted by the lengths
that they are padded to, 4 bytes a row. What is in a batch is calculated from its number: the
shuffled order of the rows of a length is a function that gives one row at a time.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from .batch_stream import BatchStream, PlannedBatch
from .bucketing import batch_sizes, bounds_of_counts, check_budget_of_batch
from .pair_store import damaged
from .prepared import PreparedCorpus

CHUNK = 1 << 20  # rows whose lengths are read at a time
_FACTORS = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD6E8FEB86659FD93)
_ONE, _HALF = np.uint64(1), np.uint64(32)


class PreparedBatches(BatchStream):
    """The batches of a prepared corpus; see the head of this module.

    An epoch has as many rows as the corpus. With weights it has so much of each corpus in it: of
    each length every row is read before one is read again.

    Args:
        corpus: The prepared corpus.
        tokens: Budget of a batch, as for `TokenBatches`.
        seed: Seed of the order.
        bucket_count: Number of bounds for each of source and target.
        copy_unknown: As for `TokenBatches`.

    Raises:
        DataError: The longest row does not fit into a batch, or the lengths are damaged.
    """

    def __init__(
        self,
        corpus: PreparedCorpus,
        tokens: int,
        seed: int = 0,
        bucket_count: int = 12,
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
        starts = corpus.first_rows if corpus.weights else [0, len(corpus)]
        found = [self._sorted(start, stop) for start, stop in itertools.pairwise(starts)]
        self._rows = np.concatenate([rows for rows, _ in found])
        # A group is the rows of one corpus that have one shape: (shapes, corpora).
        self._groups = np.stack([counts for _, counts in found], axis=1)
        self._first = np.cumsum(self._groups, axis=0) - self._groups + starts[:-1]
        # How often each corpus is read in an epoch.
        shares = corpus.shares() if corpus.weights else [Fraction(1)]
        self._laps = [
            share * self.num_pairs / (stop - start)
            for share, (start, stop) in zip(shares, itertools.pairwise(starts), strict=True)
        ]
        self._keys = np.random.default_rng(seed).integers(
            1 << 64, size=self._groups.shape, dtype=np.uint64
        )
        self._counts: list[int] = []  # batches of each epoch, as far as it was needed
        self._epoch = functools.lru_cache(maxsize=2)(self._plan_epoch)

    # The rows of each shape

    def _shapes(self, start: int, stop: int) -> np.ndarray:
        """The number of the pair of bounds of each row; those of the target change slowest."""
        tables = [
            np.searchsorted(bounds, np.arange(1, bounds[-1] + 1)).astype(np.uint16)
            for bounds in (self.source_bounds, self.target_bounds)
        ]
        lengths = self.corpus.store.lengths(start, stop)
        for table, found in zip(tables, lengths, strict=True):
            if found.min() < 0 or found.max() >= len(table):
                raise damaged(self.corpus.folder, "it has rows of other lengths")
        source, target = (table[found] for table, found in zip(tables, lengths, strict=True))
        return target * np.uint16(len(self.source_bounds)) + source

    def _sorted(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """The rows of a range by their shape, and the number of rows of each shape."""
        edges = [*range(start, stop, CHUNK), stop]
        shapes = [self._shapes(*ends) for ends in itertools.pairwise(edges)]
        kinds = len(self.source_bounds) * len(self.target_bounds)
        counts = [np.bincount(part, minlength=kinds) for part in shapes]
        total = np.sum(counts, axis=0)
        rows = np.empty(stop - start, np.min_scalar_type(stop))
        position = np.cumsum(total) - total
        for first, part, count in zip(edges[:-1], shapes, counts, strict=True):
            shift = np.repeat(position - (np.cumsum(count) - count), count)
            rows[np.arange(len(part)) + shift] = first + np.argsort(part, kind="stable")
            position += count
        return rows, total

    # Where a batch is

    def _read_before(self, epoch: int) -> np.ndarray:
        """Rows of each group that are read before an epoch."""
        return np.array(
            [
                [(2 * epoch * laps.numerator * count + laps.denominator) // (2 * laps.denominator)
                 for count in counts]
                for laps, counts in zip(self._laps, self._groups.T.tolist(), strict=True)
            ]
        ).T  # fmt: skip

    def _plan_epoch(self, epoch: int) -> _Epoch:
        before = self._read_before(epoch)
        rows = self._read_before(epoch + 1) - before
        shapes = rows.sum(axis=1)
        longer = np.maximum.outer(self.target_bounds, self.source_bounds).ravel()
        edges = np.cumsum([0, *batch_sizes(longer, shapes, self.tokens)])
        random = np.random.default_rng([self.seed, epoch])
        order = random.permutation(len(edges) - 1)
        keys = random.integers(1 << 64, size=len(shapes), dtype=np.uint64)
        return _Epoch(before, rows, edges, order, keys)

    def _batches_in(self, epoch: int) -> int:
        for following in range(len(self._counts), epoch + 1):
            self._counts.append(len(self._epoch(following).order))
        return self._counts[epoch]

    def batches_in_epoch(self) -> int:
        """Number of batches in the first epoch."""
        return self._batches_in(0)

    def planned(self, number: int) -> PlannedBatch:
        """The positions in their epoch and the lengths of a batch, given its number."""
        epoch = 0
        while number >= self._batches_in(epoch):
            number -= self._batches_in(epoch)
            epoch += 1
        plan = self._epoch(epoch)
        start, stop = plan.edges[plan.order[number] :][:2].tolist()
        first, last = np.searchsorted(plan.shape_ends, [start, stop - 1], side="right").tolist()
        target, source = np.divmod(np.arange(first, last + 1), len(self.source_bounds))
        source = source[plan.shapes[first : last + 1] > 0]
        longest = self.source_bounds[source.max()], self.target_bounds[target[-1]]
        return PlannedBatch(np.arange(start, stop), int(longest[0]), int(longest[1]), epoch)

    def rows_of_batch(self, number: int) -> np.ndarray:
        """Rows of a batch, as `PreparedCorpus.origins` numbers them."""
        return self._rows_at(self.planned(number))

    def _rows_at(self, batch: PlannedBatch) -> np.ndarray:
        plan = self._epoch(batch.epoch)
        shape = np.searchsorted(plan.shape_ends, batch.rows, side="right")
        start = (plan.shape_ends - plan.shapes)[shape]
        rows = permuted(batch.rows - start, plan.shapes[shape], plan.keys[shape])
        if self._groups.shape[1] == 1:
            return self._rows[self._first[shape, 0] + rows]
        # Of each corpus its next rows: in each lap through it in another order.
        ends = np.cumsum(plan.rows)
        group = np.searchsorted(ends, start + rows, side="right")
        size = self._groups.ravel()[group]
        before = (plan.before.ravel() - ends + plan.rows.ravel())[group]
        lap, rows = np.divmod(start + rows + before, size)
        keys = self._keys.ravel()[group] * (2 * lap + 1).astype(np.uint64)
        return self._rows[self._first.ravel()[group] + permuted(rows, size, keys)]

    # What is in a batch

    def read(self, batch: PlannedBatch) -> tuple[np.ndarray, np.ndarray]:
        """Ids of the sources and of the targets of all rows, padded, each with its end."""
        rows = self._rows_at(batch)
        return self.corpus.store.read(rows, batch.source_length, batch.target_length)

    def lengths(self) -> Iterator[np.ndarray]:
        """Tokens of source and target of all pairs, their ends included, (rows, 2) in parts."""
        for start in range(0, len(self.corpus), CHUNK):
            yield np.stack(self.corpus.store.lengths(start, start + CHUNK), axis=1) + 1

    def checksum(self) -> int:
        """A number that other rows, or the same in another order, would not have."""
        return self.corpus.checksum


@dataclass(frozen=True)
class _Epoch:
    """Positions of the rows of an epoch.

    Attributes:
        before: Rows of each group that are read before, (shapes, corpora).
        rows: Rows of each group in this epoch, (shapes, corpora).
        edges: Positions of the first rows of all batches, sorted by shape, and the end of the last.
        order: Batches in the order in which they are read.
        keys: Key of the order of the rows of each shape.
    """

    before: np.ndarray
    rows: np.ndarray
    edges: np.ndarray
    order: np.ndarray
    keys: np.ndarray

    @functools.cached_property
    def shapes(self) -> np.ndarray:
        """Rows of each shape."""
        return self.rows.sum(axis=1)

    @functools.cached_property
    def shape_ends(self) -> np.ndarray:
        """Position after the last row of each shape."""
        return np.cumsum(self.shapes)


def permuted(positions: np.ndarray, sizes: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """Positions in a random order of a range, without the others of the range.

    For each size and key it is a bijection: a Feistel network over the cells of a rectangle that is
    hardly larger than the range, repeated where a result is outside of the range, as in Black and
    Rogaway 2002, "Ciphers with Arbitrary Finite Domains".

    Args:
        positions: Positions, int64, each below its size.
        sizes: Size of the range of each.
        keys: uint64, random bits of each, the same for the same order.

    Returns:
        New positions, int64.
    """
    found, sizes = positions.astype(np.uint64), sizes.astype(np.uint64)
    width = np.ceil(np.sqrt(sizes)).astype(np.uint64)
    height = (sizes + width - _ONE) // width
    outside: Any = slice(None)
    while True:
        key, columns, rows = keys[outside], width[outside], height[outside]
        row, column = np.divmod(found[outside], columns)
        row = (row + _mixed(column ^ key)) % rows
        column = (column + _mixed(row + key)) % columns
        row = (row + _mixed(column - key)) % rows
        column = (column + _mixed(row ^ ~key)) % columns
        found[outside] = row * columns + column
        outside = np.flatnonzero(found >= sizes)
        if not len(outside):
            return found.astype(np.int64)


def _mixed(values: np.ndarray) -> np.ndarray:
    """32 random bits of each number."""
    values = values * _FACTORS[0]
    return (values ^ values >> _HALF) * _FACTORS[1] >> _HALF


def _bounds(counts: list[list[int]], bucket_count: int) -> np.ndarray:
    """Bounds of lengths, given the histograms of all corpora."""
    total = np.zeros(max(map(len, counts)), np.int64)
    for of_part in counts:
        total[: len(of_part)] += of_part
    lengths = np.flatnonzero(total)
    return bounds_of_counts(lengths + 1, total[lengths], bucket_count)
