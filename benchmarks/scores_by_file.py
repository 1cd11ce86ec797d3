"""The score of a run on each of the files that its validation rows come from.

    python benchmarks/scores_by_file.py runs/babi --valid joint.dev.tsv qa01.tsv qa02.tsv ...

A joint corpus is made of several; each row of it is counted for the files that have it, with its
source and target. Prints a Markdown table of the run's own metric: the rows of each file, their
score, and the mean of the files.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import attention_zoo
from attention_zoo.recipes.core.run import Run
from attention_zoo.recipes.core.task import task
from attention_zoo.recipes.data.corpus import PairCorpus
from attention_zoo.zoo.errors import ConfigError, DataError


def rows_of_files(valid: PairCorpus, files: Sequence[PairCorpus]) -> list[list[int]]:
    """For each file the rows of `valid` that it has."""
    known = [{repr(pair) for pair in corpus} for corpus in files]
    rows = [repr(pair) for pair in valid]
    return [[i for i, row in enumerate(rows) if row in there] for there in known]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="folder of the run")
    parser.add_argument("--valid", required=True, help="the joint corpus")
    parser.add_argument("files", nargs="+", help="the corpora it was made of")
    arguments = parser.parse_args()
    try:
        config = Run(arguments.run).read_config()
        recipe = task(config.task)
        valid, *files = (
            recipe.read_file(path, config.reverse, min_pairs=1)
            for path in (arguments.valid, *arguments.files)
        )
    except (ConfigError, DataError) as error:
        parser.error(str(error))
    for corpus in (valid, *files):
        corpus.tell_skipped(lambda line: print(line, file=sys.stderr))
    rows_by_file = rows_of_files(valid, files)
    for path, rows in zip(arguments.files, rows_by_file, strict=True):
        if not rows:
            parser.error(f"{path} has no row of {arguments.valid}; leave it out")
    model = attention_zoo.load(arguments.run, truncate=True)
    outputs = [prediction.text for prediction in model.predict(valid.sources)]
    references = valid.references()
    scores = []
    print(f"| file | rows | {config.metric} |\n|---|---|---|")
    for path, rows in zip(arguments.files, rows_by_file, strict=True):
        found = recipe.score([outputs[i] for i in rows], [references[i] for i in rows], config)
        value = found.values[config.metric]
        if value is None:
            parser.error(f"{config.metric} has no value on {path}")
        scores.append(value)
        print(f"| {Path(path).name} | {len(rows):,} | {value:.1f} |")
    print(f"| mean of the files | {len(valid):,} | {sum(scores) / len(scores):.1f} |")


if __name__ == "__main__":
    main()
