"""Multiplicative attention (Luong et al. 2015)."""

import keras
from keras import ops

from ..ops.affine import linear
from ..ops.arguments import positive_int
from .additive import additive_score
from .kernels import KernelAttention

SCORES = ("dot", "general", "concat")


@keras.saving.register_keras_serializable(package="attention_zoo")
class LuongAttention(KernelAttention):
    """Attention by a product of query and key, in the three forms of Luong et al.

    The score of query `q` and key `k`:

    - `"dot"`: `q . k`, no weights, both of the same width;
    - `"general"`: `q . W k`, where `W` is applied to the keys once, in `project`;
    - `"concat"`: `v . tanh(W [q; k])`, the paper's third form, `units` wide.

    The context has the width of the values, which are not projected. (What the paper builds on
    the context, `tanh(W_c [c; h])`, belongs to the decoder.)

    Args:
        score: `"dot"`, `"general"` or `"concat"`.
        units: U, the width of `W [q; k]`; only for `"concat"`, where it is required.
        dropout: share of the weights set to zero while training.
        kernel_initializer: initializer of `W` and `v`.
        seed: seed of the dropout.
        **kwargs: `kernel_regularizer` and `kernel_constraint` of `W` and `v`, and those of every
            Keras layer.

    Call arguments, masks, weights: see `Attention`. The products are taken in float32 under
    float16, where an unscaled product soon passes the largest number.

    Raises:
        ValueError: for an unknown `score`, for `units` without `"concat"` or `"concat"` without
            `units`, and, at the first call, for `"dot"` with unequal widths.

    Example:

    ```python
    attention = LuongAttention("general")
    attention.build(decoder_state[:, None].shape, encoder_states.shape)  # or call it once
    memory = attention.project(encoder_states, mask=source_mask)  # W k, once
    context, weights = attention.attend(decoder_state[:, None], memory)  # each step
    ```

    Reference: "Effective Approaches to Attention-based Neural Machine Translation", Luong, Pham,
    Manning, 2015, https://arxiv.org/abs/1508.04025
    """

    def __init__(self, score: str = "general", units: int | None = None, *args, **kwargs):
        super().__init__(*args, **kwargs)
        if score not in SCORES:
            raise ValueError(
                f"`score` must be one of {', '.join(SCORES)}. Received: score={score!r}"
            )
        if (units is not None) != (score == "concat"):
            raise ValueError(
                "`units` is the width of the 'concat' score: required there, and meaningless for "
                f"'dot' and 'general'. Received: score={score!r}, units={units}"
            )
        self.score_name = score
        self.units = units if units is None else positive_int("units", units)

    def build(self, query_shape, value_shape, key_shape=None):
        super().build(query_shape, value_shape, key_shape)
        query_width, key_width = query_shape[-1], (key_shape or value_shape)[-1]
        if self.score_name == "dot" and query_width != key_width:
            raise ValueError(
                f"{self.name}: the 'dot' score needs queries and keys of the same width; use "
                "'general', which has a matrix between them. Received: "
                f"query.shape={tuple(query_shape)}, key.shape={tuple(key_shape or value_shape)}"
            )
        self.query_width = query_width
        if self.score_name == "general":
            self.kernel = self._add_kernel("kernel", (key_width, query_width))
        elif self.score_name == "concat":
            self.kernel = self._add_kernel("kernel", (query_width + key_width, self.units))
            self.scale = self._add_kernel("scale", (self.units,))
        self.built = True

    def project_keys(self, key):
        if self.score_name == "general":
            key = linear(key, self._cast(self.kernel))  # (B, S, Dq)
        elif self.score_name == "concat":
            return linear(key, self._cast(self.kernel)[self.query_width :])  # (B, S, U)
        return self._widened(key)

    def project_query(self, query):
        if self.score_name == "concat":
            return linear(query, self._cast(self.kernel)[: self.query_width])  # (B, T, U)
        return self._widened(query)

    def score(self, query, keys):
        if self.score_name == "concat":
            return additive_score(query, keys, self._cast(self.scale))  # (B, T, S)
        return ops.matmul(query, ops.swapaxes(keys, 1, 2))  # (B, T, S)

    def _widened(self, tensor):
        """Float32 in place of float16."""
        return ops.cast(tensor, "float32") if self.compute_dtype == "float16" else tensor

    def get_config(self):
        return {**super().get_config(), "score": self.score_name, "units": self.units}
