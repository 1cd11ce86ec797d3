"""An attention layer under test: copies of it, inputs for it, and one way of calling it."""

import inspect

import keras
import numpy as np
from keras import ops

BATCH, QUERY_LENGTH, KEY_LENGTH = 3, 4, 6


class LayerUnderTest:
    """A copy of an attention layer, called in one way whether it takes one or two sequences.

    Args:
        layer: the layer, which is left alone.
        query_width: width of the query, or of the one sequence.
        value_width: width of value and key.
        tolerance: largest relative difference in float32.
    """

    def __init__(self, layer, query_width, value_width, tolerance):
        self.check = ""
        self.tolerance = tolerance
        self.parameters = inspect.signature(layer.call).parameters
        self.one_sequence = "value" not in self.parameters
        self.widths = (query_width, query_width if self.one_sequence else value_width)
        self.random = np.random.default_rng(0)
        self.original = layer
        self.layer = self.copy()
        self.weights = [self.random.normal(0, 0.4, w.shape) for w in self.layer.weights]
        self.layer.set_weights(self.weights)

    def copy(self, weights=None, **changes):
        """A new layer with the same configuration (but for `changes`)."""
        layer = type(self.original).from_config({**self.original.get_config(), **changes})
        query, value = self.inputs()
        layer(query) if self.one_sequence else layer(query, value)
        if weights is not None:
            layer.set_weights(weights)
        return layer

    def inputs(self, query_length=QUERY_LENGTH, key_length=KEY_LENGTH):
        """Query and value; the same array for a layer of one sequence."""
        query = self.normal(BATCH, query_length, self.widths[0])
        if self.one_sequence:
            return query, query
        return query, self.normal(BATCH, key_length, self.widths[1])

    def normal(self, *shape):
        return self.random.normal(size=shape).astype("float32")

    def mask(self, length):
        """A padding mask with something and not everything in each row."""
        lengths = 1 + np.arange(BATCH) % (length - 1)
        return np.arange(length) < lengths[:, None]

    def call(self, query, value, value_mask=None, layer=None, **options):
        """`(context, weights)` as float32 arrays; `weights` is `None` if there is no asking."""
        results = self.raw_call(query, value, value_mask, layer, **options)
        return tuple(None if part is None else to_array(part) for part in results)

    def raw_call(self, query, value, value_mask=None, layer=None, **options):
        layer = layer or self.layer
        if "return_attention_scores" in self.parameters:
            options["return_attention_scores"] = True
        if value_mask is not None:
            options["mask" if self.one_sequence else "value_mask"] = ops.convert_to_tensor(
                value_mask
            )
        sequences = [query] if self.one_sequence else [query, value]
        sequences = [
            s if isinstance(s, keras.KerasTensor) else ops.convert_to_tensor(s) for s in sequences
        ]
        results = layer(*sequences, **options)
        return results if isinstance(results, tuple) else (results, None)

    def symbolic_inputs(self, lengths=(None, None), batch=None):
        query = keras.Input((lengths[0], self.widths[0]), batch_size=batch)
        if self.one_sequence:
            return [query]
        return [query, keras.Input((lengths[1], self.widths[1]), batch_size=batch)]

    def require(self, condition, message):
        if not condition:
            raise AssertionError(f"{self.original.name} fails the check '{self.check}': {message}")

    def require_close(self, actual, expected, message, tolerance=None):
        """Compares arrays or tuples of them, of which any may be `None`."""
        if isinstance(actual, tuple):
            for one, other in zip(actual, expected, strict=True):
                self.require_close(one, other, message, tolerance)
            return
        if actual is None or expected is None:
            return
        self.require(
            actual.shape == expected.shape,
            f"{message}; shapes are {actual.shape} and {expected.shape}",
        )
        scale = max(1.0, float(np.max(np.abs(expected), initial=0)))
        difference = float(np.max(np.abs(actual - expected), initial=0))
        allowed = (self.tolerance if tolerance is None else tolerance) * scale
        self.require(difference <= allowed, f"{message}; they differ by {difference:.2g}")


def to_array(tensor):
    return ops.convert_to_numpy(ops.cast(tensor, "float32"))
