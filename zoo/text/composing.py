"""Composition of a task's inputs into source ids, in the graph. S is the source length."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from .normalization import are_blank
from .sentences import SPACE, split_sentences_tensor
from .source_format import LENGTHS, SEPARATOR, Source, SourceFormat, SourceInput, length_symbol
from .tokenizer import Tokenizer
from .unknown import SurfaceReader

_CHUNK = 2048


class Composed(NamedTuple):
    """Sources in tokens.

    Attributes:
        ids: Ragged int32 (B, None), cut to the limit, without the end id.
        lengths: int64 (B,), number of tokens before the cut; the limit or more where characters
            were cut before tokenization.
        blank: Boolean (B,), True where the main text has no token: there is nothing to answer.
    """

    ids: tf.RaggedTensor
    lengths: tf.Tensor
    blank: tf.Tensor

    def is_cut(self, max_length: int) -> tf.Tensor:
        """Mask (B,) of the sources of which a part is left out at this limit, end included."""
        return self.lengths >= max_length


def compose(
    tokenizer: Tokenizer,
    source_format: SourceFormat,
    columns: Mapping[str, tf.Tensor],
    max_length: int,
    reader: SurfaceReader | None = None,
) -> Composed:
    """Tokenizes the inputs of a format and composes them into one source.

    Each input is clipped to the limit before it is tokenized, so that the cost of a text grows
    linearly with its length and no text is too long for memory.

    Args:
        tokenizer: A tokenizer with the symbols of the format.
        source_format: Order of the inputs, and the part that is kept of long ones.
        columns: A tensor (B,) for each input, strings or, for lengths, integers; optional ones may
            be missing.
        max_length: Largest number of tokens, including the end id that is added later.
        reader: Gives unknown pieces their own ids, if their text is to be kept.

    Returns:
        The ids, their lengths before the cut, and the blank rows.
    """

    def tokenize(texts: tf.Tensor) -> tuple[tf.RaggedTensor, tf.Tensor]:
        texts, cut = tokenizer.clip(texts, max_length, source_format.keep)
        read = tokenizer.tokenize
        if reader is not None:
            read = functools.partial(reader.tokenize, tokenizer)
        ids = _sentence_ids(tokenizer, read, texts) if source_format.sentences else read(texts)
        return ids, cut

    parts: list[tf.RaggedTensor] = []
    front: list[tf.RaggedTensor] = []
    clipped: list[tf.Tensor] = []
    for item in source_format.inputs:
        column = columns.get(item.name)
        if column is None:
            continue
        if item.kind == "length":
            front.append(_length_ids(tokenizer, column))
            continue
        if item.kind == "turns":
            ids, cut = _turn_ids(tokenizer, tokenize, column, source_format.max_turns)
        else:
            ids, cut = tokenize(column)
            if item.name != source_format.main:
                ids = _separated(tokenizer, ids)
        parts.append(ids)
        clipped.append(cut)
    text = tf.concat(parts, axis=1)
    blank = parts[-1].row_lengths() == 0
    if source_format.tags:  # of a tag alone there is nothing to translate
        blank |= are_blank(without_tag(columns[source_format.main], source_format.tags)[0])
    if source_format.main_first:
        front.append(_announced(_separated(tokenizer, parts[-1]), text, max_length))
    if source_format.tag is not None:
        tags = tf.fill([text.nrows(), 1], tokenizer.id_of(source_format.tag))
        front.insert(0, tf.RaggedTensor.from_tensor(tags))
    heads = tf.concat(front, axis=1) if front else None
    taken = heads.row_lengths() if heads is not None else 0
    lengths = text.row_lengths() + taken
    lengths = tf.where(tf.reduce_any(clipped, axis=0), tf.maximum(lengths, max_length), lengths)
    room = tf.maximum(tf.cast(max_length - 1, tf.int64) - taken, 0)
    text = _keep(text, room, source_format.keep)
    return Composed(text if heads is None else tf.concat([heads, text], axis=1), lengths, blank)


def without_tag(texts: tf.Tensor, tags: Sequence[str]) -> tuple[tf.Tensor, tf.Tensor]:
    """Texts (B,) without the language tag that they begin with, and that tag, or "", (B,).

    White space in front of the tag stays with the text, that behind it with the tag.
    """
    space, any_tag = f"[{SPACE}\n]*", f"(?:{'|'.join(map(re.escape, tags))})"
    begun = tf.strings.regex_replace(texts, f"^{space}({any_tag})", r"\1", replace_global=False)
    rest = tf.strings.regex_replace(begun, f"^{any_tag}{space}", "", replace_global=False)
    all_of, size, kept = (tf.strings.length(x) for x in (texts, begun, rest))
    start = tf.zeros_like(size)
    before = tf.strings.substr(texts, start, all_of - size)
    return tf.strings.join([before, rest]), tf.strings.substr(begun, start, size - kept)


def encode_sources(
    tokenizer: Tokenizer,
    source_format: SourceFormat,
    sources: Sequence[Source],
    max_length: int,
) -> tuple[list[np.ndarray], np.ndarray]:
    """Encodes sources in Python with the operations of the graph.

    Args:
        tokenizer: A tokenizer with the symbols of the format.
        source_format: Inputs of a source.
        sources: N sources.
        max_length: Largest number of tokens, end included.

    Returns:
        The ids of each source, cut to the limit and without end, and the lengths before the cut,
        int64 (N,).
    """
    rows: list[np.ndarray] = []
    lengths = []
    for start in range(0, len(sources), _CHUNK):
        columns = source_format.columns(sources[start : start + _CHUNK])
        tensors = {name: tf.constant(column) for name, column in columns.items()}
        try:
            composed = compose(tokenizer, source_format, tensors, max_length)
        except tf.errors.NotFoundError:  # TensorFlow dropped the resource when seeds were set
            tokenizer = tokenizer.renewed()
            composed = compose(tokenizer, source_format, tensors, max_length)
        flat = composed.ids.values.numpy()
        rows += np.split(flat, composed.ids.row_splits.numpy()[1:-1])
        lengths.append(composed.lengths.numpy())
    return rows, np.concatenate(lengths)


def number_unknown(
    tokenizer: Tokenizer,
    source_format: SourceFormat,
    sources: Sequence[Source],
    targets: Sequence[str],
    max_length: int,
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Encodes pairs in Python with a number for each unknown piece of a source; see `unknown`.

    Args:
        tokenizer: The tokenizer, with that of the sources.
        source_format: Inputs of a source.
        sources: N sources.
        targets: N targets.
        max_length: Largest number of tokens of a source, end included.

    Returns:
        The ids of each source, cut to the limit, and of each target, without ends.
    """
    pairs: list[tuple[np.ndarray, np.ndarray]] = []
    for start in range(0, len(sources), _CHUNK):
        columns = source_format.columns(sources[start : start + _CHUNK])
        tensors = {name: tf.constant(column) for name, column in columns.items()}
        written = tf.constant(targets[start : start + _CHUNK])

        def read(tokenizer, tensors=tensors, written=written):
            reader = SurfaceReader()
            composed = compose(tokenizer.source, source_format, tensors, max_length, reader)
            return reader, composed.ids, reader.tokenize(tokenizer, written)

        try:
            reader, source, target = read(tokenizer)
        except tf.errors.NotFoundError:  # TensorFlow dropped the resource when seeds were set
            tokenizer = tokenizer.renewed()
            reader, source, target = read(tokenizer)
        sides = reader.number(source.to_tensor(), target.to_tensor())
        lengths = (source.row_lengths().numpy(), target.row_lengths().numpy())
        rows = (
            [row[:length] for row, length in zip(side.numpy(), of_side, strict=True)]
            for side, of_side in zip(sides, lengths, strict=False)
        )
        pairs += zip(*rows, strict=True)
    return pairs


