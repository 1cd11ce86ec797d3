"""A sweep: what is trained, what is there already, and the table."""

import json

import pytest
from prepared_folders import prepared, write_words
from reverse_task import SETTINGS

from attention_zoo.recipes import sweep
from attention_zoo.recipes.cli import app, run_command
from attention_zoo.recipes.cli_sweep import _print_table
from attention_zoo.recipes.config import Budget, ConfigError, RunConfig
from attention_zoo.recipes.run import Run
from attention_zoo.recipes.sweep import (
    SweepRow,
    _row,
    combinations,
    folder_name,
    is_done,
    parse_grid,
    run_sweep,
)


def test_every_combination_once():
    grid = parse_grid(["a=1,2", "model.b=x", "c=3,4,5"])
    assert grid == {"a": ["1", "2"], "model.b": ["x"], "c": ["3", "4", "5"]}
    found = combinations(grid)
    assert len(found) == 6
    assert found[:2] == [
        {"a": "1", "model.b": "x", "c": "3"},
        {"a": "1", "model.b": "x", "c": "4"},
    ]
    assert len({folder_name(settings) for settings in found}) == 6


@pytest.mark.parametrize("spec", ["a", "a=", "=1", "a=1,", "a=1,,2"])
def test_what_is_no_grid_is_refused(spec):
    with pytest.raises(ConfigError, match=f"name=value,value,... Received: {spec}$"):
        parse_grid([spec])


@pytest.mark.parametrize(
    ("specs", "expected"),
    [
        (["a=1,1"], "twice"),
        (["a=1", "a=2"], "twice"),
        (["a=1", "metric=bleu,perplexity"], "ranked by one metric: give --set metric="),
        (["bleu_tokenize=char,13a"], "ranked by one bleu_tokenize"),
    ],
)
def test_what_cannot_be_ranked_is_refused(specs, expected):
    with pytest.raises(ConfigError, match=expected):
        parse_grid(specs)


def test_seeds_that_validate_with_different_rows_are_not_ranked(tmp_path):
    def make(settings):
        return RunConfig(model="rnn", seed=int(settings["seed"]))

    with pytest.raises(ConfigError, match="give --train and --valid"):
        run_sweep(make, parse_grid(["seed=1,2"]), tmp_path / "sweep", Budget(max_steps=1))
    assert not (tmp_path / "sweep").exists()


def test_a_table_that_is_not_for_a_screen_is_whole(capsys):
    names = ["model", "learning_rate", "model.feedforward_dim", "label_smoothing", "warmup_steps"]
    values = ["transformer-tiny", "0.00125", "1024", "0.1", "1500"]
    row = SweepRow(dict(zip(names, values, strict=True)), "folder", 12.5, 9.9, 20_000, 12.0)
    _print_table([row], names, "word_perplexity")
    head, line = capsys.readouterr().out.splitlines()
    assert head.split()[: len(names)] == names
    assert line.split() == [*values, "12.50", "9.90", "20,000", "12.0"]


def test_damaged_metrics_are_one_line(tmp_path):
    (tmp_path / "metrics.json").write_text("{")
    with pytest.raises(ConfigError, match="is not readable JSON"):
        is_done(tmp_path, Budget())


def test_a_folder_has_no_sign_that_a_path_minds():
    assert folder_name({"train": "a/b.tsv", "x": "1e-3"}) == "train=a_b.tsv,x=1e-3"


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


def command(data, output, *more):
    options = [part for setting in SETTINGS for part in ("--set", setting)]
    return [
        "sweep", "translation", "--model", "rnn", "--max-steps", "3", "--output", str(output),
        "--train", str(data / "train.tsv"), "--valid", str(data / "valid.tsv"), *options, *more,
    ]  # fmt: skip


def test_a_sweep_trains_tells_and_is_not_done_twice(reverse_files, tmp_path, capsys, monkeypatch):
    output = tmp_path / "sweep"
    # With the second rate no number stays finite.
    grid = command(reverse_files, output, "--grid", "learning_rate=3e38,0.05")
    assert run_command(app, grid) == 0
    told = capsys.readouterr().out
    assert "run 2 of 2: learning_rate=0.05" in told and "failed: The loss is no finite" in told
    rows = [SweepRow(**row) for row in json.loads((output / "sweep.json").read_text())]
    assert [row.settings["learning_rate"] for row in rows] == ["0.05", "3e38"]  # the best first
    metrics = json.loads((output / "learning_rate=0.05" / "metrics.json").read_text())
    assert (rows[0].metric, rows[0].perplexity) == (
        metrics["valid"]["chrf"],
        metrics["valid"]["perplexity"],
    )
    assert rows[1].metric is None and "step 2, loss nan" in rows[1].error
    table = told[told.index("perplexity  best at step") :]
    assert f"{rows[0].metric:.2f}" in table and "failed" in table

    def refuse(config, folder, *_):
        assert folder.name == "learning_rate=3e38"
        raise sweep.TrainingError("again")

    monkeypatch.setattr(sweep, "run_task", refuse)
    assert run_command(app, grid) == 0
    assert "learning_rate=0.05 is there" in capsys.readouterr().out


