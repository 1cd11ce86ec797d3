"""What `serve` is told by name: folders of exports as they are, runs and packs by the cache."""

import json
from pathlib import Path

import pytest
from packs import rewrite, tiny_pack

from attention_zoo.recipes.cli import export
from attention_zoo.recipes.cli.export import exported
from attention_zoo.recipes.cli.main import app, run_command


@pytest.fixture
def exports(monkeypatch):
    """Which runs were exported; in place of an export an empty version is written."""
    found = []

    def write(path, folder):
        found.append(path)
        (folder / "m" / "1").mkdir(parents=True)

    monkeypatch.setenv("XDG_CACHE_HOME", str(Path("cache").resolve()))
    monkeypatch.setattr(export, "_export_aside", write)
    return found


def test_a_folder_of_exports_is_served_as_it_is(exports):
    Path("models/m/1").mkdir(parents=True)
    Path("models.config").write_text("model_config_list {}")
    for name in ("models", "models/m", "models.config"):
        assert exported(name) == Path(name)
    assert not exports


def test_a_pack_is_exported_once_and_anew_when_it_changes(exports):
    path = tiny_pack(Path("tiny.zip"))
    folder = exported("tiny.zip")
    assert folder.is_relative_to(Path("cache/attention-zoo/exports").resolve())
    assert exported("tiny.zip") == folder and exports == [path]
    path.rename("other.zip")
    assert exported("other.zip") == folder
    rewrite(Path("other.zip"), version=2)
    assert exported("other.zip") != folder
    assert len(exports) == 2


def test_a_run_is_exported_anew_when_its_model_changes(exports):
    run = Path("runs/mine")
    run.mkdir(parents=True)
    (run / "config.json").write_text("{}")
    (run / "model.keras").write_bytes(b"one")
    folder = exported("runs/mine")
    assert exported("runs/mine") == folder
    (run / "model.keras").write_bytes(b"two")
    assert exported("runs/mine") != folder and exports == [run, run]


def test_a_name_that_is_none_is_one_line(exports, refused):
    assert "nothing is no run folder, no pack and no preset" in refused(
        run_command(app, ["serve", "nothing"])
    )


def test_an_export_that_fails_tells_why(monkeypatch, capsys):
    """In a process of its own, whose one line is that of the command."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(Path("cache").resolve()))
    Path("run").mkdir()
    Path("run/config.json").write_text(json.dumps({"task": "translation"}))
    told = capsys.readouterr().err if run_command(app, ["serve", "run"]) == 2 else ""
    assert told.splitlines()[-1].startswith("error: ") and "model.keras" in told.splitlines()[-1]
