"""Kernels of attention layers: how they are made, LoRA against merged kernels, files."""

import keras
import numpy as np
import pytest
from keras import ops
from numeric import array, random_weights

from attention_zoo.layers import (
    BahdanauAttention,
    CoverageAttention,
    LuongAttention,
    MultiHopAttention,
    QKVAttention,
    SelfAttention,
    TransformerDecoderBlock,
    TransformerEncoderBlock,
)

RANDOM = np.random.default_rng(0)
QUERY, VALUE = (RANDOM.normal(size=(2, n, 8)).astype("float32") for n in (3, 5))
KINDS = {
    "additive": lambda **options: BahdanauAttention(4, **options),
    "general": lambda **options: LuongAttention("general", **options),
    "concat": lambda **options: LuongAttention("concat", 4, **options),
    "coverage": lambda **options: CoverageAttention(4, 1, **options),
    "hops": lambda **options: MultiHopAttention(4, 2, **options),
    "qkv": lambda **options: QKVAttention(2, 4, **options),
    "self": lambda **options: SelfAttention(2, 4, causal=True, **options),
}


def inputs_of(layer):
    return (VALUE,) if layer.takes_one_sequence else (QUERY, VALUE)


def built(kind, **options):
    layer = KINDS[kind](**options)
    layer(*inputs_of(layer))
    random_weights(layer)
    return layer


@pytest.mark.parametrize("kind", KINDS)
def test_kernels_are_regularized_constrained_and_made_as_asked_for(kind):
    layer = KINDS[kind](
        kernel_initializer=keras.initializers.Constant(-0.5),
        kernel_regularizer=keras.regularizers.L1(1.0),
        kernel_constraint="non_neg",
    )
    layer = type(layer).from_config(layer.get_config())
    layer(*inputs_of(layer))
    made = [w for w in layer.weights if (array(w) == -0.5).all()]
    assert made and all(w.constraint is not None and w.regularizer is not None for w in made)
    expected = sum(np.abs(array(w)).sum() for w in layer.weights if w.regularizer is not None)
    np.testing.assert_allclose(sum(map(float, layer.losses)), expected, rtol=1e-5)


