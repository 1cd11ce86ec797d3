"""The experiment: what is trained with what, what is there already, what is told at the end."""

import json
from pathlib import Path

import numpy as np
import pytest
from reverse_task import SETTINGS, write_pairs
from test_comparison import make_comparison

from attention_zoo.recipes.analysis import experiment
from attention_zoo.recipes.analysis.experiment import Files, is_done, make_configs, thirds
from attention_zoo.recipes.cli.main import app, run_command
from attention_zoo.recipes.core.config import Budget, RunConfig
from attention_zoo.recipes.core.run import Run
from attention_zoo.recipes.data.pair_files import read_pairs
from attention_zoo.zoo.errors import ConfigError


def test_settings_of_all_of_some_and_of_one_model():
    settings = ["vocab_size=50", "rnn*:learning_rate=0.5", "rnn:model.dropout=0.2", "train:a=1"]
    files = Files("a=b:c.tsv", "d.tsv")
    models = ["rnn", "rnn-luong", "transformer-tiny"]
    configs = make_configs("translation", models, files, False, settings[:3])
    assert [config.vocab_size for config in configs.values()] == [50] * 3
    assert [config.learning_rate for config in configs.values()] == [0.5, 0.5, 0.004]
    assert [config.model_options for config in configs.values()] == [{"dropout": 0.2}, {}, {}]
    assert {config.train for config in configs.values()} == {"a=b:c.tsv"}
    for given, expected in (
        (settings[3:], "--set train:a=1 is for none of rnn"),
        (["no=1"], "no setting 'no'"),
    ):
        with pytest.raises(ConfigError, match=expected):
            make_configs("translation", models, files, False, given)
    for names, expected in (
        (["rnn"], "Two models or more"),
        (["rnn", "rnn"], "each once"),
        (["rnn", "lstm"], "no model 'lstm'"),
    ):
        with pytest.raises(ConfigError, match=expected):
            make_configs("translation", names, files, False, [])


def test_any_task_can_be_learnt_by_several_models():
    models = ["rnn-bahdanau", "pointer-generator"]
    configs = make_configs("summarization", models, Files(), False, [])
    assert [config.model for config in configs.values()] == models
    assert {(config.task, config.metric) for config in configs.values()} == {
        ("summarization", "rougeL")
    }
    with pytest.raises(ConfigError, match="sources are context and question"):
        Files("a.tsv", "a.tsv").joined("question-answering", 12, 1, Path("joined"), False)


def test_thirds():
    assert thirds(np.arange(1, 31)) == (10, 21)
    assert thirds(np.array([7, 7, 7])) == (7, 8)


@pytest.mark.parametrize("reverse", [False, True])
def test_lengths_of_joins_are_those_of_the_source(tmp_path, reverse):
    path = tmp_path / "pairs.tsv"
    path.write_text("".join(f"a{row} b c d\tX{row}\n" for row in range(200)))
    files = Files(str(path), str(path)).joined("translation", 12, 1, tmp_path / "joined", reverse)
    corpus = read_pairs(files.train, reverse=reverse)
    lengths = {len(source.split()) for source in corpus.sources[:-1]}
    # A pair is four words on the one side and one on the other.
    assert lengths == (set(range(1, 13)) if reverse else {4, 8, 12})
    assert files.test is None and files.valid.startswith(str(tmp_path / "joined" / "valid-12-"))


def command(data, output, *more, models="rnn,rnn-bahdanau"):
    options = [part for setting in SETTINGS for part in ("--set", setting)]
    return [
        "experiment", "--models", models, "--train", str(data / "train.tsv"),
        "--valid", str(data / "valid.tsv"), "--join", "4", "--output", str(output),
        "--max-steps", "2", "--fall", "2,3", *options, "--set", "max_target_length=40", *more,
    ]  # fmt: skip


@pytest.fixture
def pairs(tmp_path):
    write_pairs(tmp_path / "train.tsv", 40, seed=0)
    write_pairs(tmp_path / "valid.tsv", 30, seed=1)
    return tmp_path


