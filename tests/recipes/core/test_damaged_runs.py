"""A folder of something else, and a run that is damaged: one line that says so."""

import json
import shutil

import keras
import pytest
from run_folders import files, refusal

from attention_zoo.recipes.core.config import RunConfig
from attention_zoo.recipes.core.packed_run import load
from attention_zoo.recipes.core.run import Run


@pytest.fixture
def config():
    return RunConfig(model="rnn", train="a.tsv", valid="b.tsv")


def test_a_folder_of_something_else_is_refused(tmp_path, config):
    (tmp_path / "photo.jpg").write_bytes(b"")
    assert "is no run of attention-zoo" in refusal(Run(tmp_path).open, config)
    assert files(tmp_path) == ["photo.jpg"]


def test_a_file_is_refused(tmp_path, config):
    path = tmp_path / "run"
    path.write_text("x")
    assert "is no run of attention-zoo" in refusal(Run(path).open, config)
    assert path.read_text() == "x"


def test_a_file_above_the_folder_is_refused(tmp_path, config):
    path = tmp_path / "run"
    path.write_text("x")
    assert refusal(Run(path / "a" / "b").check, config).startswith(f"{path} is a file, no folder")
    assert path.read_text() == "x"


@pytest.mark.parametrize(
    "content",
    ["{", "[]", "3", "[" * 100_000, b"\xff\xfe"]
    + ['{"architectures": ["Bert"]}', '{"seed": "one"}', '{"model": "lstm"}', '{"task": "chess"}'],
)
def test_a_config_of_something_else_is_refused(tmp_path, config, content):
    path = tmp_path / "config.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    before = path.read_bytes()
    for call in (Run(tmp_path).read_config, lambda: Run(tmp_path).open(config)):
        assert str(tmp_path) in refusal(call)
    assert path.read_bytes() == before


def test_a_folder_without_a_run_cannot_be_loaded(tmp_path):
    assert "it has no config.json" in refusal(load, tmp_path)
    assert "is no run folder, no pack and no preset" in refusal(load, tmp_path / "none")


def test_a_run_without_a_model_cannot_be_loaded(tmp_path, config):
    Run(tmp_path).open(config)
    assert "has no model.keras yet" in refusal(load, tmp_path)


@pytest.fixture
def copy(trained, tmp_path):
    """A copy of a trained run, to be damaged."""
    return Run(shutil.copytree(trained[0], tmp_path / "copy"))


@pytest.mark.parametrize("place", [0.02, 0.5, 0.98])
@pytest.mark.parametrize("cut", [True, False])
def test_a_damaged_model_says_so_in_one_line(cut, place, copy):
    data = bytearray(copy.model_path.read_bytes())
    at = int(len(data) * place)
    if cut:
        del data[at:]
    else:
        data[at : at + 100] = b"x" * 100
    copy.model_path.write_bytes(data)
    assert f"{copy.model_path} cannot be read as a model" in refusal(copy.load)


@pytest.mark.parametrize("content", [b"", b"hello", b"\n\x0e\n\x05<pad>"])
def test_a_damaged_tokenizer_says_so_in_one_line(content, copy):
    copy.tokenizer_path.write_bytes(content)
    assert f"{copy.tokenizer_path} cannot be read" in refusal(copy.load)


def test_a_config_of_another_task_says_so_in_one_line(copy):
    values = json.loads(copy.config_path.read_text())
    del values["source_format"]  # as in a run of version 0.1.0
    copy.config_path.write_text(json.dumps({**values, "task": "dialogue"}))
    line = refusal(copy.load)
    assert line.startswith(f"{copy.folder}, dialogue: The tokenizer was trained without this")
    assert "Received: symbol='<sep>'" in line


def test_the_format_of_sources_is_that_of_the_run(copy):
    values = json.loads(copy.config_path.read_text())
    inputs = [{"name": "phrase", "kind": "text", "optional": False}]
    form = {**values["source_format"], "inputs": inputs}
    copy.config_path.write_text(json.dumps({**values, "source_format": form}))
    assert copy.load().predict([{"phrase": "abc"}]) == copy.load().predict(["abc"])
    for wrong in ({"inputs": 3}, [], {**form, "keep": "middle"}):
        copy.config_path.write_text(json.dumps({**values, "source_format": wrong}))
        assert str(copy.config_path) in refusal(copy.load)


def test_a_model_of_something_else_is_refused(tmp_path, config):
    run = Run(tmp_path)
    run.open(config)
    keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]).save(run.model_path)
    assert refusal(load, tmp_path) == f"{run.model_path} is no model of this package."
