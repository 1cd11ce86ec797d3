"""The shortest command: a file and nothing else; what it prints, and what is listed before it."""

import json
import re

import pytest

import attention_zoo
from attention_zoo.recipes.cli.main import app, run_command
from attention_zoo.recipes.core.config import describe_settings


@pytest.fixture(scope="module")
def shortest(reverse_files, tmp_path_factory):
    """The folder of a run of a file and of some steps, and what was printed."""
    import contextlib
    import io

    folder = tmp_path_factory.mktemp("shortest") / "run"
    command = ["train", "translation", "--train", str(reverse_files / "train.tsv")]
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        assert run_command(app, [*command, "--output", str(folder), "--max-steps", "12"]) == 0
    return folder, printed.getvalue()


def test_it_says_what_it_chose_and_what_to_do_next(shortest):
    folder, printed = shortest
    chosen = printed[printed.index("chosen for this corpus") : printed.index("parameters")]
    assert "model    rnn-bahdanau model.dropout=0.3 model.embedding_dim=128" in chosen
    assert (
        "tokenizer=char" in chosen and "schedule=cooldown" in chosen and "vocab_size" not in chosen
    )
    assert "time     12 steps (--max-minutes); Ctrl-C stops and keeps what is learned" in chosen
    assert "rows are few: a model learns them by heart" in printed
    last = printed[printed.index("scoring the best model on all ") :]
    assert last.count("  source ") == last.count("  expected ") == last.count("  output ") == 3
    for command in ("predict", "explain", "evaluate", "export"):
        assert f"  attention-zoo {command} {folder}" in last
    # The command for a text is one that can be given.
    text = re.search(rf"attention-zoo predict {re.escape(str(folder))} (\w+)", last)[1]
    assert run_command(app, ["predict", str(folder), text]) == 0


def test_the_run_has_what_was_chosen(shortest):
    folder, _ = shortest
    values = json.loads((folder / "config.json").read_text())
    assert values["stated"] == [] or set(values["stated"]) <= {"reverse"}
    assert (values["tokenizer"], values["model"], values["patience"]) == (
        "char",
        "rnn-bahdanau",
        100,
    )
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["steps"] == 12
    assert attention_zoo.load(folder).model.count_params() == metrics["parameters"]


def test_the_same_command_goes_on_with_more_steps(shortest, reverse_files, capsys):
    folder, _ = shortest
    command = ["train", "translation", "--train", str(reverse_files / "train.tsv")]
    assert run_command(app, [*command, "--output", str(folder), "--max-steps", "13"]) == 0
    assert "going on at step 12" in capsys.readouterr().out
    other = [*command, "--output", str(folder), "--set", "learning_rate=0.5"]
    assert run_command(app, other) == 2
    assert "learning_rate is 0.002 there and 0.5 here" in capsys.readouterr().err


def test_the_values_of_a_run_are_listed_before_it_begins(reverse_files, capsys):
    train = str(reverse_files / "train.tsv")
    command = ["settings", "translation", "--train", train, "--set", "batch_tokens=99"]
    assert run_command(app, command) == 0
    lines = capsys.readouterr().out.splitlines()
    found = {line[2:].split()[0]: line for line in lines if line[:2] in ("* ", "  ")}
    assert set(found) >= {"model", "model.dropout", *(name for name, _, _ in describe_settings())}
    for name, value, star in (
        ("model", "rnn-bahdanau", "*"),
        ("model.dropout", "0.3", "*"),
        ("model.embedding_scale_power", "0.25", " "),
        ("tokenizer", "char", "*"),
        ("batch_tokens", "99", " "),
        ("seed", "1", " "),
    ):
        assert found[name][2:].split()[:2] == [name, value]
        assert found[name][0] == star
    # Of the embedded default, what its recipe has.
    assert run_command(app, ["settings", "translation"]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"^  vocab_size +256 ", printed, re.M) and "\n* " not in printed
    assert re.search(r"^  model.decoder_units +512$", printed, re.M) is None


@pytest.mark.parametrize("minutes", ["0", "-1", "soon", "inf", "nan"])
def test_impossible_minutes(minutes, refused):
    status = run_command(app, ["train", "translation", "--max-minutes", minutes])
    assert "a number of minutes from 0.01 on, or none" in refused(status)
