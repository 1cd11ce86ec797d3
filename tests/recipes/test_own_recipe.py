"""A copied recipe, and training from Python: what is trained, and what a run needs afterwards."""

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import keras
import pytest
from eager import eagerly
from reverse_task import SETTINGS

import attention_zoo
from attention_zoo.layers import BahdanauAttention
from attention_zoo.recipes import translation
from attention_zoo.recipes.cli.main import app, run_command
from attention_zoo.recipes.core import parts
from attention_zoo.zoo.errors import ConfigError
from attention_zoo.zoo.models.recurrent import recurrent

METRIC = '''
def same_start(predictions, references):
    """Share of the outputs whose first character is right, in percent."""
    same = [text[:1] == right[0][:1] for text, right in zip(predictions, references)]
    return 100 * sum(same) / len(same)


TASK = Task('''
VALUES = dict(setting.split("=") for setting in SETTINGS)
OPTIONS = {
    name.removeprefix("model."): float(value) if "." in value else int(value)
    for name, value in VALUES.items()
    if name.startswith("model.")
}
# `metric` and `learning_rate` are those of the recipe.
SMALL = [s for s in SETTINGS if not s.startswith(("metric", "learning_rate", "checkpoint"))]


def copied_recipe(folder):
    """The script `my_task.py`, as a user would change a copy."""
    text = Path(translation.__file__).read_text()
    for old, new in (
        ('name="translation"', 'name="mine"'),
        ("TASK = Task(", METRIC.lstrip()),
        ("score_settings=", 'metrics=(same_start, "bleu", "perplexity"),\n    score_settings='),
        ("default_settings={", 'settings={"learning_rate": 0.03, "metric": "same_start"},\n'
         "    default_settings={"),
    ):  # fmt: skip
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    path = folder / "my_task.py"
    path.write_text(text)
    return path


@pytest.fixture(scope="module")
def mine(tmp_path_factory, reverse_files):
    """The script and the run that it made of two steps."""
    folder = tmp_path_factory.mktemp("elsewhere")
    path = copied_recipe(folder)
    command = ["--train", str(reverse_files / "train.tsv"), "--output", str(folder / "run")]
    command += ["--valid", str(reverse_files / "valid.tsv"), "--max-steps", "2"]
    command += [part for setting in SMALL for part in ("--set", setting)]
    with pytest.MonkeyPatch.context() as patch, eagerly():
        patch.setattr(sys, "argv", [str(path), *command])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(path), run_name="__main__")
    assert ended.value.code == 0
    return path, folder / "run"


def test_a_copy_trains_what_it_says(mine):
    path, run = mine
    config = json.loads((run / "config.json").read_text())
    found = config["task"], config["learning_rate"], config["metric"]
    assert found == ("mine", 0.03, "same_start")
    assert config["parts"] == {"task": f"{path}:TASK", "metric": f"{path}:same_start"}
    metrics = json.loads((run / "metrics.json").read_text())
    assert set(metrics["valid"]) >= {"same_start", "bleu"}
    assert all("same_start" in entry for entry in metrics["history"])


@pytest.fixture
def forgotten(monkeypatch):
    """As in a process of its own: no file of a user was imported."""
    monkeypatch.setattr(parts, "_modules_of_files", {})
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "my_task", raising=False)
    yield
    sys.modules.pop("my_task", None)


@pytest.mark.usefixtures("eager")
def test_its_run_is_used_from_any_folder(mine, forgotten, capsys):
    path, run = mine
    metrics = json.loads((run / "metrics.json").read_text())
    assert run_command(app, ["evaluate", str(run), "--json", "--task", str(path)]) == 0
    values = json.loads(capsys.readouterr().out)
    assert values["same_start"] == pytest.approx(metrics["valid"]["same_start"])
    assert run_command(app, ["explain", str(run), "abc"]) == 0
    assert run_command(app, ["predict", str(run), "abc"]) == 0
    capsys.readouterr()
    assert run_command(app, ["evaluate", str(run), "--task", "translation"]) == 2
    assert "The run is of mine. Received: translation" in capsys.readouterr().err


