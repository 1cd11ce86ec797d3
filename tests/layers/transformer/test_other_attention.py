"""Transformer blocks with attention layers of another kind, of the package and of a user."""

import keras
import numpy as np
import pytest
from keras import ops
from numeric import array, gradients_of, random_weights, softmax

from attention_zoo.layers import (
    AlibiPositions,
    Attention,
    BahdanauAttention,
    CoverageAttention,
    LuongAttention,
    Memory,
    MultiHopAttention,
    QKVAttention,
    RotaryPositions,
    SelfAttention,
    TransformerDecoderBlock,
    TransformerEncoderBlock,
)

RANDOM = np.random.default_rng(0)
B, N, S, T, WIDTH = 2, 3, 5, 4, 6
SOURCE = RANDOM.normal(size=(B, S, WIDTH)).astype("float32")
TARGETS = RANDOM.normal(size=(B, N, T, WIDTH)).astype("float32")
MASK = np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]], bool)


@keras.saving.register_keras_serializable(package="tests")
class DistanceAttention(Attention):
    """A score function of a user, and nothing else."""

    def score(self, query, keys):
        return -ops.sum(ops.square(query[:, :, None] - keys[:, None]), axis=-1)


SELF_ATTENTIONS = {
    "a user's": DistanceAttention,
    "bahdanau": lambda: BahdanauAttention(4),
    "luong": lambda: LuongAttention("general"),
    "grouped heads": lambda: QKVAttention(4, 3, num_kv_heads=2),
    "rotary": lambda: QKVAttention(2, 4, positions=RotaryPositions(), sliding_window=2),
    "one sequence": lambda: SelfAttention(2, 3, causal=True, positions=AlibiPositions()),
    "multi-hop": lambda: MultiHopAttention(4, hops=2),
}
CROSS_ATTENTIONS = {
    "a user's": DistanceAttention,
    "luong": lambda: LuongAttention("dot"),
    "bahdanau": lambda: BahdanauAttention(4),
    "grouped heads": lambda: QKVAttention(4, 3, num_kv_heads=2),
}


def decoder(own=None, cross=None, **options):
    block = TransformerDecoderBlock(
        2, 7, **{"dropout": 0.0, "self_attention": own, "cross_attention": cross, **options}
    )
    block.build((None, None, WIDTH), (None, None, WIDTH))
    random_weights(block)
    return block


def normalized(x):
    x = x - x.mean(-1, keepdims=True)
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6)


def test_a_user_s_score_follows_its_formula_in_an_encoder_block():
    block = TransformerEncoderBlock(1, 7, dropout=0.0, self_attention=DistanceAttention())
    block.build(SOURCE.shape)
    outputs, weights = block(SOURCE, mask=MASK, return_attention_scores=True)
    assert weights.shape == (B, 1, S, S)
    x = normalized(SOURCE.astype("float64"))  # new norms have scale 1 and shift 0
    scores = -((x[:, :, None] - x[:, None]) ** 2).sum(-1)
    expected = softmax(scores, MASK[:, None] & MASK[:, :, None])
    np.testing.assert_allclose(array(weights)[:, 0], expected, atol=1e-5)
    between = SOURCE + expected @ x
    expand, contract = block.expand, block.contract
    middle = np.maximum(normalized(between) @ array(expand.kernel), 0)
    np.testing.assert_allclose(array(outputs), between + middle @ array(contract.kernel), atol=1e-4)
    np.testing.assert_allclose(array(block(SOURCE, mask=MASK)), array(outputs), atol=1e-6)


