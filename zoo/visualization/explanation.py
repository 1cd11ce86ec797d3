"""Explanations: an output with the attention of each of its tokens over the source."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np

SUFFIXES = (".png", ".svg", ".html", ".txt")  # of the files that an explanation can be saved as


def check_suffix(path: str | PathLike[str]) -> None:
    """Refuses a path that ends in none of `SUFFIXES`.

    Raises:
        ValueError: there is no such kind of file.
    """
    if Path(path).suffix.lower() not in SUFFIXES:
        raise ValueError(
            f"An explanation is written as one of {', '.join(SUFFIXES)}, by the end of the "
            f"file's name. Received: path={str(path)!r}"
        )


@dataclass(frozen=True, eq=False)
class Explanation:
    """An output text with the weights that each of its tokens put on the source tokens.

    It writes itself as a picture, a page or lines for the terminal, and in a notebook it shows
    itself.

    Args:
        text: The source text.
        target: The text which the model wrote.
        source_tokens: The S tokens of the source, as the tokenizer made them: SentencePiece's
            mark of a word's beginning is understood.
        target_tokens: The T tokens of the output.
        attention: Weights, row t over the source when target token t was chosen; from 0 to 1,
            a row adds up to at most 1. [T, S]
        score: Log probability of the output, as the decoder that made it reports it.
        p_gen: Of a model that copies, the share of each target token that was written rather than
            copied, from 0 to 1. [T]
        truncated: Whether a part of the source was not read, or the output is as long as it may be.

    Raises:
        ValueError: If the attention does not have one row for each target token and one column
            for each source token, or has weights that are not between 0 and 1; or if `p_gen`
            does not have one share for each target token.

    Example:
        >>> explanation = Explanation(
        ...     text="星期一", target="Monday",
        ...     source_tokens=["▁", "星期", "一"], target_tokens=["▁Monday"],
        ...     attention=np.array([[0.1, 0.2, 0.7]]), score=-0.02,
        ... )
        >>> explanation.save("alignment.png")
        >>> print(explanation.to_terminal())

    Paper: soft attention as an alignment is from Bahdanau et al. 2015,
    https://arxiv.org/abs/1409.0473.
    """

    text: str
    target: str
    source_tokens: list[str]
    target_tokens: list[str]
    attention: np.ndarray
    score: float
    p_gen: np.ndarray | None = None
    truncated: bool = False

    def __post_init__(self) -> None:
        attention = np.array(self.attention, np.float32)
        expected = (len(self.target_tokens), len(self.source_tokens))
        if 0 in expected and not attention.size:
            attention = attention.reshape(expected)
        if attention.shape != expected:
            raise ValueError(
                "`attention` must have one row for each target token and one column for each "
                f"source token, here {expected}. Received: attention.shape={attention.shape}"
            )
        if not np.all((attention >= 0) & (attention <= 1 + 1e-3)):
            low, high = np.min(attention), np.max(attention)
            raise ValueError(
                "`attention` must be weights between 0 and 1, the result of a softmax. "
                f"Received: attention from {low} to {high}"
            )
        if self.p_gen is not None:
            object.__setattr__(self, "p_gen", self._checked_shares(self.p_gen))
        attention.flags.writeable = False
        object.__setattr__(self, "source_tokens", list(self.source_tokens))
        object.__setattr__(self, "target_tokens", list(self.target_tokens))
        object.__setattr__(self, "attention", attention)
        object.__setattr__(self, "score", float(self.score))

    def _checked_shares(self, p_gen: np.ndarray) -> np.ndarray:
        shares = np.array(p_gen, np.float32)
        if shares.shape != (len(self.target_tokens),):
            raise ValueError(
                f"`p_gen` must have one share for each of the {len(self.target_tokens)} target "
                f"tokens. Received: p_gen.shape={shares.shape}"
            )
        if not np.all((shares >= 0) & (shares <= 1)):
            raise ValueError(f"`p_gen` must be shares from 0 to 1. Received: p_gen={shares}")
        shares.flags.writeable = False
        return shares

    @property
    def coverage(self) -> np.ndarray:
        """All attention that each source token got; 1 is that of one target token. [S]"""
        return self.attention.sum(axis=0)

    @property
    def notes(self) -> list[str]:
        """Notes for the reader of the map, one a line, written below each drawing."""
        lines = []
        if self.p_gen is not None:
            lines.append("beside a token: p_gen, the share written rather than copied")
        if self.attention.size and not self.attention.any():
            lines.append(
                "no weights: this model has no attention, every step read the same context"
            )
        return lines

    def to_png(self, path: str | PathLike[str]) -> None:
        """Writes the heat map as a PNG picture, with labels in any script there is a font for.

        Args:
            path: A path of any suffix; a file that is there is replaced.
        """
        Path(path).write_bytes(self._repr_png_())

    def to_svg(self, path: str | PathLike[str]) -> None:
        """Writes the heat map as an SVG drawing, the labels as outlines.

        Args:
            path: A path of any suffix; a file that is there is replaced.
        """
        from .plotting import heat_map_bytes

        Path(path).write_bytes(heat_map_bytes(self, "svg"))

    def to_html(self, path: str | PathLike[str]) -> None:
        """Writes an interactive page in one file, which needs no server.

        Args:
            path: A path of any suffix; a file that is there is replaced.
        """
        Path(path).write_text(self._page(), encoding="utf-8")

    def to_terminal(self, width: int | None = None, color: bool = True) -> str:
        """The heat map as lines of text.

        Args:
            width: Columns that the lines may take; those of the terminal when left out.
            color: Whether to shade with ANSI colors; with ASCII characters otherwise.

        Returns:
            Lines to print. Where a sentence is too long for the width, its source is continued
            in further blocks below the first.
        """
        from .explanation_terminal import render_lines

        return "\n".join(render_lines(self, width, color))

    def save(self, path: str | PathLike[str]) -> None:
        """Writes the kind of file that the path's suffix names.

        Args:
            path: A path that ends in `.png`, `.svg`, `.html` or `.txt`.

        Raises:
            ValueError: If the suffix is another one.
        """
        check_suffix(path)
        writers = (self.to_png, self.to_svg, self.to_html, self._to_text_file)
        dict(zip(SUFFIXES, writers, strict=True))[Path(path).suffix.lower()](path)

    def _to_text_file(self, path: str | PathLike[str]) -> None:
        text = self.to_terminal(width=100, color=False)
        Path(path).write_text(text + "\n", encoding="utf-8")

    def _repr_png_(self) -> bytes:
        from .plotting import heat_map_bytes

        return heat_map_bytes(self)

    def _repr_html_(self) -> str:
        from .html import render_frame

        return render_frame(self._page(), len(self.target_tokens))

    def _page(self) -> str:
        """The page, with the one map as that of a single layer and head."""
        from .html import Maps, render_page

        maps = self.attention[None]
        return render_page(
            self, {"cross": Maps(self.target_tokens, self.source_tokens, maps[None], maps)}
        )
