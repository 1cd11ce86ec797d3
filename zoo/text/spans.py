"""Spans of a text that no output should change: addresses, placeholders and markup.

They are found by regular expressions in the language of RE2, the engine of TensorFlow's string
operations. Each looks at a character a bounded number of times, so that time grows with the text.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable

import tensorflow as tf

from .source_format import SourceFormat

_SPAN = "\x1e"  # stands around each
_LETTER = r"\p{Latin}\p{Greek}\p{Cyrillic}0-9"  # no Chinese, which may follow without a space
_OF_ADDRESS = rf"{_LETTER}._~:/?#@!$&*+,;=%'|-"
_END_OF_ADDRESS = rf"{_LETTER}_~/#@$&+=%|-"  # no mark of the sentence
_BRACKETS = rf"\([{_OF_ADDRESS}]*\)|\[[{_OF_ADDRESS}]*\]"
_PATTERNS = (
    r"<!--[^<>\n]*-->|</?[A-Za-z][^<>\n]*>|&(?:[A-Za-z][A-Za-z0-9]{1,31}|#[0-9xA-Fa-f]{1,8});",
    rf"(?:[A-Za-z][A-Za-z0-9+.-]*://|\bwww\.)(?:[{_OF_ADDRESS}]|{_BRACKETS})*"
    rf"(?:[{_END_OF_ADDRESS}]|{_BRACKETS})",
    rf"[{_LETTER}._%+-]+@[{_LETTER}-]+(?:\.[{_LETTER}-]+)*\.[{_LETTER}-]*[{_LETTER}]",
    r"\{\{[^{}\n]*\}\}|\{%[^{}\n]*%\}|\$?\{[^{}\s]*\}",
    r"%\([^()\s]*\)[-+#0-9.]*[A-Za-z]",
    # Of "%dx%d" and "%.2fMB" both are; of "100%important" nothing is.
    r"%(?:[0-9]+\$)?[-+#0]*[0-9]*(?:\.[0-9]+)?(?:hh?|ll?|[zjtLq])?(?:[dsf@]|[iouxXeEgGaAcrpn]\b)",
)
_ANY = "|".join(f"(?:{pattern})" for pattern in _PATTERNS)


def missing_spans(sources: tf.Tensor, outputs: tf.Tensor, tags: tuple[str, ...] = ()) -> tf.Tensor:
    """Spans of sources that their outputs have not, or not as often, in the graph.

    They are addresses (`https://...`, `www...`, e-mail), placeholders (`{name}`, `${name}`,
    `{{ name }}`, `%s`, `%(name)s`) and markup (`<b>`, `&nbsp;`), byte for byte.

    Args:
        sources: Strings (B,).
        outputs: Strings (B,).
        tags: Language tags, which are no spans.

    Returns:
        Strings (B,): the spans of each source in its order, each once, with line breaks between.
    """
    if tags:
        sources = tf.strings.regex_replace(sources, "|".join(map(re.escape, tags)), " ")
    marked = _marked(sources)

    def compare() -> tf.Tensor:
        wanted, found = _spans(marked), _spans(_marked(outputs))
        spans = tf.concat([wanted.values, found.values], axis=0)
        rows = tf.concat([wanted.value_rowids(), found.value_rowids()], axis=0)
        keys, number = tf.unique(tf.strings.join([tf.strings.as_string(rows), spans], " "))
        position = tf.range(tf.size(number))
        more = tf.where(position < tf.size(wanted.values), 1, -1)
        lacking = tf.math.unsorted_segment_sum(more, number, tf.size(keys)) > 0
        first = tf.math.unsorted_segment_min(position, number, tf.size(keys))
        first = tf.boolean_mask(first, lacking)  # in the order of the sources, where they all are
        lost = tf.RaggedTensor.from_value_rowids(
            tf.gather(spans, first), tf.gather(rows, first), tf.size(sources, tf.int64)
        )
        return tf.strings.reduce_join(lost, axis=1, separator="\n")

    has_spans = tf.reduce_any(tf.strings.length(marked) > tf.strings.length(sources))
    return tf.cond(has_spans, compare, lambda: tf.fill(tf.shape(sources), ""))


def telling(method: Callable, inputs: SourceFormat) -> Callable:
    """The method of a signature, with `missing_spans` as another output.

    Args:
        method: From the inputs to outputs, with texts (B,) or (B, N) as `text`.
        inputs: Of a translator, one text of which no part may be lost; the method of another task,
            such as a summarizer, which chooses what it writes, stays as it is.
    """
    if not inputs.can_be_split:
        return method

    @functools.wraps(method)
    def told(**columns):
        outputs = method(**columns)
        texts, sources = outputs["text"], columns[inputs.main]
        if texts.shape.rank == 2:
            sources = tf.repeat(sources, tf.shape(texts)[1])
        missing = missing_spans(sources, tf.reshape(texts, [-1]), inputs.tags)
        return {**outputs, "missing": tf.reshape(missing, tf.shape(texts))}

    return told


def _marked(texts: tf.Tensor) -> tf.Tensor:
    """Texts (B,) with a mark on both sides of each span, and no other such mark."""
    texts = tf.strings.regex_replace(texts, _SPAN, " ")
    return tf.strings.regex_replace(texts, _ANY, rf"{_SPAN}\0{_SPAN}")


def _spans(marked: tf.Tensor) -> tf.RaggedTensor:
    """The spans of marked texts (B,): strings (B, None)."""
    parts = tf.strings.split(marked, _SPAN)  # every second one is a span
    return tf.ragged.boolean_mask(parts, tf.ragged.range(parts.row_lengths()) % 2 == 1)
