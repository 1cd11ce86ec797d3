"""Weights in fewer bits: what is stored, what comes back, and what an export says of it."""

from __future__ import annotations

import numpy as np
import pytest

from attention_zoo.serving.export.variants import compress, describe_variant
from attention_zoo.serving.runtime.errors import ServingError
from attention_zoo.serving.runtime.session import SavedModelSession
from attention_zoo.zoo.presets import weights as stored_weights


@pytest.fixture
def all_large(monkeypatch):
    """Stores every matrix of the toy in fewer bits, however small."""
    monkeypatch.setattr(stored_weights, "_SMALL", 1)


@pytest.mark.parametrize(
    ("variant", "most"), [pytest.param("float16", 0.55, marks=pytest.mark.slow), ("int8", 0.4)]
)
def test_an_export_of_a_variant_is_smaller_and_says_what_it_lost(
    variant, most, toy, exported, all_large, tmp_path
):
    from attention_zoo.serving.export.export import export

    texts = ["the little dog", "a cat sleeps in the old house"]
    asked = []

    def quality(pipeline):
        outputs = pipeline.signatures()["serving_default"](texts)
        asked.append(outputs["score"].numpy())
        return {"mean score": float(asked[-1].mean())}

    path = export(toy, tmp_path, variant=variant, quality=quality, samples=texts)
    full, small = asked
    assert not np.array_equal(full, small)
    np.testing.assert_allclose(small, full, rtol=0.1, atol=0.1)
    with SavedModelSession(path) as session:
        served = session.run("serving_default", {"text": np.array(texts, object)})
    np.testing.assert_allclose(served["score"], small, atol=1e-4)
    sizes = [
        sum(file.stat().st_size for file in (folder / "variables").glob("variables.data*"))
        for folder in (path, exported)
    ]
    _, stored = compress(toy, variant)
    bytes_stored = sum(np.asarray(weight).nbytes for weight in stored)
    bytes_full = sum(np.asarray(weight).nbytes for weight in toy.model.weights)
    assert bytes_stored <= most * bytes_full
    assert sizes[0] < sizes[1]
    card = (path / "MODEL_CARD.md").read_text()
    assert f"## Weights: {variant}" in card
    assert f"{bytes_stored:,} bytes, in float32 {bytes_full:,}" in card
    assert f"| mean score | {full.mean():.2f} | {small.mean():.2f} |" in card


def test_small_weights_stay_as_they_are(toy):
    _, weights = compress(toy, "int8")
    sizes = [(np.asarray(weight).dtype.name, np.asarray(weight).size) for weight in weights]
    assert all(size < 1024 for name, size in sizes if name == "float32")


def test_a_variant_that_does_not_exist(toy, tmp_path):
    from attention_zoo.serving.export.export import export

    with pytest.raises(ServingError, match=r"float32, float16, int8\. Received: variant='int4'"):
        export(toy, tmp_path, variant="int4")
    assert not list(tmp_path.iterdir())


def test_without_scores_the_card_says_so():
    text = describe_variant("int8", 30, 100, {}, {})
    assert "30 bytes, in float32 100 (30%)" in text
    assert "The loss of quality was not measured." in text