def test_nothing_is_trained_if_one_combination_is_impossible(
    reverse_files, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(sweep, "run_task", lambda *_: pytest.fail("trained"))
    for grid, expected in (
        ("learning_rate=0.1,-1", "learning_rate must be positive"),
        ("model.dropout=0.1,2", "cannot be made with"),
        ("model=rnn,lstm", "no model 'lstm'"),
        ("rate=1,2", "no setting 'rate'"),
        ("jit=false,true", "jit is for transformers"),
    ):
        assert run_command(app, command(reverse_files, tmp_path / "x", "--grid", grid)) == 2
        error = capsys.readouterr().err
        assert expected in error and error.count("\n") == 1
    grid = ["sweep", "translation", "--output", "x", "--grid", "schedule=inverse_sqrt,cosine"]
    assert run_command(app, grid) == 2
    assert "give --max-steps or --max-minutes" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_a_grid_that_a_prepared_corpus_contradicts_is_refused(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sweep, "run_task", lambda *_: pytest.fail("trained"))
    spec = prepared("prepared", write_words(tmp_path / "a.tsv", 20, seed=1)).name
    files = ["--train", spec, "--valid", "a.tsv", "--output", "x"]
    grid = ["sweep", "translation", *files, "--grid", "max_source_length=128,64"]
    assert run_command(app, grid) == 2
    assert "Received: max_source_length=64" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_a_finished_run_with_other_settings_is_not_taken_for_this_one(tmp_path, monkeypatch):
    folder = tmp_path / "seed=3"
    texts = {"train": "a.tsv", "valid": "b.tsv"}
    Run(folder).open(RunConfig(patience=7, **texts))
    (folder / "metrics.json").write_text("{}")
    monkeypatch.setattr(sweep, "run_task", lambda *_: pytest.fail("trained"))

    def make(settings):
        return RunConfig(seed=int(settings["seed"]), **texts)

    with pytest.raises(ConfigError, match="patience is 7 there"):
        run_sweep(make, {"seed": ["2", "3"]}, tmp_path, Budget(), lambda line: None)


def test_the_best_is_first_of_equals_the_less_perplexed_and_failures_are_last():
    found = [(None, None), (10.0, 9.0), (30.0, 5.0), (30.0, 4.0), (0.0, 2.0)]
    rows = [SweepRow({}, "", metric, perplexity) for metric, perplexity in found]
    ranked = [(row.metric, row.perplexity) for row in sorted(rows, key=sweep._rank("bleu"))]
    assert ranked == [(30.0, 4.0), (30.0, 5.0), (10.0, 9.0), (0.0, 2.0), (None, None)]


def test_the_best_is_the_lowest_perplexity_where_that_decides(tmp_path, monkeypatch):
    def write(config, folder, *_):
        folder.mkdir(parents=True)
        values = {"perplexity": float(config.seed)}
        metrics = {"steps": 1, "minutes": 0.0, "best_step": 1, "valid": values}
        (folder / "metrics.json").write_text(json.dumps(metrics))

    monkeypatch.setattr(sweep, "run_task", write)
    monkeypatch.setattr(sweep, "check_runs", lambda *_: None)
    monkeypatch.setattr(sweep, "forget", lambda: None)

    def make(settings):
        return RunConfig(metric="perplexity", train="a.tsv", valid="b.tsv").with_settings(
            [f"{name}={value}" for name, value in settings.items()]
        )

    rows = run_sweep(make, {"seed": ["5", "3", "4"]}, tmp_path, Budget(), lambda line: None)
    assert [row.settings["seed"] for row in rows] == ["3", "4", "5"]


def test_where_the_metric_has_no_value_runs_are_ranked_by_the_one_that_decided(tmp_path, capsys):
    found = {"steps": 3, "minutes": 0.1, "best_step": 3, "history": []}
    rows = []
    for name, bleu, metric in (("short", None, "chrf"), ("long", 12.0, "bleu")):
        values = {"bleu": bleu, "chrf": 55.0, "perplexity": 2.0}
        Run(tmp_path / name).open(RunConfig())
        (tmp_path / name / "metrics.json").write_text(
            json.dumps({**found, "valid": values, "metric": metric})
        )
        rows.append(_row({"x": name}, tmp_path / name, "bleu"))
    assert [(row.metric_name, row.metric) for row in rows] == [("chrf", 55.0), ("bleu", 12.0)]
    _print_table(rows[:1], ["x"], "bleu")
    head, line = capsys.readouterr().out.splitlines()
    assert head.split()[:2] == ["x", "chrf"] and line.split()[:3] == ["short", "55.00", "2.00"]
