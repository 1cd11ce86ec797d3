"""The laws of attention layers, to be checked on any of them: `check_attention(layer)`."""

import contextlib
import inspect
import os
import tempfile
from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

BATCH, QUERY_LENGTH, KEY_LENGTH = 3, 4, 6
GARBAGE = 50.0  # put where nobody may look
TOLERANCES = {"float16": 2e-2, "bfloat16": 1e-1}


def check_attention(
    layer: keras.layers.Layer,
    query_width: int = 8,
    value_width: int | None = None,
    laws: Sequence[str] | None = None,
    skip: Sequence[str] = (),
    tolerance: float = 1e-5,
) -> tuple[str, ...]:
    """Checks the laws that an attention layer must keep.

    Works on the layers of this package, on Keras's own, and on any layer that is called like
    `keras.layers.MultiHeadAttention`, `layer(query, value, ...)`, or on one sequence,
    `layer(inputs, mask=...)`. The layer itself is left alone: everything is tried on copies with
    random weights.

    The laws:

    - `config`: the copy made from `get_config` has the same configuration and the same values;
    - `save and load`: so has the layer in a model read back from a `.keras` file;
    - `symbolic shapes`: shapes and types of `KerasTensor` results are those of actual results;
    - `weights`: they are not negative and each row sums to one;
    - `padding`: what is masked has no weight, and more of it changes nothing;
    - `implicit masks`: a mask attached by Keras works like the one passed;
    - `batch`: a row's result does not depend on the other rows;
    - `no future`: with a causal mask, later positions do not change earlier results;
    - `empty rows`: with nothing to attend to weights are zero, the values have no influence, and
      a training step leaves every weight finite;
    - `precision`: float16 and bfloat16 agree with float32 within 2 and 10 percent;
    - `no state`: a call leaves nothing on the layer;
    - `project and attend`: together equal the call, for a layer that has them;
    - `step by step`: a cache leads to the same results, for a layer with `initial_cache`, `step`.

    Args:
        layer: the layer, built or not.
        query_width: width of the query, or of the one sequence.
        value_width: width of value and key, that of the query if `None`.
        laws: names of the laws to check, all of them if `None`.
        skip: names of laws not to check.
        tolerance: largest difference in float32, relative to the largest number that is compared.

    Returns:
        The names of the laws that were checked; those that say nothing about this layer (such as
        `step by step` without a cache) are left out.

    Raises:
        AssertionError: naming the law that is broken, and how.
        ValueError: for the name of a law that does not exist.

    Example:

    ```python
    def test_my_attention():
        check_attention(MyAttention(units=4), query_width=8, value_width=6)
    ```
    """
    unknown = [name for name in (*(laws or ()), *skip) if name not in LAWS]
    if unknown:
        raise ValueError(f"There are these laws: {', '.join(LAWS)}. Received: {', '.join(unknown)}")
    chosen = [name for name in LAWS if (laws is None or name in laws) and name not in skip]
    subject = _Subject(layer, query_width, value_width or query_width, tolerance)
    checked = []
    for name in chosen:
        subject.law = name
        with contextlib.suppress(_DoesNotApply):
            LAWS[name](subject)
            checked.append(name)
    return tuple(checked)


class _DoesNotApply(Exception):
    """Raised by a law that says nothing about a layer."""


class _Subject:
    """A copy of the layer, with one way of calling it for layers of one and of two sequences."""

    def __init__(self, layer, query_width, value_width, tolerance):
        self.law = ""
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
        return tuple(None if part is None else _array(part) for part in results)

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
            raise AssertionError(f"{self.original.name} breaks the law '{self.law}': {message}")

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


def _config(subject):
    config = subject.original.get_config()
    again = type(subject.original).from_config(config).get_config()
    subject.require(again == config, f"from_config(get_config()) says {again}, it was {config}")
    copy = subject.copy(subject.weights)
    query, value = subject.inputs()
    expected = subject.call(query, value)
    subject.require_close(subject.call(query, value, layer=copy), expected, "the copy differs")


def _save_and_load(subject):
    inputs = subject.symbolic_inputs()
    model = keras.Model(inputs, subject.raw_call(*inputs, *inputs[: 2 - len(inputs)])[0])
    arrays = subject.inputs()[: len(inputs)]
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "model.keras")
        model.save(path)
        kind = type(subject.original)
        loaded = keras.saving.load_model(path, custom_objects={kind.__name__: kind})
    actual, expected = _array(loaded(list(arrays))), _array(model(list(arrays)))
    subject.require_close(actual, expected, "the loaded model differs")


