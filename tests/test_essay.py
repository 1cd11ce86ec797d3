"""The sentences of the essay that say what a model is, each asked of the model."""

from pathlib import Path

import numpy as np
import pytest

import attention_zoo
from attention_zoo.layers import BahdanauAttention, LuongAttention, MultiHopAttention, QKVAttention
from attention_zoo.zoo.models import PointerGeneratorOutput

CHECKOUT = Path(__file__).resolve().parent.parent
SIZES = {"embedding_dim": 6, "encoder_units": 5, "decoder_units": 8, "attention_units": 8}
INPUTS = {
    "source": np.array([[5, 6, 7, 8, 3], [9, 4, 3, 0, 0]], np.int32),
    "target": np.array([[2, 5, 6], [2, 7, 0]], np.int32),
}


def build(name, **options):
    return attention_zoo.build(name, vocab_size=12, **SIZES, **options)


def differences(one, other):
    """The settings in which the decoders and outputs of two models differ, but for names."""
    found = set()
    for part in ("decoder", "output_layer"):
        first, second = (getattr(model, part).get_config() for model in (one, other))
        found |= {key for key in first if first[key] != second[key]}
    return found - {"name"}


def test_without_attention_every_step_has_the_same_context():
    model = build("rnn")
    assert model.decoder.attention is None
    memory = model.encode(INPUTS["source"])
    assert memory.decoder.attended.shape == (2, 1, 2 * SIZES["encoder_units"])
    # In both directions: the first state knows the last word.
    other = INPUTS["source"].copy()
    other[0, 3] = 10
    states = [model._encoded({"source": ids}).states.numpy() for ids in (INPUTS["source"], other)]
    assert np.abs(states[0][0, 0] - states[1][0, 0]).max() > 1e-6


def test_bahdanau_has_the_score_of_the_paper_and_looks_after_its_step():
    model = build("rnn-bahdanau")
    assert type(model.decoder.attention) is BahdanauAttention
    assert model.decoder.attention_query == "current_state"
    paper = build("rnn-bahdanau", attention_query="previous_state")
    assert paper.decoder.attention_query == "previous_state"
    attention = model.attention_maps(INPUTS).cross.numpy()[:, 0, 0]
    np.testing.assert_allclose(attention[0].sum(-1), 1, atol=1e-5)
    np.testing.assert_allclose(attention[1, :2].sum(-1), 1, atol=1e-5)
    assert not attention[1, :, 3:].any()


def test_luong_changes_the_score_and_two_things_more():
    model, other = build("rnn-luong"), build("rnn-bahdanau")
    assert type(model.decoder.attention) is LuongAttention
    changed = differences(model, other)
    # What a step found is fed into the next one, in the width that the vocabulary is read from.
    assert changed == {"attention", "input_feeding", "attentional_units", "readout_units"}
    assert model.decoder.input_feeding
    # The word is predicted from state and context alone: there is no readout of the last word.
    assert model.output_layer.readout is None


def test_query_key_and_value_are_one_change_from_bahdanau():
    model, other = build("rnn-qkv"), build("rnn-bahdanau")
    attention = model.decoder.attention
    assert type(attention) is QKVAttention and attention.num_heads == 1
    assert build("rnn-qkv", num_heads=4).decoder.attention.num_heads == 4
    assert differences(model, other) == {"attention"}
    assert {w.name for w in attention.weights} >= {"query_kernel", "key_kernel", "value_kernel"}


def test_a_memory_network_looks_several_times():
    attention = build("memory-network").decoder.attention
    assert type(attention) is MultiHopAttention and attention.hops > 1


def test_a_transformer_has_no_step_that_waits_for_another():
    model = attention_zoo.build("transformer-tiny", vocab_size=12)
    assert not model.loops_over_time and model.has_attention_maps
    assert all(build(name).loops_over_time for name in ("rnn", "rnn-luong", "rnn-qkv"))


def test_the_pointer_generator_copies():
    assert isinstance(build("pointer-generator").output_layer, PointerGeneratorOutput)


def test_the_example_is_as_short_as_the_essay_says():
    example = CHECKOUT / "docs" / "examples" / "show_attend_tell.py"
    if not example.is_file():
        pytest.skip("an installed package has no docs")
    assert len(example.read_text(encoding="utf-8").splitlines()) <= 150
