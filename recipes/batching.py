"""Token-budgeted batches of similar lengths, in an order that depends on seed and epoch alone."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from ..zoo.composing import encode_sources
from ..zoo.source_format import PLAIN, Source, SourceFormat
from ..zoo.tokenizer import END_ID, PAD_ID, START_ID, SubwordTokenizer
from .pair_files import DataError

Batch = tuple[dict[str, np.ndarray], np.ndarray]  # source and target, labels


@dataclass(frozen=True)
class TokenizedPairs:
    """Subword ids of a corpus, without start and end.

    Attributes:
        sources: int32 arrays, one a row.
        targets: int32 arrays, one a row.
        too_long: rows left out because a side was longer than the limit.
        cut: sources of which a part was left out.
        rows: row of the corpus that each pair is; as many rows as pairs if `None`.
    """

    sources: list[np.ndarray]
    targets: list[np.ndarray]
    too_long: int = 0
    cut: int = 0
    rows: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.sources)

    def checksum(self) -> int:
        """A number that other rows, or the same in another order, would not have."""
        value = 0
        for ids in itertools.chain(self.sources, self.targets):
            value = zlib.crc32(len(ids).to_bytes(4, "little") + ids.tobytes(), value)
        return value

    @classmethod
    def encode(
        cls,
        sources: Sequence[Source],
        targets: list[str],
        tokenizer: SubwordTokenizer,
        max_source_length: int,
        max_target_length: int,
        source_format: SourceFormat = PLAIN,
    ) -> TokenizedPairs:
        """Encodes both sides, end id included in the limits.

        Rows with a longer target are left out. Longer sources are cut as the format says, or their
        rows are left out too.
        """
        ids, lengths = encode_sources(tokenizer.source, source_format, sources, max_source_length)
        fits = lengths < max_source_length
        kept = [
            (source, target, row)
            for row, (source, fit, target) in enumerate(
                zip(ids, fits, tokenizer.encode(targets), strict=True)
            )
            if (fit or not source_format.leave_out_long) and len(target) < max_target_length
        ]
        if not kept:
            raise DataError(
                f"All {len(sources)} rows are longer than {max_source_length} source or "
                f"{max_target_length} target subwords; raise max_source_length or "
                "max_target_length."
            )
        cut = 0 if source_format.leave_out_long else int((~fits).sum())
        return cls(
            [source for source, _, _ in kept],
            [target for _, target, _ in kept],
            len(sources) - len(kept),
            cut,
            np.array([row for _, _, row in kept]),
        )


@dataclass(frozen=True)
class Share:
    """Which part of each batch a process reads.

    A batch is dealt out over the replicas of a model row by row. Rows of padding, which count for
    nothing, fill it up, so that all replicas have as many rows.

    Attributes:
        replicas: over which each batch is dealt out, on all machines.
        first: number of the first replica of this process.
        count: replicas of this process; the dataset gives their parts one after the other.
        static: whether all batches of one length are filled up to as many rows, so that there are
            few shapes.
    """

    replicas: int = 1
    first: int = 0
    count: int = 1
    static: bool = False


WHOLE = Share()


class TokenBatches:
    """Batches of about `tokens` padded tokens on the longer side, an endless stream of epochs.

    Rows are shuffled, rows of similar length are put together, each batch is padded to bounds out
    of a short list for source and target (so that the number of shapes is bounded), and the
    batches of an epoch are shuffled. The order is a function of `seed` and epoch alone: a run that
    is started again at step k reads what it would have read.

    Args:
        pairs: the corpus.
        tokens: budget of a batch, in padded tokens: rows times the longer of the two lengths.
        seed: seed of the order.
        bucket_count: number of bounds for each of source and target.

    Example:

    >>> batches = TokenBatches(pairs, tokens=4096)
    >>> inputs, labels = next(batches.stream(start_step=0))
    """

    def __init__(self, pairs: TokenizedPairs, tokens: int, seed: int = 0, bucket_count: int = 12):
        self.pairs = pairs
        self.tokens = tokens
        self.seed = seed
        # One more than the text: the end of the source, the start or end of the target.
        source_lengths = np.array([len(ids) + 1 for ids in pairs.sources])
        target_lengths = np.array([len(ids) + 1 for ids in pairs.targets])
        self.source_bounds = length_bounds(source_lengths, bucket_count)
        self.target_bounds = length_bounds(target_lengths, bucket_count)
        self._padded_source = round_up(source_lengths, self.source_bounds)
        self._padded_target = round_up(target_lengths, self.target_bounds)
        longest = int(max(self._padded_source.max(), self._padded_target.max()))
        if longest > tokens:
            raise DataError(
                f"The longest row has {longest} subwords and a batch only {tokens}; raise "
                "batch_tokens or lower max_source_length and max_target_length."
            )

    def plan(self, epoch: int) -> list[np.ndarray]:
        """Row numbers of each batch of an epoch, in the order in which they are read."""
        random = np.random.default_rng([self.seed, epoch])
        rows = random.permutation(len(self.pairs))
        order = np.lexsort((self._padded_source[rows], self._padded_target[rows]))
        rows = rows[order]  # the sort is stable, so rows of one shape stay shuffled
        longer = np.maximum(self._padded_source, self._padded_target)[rows]
        batches, start, longest = [], 0, 0
        for position, length in enumerate(longer):
            longest = max(longest, length)
            if (position + 1 - start) * longest > self.tokens:
                batches.append(rows[start:position])
                start, longest = position, length
        batches.append(rows[start:])
        return [batches[i] for i in random.permutation(len(batches))]

    def batch(self, rows: np.ndarray) -> Batch:
        """Model inputs and labels of some rows."""
        source = np.full((len(rows), self._padded_source[rows].max()), PAD_ID, np.int32)
        target = np.full((len(rows), self._padded_target[rows].max()), PAD_ID, np.int32)
        labels = np.full_like(target, PAD_ID)
        target[:, 0] = START_ID
        for i, row in enumerate(rows):
            ids, written = self.pairs.sources[row], self.pairs.targets[row]
            source[i, : len(ids)], source[i, len(ids)] = ids, END_ID
            target[i, 1 : len(written) + 1] = written
            labels[i, : len(written)], labels[i, len(written)] = written, END_ID
        return {"source": source, "target": target}, labels

    def stream(self, start_step: int = 0) -> Iterator[Batch]:
        """The batches from step `start_step` of the endless stream on."""
        epoch = 0
        while start_step >= len(plan := self.plan(epoch)):
            start_step -= len(plan)
            epoch += 1
        while True:
            for rows in plan[start_step:]:
                yield self.batch(rows)
            start_step, epoch = 0, epoch + 1
            plan = self.plan(epoch)

    def rows_of_step(self, step: int, accumulate: int = 1) -> np.ndarray:
        """Rows of the corpus that are read in a step, counted from 0."""
        batches = itertools.chain.from_iterable(map(self.plan, itertools.count()))
        first = step * accumulate
        pairs = np.concatenate(list(itertools.islice(batches, first, first + accumulate)))
        return pairs if self.pairs.rows is None else self.pairs.rows[pairs]

    def dataset(
        self, start_step: int = 0, accumulate: int = 1, share: Share = WHOLE
    ) -> tf.data.Dataset:
        """The stream as a `tf.data.Dataset` of `({"source", "target"}, labels)`.

        Args:
            start_step: steps that were made already.
            accumulate: batches in a step; those after the first are `inputs["further"]`.
            share: what of each batch is read here.
        """
        ids = tf.TensorSpec((None, None), tf.int32)
        batch = ({"source": ids, "target": ids}, ids)

        def steps():
            stream = self.stream(start_step * accumulate)
            while True:
                batches = itertools.islice(stream, accumulate)
                for parts in zip(*(self._deal(batch, share) for batch in batches), strict=True):
                    (inputs, labels), *further = parts
                    yield ({**inputs, "further": tuple(further)}, labels) if further else parts[0]

        signature = batch
        if accumulate > 1:
            signature = ({**batch[0], "further": (batch,) * (accumulate - 1)}, ids)
        return tf.data.Dataset.from_generator(steps, output_signature=signature).prefetch(8)

    def _deal(self, batch: Batch, share: Share) -> list[Batch]:
        """The parts of a batch that the replicas of this process get."""
        if share == WHOLE:
            return [batch]
        inputs, labels = batch
        rows = len(labels)
        if share.static:
            rows = self.tokens // max(inputs["source"].shape[1], inputs["target"].shape[1])
        rows = -(-rows // share.replicas) * share.replicas

        def part(ids: np.ndarray, replica: int) -> np.ndarray:
            filled = np.pad(ids, [(0, rows - len(ids)), (0, 0)], constant_values=PAD_ID)
            return filled[replica :: share.replicas]

        return [
            ({name: part(ids, i) for name, ids in inputs.items()}, part(labels, i))
            for i in range(share.first, share.first + share.count)
        ]


def length_bounds(lengths: np.ndarray, count: int) -> np.ndarray:
    """At most `count` rising lengths, so that rounding up to them pads every quantile alike."""
    quantiles = np.quantile(lengths, np.linspace(0, 1, count + 1)[1:], method="higher")
    return np.unique(quantiles)


def round_up(lengths: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """Each length's smallest bound that is no shorter."""
    return bounds[np.searchsorted(bounds, lengths)]
