"""Token tokenization: SentencePiece, trained on the run's own text and run inside the graph."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
import tensorflow_text

from ..cpus import available_cpus
from .learning import learn_model
from .normalization import are_blank
from .special_ids import END_ID, PAD_ID, START_ID, UNKNOWN_ID
from .unknown import tokenize_with_unknown
from .vocabulary import Vocabulary

# From so many tokens on, the 256 bytes among them, every text can be written.
BYTES_FROM = 2000
# NFC makes one character of up to four: a Greek letter with three marks.
_MOST_DECOMPOSED = 4
# Of whole words: a longer one is a number or an address, and no text is made of them alone.
_LONGEST_PIECE = 128
_MOST_CHARACTERS = 2**28  # lengths in bytes, four times that at most, are int32


class Tokenizer(Vocabulary):
    """Text to token ids and back, in Python and in a TensorFlow graph.

    SentencePiece (Kudo and Richardson 2018) learns its pieces from raw text, so Chinese and
    Japanese need no segmentation before. The model itself normalizes text, to Unicode NFC and
    single spaces unless it was trained with another `normalization`. The same trained model is run
    in Python while data is prepared and by `tensorflow_text` inside exported graphs, so that what
    is trained is what is served.

    The ids of padding, unknown, start and end are 0, 1, 2 and 3.

    Args:
        model: bytes of a trained SentencePiece model.
        source_model: the same for sources, if they have a vocabulary of their own.

    Attributes:
        source: the tokenizer of sources; this one itself where both sides share a vocabulary.

    Raises:
        ValueError: The bytes are no SentencePiece model, or it has other ids of special tokens.

    Example:

    >>> tokenizer = Tokenizer.train(["ein Haus", "a house"] * 10, vocab_size=24)
    >>> tokenizer.decode(tokenizer.encode(["a house"]))
    ['a house']

    Reference: https://aclanthology.org/D18-2012
    """

    def __init__(self, model: bytes, source_model: bytes | None = None):
        super().__init__(model)
        self.source = self if source_model is None else Tokenizer(source_model)
        # One resource for the life of the tokenizer: an export must track exactly this object.
        with tf.init_scope():
            self.graph_tokenizer = tensorflow_text.SentencepieceTokenizer(model=model)
        self._of_words = self.is_of_words()
        longest = max(map(len, self.pieces(range(self.vocab_size))))
        self._most_characters = _MOST_DECOMPOSED * min(longest, _LONGEST_PIECE)
        self._joins_spaces = self._processor.encode("a b") == self._processor.encode("a  b")

    @classmethod
    def train(
        cls,
        texts: Iterable[str],
        vocab_size: int = 8000,
        kind: str = "bpe",
        character_coverage: float = 0.9999,
        max_sentences: int = 1_000_000,
        symbols: Sequence[str] = (),
        normalization: str = "nfc",
        byte_fallback: bool | None = None,
        protected: Sequence[str] = (),
    ) -> Tokenizer:
        """Learns at most `vocab_size` pieces from `texts`; fewer where the text has fewer.

        Args:
            texts: raw sentences of every language the model will read or write.
            vocab_size: upper bound of the number of pieces, specials included.
            kind: `"bpe"` or `"unigram"`; `"word"` for whole words between white space, the most
                frequent ones, or `"char"` for characters.
            character_coverage: share of the characters that get a piece of their own.
            max_sentences: a larger corpus is sampled down to this many sentences.
            symbols: marks with an id of their own that no text is ever split into, such as a
                separator; they are part of `vocab_size`.
            normalization: `"nfc"`: Unicode NFC, in which nothing is lost but how letters with
                marks are put together, and white space of any kind as single spaces; `"none"`; or
                one of SentencePiece, such as `"nmt_nfkc"`, which makes `10²` of `102`.
            byte_fallback: Whether a character without a piece is written as the bytes of its
                UTF-8, 256 tokens that are part of `vocab_size`, rather than as the unknown token.
                If `None`, where at least 2,000 tokens are learned. Never of whole words.
            protected: Texts that are one token each wherever they stand, and never normalized, such
                as language tags and placeholders; they are part of `vocab_size`.

        Returns:
            The tokenizer.

        Raises:
            ValueError: There is no such kind or normalization, or no tokens can be learned.
        """
        texts = list(texts)
        settings = {
            "model_type": kind,
            "vocab_size": vocab_size,
            "character_coverage": character_coverage,
            "input_sentence_size": max_sentences,
            "control_symbols": list(symbols),
            "user_defined_symbols": list(protected),
        }
        if byte_fallback is None and kind != "word" and vocab_size >= BYTES_FROM:
            try:
                found = cls(learn_model(texts, normalization, byte_fallback=True, **settings))
            except ValueError:
                pass  # there may be no room for the characters beside the bytes
            else:
                if found.vocab_size >= BYTES_FROM:
                    return found
        with_bytes = bool(byte_fallback) and kind != "word"
        return cls(learn_model(texts, normalization, byte_fallback=with_bytes, **settings))

    @classmethod
    def load(
        cls, path: str | os.PathLike, source_path: str | os.PathLike | None = None
    ) -> Tokenizer:
        """Reads a SentencePiece model file, and that of the sources if they have their own.

        Args:
            path: File of the model.
            source_path: File of the model of the sources; `None` if both sides share one.

        Returns:
            The tokenizer.

        Raises:
            ValueError: A file is not a SentencePiece model, or has other ids of special tokens.
        """
        source = None if source_path is None else Path(source_path).read_bytes()
        return cls(Path(path).read_bytes(), source)

    def save(self, path: str | os.PathLike, source_path: str | os.PathLike | None = None) -> None:
        """Writes the SentencePiece model, and that of the sources if they have their own.

        Args:
            path: File of the model.
            source_path: File of the model of the sources; `None` if both sides share one.

        Raises:
            ValueError: The sources have their own vocabulary and no path, or the other way round.
        """
        if self.shares_vocabulary != (source_path is None):
            raise ValueError(
                "Source and target share one vocabulary, which is all in `path`: leave out "
                f"source_path. Received: source_path={source_path}"
                if self.shares_vocabulary
                else "The sources have a vocabulary of their own, which needs a file of its own: "
                "save(path, source_path). Received: source_path=None"
            )
        Path(path).write_bytes(self.model)
        if source_path is not None:
            Path(source_path).write_bytes(self.source.model)

    @property
    def shares_vocabulary(self) -> bool:
        """True where source and target have one vocabulary."""
        return self.source is self

    def renewed(self) -> Tokenizer:
        """Makes the same tokenizer once more.

        Returns:
            A tokenizer with resources of its own in the graph.
        """
        return Tokenizer(self.model, None if self.shares_vocabulary else self.source.model)

    def encode(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Splits texts into tokens.

        Args:
            texts: N texts, of any length.

        Returns:
            The ids of each text, int32, without start and end.
        """
        texts = list(texts)
        encoded = self._processor.encode(texts, out_type=int, num_threads=available_cpus())
        if self._of_words:
            rows = [row for row, ids in enumerate(encoded) if UNKNOWN_ID in ids]
            written = tf.constant([texts[row] for row in rows], tf.string)
            try:
                anew = self.tokenize(written)
            except tf.errors.NotFoundError:  # TensorFlow dropped the resource when seeds were set
                anew = self.renewed().tokenize(written)
            for row, ids in zip(rows, anew.to_list(), strict=True):
                encoded[row] = ids
        return [np.asarray(ids, dtype=np.int32) for ids in encoded]

    def tokenize(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """Splits texts into tokens in the graph.

        Args:
            texts: Strings (B,).

        Returns:
            The ids of each text, int32, ragged (B, None), without start and end.
        """
        if self._of_words:
            return self.tokenize_with_unknown(texts)[0]
        return self.graph_tokenizer.tokenize(texts)

    def tokenize_with_unknown(self, texts: tf.Tensor) -> tuple[tf.RaggedTensor, tf.Tensor]:
        """Splits texts into tokens in the graph and keeps what has no token.

        Args:
            texts: Strings (B,).

        Returns:
            What `tokenize` returns, and the text of each of its K unknown tokens, strings (K,).
        """
        return tokenize_with_unknown(self.graph_tokenizer, self._of_words, texts)

    def decode(self, ids: Sequence[Sequence[int]]) -> list[str]:
        """Joins tokens to texts.

        Args:
            ids: Rows of ids. Padding, start and end are left out; negative ids are unknown tokens.

        Returns:
            The text of each row.
        """
        special = PAD_ID, START_ID, END_ID
        rows = [[max(int(i), UNKNOWN_ID) for i in row if i not in special] for row in ids]
        return self._processor.decode(rows) if rows else []

    def encode_tensor(self, texts: tf.Tensor, max_length: int | None = None) -> tf.Tensor:
        """Ids of a batch of strings in the graph, ended and padded.

        Args:
            texts: string tensor of shape (B,).
            max_length: longer rows are cut so that, their end included, they have this length.

        Returns:
            int32 ids of shape (B, S); every row ends with the end id, then padding.
        """
        if max_length is None:
            return with_end(self.tokenize(texts))
        texts, _ = self.clip(texts, max_length)
        return with_end(self.tokenize(texts)[:, : max_length - 1])

    def clip(
        self, texts: tf.Tensor, max_length: int, keep: str = "start"
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Cuts texts in the graph to what can become `max_length` tokens, before they do.

        Tokenization takes the square of the time for a run of characters without a piece, so a
        text is bounded before it. `max_length` tokens are at most so many times four times the
        characters of the longest piece, since letters may come decomposed: no token that would
        be kept is lost. Only of what is one unknown token however long it is, or none, such as
        other white space than spaces, no more than these characters are read.

        Args:
            texts: strings (B,). Nothing is left of a blank one, see `are_blank`.
            max_length: the number of tokens.
            keep: which part stays, the `"start"` or the `"end"`.

        Returns:
            The texts (B,), several spaces in a row as one, and whether each was cut, boolean (B,).
        """
        if self._joins_spaces:
            texts = tf.strings.regex_replace(texts, "  +", " ")
        most = min(max_length * self._most_characters, _MOST_CHARACTERS)
        # By bytes first: what is not UTF-8 can have any number of bytes that begin no character.
        texts, cut = _part(texts, 4 * most, keep, "BYTE")
        texts, cut_too = _part(texts, most, keep, "UTF8_CHAR")
        return tf.where(are_blank(texts), "", texts), cut | cut_too

    def decode_tensor(self, ids: tf.Tensor) -> tf.Tensor:
        """Joins tokens to texts in the graph.

        Args:
            ids: int32 (B, T). All from the end id on is left out, and padding and start too.

        Returns:
            Strings (B,).
        """
        ended = tf.cumsum(tf.cast(tf.equal(ids, END_ID), tf.int32), axis=1) > 0
        keep = tf.logical_not(ended) & (ids != PAD_ID) & (ids != START_ID)
        return self.graph_tokenizer.detokenize(tf.ragged.boolean_mask(ids, keep))

    def pieces_tensor(self, ids: tf.Tensor) -> tf.Tensor:
        """Looks up pieces in the graph.

        Args:
            ids: int32, any shape.

        Returns:
            Strings of the same shape; "" for padding.
        """
        return tf.where(ids == PAD_ID, "", self.graph_tokenizer.id_to_string(ids))


def _part(texts: tf.Tensor, most: int, keep: str, unit: str) -> tuple[tf.Tensor, tf.Tensor]:
    """The first or last units of texts (B,), so many at most, and whether there are more."""
    lengths = tf.strings.length(texts, unit=unit)
    start, count = tf.zeros_like(lengths), most
    if keep == "end":
        # The rest of a character that stands in front is counted by `substr` alone.
        start, count = tf.maximum(lengths - most, 0), most + 1
    part = tf.strings.substr(texts, start, tf.fill(tf.shape(start), count), unit=unit)
    return part, lengths > most


def with_end(ids: tf.RaggedTensor) -> tf.Tensor:
    """Ids (B, S), each row ended and padded; one position wide where there is no row."""
    end = tf.fill([ids.nrows(), 1], END_ID)
    rows = tf.concat([ids, tf.RaggedTensor.from_tensor(end)], axis=1).to_tensor(PAD_ID)
    # Loops over the positions of a batch have to know how wide their results are.
    return tf.pad(rows, [[0, 0], [0, tf.maximum(1 - tf.shape(rows)[1], 0)]])
