"""Batches whose subwords are drawn anew in each epoch."""

import itertools
import shutil
import time

import numpy as np
import pytest
from prepared_folders import prepare
from reverse_task import assert_same_run, train

from attention_zoo.recipes.core.corpora import read_corpora
from attention_zoo.recipes.core.make_config import make_config
from attention_zoo.recipes.core.run_tokenizer import train_tokenizer
from attention_zoo.recipes.data.batching import TokenBatches, TokenizedPairs
from attention_zoo.recipes.training.batches import make_batches
from attention_zoo.zoo.text.bpe_dropout import BpeDropout
from attention_zoo.zoo.text.source_format import PLAIN
from attention_zoo.zoo.text.tokenizer import END_ID, PAD_ID, Tokenizer

ROWS, TOKENS = 300, 400


def take(batches, count, start_step=0):
    return list(itertools.islice(batches.stream(start_step), count))


@pytest.fixture(scope="module")
def spelt():
    """Pairs of a tokenizer, with BPE-dropout for both of their sides."""
    random = np.random.default_rng(5)
    words = ["".join(random.choice(list("abcde"), random.integers(1, 7))) for _ in range(60)]
    texts = [" ".join(random.choice(words, random.integers(1, 12))) for _ in range(2 * ROWS)]
    tokenizer = Tokenizer.train(texts, vocab_size=100)
    pairs = TokenizedPairs.encode(texts[:ROWS], texts[ROWS:], tokenizer, 100, 100)
    return tokenizer, pairs, (BpeDropout(tokenizer, 0.2), BpeDropout(tokenizer, 0.4))


def ids_of(batches, number):
    """The ids of a batch by the row of the corpus, without start, end and padding."""
    (inputs, labels), rows = take(batches, 1, number)[0], batches.rows_of_batch(number)
    sides = zip(inputs["source"], labels, strict=True)
    return {
        row: tuple([i for i in ids.tolist() if i not in (PAD_ID, END_ID)] for ids in side)
        for row, side in zip(rows.tolist(), sides, strict=True)
    }


def test_with_bpe_dropout_each_epoch_spells_the_same_texts_in_other_ways(spelt):
    tokenizer, pairs, dropout = spelt
    batches = TokenBatches(pairs, TOKENS, seed=3, dropout=dropout)
    length = batches.batches_in_epoch()
    spelt_in = []
    for epoch in range(2):
        read = {}
        for number in range(epoch * length, (epoch + 1) * length):
            read |= ids_of(batches, number)
        assert len(read) > 0.95 * ROWS  # a few batches more or fewer than in the first epoch
        for row, (source, labels) in read.items():
            plain = [pairs.sources[row].tolist(), pairs.targets[row].tolist()]
            assert tokenizer.decode([source, labels]) == tokenizer.decode(plain)
        spelt_in.append(read)
    assert len(spelt_in[0]) == ROWS
    both = spelt_in[0].keys() & spelt_in[1].keys()
    assert sum(spelt_in[0][row] != spelt_in[1][row] for row in both) > 0.9 * len(both)


def test_with_bpe_dropout_no_batch_is_above_its_budget_and_no_row_above_the_longest(spelt):
    _, pairs, dropout = spelt
    longest = [max(map(len, side)) + 1 for side in (pairs.sources, pairs.targets)]
    batches = TokenBatches(pairs, TOKENS, seed=3, dropout=dropout)
    for inputs, _ in take(batches, 4 * batches.batches_in_epoch()):
        shapes = inputs["source"].shape, inputs["target"].shape
        assert shapes[0][0] * max(shapes[0][1], shapes[1][1]) <= TOKENS
        assert shapes[0][1] <= longest[0] and shapes[1][1] <= longest[1]


class ShortAtFirst:
    """A dropout by which all rows are short in the first epoch, as they may be by chance."""

    epochs = 0

    def __call__(self, rows, random):
        self.epochs += 1
        return [row[:1] for row in rows] if self.epochs == 1 else list(rows)


def test_a_later_epoch_may_have_longer_rows_than_the_first(spelt):
    _, pairs, _ = spelt
    batches = TokenBatches(pairs, TOKENS, dropout=(ShortAtFirst(), ShortAtFirst()))
    first, second = (ids_of(batches, epoch * batches.batches_in_epoch()) for epoch in range(2))
    assert all(len(source) == len(target) == 1 for source, target in first.values())
    for row, (source, target) in second.items():
        assert source == pairs.sources[row].tolist() and target == pairs.targets[row].tolist()