def require_steps_equal_the_whole(block, zero_mean=False):
    targets = TARGETS - TARGETS.mean(-1, keepdims=True) if zero_mean else TARGETS
    memory = block.project(SOURCE, mask=MASK)
    each = block.project(np.repeat(SOURCE, N, axis=0), mask=np.repeat(MASK, N, axis=0))
    expected, expected_weights, own_weights = block(
        targets.reshape(B * N, T, WIDTH), each, return_attention_scores=True
    )
    expected, expected_weights = array(expected), array(expected_weights)
    assert expected_weights.ndim == own_weights.ndim == 4
    assert not np.triu(array(own_weights), 1).any()
    if zero_mean:
        expected = expected - expected.mean(-1, keepdims=True)
    cache, weights = block.initial_cache(B * N), block.step_weights(zero_mean)
    for t in range(T):
        outputs, over_source, cache = block.step(targets[:, :, t], cache, memory, weights)
        assert all(len(part) == B * N for part in cache[:2])
        np.testing.assert_allclose(array(outputs).reshape(B * N, WIDTH), expected[:, t], atol=1e-5)
        actual = np.swapaxes(array(over_source), 1, 2).reshape(B * N, -1, S)
        np.testing.assert_allclose(actual, expected_weights[:, :, t], atol=1e-5)


@pytest.mark.parametrize("norm_first", [True, False])
@pytest.mark.parametrize("own", SELF_ATTENTIONS)
def test_steps_equal_the_whole_with_any_self_attention(own, norm_first):
    block = decoder(SELF_ATTENTIONS[own](), norm_first=norm_first)
    require_steps_equal_the_whole(block)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="graphs are TensorFlow's")
@pytest.mark.parametrize("own", SELF_ATTENTIONS)
def test_steps_in_a_loop_of_a_graph_with_free_sizes(own):
    import tensorflow as tf

    block = decoder(SELF_ATTENTIONS[own](), BahdanauAttention(4))

    @tf.function(input_signature=[tf.TensorSpec((None,) * n + (WIDTH,)) for n in (2, 3)])
    def decode(source, targets):
        memory, weights = block.project(source), block.step_weights()
        steps = tf.shape(targets)[2]
        cache = tuple(block.initial_cache(tf.shape(source)[0] * N)[:2])

        def advance(t, cache, outputs):
            x, _, cache = block.step(targets[:, :, t], Memory(*cache), memory, weights)
            return t + 1, tuple(cache[:2]), outputs.write(t, x)

        growing = [tf.TensorShape((None, *x.shape[1:-2], None, x.shape[-1])) for x in cache]
        outputs = tf.TensorArray("float32", size=steps)
        invariants = (tf.TensorShape(()), tuple(growing), tf.TensorShape(None))
        start = (tf.constant(0), cache, outputs)
        found = tf.while_loop(lambda t, *_: t < steps, advance, start, invariants)
        return tf.transpose(found[2].stack(), (1, 2, 0, 3))

    rows = TARGETS.reshape(B * N, T, WIDTH)
    expected, _ = block(rows, np.repeat(SOURCE, N, axis=0))
    actual = array(decode(SOURCE, TARGETS)).reshape(rows.shape)
    np.testing.assert_allclose(actual, array(expected), atol=1e-5)


@pytest.mark.parametrize("cross", CROSS_ATTENTIONS)
def test_steps_equal_the_whole_with_any_cross_attention(cross):
    require_steps_equal_the_whole(decoder(None, CROSS_ATTENTIONS[cross]()))
    require_steps_equal_the_whole(decoder(DistanceAttention(), CROSS_ATTENTIONS[cross]()), True)


def test_attention_of_the_kind_that_the_block_makes_gives_the_same():
    key_dim = WIDTH // 2
    block = decoder(SelfAttention(2, key_dim, causal=True), QKVAttention(2, key_dim))
    plain = decoder()
    for name in ("self_attention", "cross_attention", "expand", "contract"):
        getattr(plain, name).set_weights(getattr(block, name).get_weights())
    for name in ("attention_norm", "cross_attention_norm", "feed_forward_norm"):
        getattr(plain, name).set_weights(getattr(block, name).get_weights())
    memory = block.project(SOURCE, mask=MASK)
    for one, other in zip(block(SOURCE, memory), plain(SOURCE, memory), strict=True):
        np.testing.assert_allclose(array(one), array(other), atol=1e-6)
    steps = [b.step(TARGETS[:, :, 0], b.initial_cache(B * N), memory) for b in (block, plain)]
    for one, other in zip(*((*step[:2], *step[2][:2]) for step in steps), strict=True):
        np.testing.assert_allclose(array(one), array(other), atol=1e-5)


