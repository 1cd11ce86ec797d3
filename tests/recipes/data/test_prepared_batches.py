"""The stream out of a prepared corpus: the laws of batches in memory, and what mixing adds."""

import itertools
import shutil
from collections import Counter

import numpy as np
import pytest
from prepared_folders import prepared, small_blocks, write_words

from attention_zoo.recipes.data.batch_stream import Share
from attention_zoo.recipes.data.batching import TokenBatches, TokenizedPairs
from attention_zoo.recipes.data.pair_files import read_pairs
from attention_zoo.recipes.data.pair_store import PairStore
from attention_zoo.recipes.data.prepared import PreparedCorpus
from attention_zoo.recipes.data.prepared_batches import PreparedBatches, permuted
from attention_zoo.zoo.errors import DataError
from attention_zoo.zoo.text.tokenizer import END_ID, PAD_ID, START_ID

ROWS, TOKENS = 250, 80


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two corpora, one prepared, and both mixed 3 to 1."""
    folder = tmp_path_factory.mktemp("prepared")
    one = write_words(folder / "one.tsv", ROWS, seed=1)
    other = write_words(folder / "other.tsv", 20, seed=2, first="y")
    with pytest.MonkeyPatch.context() as patch, small_blocks(patch):
        prepared(folder / "single", one)
        prepared(folder / "mixed", one, other, more=("--weights", "1,3"))
    return folder


@pytest.fixture
def single(folder):
    return PreparedCorpus(folder / "single")


def make(corpus, seed=5, **options):
    return PreparedBatches(corpus, TOKENS, seed, **options)


def take(batches, count, start=0):
    return list(itertools.islice(batches.stream(start), count))


def same(one, other):
    return all(
        np.array_equal(a, b)
        for a, b in (
            (one[0]["source"], other[0]["source"]),
            (one[0]["target"], other[0]["target"]),
            (one[1], other[1]),
        )
    )


def texts(corpus, batches):
    """Source and target of every row, decoded."""
    tokenizer = corpus.tokenizer()
    return [
        tuple(tokenizer.decode([ids.tolist() for ids in row]))
        for inputs, labels in batches
        for row in zip(inputs["source"], labels, strict=True)
    ]


def test_an_epoch_has_every_pair_of_the_file_once(folder, single):
    batches = make(single)
    expected = Counter(read_pairs(str(folder / "one.tsv")))
    length = batches.batches_in_epoch()
    assert length > 5
    found = take(batches, 2 * length)
    for epoch in (found[:length], found[length:]):
        assert Counter(texts(single, epoch)) == expected
    assert texts(single, found[:length]) != texts(single, found[length:])


def test_batches_are_as_those_in_memory(folder, single):
    """The same rows to a batch's budget, shapes and padding, in whatever order."""
    corpus = read_pairs(str(folder / "one.tsv"))
    pairs = TokenizedPairs.encode(corpus.sources, corpus.targets, single.tokenizer(), 128, 128)
    in_memory = TokenBatches(pairs, TOKENS, seed=5)
    batches = make(single)
    assert batches.source_bounds.tolist() == in_memory.source_bounds.tolist()
    assert batches.target_bounds.tolist() == in_memory.target_bounds.tolist()
    length = len(in_memory.plan(0))
    assert batches.batches_in_epoch() == length

    def shapes(stream):
        stream = itertools.islice(stream, length)
        return Counter(inputs["source"].shape + labels.shape for inputs, labels in stream)

    assert shapes(batches.stream()) == shapes(in_memory.stream())


def test_inputs_and_labels_of_a_row(single):
    for inputs, labels in take(make(single), 20):
        assert inputs["source"].dtype == inputs["target"].dtype == labels.dtype == np.int32
        rows, width = labels.shape
        assert rows * max(width, inputs["source"].shape[1]) <= TOKENS
        for source, begun, written in zip(inputs["source"], inputs["target"], labels, strict=True):
            text = written[written != PAD_ID].tolist()
            assert text[-1] == END_ID and END_ID not in text[:-1]
            shifted = [START_ID, *text[:-1]]
            assert begun.tolist() == shifted + [PAD_ID] * (width - len(shifted))
            ids = source[source != PAD_ID].tolist()
            assert ids.index(END_ID) == len(ids) - 1
            assert source.tolist() == ids + [PAD_ID] * (len(source) - len(ids))


def test_there_are_few_shapes_and_each_is_out_of_the_bounds(single):
    batches = make(single, bucket_count=3)
    assert len(batches.source_bounds) <= 3 and len(batches.target_bounds) <= 3
    for inputs, labels in take(batches, 60):
        assert inputs["source"].shape[1] in batches.source_bounds
        assert labels.shape[1] in batches.target_bounds


@pytest.mark.parametrize("name", ["single", "mixed"])
def test_a_stream_can_start_anywhere(folder, name):
    corpus = PreparedCorpus(folder / name)
    batches = make(corpus)
    length = batches.batches_in_epoch()
    everything = take(batches, length + 9)
    for start in (1, length - 1, length, length + 4):
        found = take(make(corpus), len(everything) - start, start)
        assert all(same(a, b) for a, b in zip(found, everything[start:], strict=True))