def test_a_stream_with_bpe_dropout_can_start_anywhere(spelt):
    _, pairs, dropout = spelt
    batches = TokenBatches(pairs, TOKENS, seed=3, dropout=dropout)
    length = batches.batches_in_epoch()
    everything = take(batches, 3 * length + 2)
    for start in (1, length - 1, length, 2 * length + 1, 3 * length):
        anew = TokenBatches(pairs, TOKENS, seed=3, dropout=dropout)
        part = take(anew, len(everything) - start, start)
        for (inputs, labels), (expected, expected_labels) in zip(
            part, everything[start:], strict=True
        ):
            assert np.array_equal(inputs["source"], expected["source"])
            assert np.array_equal(inputs["target"], expected["target"])
            assert np.array_equal(labels, expected_labels)
        assert np.array_equal(anew.rows_of_batch(start), batches.rows_of_batch(start))


def test_a_config_has_its_batches_drawn_with_its_dropout(reverse_files):
    files = (str(reverse_files / name) for name in ("train.tsv", "valid.tsv"))
    plain = make_config("translation", "rnn", *files).with_settings(["vocab_size=13"])
    corpus, _ = read_corpora(plain)
    tokenizer = train_tokenizer(plain, PLAIN, corpus.sources, corpus.targets)
    config = plain.with_settings(["bpe_dropout=0.3"])
    (one, labels), (other, _) = (
        take(make_batches(each, corpus, tokenizer), 1)[0] for each in (config, plain)
    )
    resplit = BpeDropout(tokenizer, 0.3)
    pairs = TokenizedPairs.encode(corpus.sources, corpus.targets, tokenizer, 128, 128)
    pairs = pairs.split_anew(resplit, resplit, np.random.default_rng([config.seed, 0, 1]))
    rows = make_batches(config, corpus, tokenizer).rows_of_batch(0)
    for row, source, target in zip(rows, one["source"], labels, strict=True):
        assert source[source > END_ID].tolist() == pairs.sources[row].tolist()
        assert target[target > END_ID].tolist() == pairs.targets[row].tolist()
    assert (one["source"] > END_ID).sum() > (other["source"] > END_ID).sum()


@pytest.mark.slow
def test_a_training_with_bpe_dropout_in_parts_ends_like_one_in_one_part(reverse_files, tmp_path):
    settings = ("bpe_dropout=0.3",)
    for output, parts in ((tmp_path / "whole", (9,)), (tmp_path / "parts", (4, 9))):
        for steps in parts:
            assert train(reverse_files, output, steps=steps, model="rnn", settings=settings) == 0
    assert_same_run(tmp_path / "whole", tmp_path / "parts", step=9)


def test_bpe_dropout_is_refused_where_nothing_is_merged_anew(reverse_files, tmp_path, refused):
    output = tmp_path / "run"
    for kind in ("unigram", "word", "char"):
        settings = ("bpe_dropout=0.1", f"tokenizer={kind}")
        line = refused(train(reverse_files, output, settings=settings))
        assert f"Received: bpe_dropout=0.1, tokens of the kind {kind}" in line
    assert "Received: 1.0" in refused(train(reverse_files, output, settings=["bpe_dropout=1"]))
    settings = ("vocab_size=13", "max_target_length=12")
    assert prepare(tmp_path / "train.tsv", reverse_files / "train.tsv", settings=settings) == 0
    shutil.copy(reverse_files / "valid.tsv", tmp_path)
    line = refused(train(tmp_path, output, settings=["bpe_dropout=0.1"]))
    assert "set bpe_dropout=0, or" in line and "Received: bpe_dropout=0.1" in line
    assert not output.exists()


class SlowBatches(TokenBatches):
    """Takes a moment for each batch, as one with BPE-dropout does at the start of an epoch."""

    begun = ended = 0

    def read(self, batch):
        self.begun += 1
        time.sleep(0.2)
        self.ended += 1
        return super().read(batch)


def test_a_stream_that_was_ended_makes_no_more_batches(spelt):
    _, pairs, _ = spelt
    batches = SlowBatches(pairs, TOKENS)
    iterator = iter(batches.dataset())  # which reads ahead
    next(iterator)
    batches.end()
    assert batches.begun == batches.ended < 8
    made = batches.begun
    time.sleep(0.5)
    assert batches.begun == made
    assert len(list(itertools.islice(iterator, 20))) == made - 1
