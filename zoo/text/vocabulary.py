"""The vocabulary of a SentencePiece model: its pieces, their ids and their kinds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import sentencepiece

from .normalization import UNSPACED
from .special_ids import END_ID, PAD_ID, START_ID, UNKNOWN_ID
from .unknown import WHITE_SPACE_MARK


class Vocabulary:
    """The pieces of a SentencePiece model by their ids.

    The ids of padding, unknown, start and end are 0, 1, 2 and 3. A piece that begins a word begins
    with a mark for the space before it, U+2581.

    Args:
        model: bytes of a trained SentencePiece model.

    Raises:
        ValueError: The bytes are no SentencePiece model, or it has other ids of special tokens.
    """

    def __init__(self, model: bytes):
        self.model = model
        self._processor = found = _read_model(model)
        specials = [found.pad_id(), found.unk_id(), found.bos_id(), found.eos_id()]
        if specials != [PAD_ID, UNKNOWN_ID, START_ID, END_ID]:
            raise ValueError(
                "A SentencePiece model must have padding, unknown, start and end as ids 0, 1, 2 "
                "and 3; train one with Tokenizer.train or with --pad_id=0 --unk_id=1 "
                f"--bos_id=2 --eos_id=3. Received: {specials}"
            )

    @property
    def vocab_size(self) -> int:
        """V, the number of ids, the special ones among them."""
        return self._processor.get_piece_size()

    def id_of(self, symbol: str) -> int:
        """Looks up a symbol that the model was trained with, see `Tokenizer.train`.

        Args:
            symbol: Such as a separator or a language tag.

        Returns:
            Its id.

        Raises:
            ValueError: The model was trained without it.
        """
        number = self._processor.piece_to_id(symbol)
        if number == UNKNOWN_ID:
            raise ValueError(
                "The tokenizer was trained without this symbol; train one with symbols=[...]. "
                f"Received: symbol={symbol!r}"
            )
        return number

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """Looks up pieces.

        Args:
            ids: From 0 to V - 1.

        Returns:
            The piece of each id, with the mark of a word's beginning.
        """
        return [self._processor.id_to_piece(int(i)) for i in ids]

    def ids(self, pieces: Sequence[str]) -> list[int]:
        """Looks up ids, the other way round than `pieces`.

        Args:
            pieces: With the mark of a word's beginning.

        Returns:
            The id of each piece, that of the unknown token for what is no piece.
        """
        return [self._processor.piece_to_id(piece) for piece in pieces]

    def scores(self) -> np.ndarray:
        """Reads the order in which pieces are put together.

        Returns:
            float32 (V,): the higher, the sooner byte pairs are merged to this piece.
        """
        return np.array([self._processor.get_score(i) for i in range(self.vocab_size)], np.float32)

    def control_mask(self) -> list[bool]:
        """Finds the ids that have no text, such as the end or a separator.

        Returns:
            V values, True for those ids.
        """
        return [self._processor.is_control(i) for i in range(self.vocab_size)]

    def byte_mask(self) -> list[bool]:
        """Finds the ids that are a byte of a character without a piece.

        Returns:
            V values, True for those ids.
        """
        return [self._processor.is_byte(i) for i in range(self.vocab_size)]

    def word_starts(self) -> list[bool]:
        """Finds the ids that begin a word: all but what goes on without a space before it.

        Returns:
            V values, True for those ids. In scripts without spaces between words each token is one.
        """
        pieces = self.pieces(range(self.vocab_size))
        return [
            mark or i == UNKNOWN_ID or piece[0] == WHITE_SPACE_MARK or bool(UNSPACED.match(piece))
            for i, (piece, mark) in enumerate(zip(pieces, self.control_mask(), strict=True))
        ]

    def is_of_words(self) -> bool:
        """Tells a vocabulary of whole words from one of their parts.

        Returns:
            True where every piece with a text is a whole word.
        """
        ids = [i for i, mark in enumerate(self.control_mask()) if not mark and i != UNKNOWN_ID]
        return all(p[0] == WHITE_SPACE_MARK != p for p in self.pieces(ids))


def _read_model(model: bytes) -> sentencepiece.SentencePieceProcessor:
    try:
        if model:  # of none at all SentencePiece says nothing
            return sentencepiece.SentencePieceProcessor(model_proto=model)
    except RuntimeError:
        pass  # its reason names a line of its own source
    raise ValueError(
        "A tokenizer is the whole content of a SentencePiece model file; this one is damaged or "
        f"something else. Received: {len(model)} bytes, beginning with {model[:8]!r}"
    )
