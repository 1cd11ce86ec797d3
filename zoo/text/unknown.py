"""Unknown pieces of a source that keep their text, so that they can be copied.

The tokenizer has one id for everything that it has no piece for. Here each unknown piece of a
source has its own negative id instead: -1 is the first piece that a `SurfaceReader` met, -2 the
second, over all rows of a batch. A model reads all of them as the unknown token; where it writes
the unknown token, the piece that it attended to most is written.

Shapes: B batch, S source length, T target length, N hypotheses, K unknown pieces.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import tensorflow as tf

from .tokenizer import END_ID, UNKNOWN_ID, WHITE_SPACE_MARK, Tokenizer

if TYPE_CHECKING:
    from ..decoding.options import GenerationOptions

_SPACE = r"[\s\v\x{85}\p{Z}]+"


class SurfaceReader:
    """Tokenizes texts in the graph and remembers the text of each unknown piece.

    SentencePiece makes one unknown piece of a run of unknown characters. Its text is that of the
    source before normalization. Where that replaces a character by several, it belongs to the last
    of them: if only others are unknown, their piece has no text. A tokenizer with bytes has no
    unknown pieces. If the pieces of a tokenizer are
    whole words, the text of an unknown one begins with a space.

    Args:
        tokenizer: The tokenizer of the known pieces.

    Example:

    >>> reader = SurfaceReader(tokenizer)
    >>> ids = reader.tokenize(tf.constant(["Frau 龘 lacht"]))     # ragged, -1 for the unknown piece
    >>> reader.surfaces()                                       # ["龘"]
    """

    def __init__(self, tokenizer: Tokenizer):
        self._tokenizer = tokenizer.graph_tokenizer
        # With other pieces the space before an unknown character is a piece of its own.
        self._of_words = tokenizer.is_of_words()
        self._surfaces = [tf.constant([], tf.string)]

    def tokenize(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """Ids of texts (B,), ragged (B, None), negative for unknown pieces."""
        ids, starts, ends = self._tokenizer.tokenize_with_offsets(texts)
        positions = tf.where(ids.values == UNKNOWN_ID)[:, 0]
        first = tf.gather(starts.values, positions)
        surfaces = tf.strings.substr(
            tf.gather(texts, tf.gather(ids.value_rowids(), positions)),
            first,
            tf.gather(ends.values, positions) - first,
        )
        if self._of_words:
            # Several words in a row are one unknown piece, with all white space between them.
            surfaces = tf.strings.regex_replace(tf.strings.strip(surfaces), _SPACE, " ")
            surfaces = tf.strings.join([" ", surfaces])
        met = sum(tf.size(earlier) for earlier in self._surfaces)
        numbers = -1 - met - tf.range(tf.size(surfaces))
        self._surfaces.append(surfaces)
        return ids.with_values(tf.tensor_scatter_nd_update(ids.values, positions[:, None], numbers))

    def surfaces(self) -> tf.Tensor:
        """The text of each unknown piece that was met so far, (K,)."""
        return tf.concat(self._surfaces, axis=0)


def known_ids(ids: tf.Tensor) -> tf.Tensor:
    """Ids as a model reads them, with the unknown token for all unknown pieces."""
    return tf.where(ids < 0, UNKNOWN_ID, ids)


def has_unknown(source: tf.Tensor) -> tf.Tensor:
    """Mask (B,) of the sources (B, S) with a piece that can be copied for the unknown token."""
    return tf.reduce_any(source < 0, axis=1)


def may_be_written(labels: tf.Tensor, source: tf.Tensor, options: GenerationOptions) -> tf.Tensor:
    """Mask of the labels that a search with given options may write.

    These are all but the unknown token, which is allowed by the options, or copied where a source
    has an unknown piece.

    Args:
        labels: Target ids (B, T).
        source: Source ids (B, S).
        options: Options of generation.

    Returns:
        Boolean (B, T).
    """
    known = labels != UNKNOWN_ID
    if not options.forbid_unknown:
        return tf.ones_like(known)
    if options.replace_unknown:
        known |= tf.reduce_any((source == UNKNOWN_ID) | (source < 0), axis=1, keepdims=True)
    return known


def name_unknown(tokens: tf.Tensor, attention: tf.Tensor, source: tf.Tensor) -> tf.Tensor:
    """Replaces unknown tokens by the unknown piece of the source that was attended to most.

    Args:
        tokens: Tokens written at a step, (B, N).
        attention: Attention weights with which they were written, (B, N, S).
        source: Source ids (B, S), negative for unknown pieces; a row without them keeps its unknown
            tokens.

    Returns:
        Ids (B, N).
    """
    is_unknown = (source < 0)[:, None]
    weights = tf.where(is_unknown, tf.cast(attention, tf.float32), -1.0)
    pieces = tf.gather(source, tf.argmax(weights, axis=-1, output_type=tf.int32), batch_dims=1)
    return tf.where((tokens == UNKNOWN_ID) & (pieces < 0), pieces, tokens)


def pieces_tensor(tokenizer: Tokenizer, ids: tf.Tensor, surfaces: tf.Tensor | None) -> tf.Tensor:
    """The piece of each id in the graph, with the text of unknown ones.

    Args:
        tokenizer: The tokenizer of the ids.
        ids: Ids of any shape, negative for unknown pieces.
        surfaces: Text of each unknown piece, (K,); `None` to write the unknown token.

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
        surfaces: Text of each unknown piece, (K,); `None` to write the unknown token.

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
    return tf.gather(tf.concat([surfaces, [""]], axis=0), tf.maximum(-1 - ids, 0))
