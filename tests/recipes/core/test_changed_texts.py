"""A run is of its texts: others under the same names are not gone on with, nor compared."""

import json
import shutil

import pytest
from reverse_task import SETTINGS, train, write_pairs

from attention_zoo.recipes.analysis.comparison import compare
from attention_zoo.recipes.cli.main import app, run_command
from attention_zoo.recipes.core.corpora import OTHER_TEXTS
from attention_zoo.recipes.core.run import Run


@pytest.fixture
def data(tmp_path):
    """A folder with `train.tsv` and `valid.tsv` that a test may change."""
    write_pairs(tmp_path / "train.tsv", 12, seed=0)
    write_pairs(tmp_path / "valid.tsv", 4, seed=1)
    return tmp_path


def files(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_a_run_does_not_go_on_over_other_texts(data, tmp_path, refused, capsys):
    output = tmp_path / "run"
    assert train(data, output, steps=1) == 0
    before = files(output)
    known = Run(output).config_path.read_text()
    for name, words in (("train", "training"), ("valid", "validation")):
        path = data / f"{name}.tsv"
        text = path.read_text()
        path.write_text(text.upper())
        line = refused(train(data, output, steps=2))
        assert f"was begun with other {words} texts than {path} has now" in line
        path.write_text(text.replace("\n", "\r\n") + "\n")  # the same texts
    assert files(output) == before
    assert train(data, output, steps=2) == 0
    assert "going on at step 1" in capsys.readouterr().out
    # As a run of before, which knows nothing of its texts.
    values = json.loads(known)
    assert set(values.pop("texts")) == {"train", "valid"}
    Run(output).config_path.write_text(json.dumps(values))
    (data / "train.tsv").write_text((data / "train.tsv").read_text().upper())
    assert train(data, output, steps=3) == 0


def grid(command, data, output, *more):
    options = [part for setting in SETTINGS for part in ("--set", setting)]
    return [
        *command, "--max-steps", "1", "--output", str(output), "--train", str(data / "train.tsv"),
        "--valid", str(data / "valid.tsv"), *options, *more,
    ]  # fmt: skip


@pytest.mark.parametrize("changed", ["train", "valid"])
def test_several_runs_are_of_the_same_texts(changed, data, tmp_path, refused, capsys, monkeypatch):
    """The first run of several has ended, the other has not begun."""
    trained = []

    def stop(config, folder, *_):
        trained.append(folder.name)
        raise KeyboardInterrupt

    monkeypatch.setattr("attention_zoo.recipes.analysis.experiment.run_task", stop)
    command = grid(["experiment", "--models", "rnn,rnn-luong"], data, tmp_path / "out")
    folder = tmp_path / "out" / "rnn"
    assert train(data, folder, model="rnn", steps=1) == 0
    assert run_command(app, command) == 130
    assert len(trained) == 1 and "rnn-luong" in trained[0]
    capsys.readouterr()
    path = data / f"{changed}.tsv"
    path.write_text(path.read_text().upper())
    assert f"texts than {path} has now" in refused(run_command(app, command))
    assert len(trained) == 1


def test_other_texts_to_validate_with_are_told(trained, tmp_path, capsys):
    runs = [tmp_path / "changed", tmp_path / "same"]
    for run in runs:
        shutil.copytree(trained[0], run)
    path = Run(runs[0]).config_path
    values = json.loads(path.read_text())
    values["texts"]["valid"] += 1
    path.write_text(json.dumps(values))
    told = []
    compare(runs, resamples=100, timed_rows=0, lengths=[1], report=told.append)
    assert [line for line in told if OTHER_TEXTS in line] == [f"changed: {OTHER_TEXTS}"]
    for run, lines in zip(runs, ([OTHER_TEXTS], []), strict=True):
        assert run_command(app, ["evaluate", str(run)]) == 0
        assert capsys.readouterr().err.splitlines() == lines
    assert run_command(app, ["evaluate", str(runs[0]), "--data", values["valid"]]) == 0
    assert capsys.readouterr().err == ""
