"""What the Transformer has around its blocks, in NumPy: embeddings, positions, vocabulary."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tiny_models import TINY_TRANSFORMER, TRANSFORMERS, random_source, random_target, tiny_model

from attention_zoo.zoo.catalog import MODELS, build
from attention_zoo.zoo.models import EncoderDecoder
from attention_zoo.zoo.models.transformer import transformer
from attention_zoo.zoo.models.transformer_positions import POSITIONS, sinusoids
from attention_zoo.zoo.text.tokenizer import END_ID
from attention_zoo.zoo.training.loss import SmoothedCrossEntropy

WIDTH, VOCABULARY = TINY_TRANSFORMER["width"], 12
SOURCE = random_source(1, [5, 2])
TARGET, LABELS = random_target(2, [3, 4])


def waves(length, width, first=0, published=False):
    """Sines, then cosines, one number at a time."""
    half = width // 2
    table = np.zeros((length, width))
    for place in range(length):
        for i in range(half):
            angle = (first + place) / 10_000 ** (2 * i / width if published else i / (half - 1))
            table[place, i], table[place, half + i] = np.sin(angle), np.cos(angle)
    return table


def read(part, ids, embedding):
    """What the first block of an encoder or decoder is given."""
    x = embedding.embeddings.numpy()[ids] * WIDTH**embedding.power
    kind, first = part.positions.kind, part.positions.first_position
    if kind == "learned":
        x = x + part.positions.table.numpy()[: ids.shape[1]]
    elif kind.startswith("sinusoidal"):
        x = x + waves(ids.shape[1], WIDTH, first, kind == "sinusoidal-published")
    return tf.constant(x, tf.float32)


@pytest.mark.parametrize("kind", ["transformer", *TRANSFORMERS])
def test_logits_are_what_the_blocks_make_of_embeddings_and_positions(kind):
    model = tiny_model(kind, VOCABULARY, seed=3)
    mask = tf.constant(SOURCE != 0)
    encoder, decoder, output = model.encoder, model.decoder, model.output_layer
    x = read(encoder, SOURCE, model.source_embedding)
    for block in encoder.blocks:
        x = block(x, mask=mask)
    if encoder.norm_first:
        x = encoder.norm(x)
    states, x = x, read(decoder, TARGET, model.target_embedding)
    for block in decoder.blocks:
        x, _ = block(x, block.project(states, mask))
    if decoder.norm_first:
        x = decoder.norm(x)
    kernel = model.target_embedding.embeddings if output.tied else output.kernel
    expected = x.numpy() @ kernel.numpy().T + output.bias.numpy()
    actual = model({"source": SOURCE, "target": TARGET})
    np.testing.assert_allclose(actual, expected, atol=1e-4)


@pytest.mark.parametrize("width", [8, 7])
def test_sinusoids_of_any_width(width):
    expected = waves(600, width)
    np.testing.assert_allclose(sinusoids(tf.range(600), width), expected, atol=1e-4)


def test_rotary_positions_tell_the_order_by_distances_alone():
    model = tiny_model("rotary", VOCABULARY, seed=4)
    block, state = model.encoder.blocks[0], np.random.default_rng(0).normal(size=(1, 3, WIDTH))
    # Behind masked places everything is as it was, and in another order it is not.
    later = np.concatenate([np.ones((1, 4, WIDTH)), state], axis=1).astype("float32")
    mask = np.array([[False] * 4 + [True] * 3])
    expected = block(state.astype("float32")).numpy()
    np.testing.assert_allclose(block(later, mask=mask)[:, 4:], expected, atol=1e-5)
    swapped = block(state[:, ::-1].astype("float32")).numpy()[:, ::-1]
    assert not np.allclose(swapped, expected, atol=1e-3)


@pytest.mark.parametrize("kind", ["transformer", *TRANSFORMERS])
def test_every_weight_is_learnt(kind, recwarn):
    model = tiny_model(kind, VOCABULARY, seed=5)
    before = model.get_weights()
    model.compile(keras.optimizers.Adam(0.1), SmoothedCrossEntropy(0.1), run_eagerly=True)
    inputs = {"source": SOURCE, "target": TARGET}
    model.fit(tf.data.Dataset.from_tensors((inputs, LABELS)), verbose=0)
    trained = {weight.path for weight in model.trainable_weights}
    for weight, old in zip(model.weights, before, strict=True):
        # The key's bias adds the same to all scores of a query, so the softmax takes it out.
        if weight.path in trained and not weight.path.endswith("key_bias"):
            assert not np.array_equal(weight.numpy(), old), weight.path
    assert not [w for w in recwarn if "Gradients do not exist" in str(w.message)]


def test_each_side_has_a_vocabulary_of_its_own():
    model = tiny_model("transformer", 9, source_vocab_size=30)
    source = np.array([[29, 25, 3]], np.int32)
    logits = model({"source": source, "target": np.array([[2, 8]], np.int32)})
    assert logits.shape == (1, 2, 9)
    assert model.target_embedding.embeddings.shape[0] == 9
    assert model.source_embedding.embeddings.shape[0] == 30
    again = EncoderDecoder.from_config(model.get_config())
    assert again.get_config() == model.get_config()


@pytest.mark.parametrize(
    ("name", "sizes"),
    {
        "transformer-tiny": (128, 4, 4, 4, 256),
        "transformer-tiny-8-1": (128, 8, 1, 4, 256),
        "transformer-small": (256, 6, 6, 4, 1024),
        "transformer-small-12-1": (256, 12, 1, 4, 1024),
        "transformer-base": (512, 6, 6, 8, 2048),
        "transformer-big": (1024, 6, 6, 16, 4096),
    }.items(),
)
def test_the_named_sizes(name, sizes):
    model = MODELS[name].instance(30)
    block = model.decoder.blocks[0]
    layers = len(model.encoder.blocks), len(model.decoder.blocks)
    found = (model.target_embedding.output_dim, *layers, block.num_heads, block.feedforward_dim)
    assert found == sizes


def test_tiny_keeps_to_its_size():
    assert build("transformer-tiny", vocab_size=6000).count_params() <= 2_700_000


@pytest.mark.parametrize(
    ("options", "received"),
    [
        ({"vocab_size": 4}, "vocab_size=4"),
        ({"width": 9}, "width=9, num_heads=2"),
        ({"width": 0}, "width=0"),
        ({"encoder_layers": 0}, "encoder_layers=0"),
        ({"decoder_layers": 1.5}, "decoder_layers=1.5"),
        ({"num_heads": -1}, "num_heads=-1"),
        ({"feedforward_dim": None}, "feedforward_dim=None"),
        ({"max_length": 0}, "max_length=0"),
        ({"dropout": 1.0}, "dropout=1.0"),
        ({"attention_dropout": -0.5}, "attention_dropout=-0.5"),
        ({"activation_dropout": "much"}, "activation_dropout='much'"),
        ({"positions": "polar"}, "positions='polar'"),
        ({"positions": "rotary", "width": 6}, "width=6, num_heads=2"),
        ({"source_vocab_size": 4}, "source_vocab_size=4"),
        ({"source_vocab_size": 9.0}, "source_vocab_size=9.0"),
        ({"source_vocab_size": 30, "copying": True}, "source_vocab_size=30, copying=True"),
    ],
)
def test_impossible_arguments_are_refused(options, received):
    with pytest.raises(ValueError, match=rf"Received: .*{received}"):
        transformer(**{"vocab_size": 20, **TINY_TRANSFORMER, **options})


@pytest.mark.parametrize("positions", POSITIONS)
def test_the_order_of_the_source_counts(positions):
    model = tiny_model("transformer", positions=positions, seed=2)
    source = np.array([[4, 5, 6, END_ID], [5, 4, 6, END_ID]], np.int32)
    target, _ = random_target(1, [3])
    logits = model({"source": source, "target": np.repeat(target, 2, axis=0)}).numpy()
    assert abs(logits[0] - logits[1]).max() > 1e-3


def test_relative_positions_look_ahead_in_the_encoder_alone():
    model = tiny_model("transformer", positions="relative")
    assert all(block.positions.bidirectional for block in model.encoder.blocks)
    assert not any(block.positions.bidirectional for block in model.decoder.blocks)
