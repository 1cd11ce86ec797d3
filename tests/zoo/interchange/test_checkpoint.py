"""Weights of checkpoint folders: every kind of file, and files that are refused."""

import json
import os
import pickle
import zipfile

import ml_dtypes
import numpy as np
import pytest
from checkpoints import torch_file, write_tensors

from attention_zoo.zoo.errors import ConfigError
from attention_zoo.zoo.interchange.checkpoint import read_weights

WEIGHTS = {
    "a.weight": np.arange(6, dtype=np.float32).reshape(2, 3),
    "b.bias": np.array([1.5, -2, 0.25], np.float16),
    "c": np.array([[7.0]], np.float32),
}


def assert_same(found, weights=WEIGHTS):
    assert set(found) == set(weights)
    for name, array in weights.items():
        np.testing.assert_array_equal(found[name], array)


def test_safetensors_of_one_file_and_of_several(tmp_path):
    half = {**WEIGHTS, "d": np.array([3.0, 1 / 3], ml_dtypes.bfloat16)}
    (tmp_path / "model.safetensors").write_bytes(write_tensors(half))
    assert_same(read_weights(tmp_path), half)
    (tmp_path / "model.safetensors").unlink()
    index = {}
    for number, name in enumerate(WEIGHTS):
        file = f"model-{number}.safetensors"
        (tmp_path / file).write_bytes(write_tensors({name: WEIGHTS[name]}))
        index[name] = file
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    assert_same(read_weights(tmp_path))


@pytest.mark.parametrize("legacy", [False, True])
def test_files_of_pytorch_old_and_new(legacy, tmp_path, monkeypatch):
    path = tmp_path / "pytorch_model.bin"
    torch_file(path, WEIGHTS, monkeypatch, legacy, transposed=["a.weight"])
    assert_same(read_weights(tmp_path))


class Harmful:
    def __reduce__(self):
        return os.system, ("touch harm",)


@pytest.mark.parametrize("zipped", [False, True])
def test_a_file_that_calls_anything_is_refused_before_it_does(zipped, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    content = pickle.dumps({"a": Harmful()}, 2)
    path = tmp_path / "pytorch_model.bin"
    path.write_bytes(content)
    if zipped:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", content)
    with pytest.raises(ConfigError, match=r"posix\.system, which is no part of a tensor.*save_pre"):
        read_weights(tmp_path)
    assert not (tmp_path / "harm").exists()


def test_a_tensor_beyond_its_storage_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "pytorch_model.bin"
    torch_file(path, WEIGHTS, monkeypatch)
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    files["archive/data/0"] = files["archive/data/0"][:-4]
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    with pytest.raises(ConfigError, match="lies outside of its storage"):
        read_weights(tmp_path)


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
@pytest.mark.parametrize("content", [b"", b"\x80\x02K\x01.", b"\xff" * 40])
def test_damaged_files_are_told_in_one_line(name, content, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError, match=rf"{name} cannot be read.*Copy it again") as error:
        read_weights(tmp_path)
    assert "\n" not in str(error.value)


def test_a_folder_without_weights_is_told_so(tmp_path):
    with pytest.raises(ConfigError, match=r"neither model\.safetensors nor pytorch_model\.bin"):
        read_weights(tmp_path)
