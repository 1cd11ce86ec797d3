"""A corpus that does not fit in memory: what preparing, reading and training on it take.

    python benchmarks/input_pipeline.py --pairs 10000000 --folder FOLDER

Makes that many pairs of made words, prepares them, reads batches as one of 1, 8 and 64 workers,
trains a hundred steps of transformer-tiny, each in a process of its own, and prints the rows that a
worker reads of its own for each second of processor time, and the most memory of each process.
FOLDER takes some 300 bytes a pair, and is left as it is.
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
WORKERS = 1, 8, 64
WARM_UP = 16  # batches, more than are read ahead


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


def read(folder: str, seconds: float, start: int, tokens: int) -> None:
    """Reads batches as each worker of a training does, and prints how many rows are its own.

    Once with a batch of `tokens` for all workers together, and once for each of them.

    Args:
        folder: of the prepared corpus.
        seconds: of the processor, for each number of workers.
        start: number of the first batch.
        tokens: of the batches.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from attention_zoo.recipes.data.batch_stream import Share
    from attention_zoo.recipes.data.prepared import PreparedCorpus
    from attention_zoo.recipes.data.prepared_batches import PreparedBatches

    print("| batch_tokens | workers | first batch, s | own rows/s |\n|---|---|---|---|")
    for workers in WORKERS:
        for batch_tokens in dict.fromkeys((tokens, workers * tokens // WORKERS[-1])):
            begin = time.process_time()
            batches = PreparedBatches(PreparedCorpus(folder), batch_tokens, seed=1)
            stream = iter(batches.dataset(start, 1, Share(workers, 0, 1)))
            next(stream)
            first = time.process_time() - begin
            for _ in range(WARM_UP):
                next(stream)
            begin, rows = time.process_time(), 0
            while time.process_time() - begin < seconds:
                inputs, _ = next(stream)
                rows += np.count_nonzero(inputs["source"][:, 0])
            rate = rows / (time.process_time() - begin)
            batches.end()
            print(f"| {batch_tokens:,} | {workers} | {first:.2f} | {rate:,.0f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=100_000)
    parser.add_argument("--folder", type=Path, default=Path("runs/input-pipeline"))
    parser.add_argument("--seconds", type=float, default=5, help="of the processor, of reading")
    parser.add_argument("--tokens", type=int, default=1 << 19, help="of a batch of all workers")
    parser.add_argument("--steps", type=int, default=100, help="of training; 0 for none")
    parser.add_argument("--read", metavar="PREPARED", help="only read what is prepared")
    parser.add_argument("--start", type=int, default=0, help="number of the first batch")
    given = parser.parse_args()
    if given.read:
        read(given.read, given.seconds, given.start, given.tokens)
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
    reading += ("--start", str(given.start), "--tokens", str(given.tokens))
    rows.append(("read", *run(*reading)))
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
