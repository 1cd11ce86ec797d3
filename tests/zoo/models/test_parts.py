"""Every encoder with every decoder and output: one model, whatever it is made of."""

import itertools
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops
from tiny_models import exhaustive_search, random_source, random_target

from attention_zoo.layers import Attention, BahdanauAttention, LuongAttention, QKVAttention
from attention_zoo.zoo.decoding.options import GenerationOptions
from attention_zoo.zoo.decoding.search import generate
from attention_zoo.zoo.models import (
    CoverageLoss,
    Decoder,
    Encoded,
    Encoder,
    EncoderDecoder,
    Output,
    PointerGeneratorOutput,
    RecurrentDecoder,
    RecurrentEncoder,
    ScaledEmbedding,
    SentenceEncoder,
    TransformerDecoder,
    TransformerEncoder,
    VocabularyOutput,
)
from attention_zoo.zoo.training.loss import SmoothedCrossEntropy

V, WIDTH = 9, 8
SOURCE = random_source(1, [8, 1, 4], V, padding=1)
TARGET, LABELS = random_target(2, [3, 4, 1], V)
INPUTS = {"source": SOURCE, "target": TARGET}

ENCODERS = {
    "gru": lambda: RecurrentEncoder(5, num_layers=2),
    "sentences": lambda: SentenceEncoder(5, sentence_marks=[7], max_sentence_length=3),
    "transformer": lambda: TransformerEncoder(2, num_heads=2, feedforward_dim=10),
}
DECODERS = {
    "fixed": lambda: RecurrentDecoder(7),
    "bahdanau": lambda: RecurrentDecoder(7, BahdanauAttention(4), "previous_state"),
    "luong": lambda: RecurrentDecoder(7, LuongAttention(), input_feeding=True),
    "heads": lambda: RecurrentDecoder(7, QKVAttention(2, 3)),
    "transformer": lambda: TransformerDecoder(2, num_heads=2, feedforward_dim=10),
}
OUTPUTS = {
    "tied": lambda: VocabularyOutput(V, readout_units=WIDTH),
    "free": lambda: VocabularyOutput(V, tied=False),
    "pointer": lambda: PointerGeneratorOutput(V, readout_units=WIDTH),
}
PRODUCT = [  # every one of them in `make test-slow`
    "-".join(names)
    for names in itertools.product(ENCODERS, DECODERS, OUTPUTS)
    if names[1:] != ("fixed", "pointer")  # what is copied is what is attended to
]

SAMPLE = ["gru-transformer-tied", "transformer-bahdanau-pointer", "sentences-luong-free"]
EACH_PART = [*SAMPLE, "gru-fixed-free", "transformer-heads-tied"]


def make(name, **options):
    """A model of parts with random weights."""
    encoder, decoder, output = name.split("-")
    embedding = ScaledEmbedding(V, WIDTH)
    model = EncoderDecoder(
        ENCODERS[encoder](),
        DECODERS[decoder](),
        OUTPUTS[output](),
        embedding,
        options.pop("source_embedding", embedding),
        **options,
    )
    model.build()
    random = np.random.default_rng(PRODUCT.index(name))
    for weight in model.trainable_variables:
        weight.assign(random.normal(0, 0.5, weight.shape))
    return model


def by_steps(model, inputs):
    """Logits (B, T, V) and attention (B, T, S) of a target, one step at a time."""
    memory = model.encode(inputs["source"])
    state, weights = model.initial_state(memory, 1, 8), model.step_weights()
    found = []
    for t in range(inputs["target"].shape[1]):
        logits, state, attention = model.step(
            inputs["target"][:, t : t + 1], state, memory, weights
        )
        found.append((logits[:, 0], attention[:, 0]))
    return [np.stack(values, axis=1) for values in zip(*found, strict=True)]


