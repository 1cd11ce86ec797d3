"""The recurrent cell that attends: values against NumPy and Keras's GRU, on every Keras backend."""

import keras
import numpy as np
import pytest
from keras import ops

from attention_zoo.layers import BahdanauAttention, LuongAttention, QKVAttention
from attention_zoo.layers.attention_gru_cell import AttentionGRUCell, gated_update

B, N, S, T = 2, 3, 5, 4
INPUT, UNITS, SOURCE = 7, 6, 10
INPUT_FEEDING = {"attention_query": "current_state", "input_feeding": True}


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(x):
    x = np.exp(x - x.max(-1, keepdims=True))
    return x / x.sum(-1, keepdims=True)


def array(tensor):
    return ops.convert_to_numpy(tensor)


def by_name(layer):
    """Weights of a layer and its sublayers as float64 arrays, by the end of their path."""
    return {weight.path.split("/")[-1]: array(weight).astype("float64") for weight in layer.weights}


@pytest.fixture
def random():
    return np.random.default_rng(7)


def make_cell(random, attention=None, **options):
    """A cell with random weights, no bias zero."""
    cell = AttentionGRUCell(UNITS, context_dim=SOURCE, attention=attention, **options)
    cell.build()
    cell.input_projection.build((None, None, INPUT))
    for weight in cell.weights:
        weight.assign(random.normal(0, 0.5, weight.shape))
    return cell


def gru_step(cell, x, fed, state):
    """The equations of a gated recurrent unit with the reset gate after the product."""
    w = {name: array(getattr(cell, name)) for name in ("context_kernel", "recurrent_kernel")}
    projection = cell.input_projection
    given = x @ array(projection.kernel) + array(projection.bias) + fed @ w["context_kernel"]
    recurrent = state @ w["recurrent_kernel"]
    d = UNITS
    update = sigmoid(given[..., :d] + recurrent[..., :d])
    reset = sigmoid(given[..., d : 2 * d] + recurrent[..., d : 2 * d])
    inner = recurrent[..., 2 * d :] + array(cell.candidate_bias)
    return update * state + (1 - update) * np.tanh(given[..., 2 * d :] + reset * inner)


def additive(layer, query, source, mask):
    w = by_name(layer)
    hidden = np.tanh((query @ w["query_kernel"])[:, :, None] + (source @ w["key_kernel"])[:, None])
    weights = softmax(np.where(mask[:, None], hidden @ w["scale"], -np.inf))
    return weights @ source, weights


def general(layer, query, source, mask):
    keys = source @ by_name(layer)["kernel"]
    weights = softmax(np.where(mask[:, None], query @ keys.transpose(0, 2, 1), -np.inf))
    return weights @ source, weights


def scaled_products(layer, query, source, mask):
    w, k = by_name(layer), layer.key_dim
    heads, contexts = [], []
    for head in range(layer.num_heads):
        part = slice(head * k, (head + 1) * k)
        q, key, value = (
            x @ w[f"{name}_kernel"][:, part] + w[f"{name}_bias"][part]
            for name, x in (("query", query), ("key", source), ("value", source))
        )
        scores = q @ key.transpose(0, 2, 1) / np.sqrt(k)
        heads.append(softmax(np.where(mask[:, None], scores, -np.inf)))
        contexts.append(heads[-1] @ value)
    context = np.concatenate(contexts, -1) @ w["output_kernel"] + w["output_bias"]
    return context, np.mean(heads, axis=0)


KINDS = {
    "additive": (lambda: BahdanauAttention(8), additive),
    "general": (lambda: LuongAttention("general"), general),
    "two heads": (lambda: QKVAttention(2, key_dim=3, output_dim=SOURCE), scaled_products),
}


