"""Positions in attention scores: rotary positions, ALiBi, learned relative positions.

Shapes: B batch, H heads, K head width, T queries, S keys. Positions are whole numbers, one for each
query or key, the same for every row of the batch.
"""

import math
import weakref
from typing import Any

import keras
from keras import initializers, ops

from .arguments import positive_int
from .masks import distances_between


class Positions(keras.layers.Layer):
    """Base of the ways in which the positions of query and key change their score.

    A subclass defines `rotate`, which turns queries and keys before they are compared, or `bias`,
    which is added to the scores. An object is passed to an attention layer, which builds it and
    knows both positions at every step of decoding too:

    ```python
    SelfAttention(8, 64, causal=True, positions=RotaryPositions())
    ```

    `build` gets the shape of the projected queries, `(B, H, T, K)`. Weights, if there are any, are
    in `table`. What was built belongs to one layer, so each layer needs an object of its own, but
    for `RotaryPositions`, of which nothing is built.
    """

    table: Any = None
    _layer: Any = None

    def belong_to(self, layer):
        """Registers the layer that these positions belong to.

        Args:
            layer: an attention layer.

        Raises:
            ValueError: if they belong to another layer already.
        """
        owner = self._layer and self._layer()
        if owner is not None and owner is not layer:
            raise ValueError(
                f"{self.name} belongs to {owner.name} already, and would be saved with that layer "
                f"alone: give {layer.name} a {type(self).__name__} of its own."
            )
        self._layer = weakref.ref(layer)

    def check_width(self, key_dim):
        """Refuses heads of an unsuitable width.

        Args:
            key_dim: K.

        Raises:
            ValueError: if these positions cannot be applied to heads of this width.
        """

    def rotate(self, heads, positions):
        """Turns queries or keys before they are compared.

        Args:
            heads: `(B, H, T, K)`.
            positions: `(T,)`.

        Returns:
            `(B, H, T, K)`.
        """
        return heads

    def bias(self, query_positions, key_positions, table=None):
        """Computes what is added to the scores.

        Args:
            query_positions: `(T,)`.
            key_positions: `(S,)`.
            table: taken in place of the layer's own.

        Returns:
            `(H, T, S)`, or `None` for nothing.
        """

    def table_gradient(self, gradient, query_positions, key_positions):
        """Computes the gradient of `table`.

        Args:
            gradient: that of `bias`, `(H, T, S)`.
            query_positions: `(T,)`.
            key_positions: `(S,)`.

        Returns:
            A tensor of the shape of `table`.
        """
        raise NotImplementedError(f"{type(self).__name__} has no table.")


@keras.saving.register_keras_serializable(package="attention_zoo")
class RotaryPositions(Positions):
    """Rotary positions: queries and keys are turned by angles that grow with their positions.

    The first and the second half of a head are the two coordinates of `K / 2` points; at position
    `p` point `i` is turned by `p / max_wavelength^(2i / K)`. The product of a query and a key then
    depends on the distance of their positions alone. There are no weights.

    Args:
        max_wavelength: the slowest point turns once in about that many positions times 2 pi.
        **kwargs: as for every Keras layer.

    Raises:
        ValueError: if `max_wavelength` is not positive or the head width is odd.

    Reference: "RoFormer", Su et al., 2021, https://arxiv.org/abs/2104.09864
    """

    def __init__(self, max_wavelength: float = 10_000, **kwargs):
        super().__init__(**kwargs)
        if max_wavelength <= 0:
            raise ValueError(
                f"`max_wavelength` must be positive. Received: max_wavelength={max_wavelength}"
            )
        self.max_wavelength = max_wavelength

    def check_width(self, key_dim):
        if key_dim % 2:
            raise ValueError(
                "Rotary positions turn pairs of numbers, so the width of a head must be even. "
                f"Received: key_dim={key_dim}"
            )

    def belong_to(self, layer):
        """Accepts any number of layers, as nothing is built.

        Args:
            layer: an attention layer.
        """

    def build(self, heads_shape):
        self.check_width(heads_shape[-1])
        self.built = True

    def rotate(self, heads, positions):
        half = heads.shape[-1] // 2
        # In float32, since float16 has no number between 2048 and 2050.
        speeds = self.max_wavelength ** (-ops.arange(half, dtype="float32") / half)
        angles = ops.expand_dims(ops.cast(positions, "float32"), -1) * speeds  # (T, K/2)
        cosine, sine = (ops.cast(f(angles), heads.dtype) for f in (ops.cos, ops.sin))
        first, second = heads[..., :half], heads[..., half:]
        turned = (first * cosine - second * sine, second * cosine + first * sine)
        return ops.concatenate(turned, axis=-1)

    def get_config(self):
        return {**super().get_config(), "max_wavelength": self.max_wavelength}


@keras.saving.register_keras_serializable(package="attention_zoo")
class AlibiPositions(Positions):
    """Attention with linear biases: the further away, the lower the score.

    The bias of head `h` is `-slope_h * |query position - key position|`. The slopes are the
    geometric sequence `2^(-8/H), 2^(-16/H), ...`, completed as in the authors' code if the number
    of heads is not a power of two. There are no weights, and sequences may be longer than in
    training.

    Args:
        **kwargs: as for every Keras layer.

    Reference: "Train Short, Test Long", Press et al., 2022, https://arxiv.org/abs/2108.12409
    """

    def build(self, heads_shape):
        self.slopes = _alibi_slopes(heads_shape[1])
        self.built = True

    def bias(self, query_positions, key_positions, table=None):
        distances = ops.abs(distances_between(query_positions, key_positions))  # (T, S)
        slopes = ops.convert_to_tensor(self.slopes, dtype="float32")
        return -ops.reshape(slopes, (-1, 1, 1)) * ops.cast(distances, "float32")


