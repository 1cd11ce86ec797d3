"""Folders that are claimed, and files that are written whole."""

import json
from pathlib import Path

import pytest

from attention_zoo.zoo.errors import ConfigError
from attention_zoo.zoo.files import claimed, write_json


def files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_json_is_for_people_and_whole(tmp_path):
    path = tmp_path / "metrics.json"
    write_json(path, {"sample": "星期一", "bleu": 1.5})
    assert "星期一" in path.read_text(encoding="utf-8")
    with pytest.raises(TypeError):
        write_json(path, {"sample": object()})
    assert json.loads(path.read_text(encoding="utf-8"))["bleu"] == 1.5
    (tmp_path / ".metrics.partial.json").symlink_to("/dev/full")
    with pytest.raises(OSError, match=f"No space left on device: '{path}'$"):
        write_json(path, {"bleu": 2.5})
    assert json.loads(path.read_text(encoding="utf-8"))["bleu"] == 1.5
    assert files(tmp_path) == ["metrics.json"]


def test_a_folder_is_of_one_process_at_a_time(tmp_path):
    """The second may be in this process too: a lock is of the opened folder."""
    folder = tmp_path / "above" / "run"
    with claimed(folder):
        with (
            pytest.raises(ConfigError, match=r"Another process writes to .*run: wait until"),
            claimed(folder),
        ):
            pass
        (folder / "file").touch()
    with claimed(folder):
        pass
    assert (folder / "file").exists()
    with pytest.raises(KeyError), claimed(tmp_path / "other"):
        raise KeyError
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("address", ["gs://bucket/run", "s3://bucket/run", "file:///tmp/run"])
def test_a_store_is_no_folder(tmp_path, monkeypatch, address):
    monkeypatch.chdir(tmp_path)
    message = f"not {address.replace('///', '//')}. Mount the store"
    with pytest.raises(ConfigError, match=message), claimed(Path(address)):
        pass
    assert files(tmp_path) == []
    with claimed(tmp_path / "a:b"):  # is one
        pass
