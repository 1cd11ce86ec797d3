"""The laws of the model protocol, on every family of models."""

import functools
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from tiny_models import ATTENTIONS, KINDS, TINY, VARIANTS, random_source, random_target, tiny_model

from attention_zoo.layers import LuongAttention, MultiHopAttention
from attention_zoo.zoo.catalog import MODELS, build
from attention_zoo.zoo.errors import ConfigError
from attention_zoo.zoo.models import EncoderDecoder
from attention_zoo.zoo.models.recurrent import recurrent

LENGTHS = [5, 1, 3]
TARGET_LENGTHS = [3, 4, 1]


@functools.cache
def model_of(kind):
    return tiny_model(kind, seed=11)


@pytest.fixture(params=(*KINDS, *VARIANTS))
def model(request):
    return model_of(request.param)


@pytest.fixture(params=KINDS)
def family(request):
    """A model of each family, for what does not change with its options."""
    return model_of(request.param)


@pytest.fixture(scope="module")
def inputs():
    return {
        "source": random_source(1, LENGTHS),
        "target": random_target(2, TARGET_LENGTHS)[0],
    }


def by_steps(model, source, targets, max_steps=None):
    """Logits (B, N, T, V) and attention (B, N, T, S) of targets (B, N, T), a step at a time."""
    memory = model.encode(tf.constant(source))
    state = model.initial_state(memory, targets.shape[1], max_steps or targets.shape[2])
    logits, attention = [], []
    for t in range(targets.shape[2]):
        step_logits, state, scores = model.step(tf.constant(targets[:, :, t]), state, memory)
        logits.append(step_logits.numpy())
        attention.append(scores.numpy())
    return np.stack(logits, 2), np.stack(attention, 2)


def test_step_by_step_equals_the_full_forward_pass_and_looks_at_the_source_alone(model, inputs):
    target, expected = inputs["target"][:, None], model(inputs)
    for max_steps in (target.shape[2], tf.constant(target.shape[2])):  # of fixed length, or growing
        logits, attention = by_steps(model, inputs["source"], target, max_steps)
        np.testing.assert_allclose(logits[:, 0], expected, atol=1e-5)
    assert attention.shape[2:] == (inputs["target"].shape[1], inputs["source"].shape[1])
    attention_layer = getattr(model.decoder, "attention", model.decoder)
    if attention_layer is None:
        assert not attention.any()
    else:
        np.testing.assert_allclose(attention.sum(-1), 1.0, atol=1e-5)
        padding = np.broadcast_to((inputs["source"] == 0)[:, None, None], attention.shape)
        assert not attention[padding].any()
        if not isinstance(attention_layer, MultiHopAttention):  # which skips the question
            assert (attention[~padding] > 0).all()
    # With more padding all is the same.
    padded = {**inputs, "source": np.pad(inputs["source"], [(0, 0), (0, 4)])}
    np.testing.assert_allclose(model(padded), expected, atol=1e-5)
    wider = by_steps(model, padded["source"], inputs["target"][:, None])[1]
    np.testing.assert_allclose(wider[..., :-4], attention, atol=1e-6)
    assert not wider[..., -4:].any()


@pytest.mark.parametrize("kind", ["bahdanau", "qkv", "luong", "pointer", "looks-before"])
def test_the_decoder_has_read_the_last_subword_when_it_looks(kind, inputs):
    model = tiny_model(kind, seed=11)
    tokens = np.tile([[[5], [8]]], (len(LENGTHS), 1, 1))  # two of them on the same state
    _, attention = by_steps(model, inputs["source"], tokens)
    alike = np.allclose(attention[:, 0], attention[:, 1], atol=1e-4)
    assert alike == (kind == "looks-before")


def test_later_targets_and_padding_change_no_earlier_logits(family, inputs):
    expected = family(inputs).numpy()
    target = np.pad(inputs["target"], [(0, 0), (0, 2)])
    for start in range(1, expected.shape[1] + 1):
        changed = target.copy()
        changed[:, start:] = 9
        actual = family({**inputs, "target": changed}).numpy()
        np.testing.assert_allclose(actual[:, :start], expected[:, :start], atol=1e-6)


