"""One step of a recurrent decoder that attends. Shapes: B batch, N queries, D state, S source."""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
from keras import ops

from .attention.base import Attention
from .attention.coverage import CoverageAttention
from .attention.memory import Memory
from .ops.affine import linear
from .ops.dense import Dense
from .ops.masks import softmax_dtype

ATTENTION_QUERIES = ("previous_state", "current_state")


class StepWeights(NamedTuple):
    """The weights of a step, in the type of computation.

    Attributes:
        context_kernel: from the context, or what else is fed, to the gates: (C, 3 D).
        recurrent_kernel: from the state to the gates, (D, 3 D).
        candidate_bias: added to the state's part of the candidate, (D,).
    """

    context_kernel: Any
    recurrent_kernel: Any
    candidate_bias: Any


@keras.saving.register_keras_serializable(package="attention_zoo")
class AttentionGRUCell(keras.layers.Layer):
    """A gated recurrent unit that gets a context of its own at every step.

    Without attention the context is the same at every step: one fixed vector of the source
    (Cho et al. 2014). With attention the query is one of two states:

    - `"previous_state"`, Bahdanau et al. 2015: the state *before* the step,
      `c_i = attend(s_{i-1})`, `s_i = GRU([x_i; c_i], s_{i-1})`; the output is `[s_i; c_i]`.
    - `"current_state"`, See et al. 2017: the state *after* the step, so it knows the word that
      was written last, `s_i = GRU([x_i; c_{i-1}], s_{i-1})`, `c_i = attend(s_i)`; the output is
      `[s_i; c_i]`, and its context is fed to the next step. With `input_feeding`, Luong et al.
      2015, `a_i = tanh(W [s_i; attend(s_i)])` is both the output and what is fed to the next
      step, `s_i = GRU([x_i; a_{i-1}], s_{i-1})`.

    With a `CoverageAttention` the attention so far is one more state, the last. With a
    location window the weights of the step before are another, before it.

    It is no cell for `keras.layers.RNN`, as it takes inputs that are projected and a memory, has N
    queries of each row side by side, and returns its attention weights: loop over its calls.

    The part of the gates that depends on the inputs alone is computed for all steps at once by
    the sublayer `input_projection`; the cell takes its result. The gates are those of
    `keras.layers.GRU` with `reset_after=True`.

    Args:
        units: width D of the state.
        context_dim: width of the context.
        attention: an attention layer of this package, or `None` for one fixed context.
        attention_query: `"previous_state"` or `"current_state"`.
        input_feeding: whether Luong's attentional vector is the output and is fed to the next
            step; only with the current state as query.
        output_dim: width of that vector; `units` if `None`. Only with `input_feeding`.
        **kwargs: as for every Keras layer.

    Call arguments:
        projected_inputs: the result of `input_projection`, (B, N, 3 D); the N rows of a sentence
            share one memory, so that the beams of a search need no copies of it.
        states: those that the step before returned, or `initial_states(...)`.
        memory: `attention.project(...)`, or the fixed context (B, 1, context_dim).
        weights: the result of `step_weights()`, read here if `None`.

    Returns:
        output (B, N, output width), new states, attention weights (B, N, S) or, without
        attention, `None`; the weights of several heads are averaged.

    Raises:
        ValueError: for widths that are not positive, another `attention_query` than the two, and
            options that need an attention without one.

    Example:

    >>> attention = BahdanauAttention(units=8)
    >>> cell = AttentionGRUCell(units=6, context_dim=10, attention=attention)
    >>> cell.build()
    >>> memory = attention.project(source_states)            # source_states (B, S, 10)
    >>> states = cell.initial_states(start)                  # start (B, N, 6)
    >>> output, states, weights = cell(cell.input_projection(x), states, memory)

    References: https://arxiv.org/abs/1406.1078, https://arxiv.org/abs/1409.0473,
    https://arxiv.org/abs/1508.04025, https://arxiv.org/abs/1704.04368
    """

    def __init__(
        self,
        units: int,
        context_dim: int,
        attention: Attention | None = None,
        attention_query: str = "previous_state",
        input_feeding: bool = False,
        output_dim: int | None = None,
        **kwargs,
    ):
        # The coverage stays in float32, so what goes in is cast one by one.
        super().__init__(autocast=False, **kwargs)
        if units < 1 or context_dim < 1:
            raise ValueError(
                "units and context_dim must be positive. "
                f"Received: units={units}, context_dim={context_dim}"
            )
        if attention_query not in ATTENTION_QUERIES:
            raise ValueError(
                f"attention_query is one of {', '.join(ATTENTION_QUERIES)}. "
                f"Received: attention_query={attention_query!r}"
            )
        if attention is None and attention_query != "previous_state":
            raise ValueError(
                "What was attended to is fed to the next step, so it needs an attention layer. "
                f"Received: attention=None, attention_query={attention_query!r}"
            )
        if input_feeding and attention_query != "current_state":
            raise ValueError(
                "What is fed to the next step is made of the current state and its context: "
                "input_feeding needs attention_query='current_state'. "
                f"Received: input_feeding=True, attention_query={attention_query!r}"
            )
        if output_dim is not None and not input_feeding:
            raise ValueError(
                "output_dim is the width of the attentional vector, which only "
                f"input_feeding=True has. Received: output_dim={output_dim}, input_feeding=False"
            )
        self.units = units
        self.context_dim = context_dim
        self.attention = attention
        self.has_coverage = isinstance(attention, CoverageAttention)
        self.has_location = (
            isinstance(attention, CoverageAttention) and attention.location_window > 0
        )
        self.attention_query = attention_query
        self.input_feeding = input_feeding
        self.output_dim = output_dim
        self.fed_dim = (output_dim or units) if input_feeding else context_dim
        self.output_width = self.fed_dim if input_feeding else units + context_dim
        self.input_projection = Dense(3 * units, name="input_projection", dtype=self.dtype_policy)

    def build(self, *input_shapes):
        gates = 3 * self.units
        self.context_kernel = self.add_weight(
            (self.fed_dim, gates), "glorot_uniform", name="context_kernel"
        )
        self.recurrent_kernel = self.add_weight(
            (self.units, gates), "orthogonal", name="recurrent_kernel"
        )
        self.candidate_bias = self.add_weight((self.units,), "zeros", name="candidate_bias")
        if self.attention is not None and not self.attention.built:
            self.attention.build((None, None, self.units), (None, None, self.context_dim))
        if self.input_feeding:
            self.combine_kernel = self.add_weight(
                (self.units + self.context_dim, self.fed_dim),
                "glorot_uniform",
                name="combine_kernel",
            )

    def initial_states(self, start, memory=None):
        """Returns the states before the first step.

        Args:
            start: the first state, (B, N, D).
            memory: the memory to attend to; needed with coverage alone, for its length.

        Returns:
            Tuple of tensors, (B, N, ...) each.
        """
        states = [start]
        if self.attention_query == "current_state":
            shape = (*ops.shape(start)[:-1], self.fed_dim)
            states.append(ops.zeros(shape, dtype=start.dtype))
        if self.has_coverage:
            shape = (*ops.shape(start)[:-1], ops.shape(memory.values)[1])
            nothing = ops.zeros(shape, dtype=softmax_dtype(self.compute_dtype))
            states.extend([nothing, nothing] if self.has_location else [nothing])
        return tuple(states)

    def step_weights(self) -> StepWeights:
        """Reads the weights of a step, to be used for all steps of a loop.

        Returns:
            The `weights` that a call takes.
        """
        return StepWeights(
            ops.cast(self.context_kernel, self.compute_dtype),
            ops.cast(self.recurrent_kernel, self.compute_dtype),
            ops.cast(self.candidate_bias, self.compute_dtype),
        )

    def call(self, projected_inputs, states, memory, weights: StepWeights | None = None):
        weights = weights or self.step_weights()
        if self.attention is not None:
            memory = Memory(*memory)  # in a model that was saved it is a list
        paid = {"coverage": states[-1]} if self.has_coverage else {}
        if self.has_location:
            paid["last"] = states[-2]
        projected_inputs = ops.cast(projected_inputs, self.compute_dtype)
        hidden = ops.cast(states[0], self.compute_dtype)
        if self.attention_query == "previous_state":
            context, scores = self._context(hidden, memory, paid)
            hidden = self._gated_update(projected_inputs, context, hidden, weights)
            states = (hidden,)
        else:
            fed = ops.cast(states[1], self.compute_dtype)
            hidden = self._gated_update(projected_inputs, fed, hidden, weights)
            context, scores = self._context(hidden, memory, paid)
            states = (hidden, context)
        output = ops.concatenate([hidden, context], axis=-1)
        if self.input_feeding:
            output = ops.tanh(ops.matmul(output, ops.cast(self.combine_kernel, output.dtype)))
            states = (hidden, output)
        if self.has_location:
            states = (*states, scores)
        if self.has_coverage:
            states = (*states, paid["coverage"] + scores)
        return output, states, scores

    def _context(self, query, memory: Memory, paid: dict[str, Any]):
        if self.attention is None:
            shape = (*ops.shape(query)[:-1], self.context_dim)
            return ops.cast(ops.broadcast_to(memory, shape), self.compute_dtype), None
        context, weights = self.attention.attend(query, memory, **paid)
        if len(weights.shape) == 4:  # (B, H, N, S)
            weights = ops.mean(weights, axis=1)
        return context, weights  # (B, N, context_dim), (B, N, S)

    def _gated_update(self, projected_inputs, fed, hidden, weights: StepWeights):
        given = projected_inputs + linear(fed, weights.context_kernel)
        recurrent = linear(hidden, weights.recurrent_kernel)
        return gated_update(given, recurrent, weights.candidate_bias, hidden)

    def get_config(self):
        return {
            **super().get_config(),
            "units": self.units,
            "context_dim": self.context_dim,
            "attention": keras.saving.serialize_keras_object(self.attention),
            "attention_query": self.attention_query,
            "input_feeding": self.input_feeding,
            "output_dim": self.output_dim,
        }

    @classmethod
    def from_config(cls, config):
        attention = keras.saving.deserialize_keras_object(config["attention"])
        config = {**config, "attention": attention}
        if "wiring" in config:  # as saved before the option had two names
            config |= query_options(config.pop("wiring"))
        return cls(**config)