def _symbolic_shapes(subject):
    actual = subject.raw_call(*subject.inputs())
    for lengths, batch in (((QUERY_LENGTH, KEY_LENGTH), BATCH), ((None, None), None)):
        inputs = subject.symbolic_inputs(lengths, batch)
        symbolic = subject.raw_call(*inputs, *inputs[: 2 - len(inputs)])
        for what, one, other in zip(("output", "weights"), symbolic, actual, strict=True):
            if one is None or other is None:
                continue
            fits = len(one.shape) == len(other.shape) and all(
                (size is None and lengths[0] is None) or size == true
                for size, true in zip(one.shape, other.shape, strict=True)
            )
            subject.require(
                fits, f"{what} has the shape {tuple(other.shape)}, symbolically {one.shape}"
            )
            types = [keras.backend.standardize_dtype(tensor.dtype) for tensor in (one, other)]
            subject.require(types[0] == types[1], f"{what} is {types[1]}, symbolically {types[0]}")


def _weights(subject):
    _, weights = subject.call(*subject.inputs())
    if weights is None:
        raise _DoesNotApply
    subject.require((weights >= 0).all(), "a weight is negative")
    sums = weights.sum(axis=-1)
    subject.require_close(sums, np.ones_like(sums), "a row of weights does not sum to one")


def _padding(subject):
    query, value = subject.inputs()
    length = value.shape[1]
    expected = subject.call(query, value)
    garbage = np.full((BATCH, 3, value.shape[-1]), GARBAGE, "float32")
    padded = np.concatenate([value, garbage], axis=1)
    mask = np.broadcast_to(np.arange(length + 3) < length, (BATCH, length + 3))
    context, weights = subject.call(padded if subject.one_sequence else query, padded, mask)
    context = context[:, : query.shape[1]]
    if weights is not None:
        weights = weights[..., : query.shape[1], :]
        subject.require((weights[..., length:] == 0).all(), "masked keys have weight")
        weights = weights[..., :length]
    subject.require_close((context, weights), expected, "padding changes the result")


def _implicit_masks(subject):
    query, value = subject.inputs()
    mask = subject.mask(value.shape[1])
    value = np.where(mask[..., None], value, 0).astype("float32")
    inputs = subject.symbolic_inputs()
    masked = [*inputs[:-1], keras.layers.Masking()(inputs[-1])]
    outputs = subject.raw_call(*masked, *masked[: 2 - len(masked)])
    model = keras.Model(inputs, [tensor for tensor in outputs if tensor is not None])
    arrays = [value] if subject.one_sequence else [query, value]
    actual = tuple(_array(result) for result in keras.tree.flatten(model(arrays)))
    expected = subject.call(value if subject.one_sequence else query, value, mask)
    subject.require_close(actual, expected[: len(actual)], "it differs from the mask passed")


def _batch(subject):
    query, value = subject.inputs()
    mask = subject.mask(value.shape[1])
    together = subject.call(query, value, mask)
    for row in range(BATCH):
        part = slice(row, row + 1)
        alone = subject.call(query[part], value[part], mask[part])
        expected = tuple(None if tensor is None else tensor[part] for tensor in together)
        subject.require_close(alone, expected, f"row {row} alone differs")


def _no_future(subject):
    options = {}
    if "use_causal_mask" in subject.parameters:
        options["use_causal_mask"] = True
    elif not getattr(subject.original, "causal", False):
        raise _DoesNotApply
    query, value = subject.inputs(QUERY_LENGTH, QUERY_LENGTH)
    before = subject.call(query, value, **options)
    for start in range(1, QUERY_LENGTH):
        later = np.arange(QUERY_LENGTH)[:, None] >= start
        changed = np.where(later, GARBAGE, value).astype("float32")
        after = subject.call(changed if subject.one_sequence else query, changed, **options)
        subject.require_close(
            after[0][:, :start], before[0][:, :start], f"position {start} changes earlier results"
        )
        if after[1] is not None:
            seen = after[1][..., :start, start:]
            subject.require((seen == 0).all(), f"position {start} has weight before its time")


