"""A training from one file: the rows that it holds out are the same in all that follows."""

import json

import pytest
from reverse_task import arguments, assert_same_run

from attention_zoo.recipes.cli.main import app, run_command
from attention_zoo.recipes.core.corpora import read_corpora
from attention_zoo.recipes.core.run import Run


def one_file(data, output, *more, steps=20):
    command = arguments(data, output, steps=steps)
    at = command.index("--valid")
    return [*command[:at], *command[at + 2 :], *more]


def test_a_run_goes_on_with_the_same_rows_and_is_scored_on_them(
    reverse_files, tmp_path, capsys, refused
):
    run = tmp_path / "run"
    assert run_command(app, one_file(reverse_files, run)) == 0
    train, valid = read_corpora(Run(run).read_config())
    held_out = f"{reverse_files / 'train.tsv'}, held out: {len(valid)} pairs\n"
    assert held_out in capsys.readouterr().out
    assert not set(train.sources) & set(valid.sources) and len(valid) >= 2

    for steps in (10, 20):
        assert run_command(app, one_file(reverse_files, tmp_path / "parts", steps=steps)) == 0
    assert_same_run(tmp_path / "parts", run)
    capsys.readouterr()
    assert run_command(app, ["evaluate", str(run), "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)
    assert scores["rows"] == len(valid)
    assert scores["chrf"] == pytest.approx(Run(run).read_metrics()["valid"]["chrf"])

    other = one_file(reverse_files, run, "--valid", "0.5")
    assert "valid is None there and '0.5' here" in refused(run_command(app, other))
