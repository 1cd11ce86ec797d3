"""A recurrent decoder that attends, over whatever an encoder made of the source.

Shapes: B batch, S source length, T target length, N beams, D state, C width of what is attended to.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
from keras import ops

from ...layers import Attention, MultiHopAttention
from ...layers.attention_gru_cell import ATTENTION_QUERIES, AttentionGRUCell, StepWeights
from ...layers.ops.affine import Affine
from ...layers.ops.arguments import positive_int
from ...layers.ops.dense import Dense
from ...layers.ops.dropout import Dropout
from .attention_registry import copy_of
from .parts import Decoder, Encoded, Nest, check_rate
from .unroll import unroll_cell


class RecurrentMemory(NamedTuple):
    """Memory of the source that the decoder reads while it writes.

    Attributes:
        attended: The projected source for the attention, or the fixed context (B, 1, C).
        start: State of the decoder before the first step, (B, D).
        mask: True for states that may be attended to, (B, S).
    """

    attended: Nest
    start: Any
    mask: Any


class RecurrentWeights(NamedTuple):
    """Values that a step reads of the variables.

    Attributes:
        cell: Of the cell.
        inputs: From an embedding to what the cell is given.
    """

    cell: StepWeights
    inputs: Affine


@keras.saving.register_keras_serializable(package="attention_zoo")
class RecurrentDecoder(Decoder):
    """A gated recurrent unit that writes, and looks at the source at every step.

    What an output reads is the state, the context and the embedding of the last token side by side
    (the deep output of Bahdanau et al. 2015). With input feeding it is Luong's attentional vector,
    which has read all three.

    Args:
        units: Width D of the state.
        attention: An `Attention` layer, of which the decoder makes a copy of its own; `None` for
            one fixed context, the summary of the source (Cho et al. 2014).
        attention_query: `"previous_state"`, as in Bahdanau's paper: the decoder looks before it
            reads the last token; or `"current_state"`: after it.
        input_feeding: Whether what was found is fed to the next step as the attentional vector of
            Luong et al. 2015; the query is the current state then.
        attentional_units: Width of that vector; `units` if `None`.
        dropout: Rate on embeddings.
        **kwargs: As for every Keras layer.

    Raises:
        ValueError: An argument is impossible.

    References: https://arxiv.org/abs/1406.1078, https://arxiv.org/abs/1409.0473,
    https://arxiv.org/abs/1508.04025
    """

    loops_over_time = True

    def __init__(
        self,
        units: int,
        attention: Attention | None = None,
        attention_query: str = "current_state",
        input_feeding: bool = False,
        attentional_units: int | None = None,
        dropout: float = 0.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if attention_query not in ATTENTION_QUERIES:
            raise ValueError(
                f"attention_query is one of {', '.join(ATTENTION_QUERIES)}. "
                f"Received: attention_query={attention_query!r}"
            )
        if input_feeding and (attention is None or attention_query == "previous_state"):
            raise ValueError(
                "Input feeding hands on what the current state found, so it needs an attention and "
                "attention_query='current_state'. Received: "
                f"attention={attention}, attention_query={attention_query!r}, input_feeding=True"
            )
        self.units = positive_int("units", units)
        self.attention: Any = attention and copy_of(attention, "attention", self.dtype_policy)
        self.attention_query = attention_query
        self.input_feeding = input_feeding
        self.attentional_units = attentional_units
        self.dropout = check_rate("dropout", dropout)
        self._dropout = Dropout(dropout, dtype=self.dtype_policy)
        self.bridge = Dense(self.units, "tanh", name="bridge", dtype=self.dtype_policy)

    def build(self, target_shape, states_shape, summary_shape):
        without = self.attention is None
        context_shape = summary_shape
        if not without:
            shapes = (None, None, self.units), (None, None, states_shape[-1])
            self.attention.build(*shapes)
            context_shape = self.attention.compute_output_shape(*shapes)
            scores_shape = self.attention.compute_scores_shape(*shapes)
            self.has_attention_maps = len(scores_shape) == 4 and scores_shape[1] > 1
        self.cell = AttentionGRUCell(
            self.units,
            context_dim=context_shape[-1],
            attention=self.attention,
            attention_query="previous_state" if without else self.attention_query,
            input_feeding=self.input_feeding,
            output_dim=self.attentional_units if self.input_feeding else None,
            name="cell",
            dtype=self.dtype_policy,
        )
        self.bridge.build((None, summary_shape[-1]))
        self.cell.build()
        self.cell.input_projection.build((None, None, target_shape[-1]))
        self.built = True

    def prepare(self, encoded: Encoded) -> RecurrentMemory:
        states, mask, summary = encoded[:3]
        if self.attention is None:
            attended = ops.expand_dims(summary, 1)
        elif isinstance(self.attention, MultiHopAttention):
            question = summary[:, : states.shape[-1]]
            attended = self.attention.project(states, mask=mask, question=question)
        else:
            attended = self.attention.project(states, mask=mask)
        return RecurrentMemory(attended, self.bridge(summary), mask)

    def initial_state(self, memory, num_beams=1, max_steps=None):
        start = ops.repeat(ops.expand_dims(memory.start, 1), num_beams, axis=1)
        return self.cell.initial_states(start, memory.attended)

    def step_weights(self):
        return RecurrentWeights(
            self.cell.step_weights(), Affine.from_layer(self.cell.input_projection)
        )

    def step(self, embedded, state, memory, weights):
        given = weights.inputs(embedded)
        output, state, scores = self.cell(given, state, memory.attended, weights.cell)
        if scores is None:
            scores = ops.zeros((*ops.shape(embedded)[:2], ops.shape(memory.mask)[1]))
        return self._hidden(output, embedded), state, scores

    def call(self, target, memory, return_attention_scores=False, training=False):
        embedded = self._dropout(target, training=training)
        outputs, _, scores = self._unroll(embedded, memory, return_attention_scores)
        return self._hidden(outputs, embedded), scores

    def attention_maps(self, target, memory):
        # Each head or hop is a head of one layer.
        _, states, _ = self._unroll(target, memory)
        if self.attention_query == "previous_state":
            states = ops.concatenate([memory.start[:, None], states[:, :-1]], axis=1)
        _, weights = self.attention.attend(states, memory.attended)  # (B, H, T, S)
        return ops.expand_dims(weights, 1), None

    def _hidden(self, output, embedded):
        return output if self.input_feeding else ops.concatenate([output, embedded], axis=-1)

    def _unroll(self, embedded, memory, with_scores=False):
        """Outputs, states (B, T, D) and, if they are asked for, attention weights (B, T, S)."""
        given, states = self.cell.input_projection(embedded), self.initial_state(memory)
        outputs, hidden, scores = unroll_cell(
            self.cell, given, states, memory.attended, with_scores
        )
        if with_scores and self.attention is None:
            scores = ops.zeros((*ops.shape(embedded)[:2], ops.shape(memory.mask)[1]))
        return outputs, hidden, scores

    def get_config(self):
        return {
            **super().get_config(),
            "units": self.units,
            "attention": keras.saving.serialize_keras_object(self.attention),
            "attention_query": self.attention_query,
            "input_feeding": self.input_feeding,
            "attentional_units": self.attentional_units,
            "dropout": self.dropout,
        }

    @classmethod
    def from_config(cls, config):
        attention = keras.saving.deserialize_keras_object(config["attention"])
        return cls(**{**config, "attention": attention})
