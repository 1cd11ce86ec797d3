"""Whole texts in the graph: split into what a model reads at a time, and put together again.

Shapes: B texts, U units. A unit is a sentence, or a line of so few that the model knows such rows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from ..text.sentences import SPACE, split_sentences_tensor
from ..text.tokenizer import Tokenizer

CHUNK = 64  # units that are read at once: the memory for a text does not grow beyond theirs
_READ = 1024  # texts that are split at once in Python
_SPACES = f"[{SPACE}\n]+"
# Marks of scripts that put no white space between sentences, and what such a sentence begins with.
_WIDE_END = r"(?s).*[。！？｡．…」』”）》〉】\p{Han}\p{Hiragana}\p{Katakana}]"
_WIDE_START = r"(?s)[“‘「『（《〈【\p{Han}\p{Hiragana}\p{Katakana}].*"
_NARROW_END = r"(?s).*[.!?…]['\"’”)\]]{0,4}"


class Units(NamedTuple):
    """Texts in parts.

    Attributes:
        texts: Strings (U,), without white space around them.
        before: White space (U,).
        after: White space (U,).
        rows: int64 (U,), the number of the text that each is part of.
        cut: Boolean (B,), True where a text has more units than were asked for.
    """

    texts: tf.Tensor
    before: tf.Tensor
    after: tf.Tensor
    rows: tf.Tensor
    cut: tf.Tensor


class Parts(NamedTuple):
    """The units of texts in Python.

    Attributes:
        texts: U texts.
        rows: int64 (U,), the number of the text that each is part of.
        cut: Boolean (B,), True where a text has too many.
    """

    texts: list[str]
    rows: np.ndarray
    cut: np.ndarray

    def counts(self) -> np.ndarray:
        """The number of units of each text, (B,)."""
        return np.bincount(self.rows, minlength=len(self.cut))


def read_parts(texts: list[str], units: Callable[[tf.Tensor], dict[str, tf.Tensor]]) -> Parts:
    """The units of texts, which a graph function finds a thousand texts at a time."""
    found: list[str] = []
    rows, cut = [], []
    for start in range(0, len(texts), _READ):
        some = {k: v.numpy() for k, v in units(tf.constant(texts[start : start + _READ])).items()}
        found += [text.decode() for text in some["texts"]]
        rows.append(some["rows"] + start)
        cut.append(some["cut"])
    return Parts(found, np.concatenate(rows), np.concatenate(cut))


def split_document(
    texts: tf.Tensor, tokenizer: Tokenizer, max_length: int, max_sentences: int, max_units: int
) -> Units:
    """Splits texts into lines, and lines of too many sentences or tokens into sentences.

    Args:
        texts: Strings (B,).
        tokenizer: The tokenizer of the source.
        max_length: Largest number of tokens of a line that is left whole, end included.
        max_sentences: Largest number of sentences of a line that is left whole; 0 for any.
        max_units: Number of units of a text; all others are left out.
    """
    sentences = split_sentences_tensor(texts)
    parts, rows = sentences.values, sentences.value_rowids()
    ends_line = tf.strings.regex_full_match(parts, r"(?s).*\n.*")
    begins = tf.concat([[True], ends_line], axis=0)[:-1]
    begins |= rows != tf.concat([[-1], rows], axis=0)[:-1]
    line = tf.cumsum(tf.cast(begins, tf.int32)) - 1
    clipped, _ = tokenizer.clip(parts, max_length)
    tokens = tf.cast(tokenizer.tokenize(clipped).row_lengths(), tf.int32)
    whole = tf.math.segment_sum(tokens, line) < max_length
    if max_sentences:
        whole &= tf.math.segment_sum(tf.ones_like(line), line) <= max_sentences
    begins |= ~tf.gather(whole, line)
    units = tf.RaggedTensor.from_value_rowids(parts, tf.cumsum(tf.cast(begins, tf.int32)) - 1)
    units = tf.RaggedTensor.from_value_rowids(
        tf.strings.reduce_join(units, axis=1), tf.boolean_mask(rows, begins), sentences.nrows()
    )
    cut = units.row_lengths() > max_units
    units = units[:, :max_units]
    began = tf.strings.regex_replace(units.values, f"^{_SPACES}", "", replace_global=False)
    inner = tf.strings.regex_replace(began, f"{_SPACES}$", "", replace_global=False)
    size, begun, all_of = (tf.strings.length(x) for x in (inner, began, units.values))
    before = tf.strings.substr(units.values, tf.zeros_like(size), all_of - begun)
    after = tf.strings.substr(began, size, begun - size)
    return Units(inner, before, after, units.value_rowids(), cut)


def join_document(units: Units, written: tf.Tensor) -> tf.Tensor:
    """Puts what was written for each unit (U,) together with the white space of the source: (B,).

    Between two sentences, where their scripts ask for it, one space is added or left out: Chinese
    has none, and English one. Nothing is left of a text that is white space alone.
    """
    following = tf.concat([written, [""]], axis=0)[1:]
    joint = tf.strings.join([units.after, tf.concat([units.before, [""]], axis=0)[1:]])
    inside = units.rows == tf.concat([units.rows, [-1]], axis=0)[1:]
    wide = tf.strings.regex_full_match(following, _WIDE_START)
    wide_end = tf.strings.regex_full_match(written, _WIDE_END)
    narrow = tf.strings.regex_full_match(written, _NARROW_END) & ~wide & (following != "")
    after = tf.where(inside & wide & wide_end & (joint == " "), "", units.after)
    after = tf.where(inside & narrow & (joint == ""), " ", after)
    pieces = tf.strings.join([units.before, written, after])
    pieces = tf.RaggedTensor.from_value_rowids(pieces, units.rows, tf.size(units.cut, tf.int64))
    is_text = tf.reduce_any(pieces.with_values(units.texts != ""), axis=1)
    return tf.where(is_text, tf.strings.reduce_join(pieces, axis=1), "")


def in_chunks(
    function: Callable[[tf.Tensor], tuple[tf.Tensor, ...]], texts: tf.Tensor, types: list
) -> list[tf.Tensor]:
    """Calls a function with `CHUNK` texts at a time, those of like lengths together.

    Args:
        function: From texts (C,) to tensors (C,).
        texts: Strings (U,).
        types: Types of these tensors.

    Returns:
        Tensors (U,), in the order of the texts.
    """
    order = tf.argsort(tf.strings.length(texts), stable=True)
    texts, count = tf.gather(texts, order), tf.size(texts)
    steps = tf.maximum((count + CHUNK - 1) // CHUNK, 1)  # also of no texts, for the shapes

    def step(i, arrays):
        found = function(texts[i * CHUNK : (i + 1) * CHUNK])
        return i + 1, [array.write(i, part) for array, part in zip(arrays, found, strict=True)]

    arrays = [
        tf.TensorArray(kind, size=steps, element_shape=[None], infer_shape=False) for kind in types
    ]
    _, arrays = tf.while_loop(
        lambda i, _: i < steps, step, (tf.constant(0), arrays), parallel_iterations=1
    )
    back = tf.math.invert_permutation(order)
    return [tf.gather(array.concat(), back) for array in arrays]
