"""Token-budgeted batches: what is in them, in what order, and what is refused."""

import itertools

import numpy as np
import pytest

from attention_zoo.recipes.data.batch_stream import WHOLE, PlannedBatch, Share
from attention_zoo.recipes.data.batching import TokenBatches, TokenizedPairs
from attention_zoo.zoo.errors import DataError
from attention_zoo.zoo.text.bpe_dropout import BpeDropout
from attention_zoo.zoo.text.composing import encode_sources
from attention_zoo.zoo.text.source_format import PLAIN
from attention_zoo.zoo.text.tokenizer import END_ID, PAD_ID, START_ID, UNKNOWN_ID, Tokenizer

ROWS, TOKENS = 300, 200


def make_pairs(rows=ROWS, seed=0):
    """Pairs of which every row has ids that no other has, first on both sides."""
    random = np.random.default_rng(seed)

    def side(offset):
        lengths = random.integers(1, 25, rows)
        return [
            np.array([offset + row, *random.integers(4, 100, n - 1)], np.int32)
            for row, n in enumerate(lengths)
        ]

    return TokenizedPairs(side(1000), side(5000))


@pytest.fixture(scope="module")
def pairs():
    return make_pairs()


@pytest.fixture(scope="module")
def batches(pairs):
    return TokenBatches(pairs, TOKENS, seed=3)


def take(batches, count, start_step=0):
    return list(itertools.islice(batches.stream(start_step), count))


def same(one, other):
    return all(
        np.array_equal(a, b)
        for a, b in zip(
            (one[0]["source"], one[0]["target"], one[1]),
            (other[0]["source"], other[0]["target"], other[1]),
            strict=True,
        )
    )


def test_every_row_is_in_one_batch_of_an_epoch(batches):
    for epoch in range(3):
        plan = batches.plan(epoch)
        assert all(len(rows) for rows in plan)
        assert sorted(np.concatenate(plan).tolist()) == list(range(ROWS))


def test_no_batch_is_above_its_budget_and_most_are_near_it(batches):
    sizes = []
    for inputs, _ in take(batches, len(batches.plan(0))):
        rows, source_length = inputs["source"].shape
        sizes.append(rows * max(source_length, inputs["target"].shape[1]))
    assert max(sizes) <= TOKENS
    assert np.median(sizes) > 0.7 * TOKENS


def test_shapes_are_out_of_a_short_list(pairs):
    batches = TokenBatches(pairs, TOKENS, bucket_count=3)
    assert len(batches.source_bounds) <= 3 and len(batches.target_bounds) <= 3
    for inputs, labels in take(batches, 3 * len(batches.plan(0))):
        assert inputs["source"].shape[1] in batches.source_bounds
        assert inputs["target"].shape[1] in batches.target_bounds
        assert labels.shape == inputs["target"].shape


def test_rows_of_similar_length_go_together(pairs):
    def padding(bucket_count):
        batches = TokenBatches(pairs, TOKENS, bucket_count=bucket_count)
        labels = [labels for _, labels in take(batches, len(batches.plan(0)))]
        return np.mean(np.concatenate([ids.ravel() for ids in labels]) == PAD_ID)

    assert padding(12) < 0.15 < padding(1)


def test_inputs_and_labels_of_a_row(pairs, batches):
    inputs, labels = batches.batch(PlannedBatch(np.array([17, 5, 200]), 30, 28))
    assert inputs["source"].dtype == inputs["target"].dtype == labels.dtype == np.int32
    for i, row in enumerate([17, 5, 200]):
        source, target = pairs.sources[row].tolist(), pairs.targets[row].tolist()

        def padded(ids, like):
            return ids + [PAD_ID] * (like.shape[1] - len(ids))

        assert inputs["source"][i].tolist() == padded([*source, END_ID], inputs["source"])
        assert inputs["target"][i].tolist() == padded([START_ID, *target], labels)
        assert labels[i].tolist() == padded([*target, END_ID], labels)


