"""A run, its pack, and the same outputs; nothing of where it was trained; no code."""

import hashlib
import json
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from eager import eagerly
from packs import contents, rewrite

import attention_zoo
from attention_zoo.recipes.cli import demo
from attention_zoo.recipes.cli.main import app, run_command
from attention_zoo.recipes.cli.model_card_notes import RunNotes
from attention_zoo.recipes.core.packed_run import open_run
from attention_zoo.recipes.core.run import Run
from attention_zoo.recipes.presets.packing import About, pack_run
from attention_zoo.zoo.errors import ConfigError
from attention_zoo.zoo.presets import names
from attention_zoo.zoo.presets.pack import read_manifest

ABOUT = ["--license", "CC-BY-2.0", "--attribution", "somebody's words", "--language", "en"]

START = ["train", "translation", "--start-from", "backwards.zip"]


@pytest.fixture(scope="module")
def packed(trained, tmp_path_factory):
    """The pack of the tiny run, in float32, and what was printed."""
    path = tmp_path_factory.mktemp("packs") / "backwards-en.zip"
    lines = []
    with eagerly():
        pack_run(Run(trained[0]), path, "float32", report=lines.append)
    return path, "\n".join(lines)


@pytest.mark.usefixtures("eager")
def test_a_pack_writes_what_its_run_writes(trained, packed):
    words = ["abcd", "dcba", "aab", ""]
    run, pack = attention_zoo.load(trained[0]), attention_zoo.load(packed[0])
    assert pack.predict(words) == run.predict(words)
    assert pack.generation == run.generation and pack.source_format == run.source_format
    assert (run.name, pack.name) == ("trained", "backwards-en")
    for ours, theirs in zip(pack.model.get_weights(), run.model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_nothing_tells_where_it_was_trained(trained, packed, reverse_files):
    for name, data in contents(packed[0]).items():
        for folder in (reverse_files, trained[0], Path.home()):
            assert str(folder).encode() not in data, name
    config = json.loads(contents(packed[0])["config.json"])
    assert (config["train"], config["valid"]) == ("train.tsv", "valid.tsv")


def test_the_best_model_has_no_optimizer(trained):
    """Two moments for each weight would be two thirds of the file; they are in the checkpoints."""
    model = keras.models.load_model(trained[0] / "model.keras")
    assert getattr(model, "optimizer", None) is None
    weights = 4 * sum(weight.size for weight in model.get_weights())
    assert (trained[0] / "model.keras").stat().st_size < weights + 60_000


@pytest.mark.usefixtures("eager")
def test_the_command_packs_and_every_command_takes_the_pack(
    trained, reverse_files, capsys, tmp_path
):
    assert run_command(app, ["pack", str(trained[0]), "backwards.zip", *ABOUT]) == 0
    printed = capsys.readouterr().out
    assert "float32" in printed and "int8" in printed and "backwards.zip: " in printed
    manifest = read_manifest(Path("backwards.zip"))
    assert (manifest["weights"], manifest["license"]) == ("int8", "CC-BY-2.0")
    assert manifest["scores"].keys() == manifest["float32_scores"].keys() >= {"bleu", "chrf"}
    assert manifest["scored_on"] == "valid.tsv, 8 rows, by which the best weights were chosen"
    card = contents("backwards.zip")["README.md"].decode()
    front = card.split("---\n")[1]
    assert "license: cc-by-2.0\n" in front and 'language:\n- "en"\n' in front
    assert "value: " in front and "somebody's words" in card and "| chrf | " in card

    data = str(reverse_files / "valid.tsv")
    for command in (
        ["predict", "backwards.zip", "abc"],
        ["explain", "backwards.zip", "abc"],
        ["evaluate", "backwards.zip", "--data", data],
        ["compare", "backwards.zip", str(trained[0]), "--data", data, "--timed-rows", "0"],
        [*START, "--train", data, "--valid", data, "--output", "child", "--max-steps", "2"],
    ):
        assert run_command(app, command) == 0, command
        assert capsys.readouterr().out
    assert Run("child").read_config().start_from == "backwards.zip"


@pytest.mark.usefixtures("eager")
def test_a_preset_by_its_name(trained, monkeypatch, capsys):
    """In the list, by load, in the demo, and in the notes of an export, with its examples."""
    Path("shelf").mkdir()
    monkeypatch.setattr(names, "FOLDER", Path("shelf").resolve())
    about = About(
        name="everyday-zh-en",
        version=4,
        languages=("zh", "en"),
        license="MIT",
        examples=("abcd", "dd"),
        is_preset=True,
    )
    pack_run(Run(trained[0]), Path("shelf/everyday-zh-en.zip"), about=about, report=str)
    assert run_command(app, ["list"]) == 0
    row = next(line for line in capsys.readouterr().out.splitlines() if "everyday" in line)
    assert row.split()[:4] == ["everyday-zh-en@4", "translation", "zh", "en"] and "MIT" in row
    assert run_command(app, ["list", "--json"]) == 0
    index = json.loads(capsys.readouterr().out)["everyday-zh-en"]
    content = Path("shelf/everyday-zh-en.zip").read_bytes()
    assert index["sha256"] == hashlib.sha256(content).hexdigest()

    (answer,) = attention_zoo.load("everyday-zh-en@4").predict(["abcd"])
    demo._show_presets()
    assert f"abcd\n  {answer.text}\n" in capsys.readouterr().out
    run = open_run("everyday-zh-en")
    notes = RunNotes(run, 8)
    assert run.read_samples() == ["abcd", "dd"] and notes.quality(None) == {}
    assert "- license of the weights: MIT" in notes.text() and "---\n" not in notes.text()


def test_the_front_matter_is_yaml(packed):
    yaml = pytest.importorskip("yaml")
    values = yaml.safe_load(contents(packed[0])["README.md"].decode().split("---\n")[1])
    assert values["pipeline_tag"] == "translation"
    (results,) = values["model-index"][0]["results"]
    assert {row["type"] for row in results["metrics"]} >= {"chrf", "exact_match"}


def test_a_pack_whose_validation_texts_are_gone_says_so(trained, packed, monkeypatch):
    monkeypatch.setattr(
        "attention_zoo.recipes.presets.packing.read_validation",
        lambda config: (_ for _ in ()).throw(FileNotFoundError(2, "gone", "valid.tsv")),
    )
    lines = []
    pack_run(Run(trained[0]), Path("other.zip"), report=lines.append)
    assert "packed without a measurement, --data FILE gives one" in lines[0]
    manifest = read_manifest(Path("other.zip"))
    assert manifest["scored_on"] == "the validation rows of the training, in float32"
    assert manifest["scores"] == Run(trained[0]).read_metrics()["valid"]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"model": "evil_module:build"}, "the model 'evil_module:build'"),
        ({"model": "evil_module.py:build"}, "the model"),
        ({"model": ["a"]}, "the model"),
        ({"task": "evil_module:TASK"}, "the task 'evil_module:TASK'"),
        ({"parts": {"model": "evil_module:build"}}, "model (evil_module:build)"),
        ({"parts": {"parse": "evil_module:parse"}}, "parse (evil_module:parse)"),
        (
            {"model_options": {"attention": {"class_name": "x", "module": "evil_module"}}},
            "an object as model.attention",
        ),
    ],
)
def test_a_pack_that_names_code_is_refused_and_nothing_imported(packed, changes, told):
    Path("evil_module.py").write_text("raise SystemExit('imported')")
    sys.path.insert(0, str(Path.cwd()))
    try:
        values = json.loads(contents(packed[0])["config.json"]) | changes
        path = Path("evil.zip")
        path.write_bytes(packed[0].read_bytes())
        rewrite_config(path, values)
        for use in (lambda: attention_zoo.load(path), lambda: open_run(path).read_config()):
            with pytest.raises(ConfigError) as found:
                use()
            assert told in str(found.value) and "a pack brings no code" in str(found.value)
        assert "evil_module" not in sys.modules
    finally:
        sys.path.remove(str(Path.cwd()))


