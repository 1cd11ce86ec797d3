"""Transformer blocks against the paper's formulas in NumPy, and step by step against the whole."""

import itertools

import keras
import numpy as np
import pytest
from keras import ops
from numeric import array, random_weights, softmax

from attention_zoo.layers import (
    AlibiPositions,
    Memory,
    RelativePositions,
    RotaryPositions,
    TransformerDecoderBlock,
    TransformerEncoderBlock,
)

RANDOM = np.random.default_rng(0)
HEADS, WIDTH = 2, 8
SOURCE = RANDOM.normal(size=(2, 5, WIDTH)).astype("float32")
TARGET = RANDOM.normal(size=(2, 4, WIDTH)).astype("float32")
MASK = np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]], bool)
POSITIONS = {
    "none": lambda: None,
    "rotary": RotaryPositions,
    "alibi": AlibiPositions,
    "relative": lambda: RelativePositions(8, 5),
}
# Of the blocks that T5 made its own: each by itself, so that no two faults can hide each other.
OPTIONS = {
    "plain": {},
    "key_dim": {"key_dim": 6},
    "gated": {"gated": True, "activation": "gelu_tanh"},
    "rms": {"norm": "rms", "norm_epsilon": 1e-3},
    "silu": {"activation": "silu", "norm_epsilon": 1e-3},
}
ACTIVATIONS = {
    "relu": lambda x: np.maximum(x, 0),
    "silu": lambda x: x / (1 + np.exp(-x)),
    "gelu_tanh": lambda x: x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),
}


def built(kind, seed=0, **options):
    block = kind(**{"num_heads": HEADS, "feedforward_dim": 6, "dropout": 0.0, **options})
    block.build(TARGET.shape)
    random_weights(block, seed)
    return block


def built_of(kind, norm_first, options, positions):
    """A block with the options and the positions of these names."""
    return built(kind, norm_first=norm_first, positions=POSITIONS[positions](), **OPTIONS[options])


# The formulas, of one row of the batch


def product(layer, x, name=""):
    kernel, bias = (array(getattr(layer, f"{name}{part}")) for part in ("kernel", "bias"))
    return x @ kernel.astype("float64") + bias


def normalized(block, norm, x):
    centered = x if block.norm == "rms" else x - x.mean(-1, keepdims=True)
    x = centered / np.sqrt((centered**2).mean(-1, keepdims=True) + block.norm_epsilon)
    return (
        x * array(norm.scale) if block.norm == "rms" else x * array(norm.gamma) + array(norm.beta)
    )


def turned(x):
    """Rotary positions as a product of complex numbers: (T, K)."""
    half = x.shape[-1] // 2
    angles = np.arange(len(x))[:, None] / 10_000 ** (np.arange(half) / half)
    numbers = (x[:, :half] + 1j * x[:, half:]) * np.exp(1j * angles)
    return np.concatenate([numbers.real, numbers.imag], axis=-1)


def attention(query, key, value, mask, rotary=False):
    """Head by head: what each query found (T, D), and the weights (H, T, S)."""
    contexts, weights = [], []
    for q, k, v in zip(*(np.split(x, HEADS, -1) for x in (query, key, value)), strict=True):
        q, k = (turned(q), turned(k)) if rotary else (q, k)
        weights.append(softmax(q @ k.T / np.sqrt(q.shape[-1]), mask))
        contexts.append(weights[-1] @ v)
    return np.concatenate(contexts, -1), np.stack(weights)


