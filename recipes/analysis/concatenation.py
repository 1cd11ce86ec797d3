"""Long sources from short ones: consecutive pairs of a corpus concatenated into one."""

from __future__ import annotations

import random
import zlib
from pathlib import Path

from ...zoo.errors import DataError
from ...zoo.files import written_atomically
from ..data.corpus import PairCorpus
from ..data.pair_files import json_lines
from ..metrics.text_scores import words


def concatenate_pairs(corpus: PairCorpus, longest: int, seed: int = 1) -> PairCorpus:
    """Concatenates consecutive pairs until each source has a length drawn for it.

    The lengths are drawn uniformly from 1 to `longest`, so that all of them occur. As pairs stay
    whole, a source has its length or a little more. Each pair is used once, in the order of the
    corpus; the last row may be shorter.

    Args:
        corpus: Pairs whose sources are texts.
        longest: Largest length that is drawn, in words; in characters of scripts without spaces.
        seed: Seed of the lengths.

    Returns:
        The concatenated pairs, with one space between two texts.

    Raises:
        DataError: A source has several inputs.

    Example:

    >>> corpus = PairCorpus(["a b", "c", "d"], ["A B", "C", "D"], "x")
    >>> concatenate_pairs(corpus, longest=4).sources
    ['a b c', 'd']
    """
    draws = random.Random(seed)
    sources: list[str] = []
    targets: list[str] = []
    length, wanted = 0, 0  # of the row that is being joined
    for source, target in corpus:
        if not isinstance(source, str):
            raise DataError(f"{corpus.name} has sources of several inputs, which are not joined.")
        if length >= wanted:
            wanted, length = draws.randint(1, longest), 0
            sources.append(source)
            targets.append(target)
        else:
            sources[-1] += f" {source}"
            targets[-1] += f" {target}"
        length += len(words(source))
    return PairCorpus(list(sources), targets, corpus.name)


def write_concatenated(corpus: PairCorpus, folder: Path, name: str) -> Path:
    """Writes pairs as JSON lines into a file with a checksum of them in its name.

    Args:
        corpus: Pairs whose sources are texts.
        folder: Folder of the file; it is made if missing.
        name: Beginning of the file name. The checksum follows, so that a run cannot be resumed with
            other pairs unnoticed.

    Returns:
        The path of the file.
    """
    content = json_lines(corpus).encode()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{zlib.crc32(content):08x}.jsonl"
    with written_atomically(path) as aside:
        aside.write_bytes(content)
    return path