def test_rows_of_one_length_are_shuffled_as_by_chance():
    random = np.random.default_rng(0)
    for size in (1, 2, 3, 5, 16, 1000):
        keys = np.repeat(random.integers(1 << 64, size=9, dtype=np.uint64), size)
        found = permuted(np.tile(np.arange(size), 9), np.full(9 * size, size), keys)
        orders = found.reshape(9, size).tolist()
        assert all(sorted(order) == list(range(size)) for order in orders)
        assert len(set(map(tuple, orders))) == 9 or size < 16
    size, bins = 50_000, 100
    order = permuted(np.arange(size), np.full(size, size), np.full(size, 7, np.uint64))
    # Of neighbours the distance, and of all the part of the range they end in.
    cells = np.arange(size) * 10 // size * 10 + order * 10 // size
    for kinds in (np.diff(order) % size * bins // size, cells):
        counts = np.bincount(kinds, minlength=bins)
        chi_square = (((counts - counts.mean()) ** 2) / counts.mean()).sum()
        assert 50 < chi_square < 170  # of 99 degrees of freedom, but for one in 100,000


def test_the_order_depends_on_the_seed(single):
    one, again, other = (take(make(single, seed), 9) for seed in (1, 1, 2))
    assert all(same(a, b) for a, b in zip(one, again, strict=True))
    assert not all(same(a, b) for a, b in zip(one, other, strict=True))


def test_rows_of_a_step_are_the_lines_of_its_batches(folder, single):
    batches = make(single)
    lines = (folder / "one.tsv").read_text().splitlines()
    for accumulate, steps in ((1, (0, 3, 40)), (2, (0, 13))):
        for step in steps:
            origins = single.origins(batches.rows_of_step(step, accumulate).tolist())
            read = take(batches, accumulate, step * accumulate)
            assert [(row.source, row.target) for row in origins] == texts(single, read)
            for row in origins:
                assert row.file == str(folder / "one.tsv")
                assert lines[row.line - 1] == f"{row.source}\t{row.target}"


def test_workers_share_out_each_batch_and_read_no_other_row(single, monkeypatch):
    batches = make(single)
    whole = take(batches, 6)
    read, dealt = [], []
    read_rows = PairStore.read
    monkeypatch.setattr(
        PairStore, "read", lambda self, rows, *to: read.append(rows) or read_rows(self, rows, *to)
    )
    for first in range(3):
        read.clear()
        dealt.append(list(batches.dataset(0, 1, Share(3, first, 1)).take(6).as_numpy_iterator()))
        for step, rows in enumerate(read[:6]):
            assert rows.tolist() == batches.rows_of_batch(step)[first::3].tolist()
    for step, expected in enumerate(whole):
        parts = [worker[step] for worker in dealt]
        assert len({len(labels) for _, labels in parts}) == 1
        rows = [pair for pair in texts(single, parts) if pair != ("", "")]
        assert sorted(rows) == sorted(texts(single, [expected]))


def test_weights_are_the_shares_of_what_is_read(folder):
    corpus = PreparedCorpus(folder / "mixed")
    batches = make(corpus)
    total = ROWS + 20
    length = batches.batches_in_epoch()
    rows = [source for source, _ in texts(corpus, take(batches, length))]
    # An epoch is as many rows as there are, and the small corpus is three quarters of them.
    found = Counter(source[0] for source in rows)
    assert found["x"] + found["y"] == pytest.approx(total, rel=0.05)
    assert found["y"] == pytest.approx(0.75 * total, rel=0.05)
    # So it is in every part of the stream.
    for start in range(0, len(rows) - 120, 60):
        part = [source[0] for source in rows[start : start + 120]]
        assert part.count("y") / len(part) == pytest.approx(0.75, abs=0.2)
    # Each is read through before a row of it comes again, in later epochs too.
    laps = {"x": 0.25 * total / ROWS, "y": 0.75 * total / 20}
    rows = [batches.rows_of_batch(number) for number in range(3 * length)]
    times = np.bincount(np.concatenate(rows), minlength=total)
    for name, found in (("x", times[:ROWS]), ("y", times[ROWS:])):
        assert np.abs(found - 3 * laps[name]).max() < 1.6, name


def test_without_weights_corpora_are_read_as_one(folder, tmp_path, monkeypatch):
    with small_blocks(monkeypatch):
        corpus = prepared(tmp_path / "both", folder / "one.tsv", folder / "other.tsv")
    batches = make(corpus)
    expected = Counter(read_pairs(str(folder / "one.tsv")))
    expected += Counter(read_pairs(str(folder / "other.tsv")))
    assert Counter(texts(corpus, take(batches, batches.batches_in_epoch()))) == expected
    first = {source[0] for source, _ in texts(corpus, take(batches, 20))}
    assert first == {"x", "y"}


def test_a_budget_smaller_than_the_longest_row_is_refused(single):
    longest = max(len(part.source_lengths) for part in single.parts)  # its end counts
    PreparedBatches(single, longest)
    with pytest.raises(DataError, match=rf"longest row has {longest} .* only {longest - 1}; raise"):
        PreparedBatches(single, longest - 1)


def test_a_row_that_is_damaged_ends_the_stream_with_the_file(single, tmp_path):
    shutil.copytree(single.folder, tmp_path / "copy")
    corpus = PreparedCorpus(tmp_path / "copy")
    path = corpus.folder / "pairs.ids"
    content = bytearray(path.read_bytes())
    content[40] ^= 1
    path.write_bytes(content)
    batches = make(corpus)
    with pytest.raises(DataError, match=rf"{path.name} is damaged"):
        take(batches, batches.batches_in_epoch())
    with pytest.raises(Exception, match="damaged"):
        list(batches.dataset().take(batches.batches_in_epoch()))
    assert isinstance(batches.error, DataError) and path.name in str(batches.error)


def test_lengths_are_those_of_the_pairs(single):
    batches = make(single)
    found = Counter(map(tuple, np.concatenate(list(batches.lengths())).tolist()))
    rows = Counter()
    for inputs, labels in take(batches, batches.batches_in_epoch()):
        sides = inputs["source"] != PAD_ID, labels != PAD_ID
        rows.update(zip(*(side.sum(axis=1).tolist() for side in sides), strict=True))
    assert found == rows
