"""The rows of a corpus that copying is for: a rare word of the source stands in the target as well.

    python benchmarks/rare_words.py --train train.tsv --valid valid.tsv > rare.tsv
    attention-zoo compare runs/pointer-generator runs/rnn-bahdanau --data rare.tsv --output figures

and how many of those words a model writes:

    cut -f 1 rare.tsv > rare.txt
    attention-zoo predict runs/pointer-generator --input rare.txt --output written.txt
    python benchmarks/rare_words.py --train train.tsv --valid valid.tsv --written written.txt

Words are runs of letters and digits, without regard to case. A word is rare that stands in at most
`--at-most` rows of the training corpus, in their sources or targets.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from attention_zoo.recipes.data.corpus import PairCorpus
from attention_zoo.recipes.data.pair_files import read_pairs
from attention_zoo.zoo.errors import DataError

WORD = re.compile(r"[^\W_]+")


def words(text: str) -> set[str]:
    """The different words of a text."""
    return set(WORD.findall(text.casefold()))


class RareRow(NamedTuple):
    """A pair of texts, and the words in both that are rare."""

    source: str
    target: str
    rare: set[str]


def rare_rows(train: PairCorpus, valid: PairCorpus, at_most: int) -> list[RareRow]:
    """The pairs of `valid` with a word in both texts that is in so few rows of `train`."""
    rows = Counter(word for source, target in train for word in words(f"{source} {target}"))
    found = []
    for source, target in valid:
        both = words(str(source)) & words(target)
        rare = {word for word in both if rows[word] <= at_most}
        if rare:
            found.append(RareRow(str(source), target, rare))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--train", required=True, help="pair file that models are trained on")
    parser.add_argument("--valid", required=True, help="pair file from which rows are taken")
    parser.add_argument("--at-most", type=int, default=1, help="rows of the training corpus")
    parser.add_argument("--written", help="file with what a model writes for each row found")
    arguments = parser.parse_args()
    try:
        train, valid = read_pairs(arguments.train), read_pairs(arguments.valid)
    except DataError as error:
        parser.error(str(error))
    found = rare_rows(train, valid, arguments.at_most)
    if arguments.written is None:
        sys.stdout.writelines(f"{row.source}\t{row.target}\n" for row in found)
        print(f"{len(found):,} of {len(valid):,} rows", file=sys.stderr)
        return
    written = Path(arguments.written).read_text(encoding="utf-8").splitlines()
    if len(written) != len(found):
        parser.error(f"{arguments.written} has {len(written)} lines for {len(found)} rows")
    hits = sum(len(row.rare & words(text)) for row, text in zip(found, written, strict=True))
    print(f"{hits:,} of {sum(len(row.rare) for row in found):,} rare words are written")


if __name__ == "__main__":
    main()
