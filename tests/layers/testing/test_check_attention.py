"""`check_attention` passes what keeps the invariants and names the check that a layer fails."""

import functools

import keras
import numpy as np
import pytest
from keras import ops

from attention_zoo.layers import (
    BahdanauAttention,
    LuongAttention,
    QKVAttention,
    SelfAttention,
)
from attention_zoo.layers.testing import check_attention
from attention_zoo.layers.testing.checks import CHECKS

WITHOUT_CACHE = set(CHECKS) - {"step by step"}


@pytest.mark.parametrize(
    ("layer", "widths", "checks"),
    [
        (BahdanauAttention(5, dropout=0.2), (8, 6), WITHOUT_CACHE),
        (LuongAttention("dot"), (8, 8), WITHOUT_CACHE),
        (LuongAttention("general"), (8, 6), WITHOUT_CACHE),
        (LuongAttention("concat", units=5), (8, 6), WITHOUT_CACHE),
        (QKVAttention(4, 3, value_dim=5, num_kv_heads=2), (8, 6), WITHOUT_CACHE),
        (SelfAttention(4, 3, num_kv_heads=2, causal=True), (8, 8), set(CHECKS)),
        (SelfAttention(2, 3, output_dim=5), (8, 8), WITHOUT_CACHE - {"no future"}),
    ],
    ids=lambda item: getattr(item, "name", ""),
)
@pytest.mark.filterwarnings("ignore:The model does not have any trainable weights")
def test_ours_pass_the_checks(layer, widths, checks):
    assert set(check_attention(layer, *widths)) == checks
    assert not layer.built


def test_keras_multi_head_attention_fails_one_check():
    layer = keras.layers.MultiHeadAttention(2, 3)
    layer.build((None, None, 8), (None, None, 6))
    before = layer.get_weights()
    checked = check_attention(layer, 8, 6, skip=("symbolic shapes",))
    assert set(checked) == WITHOUT_CACHE - {"project and attend", "symbolic shapes"}
    for one, other in zip(before, layer.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    with pytest.raises(AssertionError, match=r"'symbolic shapes'.*\(3, 2, 4, 6\).*4, 4\)"):
        check_attention(layer, 8, 6, checks=("symbolic shapes",))


class Forgetful(QKVAttention):
    def get_config(self):
        return {**super().get_config(), "key_dim": self.key_dim + 1}


class Unsaved(QKVAttention):
    def load_own_variables(self, store):
        pass


class WrongShape(QKVAttention):
    def compute_scores_shape(self, query_shape, value_shape):
        return (query_shape[0], self.num_heads, query_shape[1], query_shape[1])


class WrongType(QKVAttention):
    def compute_output_spec(self, *arguments, **options):
        context, weights = super().compute_output_spec(*arguments, **options)
        return context, keras.KerasTensor(weights.shape, dtype="float16")


class Unnormalized(QKVAttention):
    def _weigh(self, *arguments):
        context, weights = super()._weigh(*arguments)
        return context, 2 * weights


class Unmasked(QKVAttention):
    def project(self, value, key=None, mask=None):
        return super().project(value, key)


class OnlyExplicitMasks(QKVAttention):
    def __call__(self, query, value, **options):
        return super().__call__(query, value * 1, **options)  # a new tensor, without a mask


class Crowded(QKVAttention):
    def project_query(self, query):
        return super().project_query(query - ops.mean(query, axis=0, keepdims=True))


class Clairvoyant(QKVAttention):
    @functools.wraps(QKVAttention.call)
    def call(self, *arguments, **options):
        return super().call(*arguments, **{**options, "use_causal_mask": False})


class SelfClairvoyant(SelfAttention):
    def score(self, query, keys):
        return super().score(query, keys * ops.mean(keys, axis=2, keepdims=True))


class UniformWhenEmpty(QKVAttention):
    def _weigh(self, scores, mask, values, training):
        context, weights = super()._weigh(scores, mask, values, training)
        empty = ops.sum(weights, axis=-1, keepdims=True) == 0
        return context, ops.where(empty, 0.25, weights)


class NotANumberWhenEmpty(QKVAttention):
    def _weigh(self, scores, mask, values, training):
        if mask is not None:
            # A gradient of zero times infinity, in rows that are otherwise as they should be.
            scores = ops.where(ops.expand_dims(mask, 1), scores, ops.log(scores * 0))
        return super()._weigh(scores, mask, values, training)


class Imprecise(QKVAttention):
    def score(self, query, keys):
        return super().score(query, ops.round(keys) if self.compute_dtype == "float16" else keys)


class Stateful(QKVAttention):
    @functools.wraps(QKVAttention.call)
    def call(self, *arguments, **options):
        self.last_query_length = arguments[0].shape[1]
        return super().call(*arguments, **options)


class OtherMemory(QKVAttention):
    def project(self, value, key=None, mask=None):
        return super().project(value, key, mask)._replace(mask=None)

    @functools.wraps(QKVAttention.call)
    def call(self, query, value, *, value_mask=None, **options):
        if value_mask is not None:
            options["attention_mask"] = value_mask[:, None]
        return super().call(query, value, **options)


class LostStep(SelfAttention):
    def step(self, inputs, cache, index, mask=None, training=None):
        outputs, weights, _ = super().step(inputs, cache, index, mask, training)
        return outputs, weights, cache


BROKEN = [
    ("config", Forgetful(2, 3)),
    ("save and load", Unsaved(2, 3)),
    ("symbolic shapes", WrongShape(2, 3)),
    ("symbolic shapes", WrongType(2, 3)),
    ("weights", Unnormalized(2, 3)),
    ("padding", Unmasked(2, 3)),
    ("implicit masks", OnlyExplicitMasks(2, 3)),
    ("batch", Crowded(2, 3)),
    ("no future", Clairvoyant(2, 3)),
    ("no future", SelfClairvoyant(2, 3, causal=True)),
    ("empty rows", UniformWhenEmpty(2, 3)),
    ("empty rows", NotANumberWhenEmpty(2, 3)),
    ("precision", Imprecise(2, 3)),
    ("no state", Stateful(2, 3)),
    ("project and attend", OtherMemory(2, 3)),
    ("step by step", LostStep(2, 3, causal=True)),
]


@pytest.mark.parametrize(("check", "layer"), BROKEN, ids=[type(b[1]).__name__ for b in BROKEN])
def test_a_broken_layer_is_caught_by_its_check(check, layer):
    with pytest.raises(AssertionError, match=f"{layer.name} fails the check '{check}'"):
        check_attention(layer, checks=(check,))


def test_every_check_has_a_layer_that_fails_it():
    assert {check for check, _ in BROKEN} == set(CHECKS)


def test_unknown_checks():
    with pytest.raises(ValueError, match=r"empty rows.* Received: gravity"):
        check_attention(QKVAttention(2, 3), checks=("gravity",))
