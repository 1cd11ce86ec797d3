"""The examples of the documentation, run with little data."""

import importlib.util
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

EXAMPLES = Path(__file__).parents[1] / "docs" / "examples"


@pytest.fixture(scope="module")
def example():
    path = EXAMPLES / "show_attend_tell.py"
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 150
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_pictures_are_captioned_explained_saved_and_exported(example, tmp_path, monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "agg")
    model = example.main(tmp_path, count=640, epochs=1)
    pictures, captions = example.make_pictures(3, seed=5)
    text, attention = example.describe(model, pictures)
    np.testing.assert_allclose(tf.reduce_sum(attention, axis=-1)[:, 0], 1.0, atol=1e-5)
    assert (tmp_path / "attention.png").read_bytes().startswith(b"\x89PNG")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(example.describe(loaded, pictures)[0], text)
    exported = tf.saved_model.load(str(tmp_path / "saved_model"))
    np.testing.assert_array_equal(exported.serve(pictures)["text"], text)
    assert captions == example.make_pictures(3, seed=5)[1]
