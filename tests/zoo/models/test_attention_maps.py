"""Every weight of a model: against its decoding step by step, and the laws of masks."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tiny_models import KINDS, random_source, random_target, tiny_model

from attention_zoo.layers import TransformerDecoderBlock, TransformerEncoderBlock
from attention_zoo.zoo.text.tokenizer import PAD_ID

SOURCE = random_source(0, [4, 2, 6], padding=1)
TARGET, LABELS = random_target(1, [3, 5, 1])


def maps_of(model, source=SOURCE, target=TARGET):
    inputs = {"source": tf.constant(source), "target": tf.constant(target)}
    return [None if m is None else m.numpy() for m in model.attention_maps(inputs)]


@pytest.mark.parametrize("kind", KINDS)
def test_the_average_of_the_last_layer_is_what_the_steps_return(kind):
    model = tiny_model(kind)
    cross, *_ = maps_of(model)
    memory = model.encode(tf.constant(SOURCE))
    state = model.initial_state(memory, 1, TARGET.shape[1])
    for t in range(TARGET.shape[1]):
        _, state, scores = model.step(tf.constant(TARGET[:, t : t + 1]), state, memory)
        heads = cross[:, -1, :, t]  # (B, H, S)
        found = heads[:, 0] if kind == "copying-transformer" else heads.mean(axis=1)
        np.testing.assert_allclose(found, scores[:, 0].numpy(), atol=1e-5)
    if kind == "none":
        assert not cross.any()


@pytest.fixture(scope="module")
def maps():
    return maps_of(tiny_model("transformer"))


def test_maps_are_distributions_over_what_may_be_seen(maps):
    cross, encoder, decoder = maps
    batch, length, steps = *SOURCE.shape, TARGET.shape[1]
    assert cross.shape == (batch, 2, 2, steps, length)
    assert encoder.shape == (batch, 2, 2, length, length)
    assert decoder.shape == (batch, 2, 2, steps, steps)
    seen = SOURCE != PAD_ID
    np.testing.assert_allclose(cross.sum(-1), 1, rtol=1e-5)
    np.testing.assert_allclose(decoder.sum(-1), 1, rtol=1e-5)
    rows = np.broadcast_to(seen[:, None, None], encoder.shape[:-1])
    np.testing.assert_allclose(encoder.sum(-1), rows, rtol=1e-5, atol=1e-7)
    assert not cross[np.broadcast_to(~seen[:, None, None, None], cross.shape)].any()
    assert not encoder[np.broadcast_to(~seen[:, None, None, None], encoder.shape)].any()
    assert not np.triu(decoder, 1).any()
    assert np.ptp(cross, axis=(1, 2)).max() > 0.1  # layers and heads differ


def test_a_row_does_not_depend_on_its_neighbours(maps):
    model = tiny_model("transformer")
    for row in range(len(SOURCE)):
        s, t = (SOURCE[row] != PAD_ID).sum(), (LABELS[row] != PAD_ID).sum()
        alone = maps_of(model, SOURCE[row : row + 1, :s], TARGET[row : row + 1, :t])
        sizes = ((t, s), (s, s), (t, t))
        for together, single, (rows, columns) in zip(maps, alone, sizes, strict=True):
            found = together[row, :, :, :rows, :columns]
            np.testing.assert_allclose(found, single[0], atol=1e-5)


def test_maps_are_those_of_the_pass_that_gives_the_logits():
    """The first layer of the encoder by hand: softmax of the products of its projections."""
    model = tiny_model("transformer")
    _, encoder, _ = maps_of(model)
    block = model.encoder.blocks[0]
    x = model.encoder.positions(model.source_embedding(SOURCE))
    x = block.attention_norm(x).numpy()
    kernel, bias = (w.numpy() for w in block.self_attention.trainable_variables[:2])
    query, key, _ = np.split(x @ kernel + bias, 3, axis=-1)
    for head in range(2):
        part = slice(4 * head, 4 * head + 4)
        scores = query[..., part] @ key[..., part].swapaxes(1, 2) / 2
        scores = np.where((SOURCE != PAD_ID)[:, None], scores, -np.inf)
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        weights /= weights.sum(-1, keepdims=True)
        weights *= (SOURCE != PAD_ID)[..., None]
        np.testing.assert_allclose(encoder[:, 0, head], weights, atol=1e-5)


def test_blocks_return_weights_and_say_their_shapes():
    x, mask = keras.random.normal((2, 3, 8), seed=0), np.array([[1, 1, 0], [1, 1, 1]], bool)
    block = TransformerEncoderBlock(num_heads=2, feedforward_dim=4)
    states, weights = block(x, mask=mask, return_attention_scores=True)
    np.testing.assert_allclose(states, block(x, mask=mask), atol=1e-6)
    assert weights.shape == (2, 2, 3, 3)
    symbolic = block(keras.Input((3, 8)), return_attention_scores=True)
    assert [t.shape for t in symbolic] == [(None, 3, 8), (None, 2, 3, 3)]
    assert block(keras.Input((3, 8))).shape == (None, 3, 8)
    decoder = TransformerDecoderBlock(num_heads=2, feedforward_dim=4)
    decoder.build(x.shape)
    memory = decoder.project(states, mask=mask)
    outputs = decoder(x, memory, return_attention_scores=True)
    assert [tuple(t.shape) for t in outputs] == [(2, 3, 8), (2, 2, 3, 3), (2, 2, 3, 3)]
    for found, expected in zip(outputs, decoder(x, memory), strict=False):
        np.testing.assert_allclose(found, expected, atol=1e-6)