@pytest.fixture
def stubs(monkeypatch):
    """Runs that are trained in no time, and what was trained and compared."""
    trained, compared = [], []

    def train(config, folder, budget, report):
        trained.append((config.model, folder, budget))
        Run(folder).open(config)
        values = {"steps": budget.max_steps, "minutes": 0.5, "ended": "budget"}
        (folder / "metrics.json").write_text(json.dumps(values))

    def compare(folders, data, **options):
        compared.append((folders, data, options))
        return make_comparison()

    monkeypatch.setattr(experiment, "run_task", train)
    monkeypatch.setattr(experiment, "compare", compare)
    monkeypatch.setattr(experiment, "forget", lambda: None)
    monkeypatch.setattr(experiment, "write_report", lambda _, folder: [folder / "comparison.html"])
    return trained, compared


def test_what_is_trained_is_compared_and_not_trained_twice(pairs, tmp_path, capsys, stubs):
    output, (trained, compared) = tmp_path / "out", stubs
    folders = [output / "rnn", output / "rnn-bahdanau"]
    assert run_command(app, command(pairs, output, "--lengths", "1,2")) == 0
    told = capsys.readouterr().out
    assert "model 2 of 2: rnn-bahdanau\n" in told and "## Lost on long sources" in told
    assert [(model, folder) for model, folder, _ in trained] == [
        (folder.name, folder) for folder in folders
    ]
    assert {budget for *_, budget in trained} == {Budget(max_steps=2)}
    ((compared_folders, data, options),) = compared
    assert compared_folders == folders and data is None
    assert (options["lengths"], options["degradation"]) == ([1, 2], (2, 3))
    assert f"written to {output}/comparison/comparison.html" in told
    # Nothing is left to train; with a larger budget, everything.
    assert run_command(app, command(pairs, output)) == 0
    assert "model 1 of 2: rnn is there" in capsys.readouterr().out and len(trained) == 2
    assert run_command(app, command(pairs, output, "--max-steps", "3")) == 0
    assert len(trained) == 4
    without = [part for part in command(pairs, output) if part not in ("--max-steps", "2")]
    assert run_command(app, without) == 0
    assert [budget for *_, budget in trained[4:]] == [Budget()] * 2
    # Other pairs are another experiment.
    write_pairs(pairs / "train.tsv", 41, seed=0)
    capsys.readouterr()
    assert run_command(app, command(pairs, output)) == 2
    assert "holds another run: train is" in capsys.readouterr().err


def test_other_rows_to_compare_on_are_joined_too(pairs, tmp_path, capsys, stubs):
    data = str(write_pairs(tmp_path / "test.tsv", 50, seed=2))
    assert run_command(app, command(pairs, tmp_path / "out", "--data", data)) == 0
    _, data, _ = stubs[1][0]
    (joined,) = (tmp_path / "out" / "joined").glob("test-4-*")
    assert data == str(joined) and len(read_pairs(data)) < 50


def test_rows_that_cannot_be_used_are_told_before_anything_is_trained(
    pairs, tmp_path, capsys, stubs
):
    for name in ("train", "valid", "test"):
        rows = (write_pairs(pairs / f"{name}.tsv", 150, seed=3)).read_text()
        (pairs / f"{name}.tsv").write_text(f"{rows}bad\n")
    data = ["--data", str(pairs / "test.tsv")]
    assert run_command(app, command(pairs, tmp_path / "out", *data)) == 0
    told = capsys.readouterr().out.split("model 1 of 2")[0]
    for name in ("train", "valid", "test"):
        assert f"1 row skipped: {pairs}/{name}.tsv:151: no tab" in told
    files = ["--train", str(pairs / "train.tsv"), "--valid", str(pairs / "valid.tsv"), *data]
    options = ["--models", "rnn,rnn-luong", "--max-steps", "2", "--output", str(tmp_path / "two")]
    assert run_command(app, ["experiment", *options, *files]) == 0
    assert f"{pairs}/test.tsv:151: no tab" in capsys.readouterr().out.split("model 1 of 2")[0]


@pytest.mark.slow
def test_an_experiment_from_end_to_end(pairs, tmp_path):
    output = tmp_path / "out"
    assert run_command(app, command(pairs, output)) == 0
    names = {path.name for path in (output / "comparison").iterdir()}
    pictures = ("quality_by_length", "score_by_time")
    assert {f"{name}.{end}" for name in pictures for end in ("png", "svg")} <= names
    values = json.loads((output / "comparison" / "comparison.json").read_text())
    rows = len(read_pairs(str(next((output / "joined").glob("valid-4-*")))))
    assert values["rows"] == rows < 30
    assert [run["name"] for run in values["runs"]] == ["rnn", "rnn-bahdanau"]
    assert values["degradation"]["short"] == 2 and len(values["degradation"]["runs"]) == 2


