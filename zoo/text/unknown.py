"""Unknown pieces of a source that keep their text, so that they can be copied.

The tokenizer has one id for everything that it has no piece for. Here each unknown piece of a
source has its own negative id instead: -1 is the first piece of a source, -2 the next one with
another text, in each row anew, and a target has the id of the piece whose text it has. A model
reads all of them as the unknown token, and writes each for itself, as the extended vocabulary of
See et al. 2017.

Shapes: B batch, S source length, T target length, U unknown pieces of a source.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import tensorflow as tf
import tensorflow_text

from .special_ids import END_ID, UNKNOWN_ID

if TYPE_CHECKING:
    from ..decoding.options import GenerationOptions
    from .tokenizer import Tokenizer

WHITE_SPACE_MARK = "\u2581"
_SPACE = r"[\s\v\x{85}\p{Z}]+"


def tokenize_with_unknown(
    graph_tokenizer: tensorflow_text.SentencepieceTokenizer, of_words: bool, texts: tf.Tensor
) -> tuple[tf.RaggedTensor, tf.Tensor]:
    """Tokenizes texts in the graph, with the text of each unknown piece before normalization.

    Args:
        graph_tokenizer: SentencePiece, which makes one piece of what is unknown in a row.
        of_words: Whether tokens are whole words: then each unknown word is a piece, and its text
            begins with a space.
        texts: Strings (B,).

    Returns:
        Ids, ragged (B, None), and texts, (K,).
    """
    ids, starts, ends = graph_tokenizer.tokenize_with_offsets(texts)
    positions = tf.where(ids.values == UNKNOWN_ID)[:, 0]
    first = tf.gather(starts.values, positions)
    surfaces = tf.strings.substr(
        tf.gather(texts, tf.gather(ids.value_rowids(), positions)),
        first,
        tf.gather(ends.values, positions) - first,
    )
    if not of_words:
        # Here the space before an unknown character is a piece of its own.
        return ids, surfaces
    # Several words in a row are one unknown piece.
    surfaces = tf.strings.regex_replace(surfaces, _SPACE, " ")
    words = tf.strings.split(tf.strings.strip(surfaces), " ")
    counts = tf.tensor_scatter_nd_update(
        tf.ones_like(ids.values), positions[:, None], tf.cast(words.row_lengths(), tf.int32)
    )
    lengths = tf.reduce_sum(ids.with_values(tf.cast(counts, tf.int64)), axis=1)
    ids = tf.RaggedTensor.from_row_lengths(tf.repeat(ids.values, counts), lengths, validate=False)
    return ids, tf.strings.join([" ", words.values])


class SurfaceReader:
    """Tokenizes texts in the graph and remembers the text of each unknown piece.

    SentencePiece makes one unknown piece of a run of unknown characters; where tokens are words,
    each unknown word is one. Its text is that of the source before normalization. Where that
    replaces a character by several, it belongs to the last of them: if only others are unknown,
    their piece has no text. A tokenizer with bytes has no unknown pieces. If the pieces of a
    tokenizer are whole words, the text of an unknown one begins with a space.

    Example:

    >>> reader = SurfaceReader()
    >>> ids = reader.tokenize(tokenizer, tf.constant(["Frau 龘 lacht, 龘"]))     # ragged
    >>> source, _, surfaces = reader.number(ids.to_tensor())     # -1 for both; [["龘"]]
    """

    def __init__(self) -> None:
        self._surfaces = [tf.constant([], tf.string)]

    def tokenize(self, tokenizer: Tokenizer, texts: tf.Tensor) -> tf.RaggedTensor:
        """Ids of texts (B,), ragged (B, None): -1, -2 and so on for all unknown pieces met."""
        ids, surfaces = tokenizer.tokenize_with_unknown(texts)
        positions = tf.where(ids.values == UNKNOWN_ID)
        met = sum(tf.size(earlier) for earlier in self._surfaces)
        numbers = -1 - met - tf.range(tf.size(surfaces))
        self._surfaces.append(surfaces)
        return ids.with_values(tf.tensor_scatter_nd_update(ids.values, positions, numbers))

    def number(
        self, source: tf.Tensor, target: tf.Tensor | None = None
    ) -> tuple[tf.Tensor, tf.Tensor | None, tf.Tensor]:
        """Numbers the unknown pieces of each source, equal texts alike, and those of its target.

        Args:
            source: Ids (B, S) as `tokenize` gives them.
            target: The same (B, T), if there is one.

        Returns:
            The source with -1, -2 and so on in each row; the target with the same numbers, and the
            unknown token for pieces that its source has not; the text of each number, (B, U).
        """
        texts, text_of = tf.unique(tf.concat(self._surfaces, axis=0))
        sides = [source] if target is None else [source, target]
        positions = [tf.where(side < 0) for side in sides]
        keys = [
            where[:, 0] * tf.size(texts, tf.int64)
            + tf.cast(tf.gather(text_of, -1 - tf.gather_nd(side, where)), tf.int64)
            for where, side in zip(positions, sides, strict=True)
        ]
        # The pairs of a row and a text, by their first appearance: the sources' come first.
        pairs, found = tf.unique(tf.concat(keys, axis=0))
        count = tf.size(tf.unique(keys[0])[0])
        rows = pairs[:count] // tf.size(texts, tf.int64)
        of_row = tf.math.bincount(
            tf.cast(rows, tf.int32), minlength=tf.shape(source)[0], maxlength=tf.shape(source)[0]
        )
        first = tf.gather(tf.cumsum(of_row, exclusive=True), rows)
        numbers = -1 - (tf.range(count) - first)
        numbers = tf.concat([numbers, tf.fill([tf.size(pairs) - count], UNKNOWN_ID)], axis=0)
        numbers = tf.split(tf.gather(numbers, found), [tf.size(key) for key in keys])
        source, *rest = (
            tf.tensor_scatter_nd_update(side, where, new)
            for side, where, new in zip(sides, positions, numbers, strict=True)
        )
        surfaces = tf.gather(texts, pairs[:count] % tf.maximum(tf.size(texts, tf.int64), 1))
        surfaces = tf.RaggedTensor.from_row_lengths(surfaces, of_row, validate=False).to_tensor("")
        return source, (rest[0] if rest else None), surfaces


def known_ids(ids: tf.Tensor) -> tf.Tensor:
    """Ids as a model reads them, with the unknown token for all unknown pieces."""
    return tf.where(ids < 0, UNKNOWN_ID, ids)


def may_be_written(labels: tf.Tensor, options: GenerationOptions) -> tf.Tensor:
    """Mask of the labels (B, T) that a search with given options may write.

    These are all but the unknown token, unless the options allow it: an unknown piece of the source
    is none.
    """
    return (labels != UNKNOWN_ID) | (not options.forbid_unknown)


def pieces_tensor(tokenizer: Tokenizer, ids: tf.Tensor, surfaces: tf.Tensor | None) -> tf.Tensor:
    """The piece of each id in the graph, with the text of unknown ones.

    Args:
        tokenizer: The tokenizer of the ids.
        ids: Ids (B, T), negative for unknown pieces.
        surfaces: Text of each unknown piece of each row, (B, U); `None` to write the unknown token.

    Returns:
        Strings of the shape of `ids`; "" for padding.
    """
    pieces = tokenizer.pieces_tensor(known_ids(ids))
    if surfaces is None:
        return pieces
    named = tf.strings.regex_replace(_surfaces_of(ids, surfaces), " ", WHITE_SPACE_MARK)
    return tf.where((ids < 0) & (named != ""), named, pieces)


def decode_tensor(tokenizer: Tokenizer, ids: tf.Tensor, surfaces: tf.Tensor | None) -> tf.Tensor:
    """Texts of ids in the graph, with unknown pieces as they are in the source.

    Args:
        tokenizer: The tokenizer of the ids.
        ids: Ids (B, T), of which those from the first end on are left out.
        surfaces: Text of each unknown piece of each row, (B, U); `None` to write the unknown token.

    Returns:
        Strings (B,).
    """
    texts = tokenizer.decode_tensor(known_ids(ids))
    if surfaces is None:
        return texts
    written = tf.cumsum(tf.cast(ids == END_ID, tf.int32), axis=1) == 0
    is_control = tf.gather(tf.constant(tokenizer.control_mask()), known_ids(ids))
    pieces = tokenizer.pieces_tensor(known_ids(ids))
    pieces = tf.strings.regex_replace(pieces, WHITE_SPACE_MARK, " ")
    pieces = tf.where(ids < 0, _surfaces_of(ids, surfaces), pieces)
    pieces = tf.where(written & ~is_control, pieces, "")
    named = tf.strings.regex_replace(tf.strings.reduce_join(pieces, axis=1), "^ +", "")
    return tf.where(tf.reduce_any(written & (ids < 0), axis=1), named, texts)


def _surfaces_of(ids: tf.Tensor, surfaces: tf.Tensor) -> tf.Tensor:
    # One more, so that there is something to gather from where nothing is unknown.
    surfaces = tf.pad(surfaces, [[0, 0], [0, 1]], constant_values="")
    return tf.gather(surfaces, tf.maximum(-1 - ids, 0), batch_dims=1)