def test_the_stream_goes_through_epochs(pairs, batches):
    length = len(batches.plan(0))
    first, second = (
        sorted(int(first) for inputs, _ in part for first in inputs["source"][:, 0])
        for part in (take(batches, length), take(batches, len(batches.plan(1)), length))
    )
    assert first == second == sorted(int(ids[0]) for ids in pairs.sources)


def test_a_stream_can_start_anywhere(batches):
    lengths = [len(batches.plan(epoch)) for epoch in range(3)]
    total = sum(lengths) + 4
    everything = take(batches, total)
    starts = [0, 1, lengths[0] - 1, lengths[0], lengths[0] + 1, sum(lengths) - 1, sum(lengths)]
    for start in starts:
        part = take(batches, total - start, start)
        assert all(same(a, b) for a, b in zip(part, everything[start:], strict=True))


def test_the_order_depends_on_seed_and_epoch_alone(pairs, batches):
    again = TokenBatches(make_pairs(), TOKENS, seed=3)
    assert all(same(a, b) for a, b in zip(take(again, 9), take(batches, 9), strict=True))
    other = TokenBatches(pairs, TOKENS, seed=4)
    assert not all(same(a, b) for a, b in zip(take(other, 9), take(batches, 9), strict=True))
    next_epoch = take(batches, 9, len(batches.plan(0)))
    assert not all(same(a, b) for a, b in zip(next_epoch, take(batches, 9), strict=True))
    # Not only the batches are in another order, but rows are with others.
    together = [{frozenset(rows.tolist()) for rows in batches.plan(epoch)} for epoch in (0, 1)]
    assert len(together[0] & together[1]) < len(together[0]) / 2


def test_the_dataset_is_the_stream(batches):
    dataset = batches.dataset(start_step=5).take(4).as_numpy_iterator()
    for one, other in zip(dataset, take(batches, 4, 5), strict=True):
        assert same(one, other)


def test_the_dataset_gives_a_step_its_batches_in_their_order(batches):
    stream = take(batches, 12)
    for start_step in (0, 2):
        steps = list(batches.dataset(start_step, accumulate=3).take(2).as_numpy_iterator())
        for number, (inputs, labels) in enumerate(steps, start=start_step):
            first = {name: inputs[name] for name in ("source", "target")}, labels
            found = [first, *inputs["accumulated"]]
            for one, other in zip(found, stream[3 * number : 3 * number + 3], strict=True):
                assert same(one, other)


def test_rows_of_a_step_are_those_of_its_batches(pairs):
    kept = TokenizedPairs(pairs.sources[::2], pairs.targets[::2], rows=np.arange(0, ROWS, 2))
    batches = TokenBatches(kept, TOKENS, seed=3)
    steps = len(batches.plan(0)) + 3  # into the second epoch
    for accumulate in (1, 2):
        stream = take(batches, accumulate * steps)
        for step in (0, 4, steps - 1):
            read = stream[accumulate * step : accumulate * (step + 1)]
            expected = [row - 1000 for inputs, _ in read for row in inputs["source"][:, 0]]
            assert list(batches.rows_of_step(step, accumulate)) == expected


def test_a_batch_of_one_row():
    pairs = make_pairs(1)
    longest = max(len(pairs.sources[0]), len(pairs.targets[0])) + 1
    batches = TokenBatches(pairs, longest)
    assert [rows.tolist() for rows in batches.plan(7)] == [[0]]


def test_a_budget_smaller_than_the_longest_row_is_refused(pairs):
    longest = max(len(ids) for ids in pairs.sources + pairs.targets) + 1
    TokenBatches(pairs, longest)
    with pytest.raises(DataError, match=rf"longest row has {longest} .* only {longest - 1}; raise"):
        TokenBatches(pairs, longest - 1)


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.train(["a b c d e f g h"] * 5, vocab_size=30)


