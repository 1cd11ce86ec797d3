"""Attention by a fused kernel, compared with attention that holds all its scores."""

import keras
import numpy as np
import pytest
from numeric import outputs_and_gradients, random_weights, require_close

from attention_zoo.layers import (
    AlibiPositions,
    QKVAttention,
    RelativePositions,
    RotaryPositions,
    SelfAttention,
)
from attention_zoo.layers.attention import dot_product as qkv

RANDOM = np.random.default_rng(0)
INPUTS = RANDOM.normal(size=(2, 7, 6)).astype("float32")
VALUE = RANDOM.normal(size=(2, 5, 8)).astype("float32")
MASK = np.array([[1, 1, 1, 1, 1, 0, 0], [0, 1, 1, 0, 1, 1, 1]], bool)


def require_same(monkeypatch, layer, *inputs, **options):
    """The kernel gives what is computed without it; a backend without one has a function for it."""
    layer.build(*(tensor.shape for tensor in inputs))
    random_weights(layer)
    calls = []
    attend = qkv.attend_fused
    monkeypatch.setattr(qkv, "attend_fused", lambda *args: calls.append(args) or attend(*args))
    found = []
    for fused in (True, False):
        monkeypatch.setattr(qkv, "can_fuse", lambda *_, fused=fused: fused)
        found.append(outputs_and_gradients(layer, inputs, options))
    assert len(calls) == 2  # for the outputs and for the gradients
    require_close(*found)


@pytest.mark.parametrize("mask", [None, MASK], ids=["whole", "padded"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"causal": True},
        {"causal": True, "positions": RotaryPositions()},
        {"causal": True, "sliding_window": 2},
        {"sliding_window": 2},
    ],
    ids=str,
)
def test_self_attention(options, mask, monkeypatch):
    require_same(monkeypatch, SelfAttention(4, 2, **options), INPUTS, mask=mask)


@pytest.mark.parametrize(
    "masks",
    [
        {},
        {"use_causal_mask": True},
        {"attention_mask": RANDOM.random((2, 7, 5)) > 0.4},
        {"attention_mask": RANDOM.random((2, 4, 7, 5)) > 0.4, "use_causal_mask": True},
        {"query_mask": MASK, "value_mask": np.array([[1, 1, 0, 0, 1], [0] * 5], bool)},
    ],
    ids=lambda masks: "+".join(masks) or "none",
)
def test_cross_attention(masks, monkeypatch):
    # JAX's own function has no values of another width than the keys.
    value_dim = None if keras.backend.backend() == "jax" else 3
    require_same(monkeypatch, QKVAttention(4, 2, value_dim), INPUTS, VALUE, **masks)


class Halved(SelfAttention):
    """Compares in a way of its own."""

    def score(self, query, keys):
        return super().score(query, keys) / 2


@pytest.mark.parametrize(
    ("layer", "training", "where_there_is_one"),
    [
        (SelfAttention(4, 2), None, True),
        (SelfAttention(4, 2, dropout=0.1), False, True),
        (SelfAttention(4, 2, causal=True, positions=RotaryPositions()), None, True),
        (SelfAttention(4, 2, num_kv_heads=2), None, False),
        (SelfAttention(4, 2, positions=AlibiPositions()), None, False),
        (SelfAttention(4, 2, positions=RelativePositions(8, 5)), None, False),
        (SelfAttention(4, 2, dropout=0.1), None, False),
        (Halved(4, 2), None, False),
    ],
)
def test_the_kernel_is_called_where_it_can_be(layer, training, where_there_is_one, monkeypatch):
    calls = []
    attend = qkv.attend_fused
    monkeypatch.setattr(qkv, "attend_fused", lambda *args: calls.append(args) or attend(*args))
    layer(INPUTS, training=training)
    assert bool(calls) == (where_there_is_one and keras.backend.backend() == "torch")
    layer(INPUTS, training=training, return_attention_scores=True)
    assert len(calls) <= 1