def rows_too_long(
    tokenizer: Tokenizer,
    source_format: SourceFormat,
    sources: Sequence[Source],
    max_length: int,
) -> list[int]:
    """The numbers of the sources of which a part would be cut.

    Args:
        tokenizer: A tokenizer with the symbols of the format.
        source_format: Inputs of a source.
        sources: N sources.
        max_length: Largest number of tokens, end included.

    Returns:
        Row numbers from 0.
    """
    if not sources:
        return []
    _, lengths = encode_sources(tokenizer, source_format, sources, max_length)
    return [int(row) for row in np.flatnonzero(lengths >= max_length)]


def graph_function(
    method: Callable, inputs: Sequence[SourceInput], *more: tf.TensorSpec
) -> tf.types.experimental.PolymorphicFunction:
    """A graph function whose parameters have the names of the inputs, which clients see.

    Args:
        method: Function of keyword arguments, a tensor for each input.
        inputs: Inputs of a task, each a batch (B,).
        *more: Specs of further parameters.

    Returns:
        A `tf.function` with an input signature, which refuses inputs of unequal lengths.
    """
    types = {"length": tf.int32}
    specs = [
        *(tf.TensorSpec((None,), types.get(item.kind, tf.string), item.name) for item in inputs),
        *more,
    ]
    names = [spec.name for spec in specs]

    def function(*columns):
        # A single row of one input would else go with all rows of another.
        for name, column in zip(names[1:], columns[1:], strict=True):
            counts = tf.size(column), tf.size(columns[0])
            tf.debugging.assert_equal(*counts, f"{name} has not as many rows as {names[0]}")
        return method(**dict(zip(names, columns, strict=True)))

    functools.update_wrapper(function, getattr(method, "func", method))

    function.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in names]
    )
    # The loops are explicit, so there is nothing for autograph to convert.
    return tf.function(function, input_signature=specs, autograph=False)