def test_a_plain_source_has_the_subwords_that_the_graph_gives_it(tokenizer):
    texts = [
        "a b c",
        " a\t b ",
        "ａ\u2028b",
        "x",
        "a\u0301 é",
        "海 a",
        "\U0001f600 h",
        "a" * 60,
        "\x00a",
    ]
    graph, lengths = encode_sources(tokenizer, PLAIN, texts, 100)
    pairs = TokenizedPairs.encode(texts, ["a"] * len(texts), tokenizer, 100, 100)
    # There unknown pieces have numbers.
    found = [np.where(ids < 0, UNKNOWN_ID, ids).tolist() for ids in pairs.sources]
    assert found == [ids.tolist() for ids in graph]
    assert lengths.tolist() == [len(ids) for ids in pairs.sources]


def test_rows_that_are_too_long_are_counted(tokenizer):
    texts = ["a b c", "a b c d", "a b c d e f g h", "h"]
    counts = [len(ids) for ids in tokenizer.encode(texts)]
    limit = counts[1] + 1  # the end counts
    assert counts[2] > counts[1]
    kept = TokenizedPairs.encode(texts, texts, tokenizer, limit, 100)
    assert (len(kept), kept.too_long) == (3, 1)
    shorter = TokenizedPairs.encode(texts, texts, tokenizer, 100, limit - 1)
    assert (len(shorter), shorter.too_long) == (
        len([c for c in counts if c < limit - 1]),
        4 - len(shorter),
    )
    for ids, text in zip(kept.sources, ["a b c", "a b c d", "h"], strict=True):
        assert tokenizer.decode([ids]) == [text]


def test_only_rows_that_are_too_long_are_refused(tokenizer):
    with pytest.raises(DataError, match=r"All 2 rows are longer than 2 source or 9 target tokens"):
        TokenizedPairs.encode(["a b c d e", "f g h a"], ["a", "b"], tokenizer, 2, 9)


# Dealt out over replicas


def parts_of(batches, share, steps=6, accumulate=1):
    """The parts that the replicas of a process get in the first steps, step by step."""
    dataset = batches.dataset(0, accumulate, share).take(steps * share.count)
    elements = list(dataset.as_numpy_iterator())
    return [elements[i : i + share.count] for i in range(0, len(elements), share.count)]


def rows_of(parts):
    """All rows with a label in them, without their padding."""
    found = []
    for inputs, labels in parts:
        for source, target, label in zip(inputs["source"], inputs["target"], labels, strict=True):
            if label.any():
                found.append(tuple(tuple(ids[ids != 0]) for ids in (source, target, label)))
    return sorted(found)


