"""Coverage: attention that knows what was attended to before.

Shapes: B batch, T target length, S source length, D width, U units.
"""

from typing import Any

import keras
from keras import ops

from .attention import Memory
from .bahdanau import BahdanauAttention
from .masks import combine_masks, masked_softmax, softmax_dtype


@keras.saving.register_keras_serializable(package="attention_zoo")
class CoverageAttention(BahdanauAttention):
    """Additive attention with a coverage vector: a key's score depends on its attention so far.

    The coverage of a key is the sum of the weights that it got at the steps before. The score of
    query `q` and key `k` with coverage `c` is `v . tanh(W_q q + W_k k + w_c c)`. So the layer can
    learn not to look at the same place again, or to go on from where it looked.

    The queries of a sequence are taken one after the other, each with what those before it have
    paid. A decoder that makes one step at a time hands the coverage in, and adds the weights to it
    itself:

    ```python
    memory = layer.project(source_states, mask=source_mask)
    coverage = ops.zeros((batch, 1, source_length))
    context, weights = layer.attend(query, memory, coverage=coverage)  # at each step
    coverage = coverage + weights
    ```

    Args: those of `BahdanauAttention`.

    Call arguments, masks, weights: see `Attention`.

    Paper: "Get To The Point: Summarization with Pointer-Generator Networks", See, Liu, Manning,
    2017, https://arxiv.org/abs/1704.04368, section 2.3
    """

    def build(self, query_shape, value_shape, key_shape=None):
        super().build(query_shape, value_shape, key_shape)
        self.coverage_kernel = self.add_weight(
            name="coverage_kernel",
            shape=(self.units,),
            initializer=self.kernel_initializer.clone(),
        )

    def attend(
        self, query, memory: Memory, attention_mask=None, training=None, coverage: Any = None
    ):
        """Attends to a projected memory.

        Args:
            query: `(B, T, Dq)`.
            memory: what `project` returned.
            attention_mask: boolean, any rank that `call` takes.
            training: whether dropout is on.
            coverage: `(B, T, S)`, what each query finds paid: the queries are independent of one
                another, such as the beams of one step. If `None`, they are a sequence.

        Returns:
            `(context, weights)`: `(B, T, Dv)` and `(B, T, S)`.
        """
        query = self.project_query(self._as_input("query", query))
        mask = combine_masks(memory_mask=memory.mask, attention_mask=attention_mask)
        if coverage is None:
            weights = self._weights_in_turn(query, memory.keys, mask)
        else:
            weights = self._weights(query, memory.keys, mask, coverage)
        return self._sum(weights, memory.values, training), weights

    def _weights(self, query, keys, mask, coverage):
        coverage = ops.cast(coverage, self.compute_dtype)
        kernels = self._cast(self.scale), self._cast(self.coverage_kernel)
        return masked_softmax(coverage_score(query, keys, coverage, *kernels), mask)

    def _weights_in_turn(self, query, keys, mask):
        """Weights `(B, T, S)` of projected queries, each covered by those before it."""
        batch, steps, _ = ops.shape(query)
        length = ops.shape(keys)[1]
        sequences = [ops.transpose(query, (1, 0, 2))]  # (T, B, U)
        if mask is not None:
            mask = ops.broadcast_to(mask, (batch, steps, length))
            sequences.append(ops.transpose(mask, (1, 0, 2)))

        def attend_once(carry, step):
            covered, _ = carry
            query, *mask = (ops.expand_dims(tensor, 1) for tensor in step)
            coverage = ops.expand_dims(covered, 1)
            weights = self._weights(query, keys, mask[0] if mask else None, coverage)[:, 0]
            # TensorFlow wants what is collected to look like what is carried.
            return (covered + weights, weights), (covered, weights)

        nothing = ops.zeros((batch, length), softmax_dtype(self.compute_dtype))
        _, (_, weights) = ops.scan(attend_once, (nothing, nothing), tuple(sequences))
        return ops.transpose(weights, (1, 0, 2))


def coverage_before(attention):
    """What was paid before each step: the weights `(B, T, S)` summed over the steps before."""
    return ops.cumsum(ops.pad(attention[:, :-1], [[0, 0], [1, 0], [0, 0]]), axis=1)


def coverage_loss(attention, coverage: Any = None):
    """How much each step looks where others looked before it.

    The sum over the source of min(attention, coverage): 0 if all attention is to new places, 1 if
    none of it is.

    Args:
        attention: `(B, T, S)`, the weights of all steps.
        coverage: `(B, T, S)`, what was paid before; taken from `attention` if `None`.

    Returns:
        `(B, T)`, from 0 to 1.

    Paper: See, Liu, Manning, 2017, https://arxiv.org/abs/1704.04368, equation 12
    """
    coverage = coverage_before(attention) if coverage is None else coverage
    return ops.sum(ops.minimum(attention, coverage), axis=-1)


@ops.custom_gradient
def coverage_score(query, keys, coverage, scale, kernel):
    """`scale . tanh(query + key + coverage * kernel)` for every pair, `(B, T, S)`.

    Like `additive_score`, it keeps nothing of shape `(B, T, S, U)` for the gradient, which a loop
    over steps would keep for each of them.

    Args:
        query: `(B, T, U)`; a few, as at a step of a decoder.
        keys: `(B, S, U)`.
        coverage: `(B, T, S)`.
        scale: `(U,)`.
        kernel: `(U,)`.
    """
    units = scale.shape[0]
    hidden = _hidden(query, keys, coverage, kernel)
    flat = ops.matmul(ops.reshape(hidden, (-1, units)), ops.expand_dims(scale, -1))
    scores = ops.reshape(flat, ops.shape(hidden)[:3])

    def gradient(*arguments, upstream=None):
        # Backends differ in how they hand in the gradient of the scores, (B, T, S).
        upstream = arguments[0] if upstream is None else upstream
        hidden = _hidden(query, keys, coverage, kernel)
        to_scale = ops.matmul(ops.reshape(upstream, (1, -1)), ops.reshape(hidden, (-1, units)))
        # For the argument of tanh, still without the factor `scale`: (B, T, S, U).
        inner = (1 - ops.square(hidden)) * ops.expand_dims(upstream, -1)
        flat = ops.reshape(inner, (-1, units))
        to_coverage = ops.matmul(flat, ops.expand_dims(scale * kernel, -1))
        to_kernel = ops.matmul(ops.reshape(coverage, (1, -1)), flat)
        return (
            ops.sum(inner, axis=2) * scale,
            ops.sum(inner, axis=1) * scale,
            ops.reshape(to_coverage, ops.shape(upstream)),
            ops.reshape(to_scale, (units,)),
            ops.reshape(to_kernel, (units,)) * scale,
        )

    return scores, gradient


def _hidden(query, keys, coverage, kernel):
    pairs = ops.expand_dims(query, 2) + ops.expand_dims(keys, 1)
    return ops.tanh(pairs + ops.expand_dims(coverage, -1) * kernel)  # (B, T, S, U)