def test_every_block_has_a_copy_of_its_own_in_its_type():
    attention = LuongAttention("general", dropout=0.25, dtype="float32")
    blocks = [decoder(attention, attention, dtype="mixed_bfloat16") for _ in range(2)]
    layers = [layer for b in blocks for layer in (b.self_attention, b.cross_attention)]
    assert len({id(layer) for layer in [attention, *layers]}) == 5
    assert not attention.built
    for layer in layers:
        assert (layer.dropout, layer.compute_dtype) == (0.25, "bfloat16")
    assert ops.dtype(blocks[0](TARGETS[:, 0], SOURCE)[0]) == "bfloat16"


@pytest.mark.parametrize("own", SELF_ATTENTIONS)
def test_a_model_is_the_same_from_a_file(own, tmp_path):
    make = SELF_ATTENTIONS[own]
    source, target = keras.Input((None, WIDTH)), keras.Input((None, WIDTH))
    states = TransformerEncoderBlock(2, 7, self_attention=make())(source)
    block = TransformerDecoderBlock(
        2, 7, self_attention=make(), cross_attention=DistanceAttention()
    )
    outputs = block(target, states, return_attention_scores=True)
    model = keras.Model([source, target], outputs)
    random_weights(model)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    actual, expected = (one([SOURCE, TARGETS[:, 0]]) for one in (loaded, model))
    for one, other, spec in zip(actual, expected, outputs, strict=True):
        np.testing.assert_allclose(array(one), array(other), atol=1e-6)
        assert len(spec.shape) == len(other.shape)
    for name in ("self_attention", "cross_attention"):
        one, other = (getattr(decoder, name) for decoder in (loaded.layers[-1], block))
        assert type(one) is type(other)
        assert one.name == name


def test_padding_neighbors_and_later_positions_change_nothing():
    block = decoder(DistanceAttention(), BahdanauAttention(4))
    expected, _ = block(TARGETS[:, 0], SOURCE, memory_mask=MASK)
    source = np.where(MASK[..., None], SOURCE, 50).astype("float32")
    target = TARGETS[:, 0].copy()
    target[:, -1] = 50
    actual, _ = block(target, source, memory_mask=MASK)
    np.testing.assert_allclose(array(actual)[:, :-1], array(expected)[:, :-1], atol=1e-5)
    alone, _ = block(TARGETS[:1, 0], SOURCE[:1], memory_mask=MASK[:1])
    np.testing.assert_allclose(array(alone), array(expected)[:1], atol=1e-5)


def test_gradients_reach_every_weight_of_both_attentions():
    block = decoder(BahdanauAttention(4), LuongAttention("general"))
    weights = [array(weight) for weight in block.trainable_weights]
    inputs = [ops.convert_to_tensor(tensor) for tensor in (TARGETS[:, 0], SOURCE)]

    def loss(*tensors):
        (outputs, _), _ = block.stateless_call(tensors, [], *inputs)
        return ops.sum(ops.square(outputs))

    for weight, gradient in zip(block.trainable_weights, gradients_of(loss, weights), strict=True):
        assert np.abs(gradient).max() > 1e-6, weight.path


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"self_attention": "luong"}, "self_attention='luong'"),
        ({"cross_attention": keras.layers.Dense(3)}, "cross_attention=<Dense"),
        ({"self_attention": CoverageAttention(3)}, "self_attention of type CoverageAttention"),
        ({"cross_attention": CoverageAttention(3)}, "cross_attention of type CoverageAttention"),
        ({"self_attention": SelfAttention(2, 3)}, "causal=False"),
        ({"cross_attention": SelfAttention(2, 3, causal=True)}, "type SelfAttention, for one"),
        (
            {"self_attention": DistanceAttention(), "positions": AlibiPositions()},
            "both positions and self_attention",
        ),
    ],
)
def test_impossible_attention_is_refused_at_construction(options, message):
    with pytest.raises(ValueError, match=f"Received: .*{message}"):
        TransformerDecoderBlock(2, 7, **options)


def test_attention_of_another_width_is_refused():
    block = TransformerDecoderBlock(2, 7, cross_attention=BahdanauAttention(4))
    with pytest.raises(ValueError, match="Received: 6 for the inputs, 8 for BahdanauAttention"):
        block.build((None, None, 6), (None, None, 8))