def test_a_row_does_not_depend_on_its_neighbours(family, inputs):
    together = family(inputs).numpy()
    for row, (source, target) in enumerate(zip(LENGTHS, TARGET_LENGTHS, strict=True)):
        alone = {
            "source": inputs["source"][row : row + 1, : source + 1],
            "target": inputs["target"][row : row + 1, : target + 1],
        }
        np.testing.assert_allclose(family(alone)[0], together[row, : target + 1], atol=1e-5)


def test_beams_equal_rows(family, inputs):
    random = np.random.default_rng(8)
    targets = random.integers(4, 12, (len(LENGTHS), 4, 3)).astype("int32")  # (B, N, T)
    logits, attention = by_steps(family, inputs["source"], targets)
    repeated = np.repeat(inputs["source"], 4, axis=0)
    rows = by_steps(family, repeated, targets.reshape(-1, 1, 3))
    np.testing.assert_allclose(logits.reshape(rows[0].shape), rows[0], atol=1e-5)
    np.testing.assert_allclose(attention.reshape(rows[1].shape), rows[1], atol=1e-5)


def test_reordered_beams_go_on_from_the_chosen_ones(family, inputs):
    model, memory = family, family.encode(inputs["source"])
    tokens = np.array([[4, 5], [6, 7], [8, 9]], np.int32)
    _, state, _ = model.step(tokens, model.initial_state(memory, 2, 2), memory)
    state = model.reorder_state(state, tf.constant([[1, 1], [1, 0], [0, 0]]))
    after = model.step(np.full((3, 2), 10, np.int32), state, memory)[0]
    histories = np.array([[[5, 10], [5, 10]], [[7, 10], [6, 10]], [[8, 10], [8, 10]]], np.int32)
    expected, _ = by_steps(model, inputs["source"], histories)
    np.testing.assert_allclose(after, expected[:, :, 1], atol=1e-5)


def test_a_source_of_padding_alone_gives_finite_logits(family):
    source = np.array([[0, 0, 0], [5, 3, 0]], np.int32)
    logits = family({"source": source, "target": np.array([[2, 5], [2, 5]], np.int32)})
    assert np.isfinite(logits).all()


@pytest.mark.parametrize("kind", [*KINDS, "gated", "pointer-location"])
def test_a_type_of_its_own_is_that_of_all_layers(kind):
    half = tiny_model(kind, dtype="mixed_bfloat16")
    half = EncoderDecoder.from_config(half.get_config())
    assert {layer.dtype_policy.name for layer in half._flatten_layers()} == {"mixed_bfloat16"}


def test_dropout_is_of_training_alone(inputs):
    model = tiny_model("bahdanau", dropout=0.5)
    before = model(inputs).numpy()
    assert not np.allclose(model(inputs, training=True), before, atol=1e-3)
    np.testing.assert_array_equal(model(inputs), before)


LOAD_AND_CALL = """
import sys, numpy as np, keras
import attention_zoo.zoo.models
arrays = dict(np.load(sys.argv[1] + "/inputs.npz"))
logits = {
    name: keras.models.load_model(f"{sys.argv[1]}/{name}.keras")(arrays).numpy()
    for name in sys.argv[2:]
}
np.savez(sys.argv[1] + "/logits.npz", **logits)
"""


@pytest.mark.parametrize("names", [KINDS, pytest.param(tuple(VARIANTS), marks=pytest.mark.slow)])
def test_saved_models_are_the_same_in_another_process(names, inputs, tmp_path):
    np.savez(tmp_path / "inputs.npz", **inputs)
    models = {name: tiny_model(name, seed=i) for i, name in enumerate(names)}
    models["untied"] = tiny_model("bahdanau", readout_units=9, tie_embeddings=False, seed=9)
    for name, model in models.items():
        model.save(tmp_path / f"{name}.keras")
    subprocess.run([sys.executable, "-c", LOAD_AND_CALL, str(tmp_path), *models], check=True)
    logits = np.load(tmp_path / "logits.npz")
    for name, model in models.items():
        np.testing.assert_allclose(logits[name], model(inputs), atol=1e-6)


