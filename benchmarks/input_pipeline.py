"""A corpus that does not fit in memory: what preparing, reading and training on it take.

    python benchmarks/input_pipeline.py --pairs 10000000 --folder FOLDER

Makes that many pairs of made words, prepares them, reads batches for a while, trains a hundred
steps of transformer-tiny, each in a process of its own, and prints a table of rows and tokens a
second and of the most memory that each process had. FOLDER takes some 400 bytes a pair, and is left
as it is.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

WORDS, PHRASES = 30_000, 100_000
CHUNK = 10_000
# About 64 sentences of 24 tokens each way, which is what docs/training.md gives the time of.
BATCH_TOKENS = 64 * 24
STEP_SECONDS = 0.2
ROWS_A_SECOND = 64 / STEP_SECONDS


def make_words(random: np.random.Generator) -> np.ndarray:
    """Words of one to four syllables, the frequent ones short."""
    syllables = [consonant + vowel for consonant in "bdfgklmnprstvz" for vowel in "aeiou"]
    lengths = 1 + np.minimum(3, np.log10(np.arange(1, WORDS + 1)).astype(int))
    return np.array(["".join(random.choice(syllables, n)) for n in lengths], dtype=object)


def make_phrases(random: np.random.Generator) -> list[tuple[str, str]]:
    """Phrases of 2 to 13 words, and the same in another language, the other way round."""
    languages = [make_words(np.random.default_rng(number)) for number in (1, 2)]
    # Zipf's law: the word of rank r is drawn 1 / r as often as the first.
    chances = 1 / np.arange(1, WORDS + 1)
    drawn = random.choice(WORDS, (PHRASES, 13), p=chances / chances.sum())
    lengths = random.integers(2, 14, PHRASES)
    return [
        (" ".join(languages[0][words[:n]]), " ".join(languages[1][words[:n][::-1]]))
        for words, n in zip(drawn, lengths, strict=True)
    ]


def write_pairs(path: Path, pairs: int, seed: int) -> None:
    """Source TAB target: two phrases each, in the target the second one first."""
    random = np.random.default_rng(seed)
    phrases = make_phrases(random)
    with open(path, "w", encoding="utf-8") as file:
        for start in range(0, pairs, CHUNK):
            drawn = random.integers(0, PHRASES, (min(CHUNK, pairs - start), 2)).tolist()
            rows = [(*phrases[first], *phrases[second]) for first, second in drawn]
            file.writelines(f"{a} {b}\t{t} {s}\n" for a, s, b, t in rows)


def run(*arguments: str) -> tuple[float, float]:
    """Seconds and the most gigabytes of memory that a Python process took."""
    begin = time.perf_counter()
    process = subprocess.Popen([sys.executable, *arguments])
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{' '.join(arguments)} ended with {os.waitstatus_to_exitcode(status)}")
    return time.perf_counter() - begin, usage.ru_maxrss / 2**20


def read(folder: str, seconds: float, start: int) -> None:
    """Reads batches as a training does, and prints how many rows and tokens a second.

    Args:
        folder: of the prepared corpus.
        seconds: for how long.
        start: number of the first batch.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from attention_zoo.recipes.data.prepared import PreparedCorpus
    from attention_zoo.recipes.data.prepared_batches import PreparedBatches

    begin = time.perf_counter()
    batches = PreparedBatches(PreparedCorpus(folder), BATCH_TOKENS, seed=1)
    stream = iter(batches.dataset(start))
    next(stream)
    first = time.perf_counter() - begin
    begin, rows, tokens, count = time.perf_counter(), 0, 0, 0
    while time.perf_counter() - begin < seconds:
        inputs, labels = next(stream)
        rows += labels.shape[0]
        count += 1
        tokens += np.count_nonzero(inputs["source"]) + np.count_nonzero(labels)
    taken = time.perf_counter() - begin
    print(f"first batch, of number {start:,}: {first:.1f} s")
    print(
        f"reading: {rows / taken:,.0f} rows/s, {tokens / taken:,.0f} tokens/s, "
        f"{count / taken:,.0f} batches/s; {rows / taken / ROWS_A_SECOND:.0f} times what "
        f"transformer-tiny takes at {STEP_SECONDS} s a step of 64 rows"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=100_000)
    parser.add_argument("--folder", type=Path, default=Path("runs/input-pipeline"))
    parser.add_argument("--seconds", type=float, default=30, help="of reading")
    parser.add_argument("--steps", type=int, default=100, help="of training; 0 for none")
    parser.add_argument("--read", metavar="PREPARED", help="only read what is prepared")
    parser.add_argument("--start", type=int, default=0, help="number of the first batch")
    given = parser.parse_args()
    if given.read:
        read(given.read, given.seconds, given.start)
        return
    folder, zoo = given.folder, ("-m", "attention_zoo")
    folder.mkdir(parents=True, exist_ok=True)
    pairs, valid, prepared = (folder / name for name in ("train.tsv", "valid.tsv", "prepared"))
    begin = time.perf_counter()
    write_pairs(pairs, given.pairs, seed=1)
    write_pairs(valid, 20, seed=2)
    size = pairs.stat().st_size / 2**20
    print(
        f"{given.pairs:,} pairs, {size:,.0f} MiB, {time.perf_counter() - begin:.0f} s", flush=True
    )

    rows = [
        ("prepare", *run(*zoo, "prepare", "translation", "--train", str(pairs), "--output",
                         str(prepared)))
    ]  # fmt: skip
    size = sum(path.stat().st_size for path in prepared.iterdir()) / 2**20
    print(f"prepared: {size:,.0f} MiB in {len(list(prepared.iterdir())):,} files", flush=True)
    reading = (__file__, "--read", str(prepared), "--seconds", str(given.seconds))
    rows.append(("read from the start", *run(*reading)))
    rows.append(("read from batch 100,000", *run(*reading, "--start", "100000")))
    if given.steps:
        training = (
            "train", "translation", "--model", "transformer-tiny", "--train", str(prepared),
            "--valid", str(valid), "--output", str(folder / "run"), "--max-steps",
            str(given.steps), "--set", f"batch_tokens={BATCH_TOKENS}",
        )  # fmt: skip
        rows.append((f"train {given.steps} steps", *run(*zoo, *training)))
    print("\n| | seconds | most memory, GiB |\n|---|---|---|")
    for name, seconds, memory in rows:
        print(f"| {name} | {seconds:,.0f} | {memory:.2f} |")


if __name__ == "__main__":
    main()