def _empty_rows(subject):
    query, value = subject.inputs()
    mask = np.ones(value.shape[:2], bool)
    mask[1] = False
    context, weights = subject.call(query, value, mask)
    subject.require(np.isfinite(context).all(), "the result is not finite")
    if weights is not None:
        subject.require((weights[1] == 0).all(), "weights without anything to attend to")
    if not subject.one_sequence:
        changed = subject.call(query, value + 1, mask)[0]
        subject.require_close(changed[1], context[1], "masked values have an influence")
    model = keras.Model(*_model_with_mask(subject))
    model.compile("sgd", "mse")
    arrays = [query] if subject.one_sequence else [query, value]
    model.train_on_batch([*arrays, mask], np.zeros_like(context))
    finite = all(np.isfinite(weight).all() for weight in subject.layer.get_weights())
    subject.layer.set_weights(subject.weights)
    subject.require(finite, "a training step makes weights that are not finite")


def _model_with_mask(subject):
    inputs = subject.symbolic_inputs()
    mask = keras.Input((None,), dtype="bool")
    options = {"mask" if subject.one_sequence else "value_mask": mask}
    return [*inputs, mask], subject.layer(*inputs, **options)


def _precision(subject):
    query, value = subject.inputs()
    expected = subject.call(query, value)
    for dtype, tolerance in TOLERANCES.items():
        copy = subject.copy(subject.weights, dtype=dtype)
        actual = subject.call(query, value, layer=copy)
        subject.require_close(actual, expected, f"{dtype} and float32 disagree", tolerance)


def _no_state(subject):
    before = dict(vars(subject.layer))
    subject.call(*subject.inputs(QUERY_LENGTH + 1, KEY_LENGTH + 1))
    left = [
        name for name, item in vars(subject.layer).items() if before.get(name, item) is not item
    ]
    left += [name for name in vars(subject.layer) if name not in before]
    subject.require(not left, f"a call leaves {', '.join(left)} on the layer")


def _project_and_attend(subject):
    layer = subject.layer
    if not (hasattr(layer, "project") and hasattr(layer, "attend")):
        raise _DoesNotApply
    query, value = subject.inputs()
    length = value.shape[1]
    mask = subject.mask(length)
    options = {}
    if getattr(layer, "causal", False):
        options["attention_mask"] = np.tril(np.ones((length, length), bool))
    memory = layer.project(ops.convert_to_tensor(value), mask=ops.convert_to_tensor(mask))
    attended = layer.attend(ops.convert_to_tensor(query), memory, **options)
    actual = tuple(_array(part) for part in attended)
    expected = subject.call(query, value, mask)
    if subject.one_sequence:  # padding is a query too in the call
        rows = mask[..., None]
        actual, expected = (
            (context * rows, weights if weights is None else weights * rows[:, None])
            for context, weights in (actual, expected)
        )
    subject.require_close(actual, expected, "they differ from the call")


def _step_by_step(subject):
    layer = subject.layer
    if not (hasattr(layer, "step") and getattr(layer, "causal", False)):
        raise _DoesNotApply
    inputs, _ = subject.inputs()
    mask = subject.mask(QUERY_LENGTH)[::-1, ::-1]
    expected, expected_weights = subject.call(inputs, inputs, mask)
    cache = layer.initial_cache(BATCH, QUERY_LENGTH + 2)
    for index in range(QUERY_LENGTH):
        part = slice(index, index + 1)
        step = layer.step(inputs[:, part], cache, index, mask=mask[:, part])
        cache = step[2]
        actual = tuple(_array(result) for result in step[:2])
        weights = expected_weights
        if weights is not None:
            weights = weights[..., part, :]
            weights = np.pad(weights, [(0, 0)] * (weights.ndim - 1) + [(0, 2)])
        subject.require_close(actual, (expected[:, part], weights), f"step {index} differs")


def _array(tensor):
    return ops.convert_to_numpy(ops.cast(tensor, "float32"))


LAWS = {
    "config": _config,
    "save and load": _save_and_load,
    "symbolic shapes": _symbolic_shapes,
    "weights": _weights,
    "padding": _padding,
    "implicit masks": _implicit_masks,
    "batch": _batch,
    "no future": _no_future,
    "empty rows": _empty_rows,
    "precision": _precision,
    "no state": _no_state,
    "project and attend": _project_and_attend,
    "step by step": _step_by_step,
}