def reference(block, x, mask=None, source=None, source_mask=None, rotary=False):
    """The block's output, and its weights over itself and over the source, of one row."""
    causal = source is not None
    sees = np.tril(np.ones((len(x), len(x)), bool)) if causal else np.ones((len(x), len(x)), bool)
    sees = sees if mask is None else sees & mask & mask[:, None]
    found = []

    def attend_to_itself(x):
        layer = block.self_attention
        query, key, value = np.split(product(layer, x, "qkv_"), 3, -1)
        context, weights = attention(query, key, value, sees, rotary)
        found.append(weights)
        return product(layer, context, "output_")

    def attend_to_source(x):
        layer = block.cross_attention
        query = product(layer, x, "query_")
        key, value = (product(layer, source, name) for name in ("key_", "value_"))
        mask = np.broadcast_to(source_mask, (len(x), len(source)))
        context, weights = attention(query, key, value, mask)
        found.append(weights)
        return product(layer, context, "output_")

    def feed_forward(x):
        middle = ACTIVATIONS[block.activation](product(block.expand, x))
        return product(block.contract, middle * product(block.gate, x) if block.gated else middle)

    sublayers = [(block.attention_norm, attend_to_itself)]
    if causal:
        sublayers.append((block.cross_attention_norm, attend_to_source))
    for norm, sublayer in [*sublayers, (block.feed_forward_norm, feed_forward)]:
        if block.norm_first:
            x = x + sublayer(normalized(block, norm, x))
        else:
            x = normalized(block, norm, x + sublayer(x))
    return x, found


@pytest.mark.parametrize("norm_first", [True, False])
@pytest.mark.parametrize(
    ("options", "positions"), [("plain", "rotary"), *((name, "none") for name in OPTIONS)]
)
def test_an_encoder_block_follows_the_paper(norm_first, options, positions):
    block = built_of(TransformerEncoderBlock, norm_first, options, positions)
    outputs, weights = block(SOURCE, mask=MASK, return_attention_scores=True)
    np.testing.assert_allclose(
        array(block(SOURCE, mask=MASK)), array(outputs), rtol=1e-5, atol=1e-6
    )
    for row in range(2):
        expected, (own,) = reference(block, SOURCE[row], MASK[row], rotary=positions == "rotary")
        np.testing.assert_allclose(array(outputs)[row], expected, atol=1e-4)
        np.testing.assert_allclose(array(weights)[row], own, atol=1e-5)


@pytest.mark.parametrize("norm_first", [True, False])
@pytest.mark.parametrize("positions", ["none", "rotary"])
@pytest.mark.parametrize("options", OPTIONS)
def test_a_decoder_block_follows_the_paper(norm_first, positions, options):
    block = built_of(TransformerDecoderBlock, norm_first, options, positions)
    memory = block.project(SOURCE, mask=MASK)
    outputs, weights, own_weights = block(TARGET, memory, return_attention_scores=True)
    for row in range(2):
        expected, (own, over_source) = reference(
            block, TARGET[row], None, SOURCE[row], MASK[row], positions == "rotary"
        )
        np.testing.assert_allclose(array(outputs)[row], expected, atol=1e-4)
        np.testing.assert_allclose(array(weights)[row], over_source, atol=1e-5)
        np.testing.assert_allclose(array(own_weights)[row], own, atol=1e-5)


# All positions and all options; what they have in common, in `make test-slow`.
COMBINED = [
    pytest.param(*both, marks=() if "plain" in both or "relative" in both else pytest.mark.slow)
    for both in itertools.product(OPTIONS, POSITIONS)
]


@pytest.mark.parametrize("norm_first", [True, False])
@pytest.mark.parametrize(("options", "positions"), COMBINED)
def test_steps_equal_the_whole(norm_first, positions, options):
    block = built_of(TransformerDecoderBlock, norm_first, options, positions)
    memory = block.project(SOURCE, mask=MASK)
    # Three hypotheses of each source; the whole takes each as a row of its own.
    targets = RANDOM.normal(size=(2, 3, 4, WIDTH)).astype("float32")
    each = block.project(np.repeat(SOURCE, 3, axis=0), mask=np.repeat(MASK, 3, axis=0))
    expected, expected_weights = block(targets.reshape(6, 4, WIDTH), each)
    cache = block.initial_cache(6)
    weights = block.step_weights()
    for t in range(4):
        outputs, over_source, cache = block.step(targets[:, :, t], cache, memory, weights)
        np.testing.assert_allclose(
            array(outputs).reshape(6, WIDTH), array(expected)[:, t], atol=1e-5
        )
        seen = np.swapaxes(array(over_source), 1, 2).reshape(6, HEADS, 5)
        np.testing.assert_allclose(seen, array(expected_weights)[:, :, t], atol=1e-6)