def _length_ids(tokenizer: Tokenizer, lengths: tf.Tensor) -> tf.RaggedTensor:
    """The symbol of each requested length (B, 1); none (B, 0) where it is 0."""
    symbols = tf.constant([tokenizer.id_of(length_symbol(length)) for length in LENGTHS])
    lengths = tf.cast(lengths, tf.int32)
    chosen = tf.searchsorted(tf.constant(LENGTHS), lengths, side="right") - 1
    ids = tf.gather(symbols, tf.maximum(chosen, 0))[:, None]
    return tf.ragged.boolean_mask(ids, (lengths > 0)[:, None])


def _turn_ids(
    tokenizer: Tokenizer, tokenize: Callable, history: tf.Tensor, max_turns: int
) -> tuple[tf.RaggedTensor, tf.Tensor]:
    """The newest turns of each history (B,), each with a separator, and whether one was cut."""
    lines = tf.strings.split(history, "\n")  # (B, turns)
    lines = tf.ragged.boolean_mask(lines, ~lines.with_values(are_blank(lines.values)))
    lines = lines[:, -max_turns:] if max_turns else lines[:, :0]
    ids, cut = tokenize(lines.values)
    turns = _in_rows_of(lines, _separated(tokenizer, ids))
    return turns, tf.reduce_any(lines.with_values(cut), axis=1)


def _sentence_ids(
    tokenizer: Tokenizer, read: Callable[[tf.Tensor], tf.RaggedTensor], texts: tf.Tensor
) -> tf.RaggedTensor:
    """The ids of texts (B,) with a separator between their sentences."""
    sentences = split_sentences_tensor(texts)
    return _in_rows_of(sentences, _separated(tokenizer, read(sentences.values)))[:, :-1]


def _in_rows_of(parts: tf.RaggedTensor, ids: tf.RaggedTensor) -> tf.RaggedTensor:
    """The ids of parts of rows (B, None), one part after the other (B, None)."""
    splits = tf.gather(ids.row_splits, parts.row_splits)
    return tf.RaggedTensor.from_row_splits(ids.values, splits, validate=False)


def _separated(tokenizer: Tokenizer, ids: tf.RaggedTensor) -> tf.RaggedTensor:
    """The rows that are not empty, each followed by a separator."""
    mark = tf.fill([ids.nrows(), 1], tokenizer.id_of(SEPARATOR))
    marks = tf.ragged.boolean_mask(mark, (ids.row_lengths() > 0)[:, None])
    return tf.concat([ids, marks], axis=1)


def _announced(main: tf.RaggedTensor, text: tf.RaggedTensor, max_length: int) -> tf.RaggedTensor:
    """The main inputs (B, None); empty where there is nothing else or no room for two of them."""
    lengths = main.row_lengths()  # a separator included, which is the position of the end
    wanted = (text.row_lengths() >= lengths) & (2 * lengths <= max_length)
    return tf.ragged.boolean_mask(main, main.with_values(tf.gather(wanted, main.value_rowids())))


def _keep(ids: tf.RaggedTensor, room: tf.Tensor, keep: str) -> tf.RaggedTensor:
    """At most `room` ids of each row, from its start or its end."""
    positions = tf.ragged.range(ids.row_lengths())  # the number of each id in its row
    room = tf.broadcast_to(room, tf.shape(ids.row_lengths(), tf.int64))
    rows = ids.value_rowids()
    if keep == "end":
        kept = positions.values >= tf.gather(ids.row_lengths() - room, rows)
    else:
        kept = positions.values < tf.gather(room, rows)
    return tf.ragged.boolean_mask(ids, ids.with_values(kept))
