"""Invariants of attention layers, one function each; `check_attention` states them in words.

A check takes the layer under test. It raises `AssertionError` if the layer fails it, and
`NotApplicable` if it says nothing about this layer.
"""

import os
import tempfile

import keras
import numpy as np
from keras import ops

from .layer_under_test import BATCH, KEY_LENGTH, QUERY_LENGTH, to_array

GARBAGE = 50.0  # put where everything is masked
TOLERANCES = {"float16": 2e-2, "bfloat16": 1e-1}


class NotApplicable(Exception):
    """Raised by a check that says nothing about a layer."""


def _config(tested):
    config = tested.original.get_config()
    again = type(tested.original).from_config(config).get_config()
    tested.require(again == config, f"from_config(get_config()) says {again}, it was {config}")
    copy = tested.copy(tested.weights)
    query, value = tested.inputs()
    expected = tested.call(query, value)
    tested.require_close(tested.call(query, value, layer=copy), expected, "the copy differs")


def _save_and_load(tested):
    inputs = tested.symbolic_inputs()
    model = keras.Model(inputs, tested.raw_call(*inputs, *inputs[: 2 - len(inputs)])[0])
    arrays = tested.inputs()[: len(inputs)]
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "model.keras")
        model.save(path)
        kind = type(tested.original)
        loaded = keras.saving.load_model(path, custom_objects={kind.__name__: kind})
    actual, expected = to_array(loaded(list(arrays))), to_array(model(list(arrays)))
    tested.require_close(actual, expected, "the loaded model differs")


def _symbolic_shapes(tested):
    actual = tested.raw_call(*tested.inputs())
    for lengths, batch in (((QUERY_LENGTH, KEY_LENGTH), BATCH), ((None, None), None)):
        inputs = tested.symbolic_inputs(lengths, batch)
        symbolic = tested.raw_call(*inputs, *inputs[: 2 - len(inputs)])
        for what, one, other in zip(("output", "weights"), symbolic, actual, strict=True):
            if one is None or other is None:
                continue
            fits = len(one.shape) == len(other.shape) and all(
                (size is None and lengths[0] is None) or size == true
                for size, true in zip(one.shape, other.shape, strict=True)
            )
            tested.require(
                fits, f"{what} has the shape {tuple(other.shape)}, symbolically {one.shape}"
            )
            types = [keras.backend.standardize_dtype(tensor.dtype) for tensor in (one, other)]
            tested.require(types[0] == types[1], f"{what} is {types[1]}, symbolically {types[0]}")


def _weights(tested):
    _, weights = tested.call(*tested.inputs())
    if weights is None:
        raise NotApplicable
    tested.require((weights >= 0).all(), "a weight is negative")
    sums = weights.sum(axis=-1)
    tested.require_close(sums, np.ones_like(sums), "a row of weights does not sum to one")


def _padding(tested):
    query, value = tested.inputs()
    length = value.shape[1]
    expected = tested.call(query, value)
    garbage = np.full((BATCH, 3, value.shape[-1]), GARBAGE, "float32")
    padded = np.concatenate([value, garbage], axis=1)
    mask = np.broadcast_to(np.arange(length + 3) < length, (BATCH, length + 3))
    context, weights = tested.call(padded if tested.one_sequence else query, padded, mask)
    context = context[:, : query.shape[1]]
    if weights is not None:
        weights = weights[..., : query.shape[1], :]
        tested.require((weights[..., length:] == 0).all(), "masked keys have weight")
        weights = weights[..., :length]
    tested.require_close((context, weights), expected, "padding changes the result")


def _implicit_masks(tested):
    query, value = tested.inputs()
    mask = tested.mask(value.shape[1])
    value = np.where(mask[..., None], value, 0).astype("float32")
    inputs = tested.symbolic_inputs()
    masked = [*inputs[:-1], keras.layers.Masking()(inputs[-1])]
    outputs = tested.raw_call(*masked, *masked[: 2 - len(masked)])
    model = keras.Model(inputs, [tensor for tensor in outputs if tensor is not None])
    arrays = [value] if tested.one_sequence else [query, value]
    actual = tuple(to_array(result) for result in keras.tree.flatten(model(arrays)))
    expected = tested.call(value if tested.one_sequence else query, value, mask)
    tested.require_close(actual, expected[: len(actual)], "it differs from the mask passed")


def _batch(tested):
    query, value = tested.inputs()
    mask = tested.mask(value.shape[1])
    together = tested.call(query, value, mask)
    for row in range(BATCH):
        part = slice(row, row + 1)
        alone = tested.call(query[part], value[part], mask[part])
        expected = tuple(None if tensor is None else tensor[part] for tensor in together)
        tested.require_close(alone, expected, f"row {row} alone differs")


