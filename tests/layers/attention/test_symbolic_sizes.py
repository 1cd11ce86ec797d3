"""Export under JAX, whose sizes are then symbols that cannot be compared with numbers."""

import keras
import numpy as np
import pytest
from numeric import array, random_weights

from attention_zoo.layers import (
    BahdanauAttention,
    CoverageAttention,
    LuongAttention,
    MultiHopAttention,
    QKVAttention,
)

pytestmark = pytest.mark.skipif(keras.backend.backend() != "jax", reason="symbols are JAX's")

MAKERS = {
    "bahdanau": lambda: BahdanauAttention(4),
    "luong-general": lambda: LuongAttention(),
    "luong-concat": lambda: LuongAttention("concat", units=4),
    "grouped heads": lambda: QKVAttention(4, 3, num_kv_heads=2),
    "chunked": lambda: QKVAttention(2, 3, chunk_size=2),
    "multi-hop": lambda: MultiHopAttention(4, hops=2),
    "coverage": lambda: CoverageAttention(4),
}


FREE = ("b, t, 6", "b, s, 6")


@pytest.mark.parametrize(
    ("make", "query", "value"),
    [
        *((make, *FREE) for make in MAKERS.values()),
        (MAKERS["bahdanau"], "b, 3, 6", "b, s, 6"),
        (MAKERS["bahdanau"], "b, 30, 6", "b, 30, 6"),
        (MAKERS["bahdanau"], "1, t, 6", "b, s, 6"),
        (MAKERS["grouped heads"], "b, t, 6", "1, s, 6"),
    ],
)
def test_what_is_exported_gives_the_same_for_every_size(make, query, value):
    import jax

    layer = make()
    layer.build((None, None, 6), (None, None, 6))
    random_weights(layer)
    scope = jax.export.SymbolicScope()
    shapes = (jax.export.symbolic_shape(shape, scope=scope) for shape in (query, value))
    specs = [jax.ShapeDtypeStruct(shape, "float32") for shape in shapes]
    exported = jax.export.export(jax.jit(lambda query, value: layer(query, value)))(*specs)
    random = np.random.default_rng(0)
    for sizes in ({"b": 3, "t": 30, "s": 7}, {"b": 17, "t": 2, "s": 4}):
        inputs = [
            random.normal(size=[sizes.get(size) or int(size) for size in shape.split(", ")])
            for shape in (query, value)
        ]
        inputs = [tensor.astype("float32") for tensor in inputs]
        expected = array(layer(*inputs))
        np.testing.assert_allclose(array(exported.call(*inputs)), expected, atol=1e-5)
