"""Recipes of presets: what they say, the rows that they hold out, and a build from nothing."""

import configparser
import json
import re
from pathlib import Path

import pytest
from reverse_task import SETTINGS, write_pairs

import attention_zoo
from attention_zoo.recipes.cli.main import app, run_command
from attention_zoo.recipes.core.config import RunConfig
from attention_zoo.recipes.core.corpora import read_corpora
from attention_zoo.recipes.presets import building
from attention_zoo.recipes.presets.building import preset_recipes
from attention_zoo.zoo.presets.names import presets
from attention_zoo.zoo.presets.pack import NAME, read_manifest, read_pack

CHECKOUT = Path(attention_zoo.__file__).parent
RECIPES = preset_recipes()


def licenses(expression):
    return set(re.split(r" AND | OR ", expression))


def ours():
    settings = configparser.ConfigParser()
    settings.read(CHECKOUT / "setup.cfg", encoding="utf-8")
    return licenses(settings["metadata"]["license_expression"])


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_can_be_trained_and_says_whose_its_data_are(name):
    recipe = RECIPES[name]
    for number, step in enumerate(recipe.steps):
        files = ("a.tsv", "b.tsv") if recipe.train else (None, None)
        assert number or step.config(*files, None).task == step.task
        assert step.max_steps or step.max_minutes
    assert NAME.fullmatch(name) and recipe.about.examples and recipe.about.languages
    assert licenses(recipe.about.license) <= ours()
    assert recipe.about.attribution or recipe.about.license == "Apache-2.0"
    notice = (CHECKOUT / "NOTICE").read_text(encoding="utf-8")
    assert recipe.about.license == "Apache-2.0" or f"{name}" in notice


def test_presets_of_the_package():
    """Small together, by a recipe, with license and score, and each is called as it is named."""
    found = presets()
    assert sum(manifest["file"].stat().st_size for manifest in found.values()) <= 40_000_000
    for name, manifest in found.items():
        read_pack(manifest["file"])
        assert manifest["name"] == name and manifest["call"] == name
        recipe = RECIPES[name].about
        assert manifest["license"] == recipe.license
        assert manifest["version"] == recipe.version
        assert manifest["scores"][manifest["metric"]] is not None


@pytest.fixture
def tiny_recipe(monkeypatch):
    """A recipe of the words that are spelt backwards."""
    settings = dict(setting.split("=") for setting in SETTINGS)
    values = {name: json.loads(value) for name, value in settings.items() if value[0].isdigit()}
    options = {name.removeprefix("model."): v for name, v in values.items() if "model." in name}
    recipe = {
        "description": "Words backwards.",
        "languages": ["en"],
        "license": "MIT",
        "attribution": "chance",
        "data": "words",
        "examples": ["abc"],
        "train": ["words/train.tsv"],
        "test": "words/dev.tsv",
        "held_out": 8,
        "several_references": True,
        "steps": [
            {
                "task": "translation",
                "model": "rnn-bahdanau",
                "max_steps": 2,
                "model_options": options,
                "settings": {
                    **{name: value for name, value in values.items() if "model." not in name},
                    "metric": "chrf",
                },
            }
        ],
    }
    Path("recipes.json").write_text(json.dumps({"backwards-en": recipe}))
    monkeypatch.setattr(building, "RECIPES", Path("recipes.json").resolve())
    Path("data/words").mkdir(parents=True)
    write_pairs(Path("data/words/train.tsv"), 40, seed=0)
    with open("data/words/train.tsv", "a") as file:
        file.write("abc\tcba\nabc\tcab\n")
    Path("data/words/dev.tsv").write_text("ABC.\tx\ty\ndd\tdd\nabc\tz\n")


@pytest.mark.usefixtures("eager")
def test_a_preset_is_built_by_one_command(tiny_recipe, capsys, refused):
    command = ["presets", "build", "backwards-en", "--data", "data"]
    assert run_command(app, command) == 0
    manifest = read_manifest(Path("backwards-en.zip"))
    assert (manifest["call"], manifest["scored_on"]) == ("backwards-en", "test.jsonl, 3 rows")
    assert manifest["build"][0] == "attention-zoo presets build backwards-en --data FOLDER"
    assert "--max-steps 2 --set vocab_size=13" in manifest["build"][1]

    folder = Path("runs/backwards-en")
    rows = (folder / "train.tsv").read_text().splitlines()
    held = [json.loads(line) for line in (folder / "valid.jsonl").read_text().splitlines()]
    assert not {row.split("\t")[0] for row in rows} & {row["source"] for row in held}
    targets = [target for row in held for target in row["target"]]
    assert len(targets) >= 8 and len(rows) + len(targets) == 42
    tests = [json.loads(line) for line in (folder / "test.jsonl").read_text().splitlines()]
    assert tests[0] == {"source": "ABC.", "target": ["x", "y"]}
    card = read_pack(Path("backwards-en.zip")).members["README.md"].decode()
    near = 0 if "abc" in {row["source"] for row in held} else 2
    assert f"Of the 3 to score on, {near} have a source that is among the first" in card
    capsys.readouterr()

    done = [*command, "--run", "runs/backwards-en/step-1", "--output", "again.zip"]
    assert run_command(app, done) == 0
    assert "step" not in capsys.readouterr().out
    assert Path("again.zip").read_bytes() == Path("backwards-en.zip").read_bytes()
    recipes = json.loads(Path("recipes.json").read_text())
    recipes["backwards-en"]["steps"][0]["settings"]["beam_size"] = 3
    Path("recipes.json").write_text(json.dumps(recipes))
    assert "beam_size is 2 there and 3 here" in refused(run_command(app, done))


def test_what_a_build_lacks_is_one_line(tiny_recipe, refused):
    Path("data/words/dev.tsv").unlink()
    for more in ([], ["--data", "data"], ["--data", "nowhere"]):
        told = refused(run_command(app, ["presets", "build", "backwards-en", *more]))
        assert "is made of words/train.tsv, words/dev.tsv: give the folder" in told
        assert "Not there: " in told
    assert "There is no recipe 'x'" in refused(run_command(app, ["presets", "build", "x"]))


@pytest.mark.parametrize("task", ["translation", "question-answering", "dialogue"])
def test_a_model_of_the_hub_is_no_corpus(task, refused):
    command = ["train", task, "--train", "hf://owner/name", "--valid", "x.tsv"]
    assert "hf://owner/name names a model" in refused(run_command(app, command))
    with pytest.raises(ValueError, match="a dataset of the Hugging Face Hub is hf:NAME"):
        read_corpora(RunConfig(task, train="hf://owner/name", valid="hf://owner/name"))
