"""The shortest command beside the best settings that the guides know, at the same budget.

    python benchmarks/defaults.py --data DATA    # hours: most runs take 30 minutes
    python benchmarks/defaults.py --data DATA --only names --minutes 1   # a trial

DATA is a folder with the corpora that `CASES` names. Each is trained twice with the same minutes
and seed, by `attention-zoo train TASK --train FILE` alone and with the settings of the guide, and
both are scored on the file beside it. The shortest command is good where it has 97% of the other's
score, or lies in its 95% interval; of a perplexity or an error rate at most 5% more. What is there
already is not trained again.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import random
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

SEED = 3  # of the subsets
FIRST = "anna bert carla dora emil fritz gerda hans ida jan karl lena max nora otto paul".split()  # noqa: SIM905
LAST = "berg stein wald bach holz feld mann hof eck ried brink kamp".split()  # noqa: SIM905
ZH = {
    "learning_rate": 0.002, "warmup_steps": 250, "model.dropout": 0.3, "model.decoder_units": 320,
    "schedule": "cooldown", "patience": 100,
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A corpus, and what its guide or preset trains it with.

    Attributes:
        task: The task.
        train: The training file in the folder of the data.
        test: The file that is scored.
        model: The guide's model.
        settings: The guide's settings.
        metric: The score that is compared.
        lower: Whether it is better where it is lower.
        rows: A random part of the training file; all of it if 0.
        reverse: Whether source and target are swapped.
        minutes: Of a training, of two cores.
    """

    task: str
    train: str
    test: str
    model: str
    settings: dict[str, object] = field(default_factory=dict)
    metric: str = "bleu"
    lower: bool = False
    rows: int = 0
    reverse: bool = False
    minutes: float = 30.0


TATOEBA = "tatoeba-en-zh/train.tsv", "tatoeba-en-zh/dev.tsv"
HELP = "libreoffice-help-en-de/train.tsv.gz", "libreoffice-help-en-de/dev.tsv.gz"
TRANSFORMER = {
    "vocab_size": 6000,
    "bpe_dropout": 0.1,
    "schedule": "cooldown",
    "cooldown_share": 0.4,
}
CASES = {
    "tatoeba-en-zh": Case("translation", *TATOEBA, "transformer-tiny", TRANSFORMER),
    "tatoeba-zh-en": Case("translation", *TATOEBA, "transformer-tiny", TRANSFORMER, reverse=True),
    "libreoffice-help-en-de": Case(
        "translation", *HELP, "transformer-tiny", {"schedule": "cooldown", "patience": 100}
    ),
    "debian-synopsis": Case(
        "summarization", "debian-synopsis/train.tsv.gz", "debian-synopsis/dev.tsv.gz",
        "pointer-generator",
        {"schedule": "cooldown", "learning_rate": 0.002, "model.dropout": 0.3, "patience": 100},
        "rougeL",
    ),
    "babi-en-10k": Case(
        "question-answering", "babi-en-10k/joint19.train.tsv.gz", "babi-en-10k/joint19.dev.tsv.gz",
        "memory-network",
        {
            "max_source_length": 400, "beam_size": 1, "patience": 100, "schedule": "cooldown",
            "model.dropout": 0,
        },
        "exact_match",
    ),
    "cmudict": Case(
        "translation", "cmudict/train.tsv.gz", "cmudict/dev.tsv.gz", "rnn-bahdanau",
        {
            "source_tokenizer": "char", "target_tokenizer": "word", "character_coverage": 1.0,
            "metric": "token_error_rate", "learning_rate": 0.002, "warmup_steps": 250,
            "schedule": "cooldown", "cooldown_share": 0.3, "model.dropout": 0.2, "patience": 100,
        },
        "exact_match",
    ),
    "chitchat": Case(
        "dialogue", "chitchat/train.tsv.gz", "chitchat/dev.tsv.gz", "rnn-bahdanau",
        {
            "vocab_size": 8000, "batch_tokens": 4096, "schedule": "cooldown",
            "learning_rate": 0.002, "patience": 100, "model.embedding_dim": 192,
            "model.encoder_units": 192, "model.decoder_units": 256, "model.attention_units": 192,
            "model.dropout": 0.2,
        },
        "word_perplexity", lower=True,
    ),
    **{
        f"tatoeba-zh-en-{rows}": Case(
            "translation", *TATOEBA, "rnn-bahdanau", ZH | {"vocab_size": size}, rows=rows,
            reverse=True, minutes=5, metric="chrf",
        )
        for rows, size in ((400, 1500), (2000, 2000), (5000, 3000))
    },
    **{
        f"libreoffice-help-en-de-{rows}": Case(
            "translation", *HELP, "rnn-bahdanau", ZH | {"vocab_size": size}, rows=rows, minutes=5,
            metric="chrf",
        )
        for rows, size in ((400, 1000), (2000, 2000), (5000, 3000))
    },
    "names": Case(
        "translation", "names", "names", "rnn-bahdanau", {"tokenizer": "char", "patience": 100},
        "exact_match", minutes=5,
    ),
}  # fmt: skip