def rewrite_config(path, values):
    """Gives a pack another config, with its checksum."""
    from attention_zoo.zoo.presets.pack import MANIFEST, write_pack

    members = contents(path) | {"config.json": json.dumps(values).encode()}
    write_pack(path, json.loads(members.pop(MANIFEST)), members)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"model_options": {"encoder_units": 7}}, "does not fit rnn-bahdanau"),
        ({"model_options": {"no_such": 7}}, "does not fit rnn-bahdanau"),
        ({"model": "transformer-tiny", "model_defaults": {}}, "does not fit transformer-tiny"),
        ({"no_such_setting": 1}, "settings that are not known here"),
        ({"beam_size": 0}, "beam_size"),
    ],
)
def test_a_pack_that_does_not_fit_is_one_line(packed, changes, told):
    values = json.loads(contents(packed[0])["config.json"])
    path = Path("other.zip")
    path.write_bytes(packed[0].read_bytes())
    rewrite_config(path, values | changes)
    with pytest.raises(ConfigError) as found:
        attention_zoo.load(path)
    assert told in str(found.value) and "\n" not in str(found.value)


def test_what_is_refused_by_the_command_is_one_line(packed, refused):
    path = Path("cut.zip")
    path.write_bytes(packed[0].read_bytes()[:-40])
    for command in (["predict", "cut.zip", "a"], ["evaluate", "cut.zip"], ["chat", "cut.zip"]):
        assert "was cut or damaged" in refused(run_command(app, command))
    path.write_bytes(packed[0].read_bytes())
    rewrite(path, format=9)
    assert "of a newer attention-zoo" in refused(run_command(app, ["predict", "cut.zip", "a"]))


def test_a_run_of_ones_own_parts_is_not_packed(trained, tmp_path):
    folder = tmp_path / "own"
    folder.mkdir()
    for file in trained[0].glob("*.*"):
        if file.is_file():
            (folder / file.name).write_bytes(file.read_bytes())
    values = json.loads((folder / "config.json").read_text())
    values["parts"] = {"Mine": "/home/me/mine.py:Mine", "metric": "mine:metric"}
    (folder / "config.json").write_text(json.dumps(values | {"metric": "mine"}))
    with pytest.raises(ConfigError) as found:
        pack_run(Run(folder), Path("own.zip"))
    told = str(found.value)
    assert "it needs Mine (/home/me/mine.py:Mine), and a pack carries data alone" in told
    assert "metric" not in told and not Path("own.zip").exists()
    with pytest.raises(ConfigError, match="--weights is float32, float16, int8"):
        pack_run(Run(trained[0]), Path("own.zip"), "int4")
    with pytest.raises(ConfigError, match="lower-case letters, digits and hyphens"):
        pack_run(Run(trained[0]), Path("My Model.zip"))
