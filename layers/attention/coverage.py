"""Coverage: attention that knows what was attended to before.

Shapes: B batch, T target length, S source length, D width, U units, F features of a pair.
"""

from typing import Any

import keras
from keras import ops

from ..ops.broadcasting import broadcast_batch, common_batch, free_batch, sum_to_batch
from ..ops.masks import check_shape, combine_masks, masked_softmax, softmax_dtype
from .additive import BahdanauAttention
from .memory import Memory, memory_shape


@keras.saving.register_keras_serializable(package="attention_zoo")
class CoverageAttention(BahdanauAttention):
    """Additive attention with a coverage vector: a key's score depends on its attention so far.

    The coverage of a key is the sum of the weights that it got at the steps before. The score of
    query `q` and key `k` with coverage `c` is `v . tanh(W_q q + W_k k + w_c c)`. So the layer can
    learn not to attend to the same key again, or to go on from the last one.

    The queries of a sequence are taken one after the other, each with the coverage of those before
    it. A decoder that makes one step at a time passes the coverage, and adds the weights to it
    itself:

    ```python
    layer.build(query.shape, source_states.shape)  # if it was not called yet
    memory = layer.project(source_states, mask=source_mask)
    coverage = ops.zeros((batch, 1, source_length))
    context, weights = layer.attend(query, memory, coverage=coverage)  # at each step
    coverage = coverage + weights
    ```

    With a `location_window` of w the score depends on the weights of the query before as well: on
    those of the key itself and of the w keys before and after, by a kernel of shape (2 w + 1, U).
    To go on with the next key, as when a word is copied token by token, is then a matter of one
    weight. At the first query those weights are 0. They are passed as `last`.

    Args:
        units: U, the width in which queries and keys are compared.
        location_window: the number of keys before and after whose last weights the score depends
            on; 0 for coverage alone.
        **kwargs: those of `BahdanauAttention`.

    Call arguments, masks, weights: see `Attention`.

    Raises:
        ValueError: if `location_window` is not a whole number from 0 on.

    References: "Get To The Point: Summarization with Pointer-Generator Networks", See et al., 2017,
    https://arxiv.org/abs/1704.04368, section 2.3; on locations "Attention-Based Models for Speech
    Recognition", Chorowski et al., 2015, https://arxiv.org/abs/1506.07503
    """

    queries_are_independent = False

    def __init__(self, units: int, location_window: int = 0, **kwargs):
        super().__init__(units, **kwargs)
        # XLA under TensorFlow has no gradient of a loop of Keras.
        self.supports_jit = keras.backend.backend() != "tensorflow"
        if isinstance(location_window, bool) or not (
            isinstance(location_window, int) and location_window >= 0
        ):
            raise ValueError(
                "location_window must be a whole number, at least 0. "
                f"Received: location_window={location_window!r}"
            )
        self.location_window = location_window

    def build(self, query_shape, value_shape, key_shape=None):
        super().build(query_shape, value_shape, key_shape)
        self.coverage_kernel = self._add_kernel("coverage_kernel", (self.units,))
        if self.location_window:
            shape = (2 * self.location_window + 1, self.units)
            self.location_kernel = self._add_kernel("location_kernel", shape)

    def attend(
        self,
        query,
        memory: Memory,
        attention_mask=None,
        training=None,
        coverage: Any = None,
        last: Any = None,
    ):
        """Attends to a projected memory.

        Args:
            query: `(B, T, Dq)`.
            memory: what `project` returned.
            attention_mask: boolean, any rank that `call` takes.
            training: whether dropout is on.
            coverage: `(B, T, S)`, the sum of the weights before each query: the queries are then
                independent of one another, such as the beams of one step. If `None`, they are a
                sequence.
            last: `(B, T, S)`, the weights of the query before each; only with a coverage and a
                location window.

        Returns:
            `(context, weights)`: `(B, T, Dv)` and `(B, T, S)`.

        Raises:
            ValueError: for a coverage without the last weights that a location window needs, last
                weights that nothing needs, or either of another shape.
        """
        query = self._check_attend(query, memory, attention_mask)
        shape = free_batch(self.compute_scores_shape(query.shape, memory_shape(memory)))
        for name, paid in (("coverage", coverage), ("last", last)):
            if paid is not None:
                check_shape(self.name, name, paid, shape)
        mask = combine_masks(memory_mask=memory.mask, attention_mask=attention_mask)
        query = self.project_query(query)
        if (last is not None) != (coverage is not None and self.location_window > 0):
            raise ValueError(
                "With a location window a coverage needs the last weights too; else it has none. "
                f"Received: location_window={self.location_window}, coverage of type "
                f"{type(coverage).__name__}, last of type {type(last).__name__}"
            )
        if coverage is None:
            weights = self._weights_in_turn(query, memory.keys, mask)
        else:
            weights = self._weights(query, memory.keys, mask, coverage, last)
        return self._sum(weights, memory.values, training), weights

    def _weights(self, query, keys, mask, coverage, last=None):
        features = ops.expand_dims(ops.cast(coverage, self.compute_dtype), -1)
        kernel = ops.expand_dims(self._cast(self.coverage_kernel), 0)
        if self.location_window:
            around = neighbors(ops.cast(last, self.compute_dtype), self.location_window)
            features = ops.concatenate([features, around], axis=-1)
            kernel = ops.concatenate([kernel, self._cast(self.location_kernel)], axis=0)
        if features.shape[0] == 1:  # the same for every row
            features = broadcast_batch(features, common_batch(query, keys))
        score = additive_score_with_features(query, keys, features, self._cast(self.scale), kernel)
        return masked_softmax(score, mask)

    def _weights_in_turn(self, query, keys, mask):
        """Computes weights `(B, T, S)` of projected queries, each covered by those before it."""
        batch = common_batch(query, keys, *([] if mask is None else [mask]))
        steps, length = ops.shape(query)[1], ops.shape(keys)[1]
        sequence = query = broadcast_batch(query, batch)
        if mask is not None:
            mask = ops.broadcast_to(mask, (batch, steps, length))
            # One sequence: TensorFlow's scan takes no second one if T is known only later.
            sequence = ops.concatenate([query, ops.cast(mask, query.dtype)], axis=-1)

        def attend_once(carry, step):
            step = ops.expand_dims(step, 1)  # (B, 1, U + S)
            query, visible = step[..., : self.units], step[..., self.units :]
            visible = None if mask is None else visible > 0
            coverage, last = (ops.expand_dims(tensor, 1) for tensor in carry)
            weights = self._weights(query, keys, visible, coverage, last)[:, 0]
            # TensorFlow wants what is collected to look like what is carried.
            return (carry[0] + weights, weights), (carry[0], weights)

        nothing = ops.zeros((batch, length), softmax_dtype(self.compute_dtype))
        sequence = ops.transpose(sequence, (1, 0, 2))  # (T, B, ...)
        _, (_, weights) = ops.scan(attend_once, (nothing, nothing), sequence)
        return ops.transpose(weights, (1, 0, 2))

    def get_config(self):
        return {**super().get_config(), "location_window": self.location_window}