@keras.saving.register_keras_serializable(package="attention_zoo")
class RelativePositions(Positions):
    """A learned bias for each head and each class of distances.

    Distances up to a half of the buckets of a direction have a bucket each, further ones share
    buckets whose width grows logarithmically, and from `max_distance` on all share the last.

    Args:
        num_buckets: the number of classes of distances.
        max_distance: distance from which on all share one class.
        bidirectional: whether keys after the query have classes of their own (half of all); causal
            attention has no such keys, and `False` leaves all classes to those before.
        kernel_initializer: initializer of the biases.
        **kwargs: as for every Keras layer.

    Raises:
        ValueError: if there are too few buckets for `max_distance`, or too many.

    Reference: "Exploring the Limits of Transfer Learning", Raffel et al., 2020,
    https://arxiv.org/abs/1910.10683
    """

    def __init__(
        self,
        num_buckets: int = 32,
        max_distance: int = 128,
        bidirectional: bool = True,
        kernel_initializer="glorot_uniform",
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.num_buckets = positive_int("num_buckets", num_buckets)
        self.max_distance = positive_int("max_distance", max_distance)
        self.bidirectional = bidirectional
        self.kernel_initializer = initializers.get(kernel_initializer)
        one_way = num_buckets // 2 if bidirectional else num_buckets
        exact = one_way // 2
        if exact < 1 or num_buckets % 2 or max_distance <= exact:
            raise ValueError(
                "`num_buckets` must be even, at least 2 (4 if bidirectional), and `max_distance` "
                f"must be beyond the {exact} distances that have a bucket each. Received: "
                f"num_buckets={num_buckets}, max_distance={max_distance}, "
                f"bidirectional={bidirectional}"
            )
        self._bucket_of = _buckets(one_way, exact, max_distance)

    def build(self, heads_shape):
        self.table = self.add_weight(
            name="table",
            shape=(self.num_buckets, heads_shape[1]),
            initializer=self.kernel_initializer.clone(),
            autocast=False,
        )
        self.built = True

    def bias(self, query_positions, key_positions, table=None):
        # The positions are arguments: JAX refuses a gradient that closes over a function's arrays.
        @ops.custom_gradient
        def look_up(table, query_positions, key_positions):
            def gradient(*arguments, upstream=None):
                # A dense gradient: that of a look-up would be one row for each pair of positions.
                upstream = arguments[0] if upstream is None else upstream
                return self.table_gradient(upstream, query_positions, key_positions), None, None

            buckets = self.buckets(query_positions, key_positions)  # (T, S)
            return ops.transpose(ops.take(table, buckets, axis=0), (2, 0, 1)), gradient

        positions = (ops.convert_to_tensor(query_positions), ops.convert_to_tensor(key_positions))
        return look_up(self.table * 1 if table is None else table, *positions)  # (H, T, S)

    def table_gradient(self, gradient, query_positions, key_positions):
        buckets = ops.reshape(self.buckets(query_positions, key_positions), (-1,))
        rows = ops.reshape(ops.transpose(gradient, (1, 2, 0)), (-1, gradient.shape[0]))
        return ops.segment_sum(rows, buckets, num_segments=self.num_buckets)

    def buckets(self, query_positions, key_positions):
        """Sorts the distances of all queries and keys into the classes that share a bias.

        Args:
            query_positions: whole numbers `(T,)`.
            key_positions: whole numbers `(S,)`.

        Returns:
            int32 `(T, S)`, from 0 to `num_buckets - 1`.
        """
        distances = ops.cast(distances_between(query_positions, key_positions), "int32")
        after = ops.cast(distances < 0, "int32") * (self.num_buckets // 2)
        distances = ops.abs(distances) if self.bidirectional else ops.maximum(distances, 0)
        bucket_of = ops.convert_to_tensor(self._bucket_of, dtype="int32")
        buckets = ops.take(bucket_of, ops.minimum(distances, self.max_distance))
        return buckets + after if self.bidirectional else buckets

    def get_config(self):
        return {
            **super().get_config(),
            "num_buckets": self.num_buckets,
            "max_distance": self.max_distance,
            "bidirectional": self.bidirectional,
            "kernel_initializer": initializers.serialize(self.kernel_initializer),
        }


def check_positions(positions, key_dim=None):
    """Refuses objects of another type than `Positions`, and those not for heads of this width."""
    if positions is None:
        return
    if not isinstance(positions, Positions):
        raise ValueError(
            "`positions` is an object such as RotaryPositions(), or None. "
            f"Received: positions={positions!r}"
        )
    if key_dim is not None:
        positions.check_width(key_dim)


def _buckets(count, exact, max_distance):
    """Lists the bucket of each distance up to `max_distance`, computed in Python on any backend."""
    shared = (count - exact) / math.log(max_distance / exact)
    return [
        distance
        if distance < exact
        else min(count - 1, exact + math.floor(shared * math.log(distance / exact) + 1e-9))
        for distance in range(max_distance + 1)
    ]


def _alibi_slopes(heads):
    power = 2 ** math.floor(math.log2(heads))
    slopes = [2 ** (-8 * (head + 1) / power) for head in range(power)]
    # Those missing to the next power of two lie in between, the steepest first.
    between = [2 ** (-4 * (head + 1) / power) for head in range(0, 2 * power, 2)]
    return slopes + between[: heads - power]