def _no_future(tested):
    options = {}
    if "use_causal_mask" in tested.parameters:
        options["use_causal_mask"] = True
    elif not getattr(tested.original, "causal", False):
        raise NotApplicable
    query, value = tested.inputs(QUERY_LENGTH, QUERY_LENGTH)
    before = tested.call(query, value, **options)
    for start in range(1, QUERY_LENGTH):
        later = np.arange(QUERY_LENGTH)[:, None] >= start
        changed = np.where(later, GARBAGE, value).astype("float32")
        after = tested.call(changed if tested.one_sequence else query, changed, **options)
        tested.require_close(
            after[0][:, :start], before[0][:, :start], f"position {start} changes earlier results"
        )
        if after[1] is not None:
            weights = after[1][..., :start, start:]
            tested.require((weights == 0).all(), f"position {start} has weight before its time")


def _empty_rows(tested):
    query, value = tested.inputs()
    mask = np.ones(value.shape[:2], bool)
    mask[1] = False
    context, weights = tested.call(query, value, mask)
    tested.require(np.isfinite(context).all(), "the result is not finite")
    if weights is not None:
        tested.require((weights[1] == 0).all(), "weights without anything to attend to")
    if not tested.one_sequence:
        changed = tested.call(query, value + 1, mask)[0]
        tested.require_close(changed[1], context[1], "masked values have an influence")
    model = keras.Model(*_model_with_mask(tested))
    model.compile("sgd", "mse")
    arrays = [query] if tested.one_sequence else [query, value]
    model.train_on_batch([*arrays, mask], np.zeros_like(context))
    finite = all(np.isfinite(weight).all() for weight in tested.layer.get_weights())
    tested.layer.set_weights(tested.weights)
    tested.require(finite, "a training step makes weights that are not finite")


def _model_with_mask(tested):
    inputs = tested.symbolic_inputs()
    mask = keras.Input((None,), dtype="bool")
    options = {"mask" if tested.one_sequence else "value_mask": mask}
    return [*inputs, mask], tested.layer(*inputs, **options)


def _precision(tested):
    query, value = tested.inputs()
    expected = tested.call(query, value)
    for dtype, tolerance in TOLERANCES.items():
        copy = tested.copy(tested.weights, dtype=dtype)
        actual = tested.call(query, value, layer=copy)
        tested.require_close(actual, expected, f"{dtype} and float32 disagree", tolerance)


def _no_state(tested):
    before = dict(vars(tested.layer))
    tested.call(*tested.inputs(QUERY_LENGTH + 1, KEY_LENGTH + 1))
    left = [name for name, item in vars(tested.layer).items() if before.get(name, item) is not item]
    left += [name for name in vars(tested.layer) if name not in before]
    tested.require(not left, f"a call leaves {', '.join(left)} on the layer")


def _project_and_attend(tested):
    layer = tested.layer
    if not (hasattr(layer, "project") and hasattr(layer, "attend")):
        raise NotApplicable
    query, value = tested.inputs()
    length = value.shape[1]
    mask = tested.mask(length)
    options = {}
    if getattr(layer, "causal", False):
        options["attention_mask"] = np.tril(np.ones((length, length), bool))
    memory = layer.project(ops.convert_to_tensor(value), mask=ops.convert_to_tensor(mask))
    attended = layer.attend(ops.convert_to_tensor(query), memory, **options)
    actual = tuple(to_array(part) for part in attended)
    expected = tested.call(query, value, mask)
    if tested.one_sequence:  # padding is a query too in the call
        rows = mask[..., None]
        actual, expected = (
            (context * rows, weights if weights is None else weights * rows[:, None])
            for context, weights in (actual, expected)
        )
    tested.require_close(actual, expected, "they differ from the call")


def _step_by_step(tested):
    layer = tested.layer
    if not (hasattr(layer, "step") and getattr(layer, "causal", False)):
        raise NotApplicable
    inputs, _ = tested.inputs()
    mask = tested.mask(QUERY_LENGTH)[::-1, ::-1]
    expected, expected_weights = tested.call(inputs, inputs, mask)
    cache = layer.initial_cache(BATCH, QUERY_LENGTH + 2)
    for index in range(QUERY_LENGTH):
        part = slice(index, index + 1)
        step = layer.step(inputs[:, part], cache, index, mask=mask[:, part])
        cache = step[2]
        actual = tuple(to_array(result) for result in step[:2])
        weights = expected_weights
        if weights is not None:
            weights = weights[..., part, :]
            weights = np.pad(weights, [(0, 0)] * (weights.ndim - 1) + [(0, 2)])
        tested.require_close(actual, (expected[:, part], weights), f"step {index} differs")


CHECKS = {
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