def rows_of(path: Path) -> list[str]:
    content = path.read_bytes()
    unpacked = gzip.decompress(content) if path.suffix == ".gz" else content
    return unpacked.decode("utf-8").splitlines(keepends=True)


def write_names(folder: Path) -> tuple[Path, Path]:
    """480 names, "Berg, Anna" to "Anna Berg", and 60 that are not among them."""
    pairs = [(f, a + b) for f in FIRST for a in LAST for b in ("", *LAST[:3])]
    random.Random(SEED).shuffle(pairs)
    rows = [
        f"{last.title()}, {first.title()}\t{first.title()} {last.title()}\n"
        for first, last in pairs
    ]
    paths = folder / "names.tsv", folder / "names-test.tsv"
    for path, part in zip(paths, (rows[:480], rows[480:540]), strict=True):
        path.write_text("".join(part), encoding="utf-8")
    return paths


def files_of(name: str, case: Case, data: Path, folder: Path) -> tuple[Path, Path]:
    """The files to learn from and to score."""
    if case.train == "names":
        return write_names(folder)
    if not case.rows:
        return data / case.train, data / case.test
    rows = rows_of(data / case.train)
    random.Random(SEED).shuffle(rows)
    path = folder / f"{name}.tsv"
    path.write_text("".join(rows[: case.rows]), encoding="utf-8")
    return path, data / case.test


def score(case: Case, train: Path, test: Path, run: Path, minutes: float, guided: bool) -> dict:
    """Trains, unless that was done, and scores; the values of `evaluate --json`."""
    command = [sys.executable, "-m", "attention_zoo", "train", case.task, "--train", str(train)]
    command += ["--output", str(run), "--max-minutes", str(minutes)]
    command += ["--reverse"] if case.reverse else []
    if guided:
        command += ["--no-fit", "--model", case.model]
        for setting, value in case.settings.items():
            command += ["--set", f"{setting}={value}"]
    if not (run / "metrics.json").is_file():
        run.parent.mkdir(parents=True, exist_ok=True)
        with open(run.with_suffix(".log"), "w", encoding="utf-8") as log:
            subprocess.run(command, check=True, stdout=log)
    evaluate = [sys.executable, "-m", "attention_zoo", "evaluate", str(run), "--data", str(test)]
    done = subprocess.run([*evaluate, "--json"], check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the corpora")
    parser.add_argument("--output", type=Path, default=Path("runs/defaults"))
    parser.add_argument("--only", help="names of cases, with commas between")
    parser.add_argument("--minutes", type=float, help="of each training, in place of the case's")
    chosen = parser.parse_args()
    chosen.output.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    print("| corpus | minutes | score | shortest command | the guide's settings | share |")
    print("|---|---|---|---|---|---|", flush=True)
    for name in chosen.only.split(",") if chosen.only else CASES:
        case = CASES[name]
        minutes = chosen.minutes or case.minutes
        train, test = files_of(name, case, chosen.data, chosen.output)
        values = [
            score(case, train, test, chosen.output / f"{name}-{kind}", minutes, kind == "guide")[
                case.metric
            ]
            for kind in ("short", "guide")
        ]
        short, guide = (value or 0.0 for value in values)
        share = guide / short if case.lower and short else short / guide if guide else 0.0
        print(
            f"| {name} | {minutes:g} | {case.metric} | {short:.2f} | {guide:.2f} | {share:.0%} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