def test_the_four_models_differ_by_their_attention_alone():
    entries = [MODELS[name] for name in MODELS if name.startswith("rnn")]
    assert {entry.options["attention"] for entry in entries} == set(ATTENTIONS)
    assert all(entry.options.keys() == {"attention"} for entry in entries)
    assert {entry.family for entry in entries} == {entries[0].family}


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_config_round_trip(attention):
    options = {**TINY, "readout_units": 9, "tie_embeddings": False, "dropout": 0.2}
    model = recurrent(20, attention, **options, name="mine")
    again = EncoderDecoder.from_config(model.get_config())
    assert again.get_config() == model.get_config()
    for one in (model, again):
        one.build()
    shapes = [[tuple(w.shape) for w in one.weights] for one in (model, again)]
    assert shapes[0] == shapes[1]


def test_every_kind_of_weight_is_initialised_apart():
    # Equal weights would be learnt alike for ever.
    keras.utils.set_random_seed(0)
    model = recurrent(20, "bahdanau", **TINY)
    model.build()
    for weight in (model.encoder.layers[0].kernel, model.encoder.layers[0].recurrent_kernel):
        forward, backward = np.asarray(weight)
        assert not np.allclose(forward, backward)
        assert forward.std() > 0.05


def test_each_further_layer_of_the_encoder_adds_to_the_one_below():
    model = tiny_model("none", encoder_layers=3)
    source = random_source(4, [5, 2])
    lengths = (source != 0).sum(1)
    expected, last = model.source_embedding(source), []
    for i, layer in enumerate(model.encoder.layers):
        read, last_read = layer(expected, lengths)
        expected = read if i == 0 else expected + read
        last.append(last_read)
    assert len(last) == 3
    # No attention: the context is the last state of each direction.
    ends = [expected[0, 5, :5], expected[0, 0, 5:]]
    found = model.encode(source).decoder.attended
    np.testing.assert_allclose(found[0, 0], np.concatenate(ends), atol=1e-6)
    np.testing.assert_allclose(found[:, 0], sum(last), atol=1e-6)


@pytest.mark.parametrize(
    ("options", "received"),
    [
        ({"attention": "none", "input_feeding": True}, "attention=None, .*input_feeding=True"),
        ({"attention_query": "cho"}, "attention_query='cho'"),
        ({"attention_query": "previous_state", "input_feeding": True}, "input_feeding=True"),
        ({"attention": 3}, "attention=3"),
        ({"attention": "qkv", "num_heads": 3}, "attention_units=4, num_heads=3"),
        ({"readout_units": 9}, "readout_units=9, embedding_dim=6"),
        ({"vocab_size": 0}, "vocab_size=0"),
        ({"vocab_size": 4}, "vocab_size=4"),
        ({"embedding_dim": 0}, "embedding_dim=0"),
        ({"encoder_units": -1}, "encoder_units=-1"),
        ({"encoder_layers": 0}, "encoder_layers=0"),
        ({"decoder_units": 2.5}, "decoder_units=2.5"),
        ({"attention_units": 0}, "attention_units=0"),
        ({"attention_units": 0, "attention": "none"}, "attention_units=0"),
        ({"readout_units": 0, "tie_embeddings": False}, "readout_units=0"),
        ({"dropout": 1.0}, "dropout=1.0"),
        ({"dropout": -0.1}, "dropout=-0.1"),
        ({"dropout": "a lot"}, "dropout='a lot'"),
        ({"embedding_scale_power": 2}, "power=2"),
        ({"embedding_scale_power": "half"}, "power='half'"),
    ],
)
def test_impossible_arguments_are_refused(options, received):
    with pytest.raises(ValueError, match=rf"Received: .*{received}"):
        recurrent(**{"vocab_size": 20, **TINY, **options})


def test_an_unknown_attention_is_refused():
    with pytest.raises(ConfigError, match=r"no attention 'self'\. Known: none, bahdanau"):
        recurrent(20, "self")


def test_catalog_builds_by_name():
    model = build("rnn-luong", vocab_size=20, **{**TINY, "dropout": 0.1})
    assert isinstance(model.decoder.attention, LuongAttention)
    assert model.decoder.dropout == 0.1
    assert model.built
    assert model.count_params() > 0


def test_catalog_refuses_a_name_it_has_not():
    with pytest.raises(ValueError, match=r"no model 'rnn-bahdanov'. Known: .*rnn-bahdanau"):
        MODELS["rnn-bahdanov"]
