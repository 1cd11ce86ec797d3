"""The laws that an attention layer must keep, one function each.

`testing.check_attention` says in words what they are.

A law takes the layer on trial, and raises `AssertionError` if it is broken and `DoesNotApply` if
it says nothing about this layer.
"""

import os
import tempfile

import keras
import numpy as np
from keras import ops

from .law_subject import BATCH, KEY_LENGTH, QUERY_LENGTH, to_array

GARBAGE = 50.0  # put where nobody may look
TOLERANCES = {"float16": 2e-2, "bfloat16": 1e-1}


class DoesNotApply(Exception):
    """Raised by a law that says nothing about a layer."""


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
    actual, expected = to_array(loaded(list(arrays))), to_array(model(list(arrays)))
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
        raise DoesNotApply
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
    actual = tuple(to_array(result) for result in keras.tree.flatten(model(arrays)))
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
        raise DoesNotApply
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
        raise DoesNotApply
    query, value = subject.inputs()
    length = value.shape[1]
    mask = subject.mask(length)
    options = {}
    if getattr(layer, "causal", False):
        options["attention_mask"] = np.tril(np.ones((length, length), bool))
    memory = layer.project(ops.convert_to_tensor(value), mask=ops.convert_to_tensor(mask))
    attended = layer.attend(ops.convert_to_tensor(query), memory, **options)
    actual = tuple(to_array(part) for part in attended)
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
        raise DoesNotApply
    inputs, _ = subject.inputs()
    mask = subject.mask(QUERY_LENGTH)[::-1, ::-1]
    expected, expected_weights = subject.call(inputs, inputs, mask)
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
        subject.require_close(actual, (expected[:, part], weights), f"step {index} differs")


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