def neighbors(weights, window: int):
    """Puts the weights of the keys around each key side by side, 0 outside of the source.

    Args:
        weights: `(B, T, S)`.
        window: the number of keys before and after.

    Returns:
        `(B, T, S, F)`; F is 2 `window` + 1, from the key `window` positions before to the one
        `window` positions after.
    """
    length = ops.shape(weights)[-1]
    padded = ops.pad(weights, [[0, 0], [0, 0], [window, window]])
    return ops.stack([padded[..., i : i + length] for i in range(2 * window + 1)], axis=-1)


def coverage_before(attention):
    """Sums the weights `(B, T, S)` over the steps before each step: `(B, T, S)`."""
    return ops.cumsum(ops.pad(attention[:, :-1], [[0, 0], [1, 0], [0, 0]]), axis=1)


def coverage_loss(attention, coverage: Any = None):
    """Penalizes attention to keys that were attended to before.

    The sum over the source of min(attention, coverage): 0 if all attention is to new keys, 1 if
    none of it is.

    Args:
        attention: `(B, T, S)`, the weights of all steps.
        coverage: `(B, T, S)`, the sum of the weights before each step; taken from `attention` if
            `None`.

    Returns:
        `(B, T)`, from 0 to 1.

    Reference: See, Liu, Manning, 2017, https://arxiv.org/abs/1704.04368, equation 12
    """
    coverage = coverage_before(attention) if coverage is None else coverage
    return ops.sum(ops.minimum(attention, coverage), axis=-1)


@ops.custom_gradient
def additive_score_with_features(query, keys, features, scale, kernel):
    """Computes `scale . tanh(query + key + features kernel)` for every pair.

    Like `additive_score`, it keeps nothing of shape `(B, T, S, U)` for the gradient, which a loop
    over steps would keep for each of them.

    Args:
        query: `(B, T, U)`, or `(1, T, U)` for all rows; a few, as at a step of a decoder.
        keys: `(B, S, U)`, or `(1, S, U)` for all rows.
        features: `(B, T, S, F)`.
        scale: `(U,)`.
        kernel: `(F, U)`.

    Returns:
        `(B, T, S)`.
    """
    units, count = scale.shape[0], kernel.shape[0]
    flat_features = ops.reshape(features, (-1, count))
    pairs = (*ops.shape(features)[:3], units)
    hidden = _hidden(query, keys, ops.reshape(ops.matmul(flat_features, kernel), pairs))
    flat = ops.matmul(ops.reshape(hidden, (-1, units)), ops.expand_dims(scale, -1))
    scores = ops.reshape(flat, pairs[:3])

    def gradient(*arguments, upstream=None):
        # Backends differ in how they hand in the gradient of the scores, (B, T, S).
        upstream = arguments[0] if upstream is None else upstream
        hidden = _hidden(query, keys, ops.reshape(ops.matmul(flat_features, kernel), pairs))
        to_scale = ops.matmul(ops.reshape(upstream, (1, -1)), ops.reshape(hidden, (-1, units)))
        # For the argument of tanh, still without the factor `scale`: (B, T, S, U).
        inner = (1 - ops.square(hidden)) * ops.expand_dims(upstream, -1)
        flat = ops.reshape(inner, (-1, units))
        to_features = ops.matmul(flat, ops.transpose(scale * kernel))
        to_kernel = ops.matmul(ops.transpose(flat_features), flat)
        return (
            sum_to_batch(ops.sum(inner, axis=2), query) * scale,
            sum_to_batch(ops.sum(inner, axis=1), keys) * scale,
            ops.reshape(to_features, (*pairs[:3], count)),
            ops.reshape(to_scale, (units,)),
            to_kernel * scale,
        )

    return scores, gradient


def _hidden(query, keys, from_features):
    return ops.tanh(ops.expand_dims(query, 2) + ops.expand_dims(keys, 1) + from_features)
