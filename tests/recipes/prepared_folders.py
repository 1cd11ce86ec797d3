"""Prepares corpora in small blocks, so that a few hundred rows are many of them."""

import contextlib

import numpy as np

from attention_zoo.recipes.cli.main import app, run_command
from attention_zoo.recipes.core import part_writer
from attention_zoo.recipes.data.prepared import PreparedCorpus
from attention_zoo.zoo.text.special_ids import END_ID

LETTERS = "abcd"


@contextlib.contextmanager
def small_blocks(monkeypatch, chunk=8, tokens=100):
    """A chunk has 8 rows; a block about 100 tokens, which are 2 chunks of short words."""
    with monkeypatch.context() as context:
        context.setattr(part_writer, "CHUNK", chunk)
        context.setattr(part_writer, "BLOCK_TOKENS", tokens)
        yield context


def write_words(path, rows, seed, first="x"):
    """Rows `x17 abca TAB acba`, of which no two are the same."""
    random = np.random.default_rng(seed)
    words = ["".join(random.choice(list(LETTERS), n)) for n in random.integers(1, 7, rows)]
    lines = [f"{first}{i} {word}\t{word[::-1]}\n" for i, word in enumerate(words)]
    path.write_text("".join(lines))
    return path


def prepare(output, *corpora, task="translation", settings=("vocab_size=30",), more=()):
    """The exit status of `attention-zoo prepare`."""
    options = [part for corpus in corpora for part in ("--train", str(corpus))]
    options += [part for setting in settings for part in ("--set", setting)]
    return run_command(app, ["prepare", task, "--output", str(output), *options, *more])


def prepared(output, *corpora, **options):
    """What that prepares."""
    assert prepare(output, *corpora, **options) == 0
    return PreparedCorpus(output)


def rows_of(corpus):
    """Source ids, target ids and line of each row, in their order."""
    numbers = np.arange(len(corpus))
    sides = corpus.store.read(numbers, 200, 200)
    ids = [[row[: row.index(END_ID)] for row in side.tolist()] for side in sides]
    return list(zip(*ids, corpus.store.lines(numbers).tolist(), strict=True))