@pytest.mark.parametrize(("replicas", "count"), [(2, 2), (4, 2), (3, 1)])
def test_each_row_of_a_batch_goes_to_one_replica(batches, replicas, count):
    whole = parts_of(batches, WHOLE)
    shares = [Share(replicas, first, count) for first in range(0, replicas, count)]
    dealt = [parts_of(batches, share) for share in shares]
    for step, expected in enumerate(whole):
        parts = [part for process in dealt for part in process[step]]
        assert len(parts) == replicas
        assert rows_of(parts) == rows_of(expected)
        rows = len(expected[0][1])
        # All have as many rows, and none more than it takes.
        assert {len(labels) for _, labels in parts} == {-(-rows // replicas)}


def test_static_batches_of_one_length_have_as_many_rows(batches):
    share = Share(2, 0, 2, static=True)
    steps = parts_of(batches, share, steps=2 * len(batches.plan(0)))
    shapes = {inputs["source"].shape + inputs["target"].shape for s in steps for inputs, _ in s}
    lengths = {(source, target) for _, source, _, target in shapes}
    assert len(shapes) == len(lengths)  # the lengths say how many rows
    for step, expected in zip(steps, parts_of(batches, WHOLE), strict=False):
        assert rows_of(step) == rows_of(expected)


def test_the_batches_of_an_accumulated_step_are_dealt_out_each(batches):
    two = parts_of(batches, Share(2, 0, 2), steps=4)
    accumulated = parts_of(batches, Share(2, 0, 2), steps=2, accumulate=2)
    for step, parts in enumerate(accumulated):
        firsts = [({k: inputs[k] for k in ("source", "target")}, y) for inputs, y in parts]
        seconds = [inputs["accumulated"][0] for inputs, _ in parts]
        assert rows_of(firsts) == rows_of(two[2 * step])
        assert rows_of(seconds) == rows_of(two[2 * step + 1])


def test_the_checksum_tells_rows_and_their_order():
    rows = [np.array(ids, np.int32) for ids in ([5, 6], [7], [8, 9, 4])]
    checksum = TokenizedPairs(rows, rows).checksum()
    assert checksum == TokenizedPairs(list(rows), list(rows)).checksum()
    others = [rows[::-1], [*rows[:2], rows[2][:2]], [np.array([5], np.int32), *rows[1:]]]
    # The same subwords, cut elsewhere.
    others.append([np.array(ids, np.int32) for ids in ([5], [6, 7], [8, 9, 4])])
    assert checksum not in {TokenizedPairs(other, rows).checksum() for other in others}


@pytest.mark.parametrize(
    ("copied", "labels"),
    [
        (False, [[7, PAD_ID, END_ID], [PAD_ID, 8, END_ID]]),
        # What a search may copy from the source is learnt.
        (True, [[7, PAD_ID, END_ID], [-1, 8, END_ID]]),
    ],
)
def test_unknown_subwords_are_no_labels(copied, labels):
    sources = [np.array(row, np.int32) for row in ([5, -1], [5, -1])]
    targets = [np.array(row, np.int32) for row in ([7, UNKNOWN_ID], [-1, 8])]
    batches = TokenBatches(TokenizedPairs(sources, targets), tokens=12, copy_unknown=copied)
    inputs, found = batches.batch(PlannedBatch(np.array([0, 1]), 3, 3))
    assert found.tolist() == labels and found.dtype == np.int32
    # They are read all the same.
    read = -1 if copied else UNKNOWN_ID
    assert inputs["source"].tolist() == [[5, read, END_ID], [5, read, END_ID]]
    assert inputs["target"].tolist() == [[START_ID, 7, UNKNOWN_ID], [START_ID, read, 8]]


@pytest.mark.parametrize("kind", ["word", "bpe"])
def test_unknown_words_of_a_row_have_numbers_on_both_sides(kind):
    texts = ["the red house", "the dog", "a red dog", "the house and the dog"] * 9
    tokenizer = Tokenizer.train(texts, 30, kind)
    sources = ["the dog", "ΩΩ the Ψ ΩΩ Ξ", "red Ψ", "Ω Ψ " * 20]
    targets = ["Ψ a", "Ψ the Ξ Ω ΩΩ", "the Ψ Ψ", "a"]
    pairs = TokenizedPairs.encode(sources, targets, tokenizer, 20, 20)
    assert pairs.rows.tolist() == [0, 1, 2]
    found = [[i for i in row.tolist() if i <= UNKNOWN_ID] for row in pairs.sources]
    assert found == [[], [-1, -2, -1, -3], [-1]]
    found = [[i for i in row.tolist() if i <= UNKNOWN_ID] for row in pairs.targets]
    assert found == [[UNKNOWN_ID], [-2, -3, UNKNOWN_ID, -1], [-1, -1]]
    for side, rows in ((sources, pairs.sources), (targets, pairs.targets)):
        known = [np.maximum(row, UNKNOWN_ID).tolist() for row in rows]
        assert known == [row.tolist() for row in tokenizer.encode(side[:3])]
    if kind == "bpe":
        dropouts = (BpeDropout(tokenizer, 0.5),) * 2
        anew = pairs.split_anew(*dropouts, np.random.default_rng(0))
        for rows, new in ((pairs.sources, anew.sources), (pairs.targets, anew.targets)):
            assert [r[r <= UNKNOWN_ID].tolist() for r in rows] == [
                r[r <= UNKNOWN_ID].tolist() for r in new
            ]
        assert any(map(len, anew.sources)) and tokenizer.decode(anew.sources) == tokenizer.decode(
            pairs.sources
        )
