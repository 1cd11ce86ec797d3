"""The laws of attention layers, to be checked on any of them: `check_attention(layer)`."""

import contextlib
from collections.abc import Sequence

import keras

from .law_subject import LawSubject
from .laws import LAWS, DoesNotApply


def check_attention(
    layer: keras.layers.Layer,
    query_width: int = 8,
    value_width: int | None = None,
    laws: Sequence[str] | None = None,
    skip: Sequence[str] = (),
    tolerance: float = 1e-5,
) -> tuple[str, ...]:
    """Checks the laws that an attention layer must keep.

    Works on the layers of this package, on Keras's own, and on any layer that is called like
    `keras.layers.MultiHeadAttention`, `layer(query, value, ...)`, or on one sequence,
    `layer(inputs, mask=...)`. The layer itself is left alone: everything is tried on copies with
    random weights.

    The laws:

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
        laws: names of the laws to check, all of them if `None`.
        skip: names of laws not to check.
        tolerance: largest difference in float32, relative to the largest number that is compared.

    Returns:
        The names of the laws that were checked; those that say nothing about this layer (such as
        `step by step` without a cache) are left out.

    Raises:
        AssertionError: naming the law that is broken, and how.
        ValueError: for the name of a law that does not exist.

    Example:

    ```python
    def test_my_attention():
        check_attention(MyAttention(units=4), query_width=8, value_width=6)
    ```
    """
    unknown = [name for name in (*(laws or ()), *skip) if name not in LAWS]
    if unknown:
        raise ValueError(f"There are these laws: {', '.join(LAWS)}. Received: {', '.join(unknown)}")
    chosen = [name for name in LAWS if (laws is None or name in laws) and name not in skip]
    subject = LawSubject(layer, query_width, value_width or query_width, tolerance)
    checked = []
    for name in chosen:
        subject.law = name
        with contextlib.suppress(DoesNotApply):
            LAWS[name](subject)
            checked.append(name)
    return tuple(checked)
