"""Memory networks: what they are asked, what they look at, and what they refuse."""

import numpy as np
import pytest
import tensorflow as tf
from tiny_models import TINY, random_source, random_target, tiny_model

from attention_zoo.zoo.models.memory_network import memory_network


def test_it_looks_at_what_is_not_the_question_in_whole_sentences():
    model = tiny_model("memory")
    source = np.array([[5, 6, 7, 8, 7, 10, 11, 7, 8, 7, 3]], np.int32)  # asked first and last: 8 7
    memory = model.encode(source)
    target, _ = random_target(1, [1])
    _, _, paid = model.step(target[:, :1], model.initial_state(memory), memory)
    paid = paid.numpy()[0, 0]
    assert not paid[[3, 4, 8, 9, 10]].any()
    np.testing.assert_allclose(paid.sum(), 1, atol=1e-6)
    assert paid[0] == paid[1] == paid[2] != paid[5] == paid[6] == paid[7] > 0


def test_each_hop_is_a_head_of_the_maps_and_their_mean_is_what_a_step_returns():
    model = tiny_model("memory")
    source, (target, _) = random_source(1, [9, 4]), random_target(2, [3, 2])
    maps = model.attention_maps({"source": source, "target": target}).cross
    assert maps.shape == (2, 1, 2, 4, source.shape[1])
    memory = model.encode(source)
    state = model.initial_state(memory)
    for t in range(4):
        _, state, paid = model.step(target[:, t : t + 1], state, memory)
        np.testing.assert_allclose(paid[:, 0], maps[:, 0, :, t].numpy().mean(1), atol=1e-6)
    assert abs(maps[0, 0, 0] - maps[0, 0, 1]).numpy().max() > 0.01


def test_the_question_is_the_last_sentence_read_alone():
    model = tiny_model("memory")
    one = model.encode(np.array([[5, 6, 7, 8, 11, 7, 3]], np.int32))
    other = model.encode(np.array([[10, 10, 7, 8, 11, 7, 3]], np.int32))
    np.testing.assert_allclose(one.decoder.attended.keys, other.decoder.attended.keys, atol=1e-6)
    assert not np.allclose(one.decoder.attended.values, other.decoder.attended.values, atol=1e-3)


def test_static_shapes_change_nothing_and_compile():
    model = tiny_model("memory")
    inputs = {"source": random_source(1, [9, 4, 1])}
    inputs["target"], _ = random_target(2, [3, 2, 1])
    expected = model(inputs)
    model.static_shapes = True
    np.testing.assert_allclose(model(inputs), expected, rtol=1e-5, atol=1e-5)
    compiled = tf.function(model.call, jit_compile=True)
    np.testing.assert_allclose(compiled(inputs), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "received"),
    [
        ({"hops": 0}, "hops=0"),
        ({"max_sentence_length": 0}, "max_sentence_length=0"),
        ({"encoder_units": 2.5}, "encoder_units=2.5"),
        ({"dropout": 1}, "dropout=1"),
        ({"sentence_marks": "12"}, "sentence_marks='12'"),
        ({"sentence_marks": 7}, "sentence_marks=7"),
        ({"separator_ids": [3, -1]}, "separator_ids=.3, -1"),
        ({"readout_units": 9}, "readout_units=9"),
    ],
)
def test_impossible_arguments_are_refused(options, received):
    with pytest.raises(ValueError, match=rf"Received: .*{received}"):
        memory_network(**{"vocab_size": 20, **TINY, **options})


def test_it_is_made_again_from_its_config():
    model = memory_network(20, **TINY, sentence_marks=[7], separator_ids=[3, 4], hops=2)
    again = type(model).from_config(model.get_config())
    assert again.get_config() == model.get_config()
