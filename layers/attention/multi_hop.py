"""Attention in several hops, of which each depends on what the last one read.

Shapes: B batch, T target length, S source length, D width of the values, U units, H hops.
"""

from typing import Any

import keras
from keras import ops

from ..ops.affine import linear
from ..ops.arguments import positive_int, refuse_symbolic
from ..ops.broadcasting import broadcast_batch, broadcast_rows, common_batch
from ..ops.dense import add_bias
from ..ops.masks import combine_masks, masked_softmax
from .kernels import KernelAttention
from .memory import Memory


@keras.saving.register_keras_serializable(package="attention_zoo")
class MultiHopAttention(KernelAttention):
    """Attention to one memory in several hops (Xiong et al. 2016).

    One hop cannot find what it takes two facts to know: "Where is the ball?" needs "Mary has the
    ball" to know that "Mary is in the hall" is the answer. So the query, made as wide as a value,
    `q = P query`, is the first *episode* `m`, and each hop attends again and writes it anew:

        score = w . tanh(W [v * q; |v - q|] + U [v * m; |v - m|] + b)    for each value v
        c = the sum of the values with the softmax of the scores
        m = relu(V [m; c; q] + a)

    `W` is one for all hops, the other weights are those of the hop; the first has no `U`, as its
    episode is the query. The result is the last episode, not a weighted sum: that of a query with
    nothing to attend to has zero weights and depends on the query alone. Keys and values are the
    same.

    Where all queries ask about one thing that was encoded as the values were, such as a question
    that is one more sentence, `project` takes it, and `q = question + P query`: values similar to
    it can be found from the first training step on.

    Args:
        units: U, the width in which values are compared with query and episode.
        hops: H, the number of hops.
        dropout: share of the weights set to zero while training.
        kernel_initializer: initializer of the kernels but `P`.
        query_initializer: initializer of `P`; zeros let a question stand alone at first.
        seed: seed of the dropout.
        **kwargs: `kernel_regularizer` and `kernel_constraint` of all kernels, and those of every
            Keras layer.

    Call arguments, masks: see `Attention`. The weights are `(B, H, T, S)`, those of each hop.

    Raises:
        ValueError: if `units` or `hops` is not a positive number, or keys are given.

    Example:

    ```python
    attention = MultiHopAttention(units=64, hops=3)
    episode, weights = attention(
        questions,  # (B, 1, 128)
        sentences,  # (B, S, 128)
        value_mask=is_sentence,
        return_attention_scores=True,
    )  # (B, 1, 128), (B, 3, 1, S)
    ```

    References: "End-To-End Memory Networks", Sukhbaatar et al. 2015, https://arxiv.org/abs/1503.08895;
    "Dynamic Memory Networks for Visual and Textual Question Answering", Xiong, Merity, Socher,
    2016, https://arxiv.org/abs/1603.01417, for the update of the episode. Its attention is a
    recurrent network over the values or a weighted sum; here it is the sum
    """

    def __init__(
        self,
        units: int,
        hops: int = 3,
        dropout: float = 0.0,
        kernel_initializer="glorot_uniform",
        query_initializer="glorot_uniform",
        seed: int | None = None,
        **kwargs,
    ):
        super().__init__(dropout, kernel_initializer, seed, **kwargs)
        self._set_options(query_initializer=query_initializer)
        self.units = positive_int("units", units)
        self.hops = positive_int("hops", hops)

    def build(self, query_shape, value_shape, key_shape=None):
        super().build(query_shape, value_shape, key_shape)
        width, units, weight = value_shape[-1], self.units, self._add_kernel
        self.query_kernel = weight(
            "query_kernel", (query_shape[-1], width), self.query_initializer.clone()
        )
        self.compare_kernel = weight("compare_kernel", (2 * width, units))
        self.hop_weights = [
            {
                "bias": self.add_weight((units,), "zeros", name=f"bias_{hop}"),
                "scale": weight(f"scale_{hop}", (units, 1)),
                "episode_kernel": weight(f"episode_kernel_{hop}", (3 * width, width)),
                "episode_bias": self.add_weight((width,), "zeros", name=f"episode_bias_{hop}"),
            }
            for hop in range(self.hops)
        ]
        for hop, weights in enumerate(self.hop_weights[1:], start=1):
            weights["compare_kernel"] = weight(f"compare_kernel_{hop}", (2 * width, units))
        self.built = True

    def project(self, value, key=None, mask=None, question: Any = None) -> Memory:
        """Prepares values for `attend`.

        Args:
            value: `(B, S, D)`.
            key: `None`, as values are their own keys.
            mask: boolean `(B, S)`, False for padding.
            question: `(B, D)`, the subject of all queries, or `None`.

        Returns:
            A `Memory`.

        Raises:
            ValueError: if keys are given, or the question is not as wide as the values.
        """
        if key is not None:
            raise ValueError(
                f"{self.name} compares a query with the values themselves: leave the keys out."
            )
        memory = super().project(value, mask=mask)
        if question is None:
            shape = (ops.shape(memory.values)[0], 1, memory.values.shape[-1])
            return memory._replace(keys=ops.zeros(shape, dtype=memory.values.dtype))
        refuse_symbolic(self.name, "question", question)
        question = ops.convert_to_tensor(question, dtype=self.compute_dtype)
        if len(question.shape) != 2 or question.shape[-1] != memory.values.shape[-1]:
            raise ValueError(
                f"{self.name} expects a question of shape (batch, {memory.values.shape[-1]}), as "
                f"wide as the values. Received: question.shape={tuple(question.shape)}"
            )
        return memory._replace(keys=ops.expand_dims(question, 1))

    def project_query(self, query):
        return linear(query, self._cast(self.query_kernel))  # (B, T, D)

    def attend(self, query, memory: Memory, attention_mask=None, training=None):
        """Attends hop by hop.

        Args:
            query: `(B, T, Dq)`.
            memory: what `project` returned.
            attention_mask: boolean, any rank that `call` takes, or `(B, H, T, S)` for each hop.
            training: whether dropout is on.

        Returns:
            `(episode, weights)`: `(B, T, D)` and `(B, H, T, S)`.
        """
        query = self._check_attend(query, memory, attention_mask)
        mask = combine_masks(memory_mask=memory.mask, attention_mask=attention_mask)
        query = memory.keys + self.project_query(query)
        values = memory.values
        masks = [] if mask is None else [mask]
        query = broadcast_batch(query, common_batch(query, values, *masks))
        with_query = _compared(values, query, self._cast(self.compare_kernel))
        episode, all_weights = query, []
        for hop, weights in enumerate(self.hop_weights):
            weights = {name: self._cast(weight) for name, weight in weights.items()}
            compared = add_bias(with_query, weights["bias"])
            if hop > 0:
                compared += _compared(values, episode, weights["compare_kernel"])
            scores = ops.squeeze(ops.matmul(ops.tanh(compared), weights["scale"]), -1)
            of_hop = masked_softmax(scores, _of_hop(mask, hop))
            context = self._sum(of_hop, values, training)
            inputs = ops.concatenate([episode, context, query], axis=-1)
            episode = ops.relu(linear(inputs, weights["episode_kernel"], weights["episode_bias"]))
            all_weights.append(of_hop)
        return episode, ops.stack(all_weights, axis=1)

    def _appended(self, cache, new):
        return super()._appended(cache, new)._replace(keys=cache.keys)  # of the question

    def compute_scores_shape(self, query_shape, value_shape):
        batch, length = broadcast_rows(query_shape, value_shape)
        return (batch, self.hops, length, value_shape[1])

    def get_config(self):
        return {
            **super().get_config(),
            "units": self.units,
            "hops": self.hops,
        }


def _compared(values: Any, episode: Any, kernel: Any) -> Any:
    """Applies a kernel to products and distances of values and episodes: `(B, T, S, U)`."""
    values, episode = ops.expand_dims(values, 1), ops.expand_dims(episode, 2)
    both = ops.concatenate([values * episode, ops.abs(values - episode)], axis=-1)
    return linear(both, kernel)


def _of_hop(mask: Any, hop: int) -> Any:
    """Returns the mask of a hop, from one for all hops or from `(B, H, T, S)`."""
    if mask is None or len(mask.shape) < 4:
        return mask
    return mask[:, hop if mask.shape[1] != 1 else 0]
