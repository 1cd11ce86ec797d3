"""Weights of decoding that a SavedModel prepares when it is loaded, beside the model's own."""

import numpy as np
import pytest
import tensorflow as tf
from tiny_models import random_source, tiny_model

from attention_zoo.serving.export.saved_model import PreparedWeights
from attention_zoo.serving.runtime.session import SavedModelSession
from attention_zoo.zoo.decoding import GenerationOptions, Shortlist, generate

SOURCE = random_source(0, [5, 2, 3])
TOKENS = np.random.default_rng(0).integers(4, 3000, (3000, 5))
# The second model writes tokens of a shortlist.
SEARCHES = [
    {"options": GenerationOptions(beam_size=2, max_length=6)},
    {
        "options": GenerationOptions(beam_size=2, max_length=6, shortlist=3),
        "shortlist": Shortlist(TOKENS, np.arange(4, 20)),
    },
]


def save(model, folder, search):
    """Saves a search with the model; returns the concrete function."""
    spec = tf.TensorSpec((None, None), tf.int32, name="source")

    @tf.function(input_signature=[spec], autograph=False)
    def write(source):
        found = generate(model, source, **search)
        return {"ids": found.ids, "scores": found.scores}

    prepared, module = PreparedWeights(model), tf.Module()
    with prepared.in_use():
        traced = write.get_concrete_function()
    module.weights = [variable.value for variable in model.variables]
    module.prepared = prepared.resources
    module.table = search["shortlist"].table if "shortlist" in search else ()
    tf.saved_model.save(module, str(folder), signatures=traced)
    return traced


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Two models, the folder of each, and what was traced of each."""
    models = [tiny_model("transformer", vocab_size=3000, seed=seed) for seed in (0, 1)]
    folders = [tmp_path_factory.mktemp(f"model-{number}") for number in (0, 1)]
    each = zip(models, folders, SEARCHES, strict=True)
    return [(model, folder, save(model, folder, search)) for model, folder, search in each]


def test_loaded_models_have_the_weights_that_each_was_saved_with(saved):
    # Of both at once, in one process.
    loaded = [tf.saved_model.load(str(folder)) for _, folder, _ in saved]
    each = zip(saved, SEARCHES, strict=True)
    expected = [generate(model, SOURCE, **search) for (model, *_), search in each]
    for (model, folder, _), written, module in zip(saved, expected, loaded, strict=True):
        assert "step_weights" not in vars(model)  # it reads its variables again
        found = [module.signatures["serving_default"](source=tf.constant(SOURCE))]
        with SavedModelSession(folder) as session:
            found.append(session.run("serving_default", {"source": SOURCE}))
        for reply in found:
            np.testing.assert_array_equal(reply["ids"], written.ids)
            np.testing.assert_allclose(reply["scores"], written.scores, atol=1e-5)
    assert not np.array_equal(expected[0].scores, expected[1].scores)


def test_requests_do_not_prepare_weights_which_lie_on_disk_once(saved):
    model, folder, traced = saved[0]
    operations = [op for op in traced.graph.get_operations() if op.outputs]
    kernels = [op.type for op in operations if tuple(op.outputs[0].shape) == (8, 3000)]
    assert kernels == ["ReadVariableOp"]
    size = sum(file.stat().st_size for file in (folder / "variables").glob("variables.data-*"))
    assert size < 1.2 * sum(4 * np.prod(weight.shape) for weight in model.weights)
