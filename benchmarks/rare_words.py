"""The rows of a corpus that copying is for: a rare word of the source stands in the target as well.

    python benchmarks/rare_words.py --train train.tsv --valid valid.tsv > rare.tsv
    attention-zoo compare runs/pointer-generator runs/rnn-bahdanau --data rare.tsv --output figures

Words are runs of letters and digits, without regard to case. A word is rare that stands in at most
`--at-most` rows of the training corpus, in their sources or targets.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections import Counter

from attention_zoo.recipes.corpus import DataError, PairCorpus
from attention_zoo.recipes.pair_files import read_pairs

WORD = re.compile(r"[^\W_]+")


def words(text: str) -> set[str]:
    """The different words of a text."""
    return set(WORD.findall(text.casefold()))


def rare_rows(train: PairCorpus, valid: PairCorpus, at_most: int) -> list[tuple[str, str]]:
    """The pairs of `valid` with a word in both texts that is in so few rows of `train`."""
    rows = Counter(word for source, target in train for word in words(f"{source} {target}"))
    return [
        (str(source), target)
        for source, target in valid
        if any(rows[word] <= at_most for word in words(str(source)) & words(target))
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--train", required=True, help="pair file that models are trained on")
    parser.add_argument("--valid", required=True, help="pair file from which rows are taken")
    parser.add_argument("--at-most", type=int, default=1, help="rows of the training corpus")
    arguments = parser.parse_args()
    try:
        train, valid = read_pairs(arguments.train), read_pairs(arguments.valid)
    except DataError as error:
        parser.error(str(error))
    found = rare_rows(train, valid, arguments.at_most)
    sys.stdout.writelines(f"{source}\t{target}\n" for source, target in found)
    print(f"{len(found):,} of {len(valid):,} rows", file=sys.stderr)


if __name__ == "__main__":
    main()
