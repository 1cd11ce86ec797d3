"""Classes that Keras finds in saved models, in a process that has imported the package alone."""

import ast
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np

import attention_zoo
from attention_zoo.layers import BahdanauAttention
from attention_zoo.zoo.registration import CLASSES, UnloadedClass, register_classes
from attention_zoo.zoo.training.loss import SmoothedCrossEntropy
from attention_zoo.zoo.training.optimizers import FusedAdam

CHECKOUT = Path(__file__).resolve().parents[2]


def test_the_list_has_every_class_that_is_registered():
    found = {}
    for folder in ("layers", "zoo"):
        for path in (CHECKOUT / folder).rglob("*.py"):
            names = [
                node.name
                for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
                if isinstance(node, ast.ClassDef)
                and any("register_keras_serializable" in ast.dump(d) for d in node.decorator_list)
            ]
            if names:
                module = ".".join(path.relative_to(CHECKOUT).with_suffix("").parts)
                found[module] = tuple(sorted(names))
    assert found == CLASSES


def test_a_class_that_is_there_stays(monkeypatch):
    known = keras.saving.get_custom_objects()
    monkeypatch.delitem(known, "attention_zoo>LuongAttention", raising=False)
    monkeypatch.setitem(known, "attention_zoo>BahdanauAttention", BahdanauAttention)
    register_classes()
    assert known["attention_zoo>BahdanauAttention"] is BahdanauAttention
    unloaded = known["attention_zoo>LuongAttention"]
    assert isinstance(unloaded, UnloadedClass)
    layer = unloaded.from_config(attention_zoo.layers.LuongAttention(name="x").get_config())
    assert type(layer) is attention_zoo.layers.LuongAttention


LOAD = """
import sys
import attention_zoo
assert not {"keras", "tensorflow", "numpy"} & set(sys.modules)
import keras
import numpy as np
assert not {"attention_zoo.layers", "attention_zoo.zoo.models"} & set(sys.modules)
assert keras.models.load_model("layer.keras")(
    [np.ones((1, 3, 8)), np.ones((1, 4, 8))]).shape == (1, 3, 8)
for name in ("rnn-bahdanau", "transformer-tiny"):
    model = keras.models.load_model(name + ".keras")
    outputs = model({"source": np.array([[5, 6, 3]]), "target": np.array([[2, 7]])})
    np.testing.assert_allclose(outputs, np.load(name + ".npy"), rtol=1e-5, atol=1e-6)
assert type(model.optimizer).__name__ == "FusedAdam"
assert type(model.loss).__name__ == "SmoothedCrossEntropy"
"""


def test_saved_models_are_loaded_in_a_fresh_process(tmp_path):
    query, value = keras.Input((3, 8)), keras.Input((4, 8))
    attended = BahdanauAttention(16)(query, value)
    keras.Model([query, value], attended).save(tmp_path / "layer.keras")
    for name in ("rnn-bahdanau", "transformer-tiny"):
        model = attention_zoo.build(name, vocab_size=20)
        model.compile(FusedAdam(1e-3), loss=SmoothedCrossEntropy(0.1))
        outputs = model({"source": np.array([[5, 6, 3]]), "target": np.array([[2, 7]])})
        np.save(tmp_path / f"{name}.npy", np.asarray(outputs))
        model.save(tmp_path / f"{name}.keras")
    done = subprocess.run(
        [sys.executable, "-c", LOAD], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
