"""From a checkpoint of another toolkit to a run, and what commands make of that run."""

import json
from pathlib import Path

import numpy as np
from checkpoints import marian

from attention_zoo.recipes.cli.main import app, run_command

PAIRS = "a house\tein Haus\nthe cat\tdie Katze\ntwo dogs\tzwei Hunde\n"


def command(*arguments):
    return run_command(app, list(map(str, arguments)))


def test_a_checkpoint_becomes_a_run_that_commands_take(capsys, refused):
    marian(Path("checkpoint"))
    assert command("import", "checkpoint", "run") == 0
    assert "imported checkpoint as run" in capsys.readouterr().out
    assert "holds another run" in refused(command("import", "checkpoint", "run"))
    config = json.loads(Path("run/config.json").read_text())
    assert (config["model_options"]["norm_first"], config["train"]) == (False, "checkpoint")

    assert command("predict", "run", "a house", "the cat", "--max-length", 8) == 0
    outputs = capsys.readouterr().out.splitlines()
    assert len(outputs) == 2

    Path("in.txt").write_text("a house\nthe cat\n\n", encoding="utf-8")
    for name in ("out.pharaoh", "out.jsonl", "out.npz"):
        assert command("explain", "run", "--input", "in.txt", "--output", name) == 0
    assert len(Path("out.pharaoh").read_text().splitlines()) == 3
    rows = [json.loads(row) for row in Path("out.jsonl").read_text("utf-8").splitlines()]
    assert [row["text"] for row in rows] == ["a house", "the cat", ""]
    assert np.load("out.npz")["0/cross"].shape[:2] == (2, 2)  # layers and heads
    assert "give --output one of .pharaoh" in refused(
        command("explain", "run", "--input", "in.txt", "--output", "a.png")
    )
    assert "one of them" in refused(command("explain", "run"))

    Path("pairs.tsv").write_text(PAIRS, encoding="utf-8")
    more = ("--train", "pairs.tsv", "--valid", "pairs.tsv", "--max-steps", 2, "--output", "tuned")
    assert command("train", "translation", "--start-from", "run", *more) == 0
    assert json.loads(Path("tuned/metrics.json").read_text())["steps"] == 2
    capsys.readouterr()
    assert command("predict", "tuned", "a house", "--max-length", 8) == 0