def test_biases_are_made_as_asked_for():
    layer = QKVAttention(2, 4, bias_initializer="ones", bias_regularizer=keras.regularizers.L1(1))
    layer = type(layer).from_config(layer.get_config())
    layer(QUERY, VALUE)
    assert all((array(w) == 1).all() for w in layer.weights if "bias" in w.name)
    np.testing.assert_allclose(sum(map(float, layer.losses)), 4 * 8, rtol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_lora_learns_beside_frozen_kernels_and_is_merged_in_files(kind, tmp_path):
    layer, plain = built(kind), built(kind)
    plain.set_weights(layer.get_weights())
    before = array(layer(*inputs_of(layer)))
    kernels = [w.name for w in plain.weights if "kernel" in w.name and len(w.shape) == 2]
    layer.enable_lora(2, lora_alpha=4)
    np.testing.assert_allclose(array(layer(*inputs_of(layer))), before, rtol=1e-5, atol=1e-5)
    trained = {w.name for w in layer.trainable_weights}
    assert not trained & set(kernels)
    assert {f"{name}_lora_{part}" for name in kernels for part in "ab"} <= trained
    weights = {w.name: w for w in layer.weights}
    for name in kernels:
        first, second = weights[f"{name}_lora_a"], weights[f"{name}_lora_b"]
        second.assign(RANDOM.normal(size=second.shape))
        merged = array(weights[name]) + 2 * array(first) @ array(second)
        next(w for w in plain.weights if w.name == name).assign(merged)
    after = array(plain(*inputs_of(plain)))
    assert np.abs(after - before).max() > 1e-3
    np.testing.assert_allclose(array(layer(*inputs_of(layer))), after, rtol=1e-4, atol=1e-4)
    # A layer with and one without LoRA read the file.
    stores = {}
    layer.save_own_variables(stores)
    fresh, other = built(kind), built(kind)
    other.enable_lora(3)
    for reader in (fresh, other):
        reader.load_own_variables({name: array(value) for name, value in stores.items()})
        np.testing.assert_allclose(array(reader(*inputs_of(reader))), after, rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match="and once"):
        other.enable_lora(3)


def test_a_model_with_lora_is_saved_and_loaded(tmp_path):
    inputs = keras.Input((None, 8))
    model = keras.Model(inputs, TransformerEncoderBlock(2, 16, dropout=0.0)(inputs))
    attention = model.layers[1].self_attention
    attention.enable_lora(2)
    attention.qkv_kernel_lora_b.assign(ops.ones((2, 24)))
    expected = array(model(VALUE))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(array(loaded(VALUE)), expected, atol=1e-5)


def test_a_step_of_a_block_has_lora_and_quantized_kernels():
    block = TransformerDecoderBlock(2, 16, dropout=0.0)
    block(VALUE, QUERY)
    random_weights(block)
    for attention in (block.self_attention, block.cross_attention):
        attention.enable_lora(2)
        for weight in attention.trainable_weights:
            if "_lora_b" in weight.name:
                weight.assign(ops.ones(weight.shape))
    for quantized in (False, True):
        if quantized:
            block.expand.quantize("int8")
            block.contract.quantize("int8")
        expected, _ = block(VALUE, QUERY)
        memory, cache = block.project(QUERY), block.initial_cache(2)
        steps = []
        for t in range(VALUE.shape[1]):
            x, _, cache = block.step(VALUE[:, t : t + 1], cache, memory)
            steps.append(array(x))
        # Keras rounds the inputs of a quantized layer too.
        tolerance = 0.2 if quantized else 1e-4
        np.testing.assert_allclose(np.concatenate(steps, axis=1), array(expected), atol=tolerance)


@pytest.mark.parametrize("block", [TransformerEncoderBlock, TransformerDecoderBlock])
def test_blocks_of_eight_bits_are_saved_and_loaded(block, tmp_path):
    inputs = [keras.Input((None, 8)) for _ in block.attention_names]
    outputs = block(2, 16, dropout=0.0)(*inputs)
    model = keras.Model(inputs, outputs)
    data = [VALUE, QUERY][: len(inputs)]
    exact = array(keras.tree.flatten(model(data))[0])
    with pytest.warns(UserWarning, match="quantize"):  # of layers that stay as they are
        model.quantize("int8")
    expected = array(keras.tree.flatten(model(data))[0])
    assert 0 < np.abs(expected - exact).max() < 0.2
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.layers[-1].contract.quantization_mode == "int8"
    np.testing.assert_allclose(array(keras.tree.flatten(loaded(data))[0]), expected, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_another_width_is_refused_by_its_name(kind):
    layer = built(kind)
    wide = np.zeros((2, 5, 16), "float32")
    if layer.takes_one_sequence:
        with pytest.raises(ValueError, match=r"inputs with a last axis of 8.*\(2, 5, 16\)"):
            layer(wide)
        return
    with pytest.raises(ValueError, match=r"value with a last axis of 8.*value.shape=\(2, 5, 16\)"):
        layer(QUERY, wide)
    with pytest.raises(ValueError, match=r"query with a last axis of 8.*query.shape=\(2, 5, 16\)"):
        layer(wide, VALUE)
    if kind != "hops":
        with pytest.raises(ValueError, match=r"key with a last axis of 8.*key.shape=\(2, 5, 16\)"):
            layer(QUERY, VALUE, wide)


def test_more_axes_are_refused_with_the_way_to_reshape_them():
    pictures = RANDOM.normal(size=(2, 3, 4, 8)).astype("float32")
    for layer in (SelfAttention(2, 4), built("self")):
        with pytest.raises(ValueError, match=r"reshape .*\(batch, height \* width, channels\)"):
            layer(pictures)
    layer = built("self")
    regions = array(layer(pictures.reshape(2, 12, 8))).reshape(2, 3, 4, 8)
    rows = array(layer(pictures.reshape(6, 4, 8))).reshape(2, 3, 4, 8)
    apart = np.stack([array(layer(pictures[:, y])) for y in range(3)], axis=1)
    np.testing.assert_allclose(rows, apart, atol=1e-5)
    assert np.abs(regions - rows).max() > 1e-3
