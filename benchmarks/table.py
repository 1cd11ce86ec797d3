"""All benchmarks in one run, and what they gave as Markdown.

    make bench                                             all, into docs/benchmarks.md
    python benchmarks/table.py --peers .venv-bench/bin/python --only T --output table.md

Each script runs alone, in turn, in a process of its own; those of the peers in the environments
that have them. Without `--peers` and `--opennmt` the zoo is measured alone. With
`--measurements FILE` what was measured is kept there and not measured again, so that a run that was
broken off goes on; `--scripts N` stops after so many of them, for a machine that is quiet for a
while only. With `--run RUN --data FILE`, a trained Transformer and its sources, real text is
translated as well. With `--avx2` all libraries are held to what a processor without AVX-512 has.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from sizes import SIZES, rooflines
from targets import TARGETS, ZOO, Row

HERE = Path(__file__).parent
CASES = ("additive", "512", "2048", "8192")  # of attention_layers.py
# TensorFlow has kernels of its own in place of oneDNN's where a processor has no VNNI.
AVX2 = {
    "TF_ENABLE_ONEDNN_OPTS": "0",
    "XLA_FLAGS": "--xla_cpu_max_isa=AVX2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "DNNL_MAX_CPU_ISA": "AVX2",  # its older name
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    "ATEN_CPU_CAPABILITY": "avx2",
    "CT2_FORCE_CPU_ISA": "AVX2",
    "OPENBLAS_CORETYPE": "Haswell",
}
HEADER = """# {title}

Written by `{command}`, which runs all of [benchmarks/](../benchmarks) in turn: {machine},
{threads} threads, Python {python}. Sizes and data are in [sizes.py](../benchmarks/sizes.py). Times
of one machine vary by some percent from run to run; what counts are the ratios of one run.
*Roofline* is what the work itself takes: the multiplications at the rate of a large matrix product
of NumPy ({gflops:.0f} GFLOP/s), or the weights read once a step ({gigabytes:.1f} GB/s). Where a
library's own products are faster than NumPy's, it can do with less.

The last release of OpenNMT-tf needs TensorFlow 2.13 and Python 3.11 or 3.10, and has an environment
of its own; where there is no such Python it is left out.
"""

REAL_TEXT = """Several at a time have a core each, as in `attention-zoo predict`; one has all.