@pytest.mark.parametrize(
    "name",
    [n if n in EACH_PART else pytest.param(n, marks=pytest.mark.slow) for n in PRODUCT],
)
def test_step_by_step_equals_all_at_once(name):
    model = make(name)
    logits, attention = by_steps(model, INPUTS)
    np.testing.assert_allclose(logits, model(INPUTS), atol=1e-5)
    read = model._teacher_forced(INPUTS, attention=True)
    np.testing.assert_allclose(attention, read.attention, atol=1e-5)
    assert attention.shape == (*TARGET.shape, SOURCE.shape[1])
    looks = "fixed" not in name
    np.testing.assert_allclose(attention.sum(-1), float(looks), atol=1e-5)
    # The same for a batch in which the beams are those of one source.
    memory = model.encode(SOURCE[:1])
    both = np.repeat(TARGET[:1, :1], 3, axis=1)
    state = model.reorder_state(model.initial_state(memory, 3, 4), tf.constant([[2, 0, 1]]))
    beams, *_ = model.step(both, state, memory)
    np.testing.assert_allclose(beams[0], np.repeat(logits[0, :1], 3, axis=0), atol=1e-5)


@pytest.mark.parametrize("name", SAMPLE)
def test_beam_search_equals_exhaustive_search(name):
    model = make(name)
    options = GenerationOptions(beam_size=V**3, max_length=4, max_length_ratio=None)
    source = SOURCE[2]
    found = generate(model, source[None], options)
    for i, expected in enumerate(exhaustive_search(model, source, V, options)[:20]):
        np.testing.assert_allclose(found.scores[0, i], expected.score, atol=1e-4)
    best = [int(token) for token in found.ids[0, 0].numpy() if token]
    assert tuple(best) == exhaustive_search(model, source, V, options)[0].ids


@pytest.mark.parametrize("name", SAMPLE)
def test_losses_are_those_of_the_logits_and_every_weight_is_learnt(name):
    model = make(name, coverage=CoverageLoss(0.0))
    model.loss = SmoothedCrossEntropy(0.1)
    smoothed, _ = model.token_losses(INPUTS, LABELS, False)
    np.testing.assert_allclose(ops.mean(smoothed), model.loss(LABELS, model(INPUTS)), rtol=1e-4)
    model.compile(keras.optimizers.Adam(0.1), SmoothedCrossEntropy(0.1), run_eagerly=True)
    before = [np.array(weight) for weight in model.trainable_weights]
    model.train_on_batch(INPUTS, LABELS)
    for weight, old in zip(model.trainable_weights, before, strict=True):
        if not weight.path.endswith("key_bias"):  # which a softmax takes out
            assert not np.array_equal(weight, old), weight.path


LOAD = """
import sys, numpy as np, keras
import attention_zoo.zoo.models
inputs = dict(np.load(sys.argv[1] + "/inputs.npz"))
found = {}
for name in sys.argv[2:]:
    model = keras.models.load_model(f"{sys.argv[1]}/{name}.keras")
    output = model.output_layer
    assert (model.source_embedding is model.target_embedding) == ("own" not in name), name
    assert (output.embedding is model.target_embedding) == output.tied, name
    # A weight that is shared is one: what is done to it by one name is seen by the other.
    model.target_embedding.embeddings.assign(2 * model.target_embedding.embeddings)
    found[name] = model(inputs).numpy()
np.savez(sys.argv[1] + "/found.npz", **found)
"""


@pytest.mark.parametrize(
    "names",
    [EACH_PART, pytest.param(PRODUCT, marks=pytest.mark.slow)],
    ids=["each part", "product"],
)
def test_saved_models_share_what_they_shared_in_another_process(names, tmp_path):
    models = {name: make(name) for name in names}
    own = ScaledEmbedding(V, WIDTH)
    models["own"] = make("gru-bahdanau-tied", source_embedding=own)
    np.savez(tmp_path / "inputs.npz", **INPUTS)
    for name, model in models.items():
        model.save(tmp_path / f"{name}.keras")
        table = model.target_embedding.embeddings
        table.assign(2 * table)
    subprocess.run([sys.executable, "-c", LOAD, str(tmp_path), *models], check=True)
    found = np.load(tmp_path / "found.npz")
    for name, model in models.items():
        np.testing.assert_allclose(found[name], model(INPUTS), atol=1e-5, err_msg=name)


# Parts of a user's own