@pytest.mark.parametrize(
    ("attention_query", "input_feeding"),
    [("previous_state", False), ("current_state", False), ("current_state", True)],
)
@pytest.mark.parametrize("kind", KINDS)
def test_steps_equal_the_formulas(random, kind, attention_query, input_feeding):
    make_attention, reference = KINDS[kind]
    width = 9 if input_feeding else SOURCE
    cell = make_cell(
        random,
        make_attention(),
        attention_query=attention_query,
        input_feeding=input_feeding,
        output_dim=9 if input_feeding else None,
    )
    inputs = random.normal(size=(T, B, N, INPUT))
    source = random.normal(size=(B, S, SOURCE))
    mask = np.arange(S) < np.array([[S], [3]])
    state = random.normal(size=(B, N, UNITS))

    memory = cell.attention.project(ops.convert_to_tensor(source, "float32"), mask=mask)
    states = cell.initial_states(ops.convert_to_tensor(state, "float32"))
    fed = np.zeros((B, N, width))
    for x in inputs:
        output, states, weights = cell(cell.input_projection(x), states, memory)
        if attention_query == "current_state":
            state = gru_step(cell, x, fed, state)
            context, expected_weights = reference(cell.attention, state, source, mask)
            expected, fed = np.concatenate([state, context], -1), context
            if input_feeding:
                expected = fed = np.tanh(expected @ array(cell.combine_kernel))
            np.testing.assert_allclose(array(states[1]), fed, atol=2e-5)
        else:
            context, expected_weights = reference(cell.attention, state, source, mask)
            state = gru_step(cell, x, context, state)
            expected = np.concatenate([state, context], -1)
        np.testing.assert_allclose(array(output), expected, atol=2e-5)
        np.testing.assert_allclose(array(weights), expected_weights, atol=2e-5)
        np.testing.assert_allclose(array(states[0]), state, atol=2e-5)
        assert output.shape[-1] == cell.output_width


def test_without_attention_equals_keras_gru(random):
    cell = make_cell(random)
    gru = keras.layers.GRU(UNITS, return_sequences=True, reset_after=True)
    gru.build((None, T, INPUT + SOURCE))
    projection = cell.input_projection
    recurrent_bias = np.concatenate([np.zeros(2 * UNITS), array(cell.candidate_bias)])
    gru.set_weights(
        [
            np.concatenate([array(projection.kernel), array(cell.context_kernel)]),
            array(cell.recurrent_kernel),
            np.stack([array(projection.bias), recurrent_bias]),
        ]
    )
    x = random.normal(size=(B, T, INPUT)).astype("float32")
    context = random.normal(size=(B, 1, SOURCE)).astype("float32")
    start = random.normal(size=(B, UNITS)).astype("float32")
    both = np.concatenate([x, np.repeat(context, T, axis=1)], axis=-1)
    expected = array(gru(both, initial_state=ops.convert_to_tensor(start)))

    projected = cell.input_projection(x)
    states = cell.initial_states(ops.convert_to_tensor(start[:, None]))
    for t in range(T):
        given = projected[:, t : t + 1]
        output, states, weights = cell(given, states, ops.convert_to_tensor(context))
        assert weights is None
        np.testing.assert_allclose(array(output)[:, 0, :UNITS], expected[:, t], atol=1e-5)
        np.testing.assert_allclose(array(output)[:, 0, UNITS:], context[:, 0], atol=0)


def test_attention_that_sees_one_source_state_equals_the_fixed_context(random):
    # All weight is on the only state, so the context is the same at every step.
    cell = make_cell(random, BahdanauAttention(8))
    fixed = make_cell(random)
    fixed.input_projection.set_weights(cell.input_projection.get_weights())
    for name in ("context_kernel", "recurrent_kernel", "candidate_bias"):
        getattr(fixed, name).assign(getattr(cell, name))
    x = random.normal(size=(B, N, INPUT)).astype("float32")
    source = ops.convert_to_tensor(random.normal(size=(B, 1, SOURCE)).astype("float32"))
    states = cell.initial_states(
        ops.convert_to_tensor(random.normal(size=(B, N, UNITS)), "float32")
    )
    given = cell.input_projection(x)
    output = cell(given, states, cell.attention.project(source))[0]
    np.testing.assert_allclose(array(output), array(fixed(given, states, source)[0]), atol=1e-6)


def test_weights_read_once_give_the_same_step(random):
    cell = make_cell(random, LuongAttention("general"), **INPUT_FEEDING)
    source = ops.convert_to_tensor(random.normal(size=(B, S, SOURCE)), "float32")
    memory = cell.attention.project(source)
    states = cell.initial_states(ops.ones((B, N, UNITS)))
    given = cell.input_projection(random.normal(size=(B, N, INPUT)).astype("float32"))
    once = cell(given, states, memory, cell.step_weights())
    anew = cell(given, states, memory)
    np.testing.assert_array_equal(array(once[0]), array(anew[0]))