With `make bench BENCH_ARGS="--run RUN --data FILE"` this is of the sources in a file
and of the Transformer of a run, such as that of [translation.md](translation.md).
"""

PLAIN = {"title": "Benchmarks", "command": "make bench"}
WITHOUT_AVX512 = {
    "title": "Benchmarks without AVX-512",
    "command": 'make bench BENCH_ARGS="--avx2 --output docs/benchmarks-avx2.md"',
}
HELD_TO_AVX2 = """All libraries are held to the instructions of a processor without AVX-512, such as
those of AMD before Zen 4, on which TensorFlow takes kernels of its own in place of oneDNN's.
[benchmarks.md](benchmarks.md) has the same with all that this processor can do.
"""


def run(python: str, script: str, *arguments: str) -> list[Row]:
    """The measurements of a script; none, and a word on it, if it fails."""
    command = [python, str(HERE / script), *arguments]
    print(" ".join(["running", script, *arguments]), file=sys.stderr, flush=True)
    done = subprocess.run(
        command,
        env={**os.environ, "BENCHMARK_JSON": "1"},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        print(f"{script} failed: {lines[-1]}", file=sys.stderr)
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def scripts(
    sizes: list[str],
    peers: str | None,
    opennmt: str | None = None,
    trained: list[str] | None = None,
) -> list[tuple[str, ...]]:
    """Interpreter, script and arguments of each measurement: what is compared is done in turn."""
    zoo = sys.executable
    commands = [(zoo, "table.py", "--rooflines", *sizes)]

    def add(*command: str | None) -> None:
        if command[0] is not None:
            commands.append(command)  # type: ignore[arg-type]

    for size in sizes:
        attentive = peers if size != "R" else None
        add(zoo, "training_step.py", size)
        add(peers, "peer_torch.py", "train", size)
        add(opennmt, "peer_opennmt.py", "train", size)
        add(attentive, "peer_keras_hub.py", "train", size)
        if size == "T":
            add(zoo, "training_step.py", size, "--xla")
            add(peers, "peer_keras_hub.py", "train", size, "--xla")
        add(zoo, "decoding.py", size, "--saved")
        add(attentive, "peer_ctranslate2.py", size)
        add(peers, "peer_torch.py", "decode", size)
        add(opennmt if size != "B" else None, "peer_opennmt.py", "decode", size)
        if size == "T":
            add(zoo, "decoding.py", size, "--exported")
            # Of larger models its beam search takes too long to be waited for.
            add(peers, "peer_keras_hub.py", "decode", size)
    if trained:
        for more in ([], ["--side-by-side"]):
            add(zoo, "real_text.py", *trained, *more, *(["--peers", peers] if peers else []))
    for case in CASES:
        add(zoo, "attention_layers.py", "--cases", case)
        add(peers, "attention_layers.py", "--torch", "--cases", case)
    return commands


def measure_all(
    commands: list[tuple[str, ...]], kept: Path | None = None, most: int | None = None
) -> list[Row] | None:
    """The measurements of everything, in the order of the scripts.

    Args:
        commands: what `scripts` gave.
        kept: a file with measurements of before, which are added to it.
        most: how many scripts are run now; all if `None`.

    Returns:
        The rows, or `None` if some are left to be measured.
    """
    lines = kept.read_text().splitlines() if kept and kept.exists() else []
    known = {tuple(entry["script"]): entry["rows"] for entry in map(json.loads, lines)}
    rows: list[Row] = []
    for python, *script in commands:
        if tuple(script) not in known:
            if most == 0:
                return None
            most = None if most is None else most - 1
            known[tuple(script)] = found = run(python, *script)
            if kept and found:
                with open(kept, "a") as file:
                    file.write(json.dumps({"script": script, "rows": found}) + "\n")
        rows += known[tuple(script)]
    return rows


def markdown(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [head := list(head), ["---"] * len(head), *map(list, rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def names(rows: list[Row]) -> list[str]:
    """In the order in which they first come, the roofline and the zoo before the others."""
    found = dict.fromkeys(row["name"] for row in rows)
    return sorted(found, key=lambda name: (name != "roofline", not name.startswith(ZOO)))


def cell(rows: list[Row], unit: str, **wanted: object) -> str:
    """The value of the one row that fits, and its ratio to the zoo's."""

    def find(name: object) -> Row | None:
        fits = {**wanted, "name": name}
        return next((r for r in rows if all(r.get(k) == v for k, v in fits.items())), None)

    row = find(wanted["name"])
    if row is None:
        return ""
    factor = 1000 if unit == "seconds" else 1
    text = f"{factor * row[unit]:,.0f}" if factor * row[unit] >= 20 else f"{factor * row[unit]:.1f}"
    zoo = next((found for n in names(rows) if n.startswith(ZOO) and (found := find(n))), None)
    if zoo is None or zoo is row:
        return text
    return f"{text} ({row[unit] / zoo[unit]:.2f})"


def training_table(rows: list[Row], sizes: list[str]) -> str:
    rows = [row for row in rows if row["work"] == "training"]
    body = []
    for name in names(rows):
        cells = [cell(rows, "seconds", name=name, size=size) for size in sizes]
        first = next((r["first"] for r in rows if r["name"] == name and "first" in r), None)
        body.append([name, *cells, "" if first is None else f"{first:.1f}"])
    head = ["training step", *(f"{size}, ms" for size in sizes), f"first step of {sizes[0]}, s"]
    return markdown(head, body)


def decoding_table(rows: list[Row], size: str) -> str:
    rows = [row for row in rows if row["work"] == "decoding" and row["size"] == size]
    beams = SIZES[size].beams
    columns = [(1, 1, "seconds"), (1, beams, "seconds")]
    columns += [(64, count, "sentences_per_second") for count in (1, beams)]
    body = [
        [name, *(cell(rows, unit, name=name, batch=b, beams=n) for b, n, unit in columns)]
        for name in names(rows)
    ]
    head = [f"decoding {size}", "greedy, one: ms", f"beam {beams}, one: ms"]
    head += ["greedy, 64: sentences/s", f"beam {beams}, 64: sentences/s"]
    return markdown(head, body)