def test_steps_of_mean_zero_are_others_less_their_mean():
    block = built(TransformerDecoderBlock)
    memory = block.project(SOURCE, mask=MASK)
    caches = [block.initial_cache(2)] * 2
    for t in range(3):
        x = TARGET[:, t : t + 1]
        expected, over_source, caches[0] = block.step(x, caches[0], memory)
        x = x - x.mean(axis=-1, keepdims=True)
        outputs, seen, caches[1] = block.step(x, caches[1], memory, block.step_weights(True))
        expected = array(expected)
        expected = expected - expected.mean(axis=-1, keepdims=True)
        assert abs(array(outputs).mean()) < 1e-6
        np.testing.assert_allclose(array(outputs), expected, atol=1e-5)
        np.testing.assert_allclose(array(seen), array(over_source), atol=1e-6)


def test_a_mean_that_matters_is_not_taken_away():
    for options in ({"norm_first": False}, {"norm": "rms"}):
        block = built(TransformerDecoderBlock, **options)
        with pytest.raises(ValueError, match=r"the mean of its inputs.*Received: norm_first="):
            block.step_weights(zero_mean=True)


def test_a_source_of_padding_alone_is_not_looked_at():
    block = built(TransformerDecoderBlock)
    memory = block.project(SOURCE, mask=np.zeros_like(MASK))
    outputs, weights = block(TARGET, memory)
    assert np.isfinite(array(outputs)).all() and not array(weights).any()
    step, weights, _ = block.step(TARGET[:, :1], block.initial_cache(2), memory)
    np.testing.assert_allclose(array(step), array(outputs)[:, :1], atol=1e-5)
    assert not array(weights).any()


@pytest.mark.parametrize("rate", ["dropout", "attention_dropout", "activation_dropout"])
@pytest.mark.parametrize("kind", [TransformerEncoderBlock, TransformerDecoderBlock])
def test_every_dropout_has_its_place_in_training_alone(kind, rate):
    block = built(kind, **{rate: 0.5})
    others = built(kind)  # with the same weights and no dropout

    def outputs(block, training):
        if kind is TransformerEncoderBlock:
            return array(block(SOURCE, training=training))
        return array(block(TARGET, block.project(SOURCE), training=training)[0])

    np.testing.assert_array_equal(outputs(block, False), outputs(others, True))
    assert not np.allclose(outputs(block, True), outputs(others, True), atol=1e-3)


@pytest.mark.parametrize("positions", POSITIONS)
def test_a_model_of_blocks_is_the_same_from_a_file(positions, tmp_path):
    inputs = keras.Input((None, WIDTH))
    options = {"positions": POSITIONS[positions](), "norm_first": False, "activation": "gelu"}
    model = keras.Model(inputs, TransformerEncoderBlock(HEADS, 6, **options)(inputs))
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(array(again(SOURCE)), array(model(SOURCE)), atol=1e-6)
    one, other = again.layers[-1], model.layers[-1]
    assert type(one.positions) is type(other.positions)
    assert (one.norm_first, one.activation) == (False, "gelu")


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("mixed_bfloat16", 0.1)])
def test_an_encoder_decoder_of_blocks_is_the_same_from_a_file(dtype, tolerance, tmp_path):
    source, target = keras.Input((None,), dtype="int32"), keras.Input((None, WIDTH))
    states = keras.layers.Embedding(9, 6, mask_zero=True)(source)
    encoder = TransformerEncoderBlock(HEADS, 5, dtype=dtype)
    decoder = TransformerDecoderBlock(HEADS, 5, dtype=dtype)
    states = encoder(states)
    outputs = decoder(target, states, return_attention_scores=True)
    shapes = [(None, None, WIDTH), (None, HEADS, None, None), (None, HEADS, None, None)]
    assert [tuple(tensor.shape) for tensor in outputs] == shapes
    model = keras.Model([source, target], [states, *outputs])
    random_weights(model)
    ids = np.where(MASK, np.arange(1, 6), 0)
    states, *actual = model([ids, TARGET])

    # The block in float32, of a source that was projected and of its states with a mask.
    plain = TransformerDecoderBlock(HEADS, 5)
    plain.build(TARGET.shape, (None, None, 6))
    plain.set_weights(decoder.get_weights())
    states = ops.cast(states, "float32")
    for given in ((plain.project(states, MASK), None), (states, MASK)):
        memory, mask = given
        expected = plain(TARGET, memory, memory_mask=mask, return_attention_scores=True)
        for one, other in zip(actual, expected, strict=True):
            np.testing.assert_allclose(
                array(ops.cast(one, "float32")), array(other), atol=tolerance
            )

    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    for one, other in zip(again([ids, TARGET])[1:], actual, strict=True):
        np.testing.assert_array_equal(*(array(ops.cast(x, "float32")) for x in (one, other)))