@pytest.mark.usefixtures("eager")
def test_what_needs_the_script_says_so_and_the_rest_goes_on(mine, forgotten, capsys):
    path, run = mine
    aside = path.rename(path.with_suffix(".gone"))
    try:
        (expected,) = attention_zoo.load(run).predict(["abc"])
        assert run_command(app, ["predict", str(run), "abc"]) == 0
        assert capsys.readouterr().out == f"{expected.text}\n"
        for command in (["evaluate", str(run)], ["train", str(path), "--output", str(run)]):
            assert run_command(app, command) == 2
            error = capsys.readouterr().err
            assert str(path) in error and error.count("\n") == 1
    finally:
        aside.rename(path)
    assert run_command(app, ["evaluate", str(run)]) == 2
    assert f"runs only if you give it: --task {path}\n" in capsys.readouterr().err


LOAD = """
import sys
import attention_zoo
for folder in sys.argv[1:]:
    print(attention_zoo.load(folder).predict(["abc"])[0].text)
scripts = ("translation", "summarization", "question_answering", "dialogue")
found = {"babel", *(f"attention_zoo.recipes.{name}" for name in scripts)} & set(sys.modules)
assert not found, found
"""


def test_a_run_is_loaded_without_a_recipe(mine, trained):
    folders = [str(mine[1]), str(trained[0])]
    command = [sys.executable, "-c", LOAD, *folders]
    done = subprocess.run(command, capture_output=True, text=True, cwd=os.sep)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 2


# From Python


class Mine(BahdanauAttention):
    """An attention whose class is not registered."""


def make_mine(vocab_size, **options):
    return recurrent(vocab_size, attention=Mine, **options)


def length(predictions, references):
    return float(sum(map(len, predictions)))


@pytest.fixture(scope="module")
def python_run(reverse_files, tmp_path_factory):
    """A run of an own model and metric."""
    told = []
    with eagerly():
        run = attention_zoo.train(
            "translation",
            train=str(reverse_files / "train.tsv"),
            valid=str(reverse_files / "valid.tsv"),
            model=make_mine,
            model_options=OPTIONS,
            output=tmp_path_factory.mktemp("python") / "run",
            max_steps=2,
            report=told.append,
            vocab_size=13,
            max_target_length=12,
            batch_tokens=60,
            evaluate_every=1,
            evaluate_rows=4,
            beam_size=1,
            metric=length,
        )
    return run, told


@pytest.mark.usefixtures("eager")
def test_training_from_python(python_run):
    run, told = python_run
    assert run.scores == run.metrics["valid"] and run.metrics["steps"] == 2
    outputs = [prediction.text for prediction in run.model.predict(["abc", "dd"])]
    assert len(outputs) == 2 and any("best at step" in line for line in told)
    config = json.loads((run.folder / "config.json").read_text())
    assert (config["model"], config["metric"]) == ("make_mine", "length")
    assert {name: origin.rpartition(":")[2] for name, origin in config["parts"].items()} == {
        "Mine": "Mine", "model": "make_mine", "metric": "length",
    }  # fmt: skip


@pytest.mark.usefixtures("eager")
def test_a_class_that_is_gone_is_named_with_its_file(python_run, forgotten):
    folder = python_run[0].folder
    config = json.loads((folder / "config.json").read_text())
    parts_there = {name: f"/gone/models.py:{name}" for name in config["parts"]}
    (folder / "config.json").write_text(json.dumps({**config, "parts": parts_there}))
    with pytest.raises(ConfigError, match=r"class Mine of this run was in /gone/models\.py, which"):
        attention_zoo.load(folder)
    (expected,) = python_run[0].model.predict(["abc"])
    model = attention_zoo.load(folder, custom_objects={"Mine": Mine})
    assert model.predict(["abc"]) == [expected]
    with keras.saving.custom_object_scope({"Mine": Mine}):
        assert attention_zoo.load(folder).predict(["abc"]) == [expected]
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"learning_rat": 1.0}, "no setting 'learning_rat'"),
        ({"learning_rate": "high"}, "learning_rate takes a value of type float"),
        ({"valid": "a.tsv"}, "--valid needs --train too"),
        ({"model": "lstm"}, "no model 'lstm'"),
        ({"model_options": {"units": 3}}, "units"),
    ],
)
def test_from_python_what_is_wrong_is_an_exception(options, expected):
    with pytest.raises(ConfigError, match=expected):
        attention_zoo.train("translation", output="run", max_steps=1, **options)
    assert not Path("run").exists()