def real_text_table(rows: list[Row]) -> str:
    timed = [row for row in rows if row["work"] == "real text"]
    if not timed:
        return ""
    unit = "sentences_per_second"
    ways = sorted({row["at_a_time"] for row in timed})
    body = [
        [name, *(cell(timed, unit, name=name, at_a_time=count) for count in ways)]
        for name in names(timed)
    ]
    head = [f"{count} at a time: sentences/s" for count in ways]
    table = markdown(["real text, beam 5, batches of 64", *head], body)
    same = next((row for row in rows if row["work"] == "same translations"), None)
    if same is not None:
        table += f"\n{same['same']:,} of {same['rows']:,} translations are the same.\n"
    return f"{table}\n{REAL_TEXT}"


def layer_table(rows: list[Row]) -> str:
    rows = [row for row in rows if row["work"] == "layer"]
    cases = list(dict.fromkeys(row["case"] for row in rows))
    body = [
        [row["case"], row["name"], f"{1000 * row['seconds']:,.0f}", f"{row['megabytes']:,.0f}"]
        for case in cases
        for row in rows
        if row["case"] == case
    ]
    return markdown(["case", "layer, forward and backward", "ms", "MB"], body)


def render(rows: list[Row], sizes: list[str], avx2: bool) -> str:
    """The page."""
    machine = next(row for row in rows if row["work"] == "machine")
    parts = [
        HEADER.format(
            **(WITHOUT_AVX512 if avx2 else PLAIN),
            machine=processor(),
            threads=os.cpu_count(),
            python=platform.python_version(),
            gflops=machine["gflops"],
            gigabytes=machine["gigabytes"],
        ),
        *([HELD_TO_AVX2] if avx2 else []),
        "In brackets: the ratio to the zoo's own figure, below 1 where the other is faster in ms, "
        "above 1 in sentences/s.\n",
        training_table(rows, sizes),
        *(decoding_table(rows, size) for size in sizes),
        real_text_table(rows),
        "[attention_layers.py](../benchmarks/attention_layers.py) says what the cases are.\n",
        layer_table(rows),
        "## What is aimed for\n",
        "The zoo's figure over the other's: at most so much of time or memory, at least so much "
        "of sentences a second.\n",
        markdown(
            ["work", "against", "ratio", "goal", "reached"],
            [target.cells(rows) for target in TARGETS],
        ),
    ]
    return "\n".join(parts)


def processor() -> str:
    """The name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((x.split(":")[1].strip() for x in lines if x.startswith("model name")), "?")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--peers", help="the Python of the environment with the peers")
    parser.add_argument("--opennmt", help="the Python of the environment with OpenNMT-tf")
    parser.add_argument("--only", nargs="*", default=[*SIZES], metavar="SIZE")
    parser.add_argument("--output", type=Path, help="a Markdown file; stdout if left out")
    parser.add_argument("--measurements", type=Path, help="where they are kept, to go on with")
    parser.add_argument("--scripts", type=int, help="most that are run now; all if left out")
    parser.add_argument("--run", help="of a Transformer, for real text")
    parser.add_argument("--data", help="sources for it, one a line")
    parser.add_argument("--avx2", action="store_true", help="without AVX-512, in all libraries")
    parser.add_argument("--rooflines", nargs="*", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.rooflines is not None:
        rooflines(chosen.rooflines)
        return
    if bool(chosen.run) != bool(chosen.data):
        parser.error("--run and --data go together")
    if chosen.avx2:
        os.environ.update(AVX2)
    trained = [chosen.run, "--data", chosen.data] if chosen.run else None
    commands = scripts(chosen.only, chosen.peers, chosen.opennmt, trained)
    rows = measure_all(commands, chosen.measurements, chosen.scripts)
    if rows is None:
        sys.exit(1)
    page = render(rows, chosen.only, chosen.avx2)
    if chosen.output:
        chosen.output.write_text(page, encoding="utf-8")
    else:
        print(page)


if __name__ == "__main__":
    main()