def test_a_mask_beside_a_projected_source_is_refused():
    block = built(TransformerDecoderBlock)
    with pytest.raises(ValueError, match="pass the mask to `project`"):
        block(TARGET, block.project(SOURCE), memory_mask=MASK)


@pytest.mark.parametrize(
    ("options", "received"),
    [
        ({"num_heads": 0}, "num_heads=0"),
        ({"feedforward_dim": 1.5}, "feedforward_dim=1.5"),
        ({"dropout": 1.0}, "dropout=1.0"),
        ({"attention_dropout": -0.1}, "attention_dropout=-0.1"),
        ({"activation_dropout": True}, "activation_dropout=True"),
        ({"activation": "relux"}, "relux"),
        ({"norm": "batch"}, "norm='batch'"),
        ({"key_dim": 0}, "key_dim=0"),
        ({"positions": "rotary"}, "positions='rotary'"),
    ],
)
@pytest.mark.parametrize("kind", [TransformerEncoderBlock, TransformerDecoderBlock])
def test_impossible_arguments_are_refused_at_construction(kind, options, received):
    with pytest.raises(ValueError, match=f"Received: .*{received}|{received}"):
        kind(**{"num_heads": 2, "feedforward_dim": 6, **options})


def test_impossible_widths_are_refused():
    with pytest.raises(ValueError, match="Received: width=8, num_heads=3"):
        TransformerEncoderBlock(3, 6).build((None, None, 8))
    with pytest.raises(ValueError, match=r"even.*Received: key_dim=3"):
        TransformerDecoderBlock(2, 6, positions=RotaryPositions()).build((None, None, 6))


def test_a_graph_has_the_shapes_of_its_values():
    outputs, weights = TransformerEncoderBlock(HEADS, 6)(
        keras.Input((5, WIDTH)), return_attention_scores=True
    )
    assert tuple(outputs.shape) == (None, 5, WIDTH)
    assert tuple(weights.shape) == (None, HEADS, 5, 5)
    assert ops.shape(TransformerEncoderBlock(HEADS, 6)(SOURCE)) == SOURCE.shape


def test_steps_in_float64_are_exact():
    block = TransformerDecoderBlock(HEADS, 10, dtype="float64")
    block.build((None, None, WIDTH), (None, None, SOURCE.shape[-1]))
    target = TARGET.astype("float64")
    memory = block.project(SOURCE.astype("float64"), mask=MASK)
    expected, _ = block(target, memory)
    cache = block.initial_cache(2)
    # On the other backends Keras calculates some of it in float32.
    tolerance = 1e-12 if keras.backend.backend() == "tensorflow" else 1e-5
    for t in range(target.shape[1]):
        outputs, _, cache = block.step(target[:, t : t + 1], cache, memory)
        np.testing.assert_allclose(array(outputs)[:, 0], array(expected)[:, t], atol=tolerance)


def test_a_model_that_is_given_a_projected_source_is_saved_and_loaded(tmp_path):
    block = built(TransformerDecoderBlock)
    memory = block.project(SOURCE, mask=MASK)
    given = [keras.Input(array(part).shape[1:]) for part in memory[:2]]
    given += [keras.Input(MASK.shape[1:], dtype="bool"), keras.Input(TARGET.shape[1:])]
    model = keras.Model(given, block(given[3], Memory(*given[:3]))[0])
    model.save(tmp_path / "model.keras")
    values = [*map(array, memory), TARGET]
    expected, _ = block(TARGET, memory)
    for one in (model, keras.models.load_model(tmp_path / "model.keras")):
        np.testing.assert_allclose(array(one(values)), array(expected), atol=1e-5)