@keras.saving.register_keras_serializable(package="tests")
class Distance(Attention):
    """Attention by distance, which has no weights of its own."""

    def score(self, query, keys):
        return -ops.sum(ops.square(query[:, :, None] - keys[:, None]), axis=-1)


class MeanOfFeatures(Encoder):
    """Features as they are, and their mean."""

    def call(self, inputs, mask, training=False):
        kept = ops.cast(mask, inputs.dtype)[..., None]
        return Encoded(inputs, mask, ops.sum(inputs * kept, axis=1))


class LastToken(Decoder):
    """Knows the last token and the first state of the source, no more."""

    def prepare(self, encoded):
        return encoded.states, encoded.mask

    def initial_state(self, memory, num_beams=1, max_steps=None):
        return ()

    def step(self, embedded, state, memory, weights):
        hidden, attention = self.call(embedded, memory)
        return hidden, state, attention

    def call(self, target, memory, return_attention_scores=False, training=False):
        states, mask = memory
        length = ops.shape(target)[1]
        attention = ops.one_hot(ops.zeros_like(target[..., 0], "int32"), ops.shape(mask)[1])
        return ops.concatenate([target, ops.repeat(states[:, :1], length, 1)], -1), attention


class Plain(Output):
    """A dense layer, whose losses are those of its logits."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense = keras.layers.Dense(V)

    def call(self, hidden, attention=None, source=(), weights=None, training=False):
        return self.dense(hidden)


def test_a_model_of_features_and_of_parts_of_a_users_own_trains_and_decodes():
    features = np.random.default_rng(0).normal(size=(3, 4, 5)).astype("float32")
    inputs = {"source": features, "target": TARGET}
    model = EncoderDecoder(MeanOfFeatures(), LastToken(), Plain(), ScaledEmbedding(V, WIDTH))
    logits = model(inputs)
    np.testing.assert_allclose(by_steps(model, inputs)[0], logits, atol=1e-5)
    loss = SmoothedCrossEntropy(0.1)
    model.compile(keras.optimizers.Adam(0.05), loss=loss, run_eagerly=True)
    np.testing.assert_allclose(
        ops.mean(model.token_losses(inputs, LABELS, False)[0]), loss(LABELS, logits), rtol=1e-5
    )
    first = model.train_on_batch(inputs, LABELS, return_dict=True)["loss"]
    for _ in range(5):
        last = model.train_on_batch(inputs, LABELS, return_dict=True)["loss"]
    assert last < first
    assert model.attention_maps(inputs).cross.shape == (3, 1, 1, TARGET.shape[1], 4)


def test_masked_features_are_not_attended_to():
    features = np.random.default_rng(0).normal(size=(3, 4, 5)).astype("float32")
    mask = np.array([[True] * 4, [True, True, False, False], [True] * 3 + [False]])
    decoder = RecurrentDecoder(7, BahdanauAttention(4))
    output = VocabularyOutput(V, readout_units=WIDTH)
    model = EncoderDecoder(MeanOfFeatures(), decoder, output, ScaledEmbedding(V, WIDTH))
    inputs = {"source": features, "source_mask": mask, "target": TARGET}
    model.build({"source": features.shape, "target": TARGET.shape})
    attention = model._teacher_forced(inputs, attention=True).attention.numpy()
    assert not attention[np.broadcast_to(~mask[:, None], attention.shape)].any()
    changed = np.where(mask[..., None], features, 9.0)
    np.testing.assert_allclose(model({**inputs, "source": changed}), model(inputs), atol=1e-5)
    with pytest.raises(ValueError, match="width of the features is not known"):
        EncoderDecoder(MeanOfFeatures(), LastToken(), Plain(), ScaledEmbedding(V, 4)).build()


def test_copying_needs_tokens_in_common():
    parts = RecurrentEncoder(3), RecurrentDecoder(4), PointerGeneratorOutput(V, readout_units=4)
    with pytest.raises(ValueError, match=r"in common.*Received: output=<PointerGenerator"):
        EncoderDecoder(*parts, ScaledEmbedding(V, 4), ScaledEmbedding(V, 4))
