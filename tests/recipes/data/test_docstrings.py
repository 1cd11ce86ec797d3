"""The corpus of docstrings: how one is split, and what the two corpora share."""

import numpy as np
import pytest

from attention_zoo.recipes.data.docstrings import _all_pairs, docstring_pairs, split_docstring

DOCSTRING = """Joins a sequence
    of arrays.

    The arrays must have the same shape but along the axis, which is the first
    by default.

    >>> join([1], [2])
    ... # more
    ```
    code that is left out
    ```
    Parameters
    ----------
    axis : int
    """


def test_a_docstring_is_its_first_line_and_the_rest():
    body, summary = split_docstring(DOCSTRING)
    assert summary == "Joins a sequence of arrays."
    assert body == (
        "The arrays must have the same shape but along the axis, which is the first by default. "
        "Parameters axis : int"
    )


@pytest.mark.parametrize(
    "docstring", ["One line alone.", "Two words\n\n" + "word " * 50, "One two three.\n\nFew words."]
)
def test_docstrings_with_nothing_to_learn(docstring):
    assert split_docstring(docstring) is None


def test_the_corpora_share_no_summary_and_are_read_from_what_is_installed():
    train, dev = docstring_pairs("train"), docstring_pairs("dev")
    assert len(train) > 3000 and len(dev) > 300
    assert not {t.lower() for t in train.targets} & {t.lower() for t in dev.targets}
    assert len({*train.sources, *dev.sources}) == len(train) + len(dev)
    known = split_docstring(np.broadcast_shapes.__doc__)
    assert known in _all_pairs()
    with pytest.raises(ValueError, match="Received: split='test'"):
        docstring_pairs("test")