def test_queries_of_a_sentence_do_not_see_one_another(random):
    cell = make_cell(random, BahdanauAttention(8))
    memory = cell.attention.project(
        ops.convert_to_tensor(random.normal(size=(B, S, SOURCE)), "float32")
    )
    x = random.normal(size=(B, N, INPUT)).astype("float32")
    start = random.normal(size=(B, N, UNITS)).astype("float32")
    together = cell(cell.input_projection(x), (ops.convert_to_tensor(start),), memory)
    for n in range(N):
        part = slice(n, n + 1)
        alone = cell(
            cell.input_projection(x[:, part]), (ops.convert_to_tensor(start[:, part]),), memory
        )
        np.testing.assert_allclose(array(together[0])[:, part], array(alone[0]), atol=1e-6)
        np.testing.assert_allclose(array(together[2])[:, part], array(alone[2]), atol=1e-6)


def test_gated_update_keeps_the_state_where_its_gate_is_open_and_replaces_it_where_it_is_shut():
    def tensor(values):
        return ops.convert_to_tensor(values, "float32")

    state, candidate = np.full((1, 2), 0.3), np.array([[0.9, -0.4]])
    given = np.concatenate([np.full((1, 2), 40.0), np.zeros((1, 2)), candidate], -1)
    rest = (tensor(np.zeros((1, 6))), tensor(np.zeros(2)), tensor(state))
    np.testing.assert_allclose(array(gated_update(tensor(given), *rest)), state, atol=1e-6)
    given[:, :2] = -40
    replaced = gated_update(tensor(given), *rest)
    np.testing.assert_allclose(array(replaced), np.tanh(candidate), atol=1e-6)


@pytest.mark.parametrize(
    ("options", "received"),
    [
        ({"units": 0, "context_dim": 4}, "units=0, context_dim=4"),
        ({"units": 4, "context_dim": -1}, "units=4, context_dim=-1"),
        (
            {"units": 4, "context_dim": 4, "attention_query": "current_state"},
            "attention=None, attention_query='current_state'",
        ),
        ({"units": 4, "context_dim": 4, "attention_query": "next"}, "attention_query='next'"),
        ({"units": 4, "context_dim": 4, "input_feeding": True}, "input_feeding=True"),
        ({"units": 4, "context_dim": 4, "output_dim": 5}, "output_dim=5"),
    ],
)
def test_impossible_arguments_are_refused(options, received):
    with pytest.raises(ValueError, match=rf"Received: .*{received}"):
        AttentionGRUCell(**options)


@pytest.mark.parametrize("kind", [*KINDS, "none"])
def test_config_round_trip(random, kind):
    attention = None if kind == "none" else KINDS[kind][0]()
    options = {} if attention is None else {**INPUT_FEEDING, "output_dim": 9}
    cell = make_cell(random, attention, **options)
    config = cell.get_config()
    copies = [AttentionGRUCell.from_config(config) for _ in range(2)]  # the config stays whole
    for copy in copies:
        assert copy.get_config() == config
        copy.build()
        copy.input_projection.build((None, None, INPUT))
        assert [w.shape for w in copy.weights] == [w.shape for w in cell.weights]
        assert type(copy.attention) is type(attention)
        copy.set_weights(cell.get_weights())
    given = cell.input_projection(np.ones((B, N, INPUT), "float32"))
    source = ops.convert_to_tensor(random.normal(size=(B, 1, SOURCE)).astype("float32"))
    outputs = []
    for one in (cell, copies[0]):
        memory = source if one.attention is None else one.attention.project(source)
        outputs.append(array(one(given, one.initial_states(ops.ones((B, N, UNITS))), memory)[0]))
    np.testing.assert_array_equal(*outputs)


@pytest.mark.parametrize(
    ("earlier", "options"),
    [
        ("before", {"attention_query": "previous_state", "input_feeding": False}),
        ("after", {"attention_query": "current_state", "input_feeding": False}),
        ("input_feeding", INPUT_FEEDING),
    ],
)
def test_configurations_of_earlier_versions(random, earlier, options):
    config = make_cell(random, BahdanauAttention(8), **options).get_config()
    saved = {name: value for name, value in config.items() if name not in options}
    assert AttentionGRUCell.from_config({**saved, "wiring": earlier}).get_config() == config
    with pytest.raises(ValueError, match="Received: wiring='cho'"):
        AttentionGRUCell.from_config({**saved, "wiring": "cho"})