def query_options(name: str) -> dict[str, Any]:
    """The options of `AttentionGRUCell` that earlier versions had as one, named "wiring".

    Args:
        name: `"before"`, `"after"` or `"input_feeding"`.

    Returns:
        `attention_query` and `input_feeding`.

    Raises:
        ValueError: for any other name.
    """
    names = {
        "before": {"attention_query": "previous_state", "input_feeding": False},
        "after": {"attention_query": "current_state", "input_feeding": False},
        "input_feeding": {"attention_query": "current_state", "input_feeding": True},
    }
    if name not in names:
        raise ValueError(f"wiring is one of {', '.join(names)}. Received: wiring={name!r}")
    return names[name]


def gated_update(given, recurrent, candidate_bias, state):
    """Computes the next state of a gated recurrent unit.

    Args:
        given: the part of the gates from inputs, (..., 3 D): update, reset, candidate.
        recurrent: the part from the state, (..., 3 D).
        candidate_bias: added to the state's part of the candidate, (..., D).
        state: (..., D).

    Returns:
        (..., D).
    """
    given_update, given_reset, given_candidate = ops.split(given, 3, axis=-1)
    update, reset, candidate = ops.split(recurrent, 3, axis=-1)
    update = ops.sigmoid(given_update + update)
    reset = ops.sigmoid(given_reset + reset)
    candidate = ops.tanh(given_candidate + reset * (candidate + candidate_bias))
    return candidate + update * (state - candidate)