def test_what_is_wrong_is_told_before_anything_is_trained(pairs, tmp_path, capsys, monkeypatch):
    output = tmp_path / "out"
    monkeypatch.setattr(experiment, "run_task", lambda *_: pytest.fail("trained"))
    for more, expected in (
        (["--fall", "2,90"], "no source with a length of 90 and more"),
        (["--fall", "3"], "--fall takes two rising numbers"),
        (["--lengths", "3,2"], "--lengths takes rising"),
        (["--models", "rnn"], "Two models or more"),
        (["--set", "lstm:seed=2"], "is for none of"),
        (["--data", "none.tsv"], "none.tsv does not exist"),
        (["--set", "schedule=nothing"], "There is no schedule 'nothing'"),
        (["--set", "rnn:model.layers=9"], "rnn has no argument layers"),
        (["--set", "rnn-bahdanau:jit=true"], "jit is for transformers"),
        (["--set", "rnn:bleu_tokenize=char"], "rnn-bahdanau has auto. Give --set bleu_tokenize="),
    ):
        assert run_command(app, command(pairs, output, *more)) == 2
        error = capsys.readouterr().err
        assert expected in error and error.count("\n") == 1, error
    for words, expected in (
        (["--join", "5"], "give --train and --valid"),
        (["dialogue", "--join", "5"], "--join for dialogue, whose sources are history and text"),
        (["--train", "x"], "Give --train and --valid, or neither"),
        (["--set", "rnn:seed=2"], "different rows; give --data, or the same seed to all models"),
        (["--set", "rnn-luong:schedule=cosine"], "give --max-steps or --max-minutes"),
        (["dialogue", "--set", "metric=distinct_1"], "choose another by --set metric=..."),
    ):
        assert run_command(app, ["experiment", *words, "--output", "other"]) == 2
        assert expected in capsys.readouterr().err
    assert not (output / "rnn").exists() and not (tmp_path / "other").exists()


def test_without_long_sources_there_is_no_fall_unless_it_is_asked_for(tmp_path, capsys, stubs):
    (tmp_path / "pairs.tsv").write_text("a b c\tx\nd e f\ty\n")
    files = [part for option in ("--train", "--valid") for part in (option, "pairs.tsv")]
    command = ["experiment", "--models", "rnn,rnn-luong", "--max-steps", "2", *files]
    assert run_command(app, [*command, "--fall", "3,4"]) == 2
    assert "no source with a length of 4 and more" in capsys.readouterr().err
    assert run_command(app, command) == 0
    assert stubs[1][0][2]["degradation"] is None


@pytest.mark.parametrize(
    ("budget", "done"),
    [
        (Budget(), False),
        (Budget(max_steps=20), True),
        (Budget(max_steps=21), False),
        (Budget(max_minutes=1.5), True),
        (Budget(max_minutes=1.6), False),
    ],
)
def test_a_run_is_done_when_it_has_had_its_budget_or_got_no_better(tmp_path, budget, done):
    assert not is_done(tmp_path, budget)
    Run(tmp_path).open(RunConfig(patience=2))
    history = [{"step": step} for step in (5, 10, 15, 20)]
    for best, ended, expected in (
        (10, "budget", done),
        (10, "patience", True),
        (10, None, True),  # of before that was told: two evaluations after the best
        (15, None, done),
    ):
        values = {"steps": 20, "minutes": 1.5, "best_step": best, "history": history}
        values |= {"ended": ended} if ended else {}
        (tmp_path / "metrics.json").write_text(json.dumps(values))
        assert is_done(tmp_path, budget) is expected
    # All the steps that were planned for so many minutes are made.
    plan = {"steps": 20, "minutes": 1.6}
    (tmp_path / "metrics.json").write_text(json.dumps({**values, "planned": plan}))
    assert is_done(tmp_path, budget) is (done or budget.max_minutes == 1.6)
