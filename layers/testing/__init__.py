"""Checks of the invariants of attention layers: `check_attention(layer)`."""

import contextlib
from collections.abc import Sequence

import keras

from .checks import CHECKS, NotApplicable
from .layer_under_test import LayerUnderTest


def check_attention(
    layer: keras.layers.Layer,
    query_width: int = 8,
    value_width: int | None = None,
    checks: Sequence[str] | None = None,
    skip: Sequence[str] = (),
    tolerance: float = 1e-5,
) -> tuple[str, ...]:
    """Checks the invariants of an attention layer.

    Works on the layers of this package, on Keras's own, and on any layer that is called like
    `keras.layers.MultiHeadAttention`, `layer(query, value, ...)`, or on one sequence,
    `layer(inputs, mask=...)`. The layer itself is left alone: everything is tried on copies with
    random weights.

    The checks:

    - `config`: the copy made from `get_config` has the same configuration and the same values;
    - `save and load`: so has the layer in a model read back from a `.keras` file;
    - `symbolic shapes`: shapes and types of `KerasTensor` results are those of actual results;
    - `weights`: they are not negative and each row sums to one;
    - `padding`: what is masked has no weight, and more of it changes nothing;
    - `implicit masks`: a mask attached by Keras works like the one passed;
    - `batch`: a row's result does not depend on the other rows;
    - `no future`: with a causal mask, later positions do not change earlier results;
    - `empty rows`: with nothing to attend to weights are zero, the values have no influence, and
      a training step leaves every weight finite;
    - `precision`: float16 and bfloat16 agree with float32 within 2 and 10 percent;
    - `no state`: a call leaves nothing on the layer;
    - `project and attend`: together equal the call, for a layer that has them;
    - `step by step`: a cache leads to the same results, for a layer with `initial_cache`, `step`.

    Args:
        layer: the layer, built or not.
        query_width: width of the query, or of the one sequence.
        value_width: width of value and key, that of the query if `None`.
        checks: names of the checks to make, all of them if `None`.
        skip: names of checks not to make.
        tolerance: largest difference in float32, relative to the largest number that is compared.

    Returns:
        The names of the checks that were made; those that say nothing about this layer (such as
        `step by step` without a cache) are left out.

    Raises:
        AssertionError: naming the check that the layer fails, and the difference.
        ValueError: for the name of a check that does not exist.

    Example:

    ```python
    def test_my_attention():
        check_attention(MyAttention(units=4), query_width=8, value_width=6)
    ```
    """
    unknown = [name for name in (*(checks or ()), *skip) if name not in CHECKS]
    if unknown:
        raise ValueError(
            f"There are these checks: {', '.join(CHECKS)}. Received: {', '.join(unknown)}"
        )
    chosen = [name for name in CHECKS if (checks is None or name in checks) and name not in skip]
    tested = LayerUnderTest(layer, query_width, value_width or query_width, tolerance)
    made = []
    for name in chosen:
        tested.check = name
        with contextlib.suppress(NotApplicable):
            CHECKS[name](tested)
            made.append(name)
    return tuple(made)
