"""Long sources out of short ones: consecutive pairs of a corpus joined into one."""

from __future__ import annotations

import json
import random
import zlib
from pathlib import Path

from ...zoo.errors import DataError
from ...zoo.files import written_atomically
from ..data.corpus import PairCorpus
from ..metrics.text_scores import words


def join_pairs(corpus: PairCorpus, longest: int, seed: int = 1) -> PairCorpus:
    """Joins consecutive pairs until each source has a length drawn for it.

    The lengths are drawn evenly from 1 to `longest`, so that all of them are seen, from single
    pairs to long rows of them. As pairs stay whole, a source ends up with its length or a little
    more. Each pair is used once, in the order of the corpus; the last row may be shorter.

    Args:
        corpus: pairs whose sources are texts.
        longest: the largest length that is drawn, in words; in characters of scripts without
            spaces.
        seed: of the lengths.

    Returns:
        The joined pairs, with one space between two texts.

    Raises:
        DataError: a source has several inputs.

    Example:

    >>> join_pairs(PairCorpus(["a b", "c", "d"], ["A B", "C", "D"], "x"), longest=4).sources
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


def write_joined(corpus: PairCorpus, folder: Path, name: str) -> Path:
    """Writes pairs as JSON lines into a file whose name says what is in it.

    Args:
        corpus: pairs whose sources are texts.
        folder: made if it is not there.
        name: how the name of the file begins; a checksum of the pairs follows, so that a run
            cannot go on with other pairs unnoticed.
    """
    lines = [
        json.dumps({"source": source, "target": target}, ensure_ascii=False) + "\n"
        for source, target in corpus
    ]
    content = "".join(lines).encode()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{zlib.crc32(content):08x}.jsonl"
    with written_atomically(path) as aside:
        aside.write_bytes(content)
    return path
