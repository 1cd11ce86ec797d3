"""Attention as a heat map: one row for each target token, one column for each source token."""

from __future__ import annotations

import io
import unicodedata
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties

from .fonts import find_families
from .labels import clean_text, display_width, shorten, token_labels

if TYPE_CHECKING:
    from .explanation import Explanation

DOTS_PER_INCH = 150
LONGEST_AXIS = 10.5  # inches, so that no picture is wider or higher than about 2,000 pixels
LARGEST_CELL = 0.36  # inches
LABEL_COLUMNS = 18  # longer labels end in an ellipsis
POINTS_PER_INCH = 72
REPLACEMENT = "\ufffd"  # drawn for a character that no installed font has


def heat_map(explanation: Explanation, max_tokens: int = 80) -> Figure:
    """A figure of the attention, labeled with the tokens.

    Source tokens are along the top, target tokens down the left side; the darker a cell, the
    larger the weight. The scale always runs from 0 to 1, so that pictures of different sentences
    and of different moments of a training can be compared; it follows the square root, on which a
    weight of 0.05 can still be seen. The figure belongs to no pyplot state: nothing has to be
    closed, and threads can draw at the same time.

    Of a model that copies, the percentage beside a target token is the share that was written
    rather than copied, and the row below the others is the sum of all of them.

    Args:
        explanation: What to draw.
        max_tokens: Most tokens drawn along either side; the caption says what is left out.

    Returns:
        A `matplotlib.figure.Figure`.

    Example:
        >>> figure = heat_map(Explanation("猫", "cat", ["▁猫"], ["▁cat"], [[1.0]], -0.1))
        >>> figure.savefig("alignment.pdf")

    Paper: the figure is the one of Bahdanau et al. 2015, "Neural machine translation by jointly
    learning to align and translate", https://arxiv.org/abs/1409.0473.
    """
    if max_tokens < 1:
        raise ValueError(f"`max_tokens` must be at least 1. Received: max_tokens={max_tokens}")
    source = token_labels(explanation.source_tokens)[:max_tokens]
    target = token_labels(explanation.target_tokens)[:max_tokens]
    attention = explanation.attention[: len(target), : len(source)]  # [T, S]
    if explanation.p_gen is not None:
        labels = [shorten(label, LABEL_COLUMNS - 5) for label in target]
        shares = explanation.p_gen.tolist()
        target = [f"{label} {share:.0%}" for label, share in zip(labels, shares, strict=False)]
        target += ["", "coverage"]
        attention = _with_coverage(attention, explanation.coverage)
    lines = _caption(explanation, max_tokens)
    families, missing = find_families("".join([*source, *target, *lines]))
    if missing:
        warnings.warn(
            f"No installed font has the characters {''.join(sorted(missing))!r}; they are drawn "
            f"as {REPLACEMENT}. Install a font which has them, for example one of the Noto fonts.",
            stacklevel=2,
        )
    drawable = str.maketrans(dict.fromkeys(missing, REPLACEMENT))
    cell = min(LARGEST_CELL, LONGEST_AXIS / max(len(source), len(target), 1))
    width, height = cell * max(len(source), 1), cell * max(len(target), 1)
    figure = Figure(figsize=(width, height), dpi=DOTS_PER_INCH, facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    mesh = draw_heat_map(
        axes,
        attention,
        [label.translate(drawable) for label in source],
        [label.translate(drawable) for label in target],
        families=families,
        font_size=_font_size(cell),
    )
    _add_scale(figure, mesh, width, height)
    _add_caption(axes, [line.translate(drawable) for line in lines], families)
    return figure


def _with_coverage(attention: np.ndarray, coverage: np.ndarray) -> np.ndarray:
    """Two rows more: an empty one, and what each source token got."""
    length = attention.shape[1]
    return np.concatenate([attention, np.full((1, length), np.nan), coverage[None, :length]])


def draw_heat_map(
    axes: Axes,
    attention: np.ndarray,
    source_labels: Sequence[str],
    target_labels: Sequence[str],
    families: Sequence[str],
    font_size: float = 9.0,
):
    """Draws one labeled map of weights into the axes of any figure.

    Args:
        axes: Where to draw.
        attention: Weights from 0 to 1. [T, S]
        source_labels: Labels of the columns. S of them.
        target_labels: Labels of the rows. T of them.
        families: Font families, each for the characters which those before it lack.
        font_size: Of the labels, in points.

    Returns:
        The mesh that was drawn, which a color bar can be made from.
    """
    mesh = axes.pcolormesh(
        np.asarray(attention, np.float32),
        cmap="Blues",
        norm=PowerNorm(0.5, vmin=0.0, vmax=1.0),
        edgecolors="0.92",
        linewidth=0.4,
    )
    axes.set_xlim(0, max(len(source_labels), 1))
    axes.set_ylim(max(len(target_labels), 1), 0)
    axes.tick_params(length=0, top=True, labeltop=True, bottom=False, labelbottom=False)
    axes.spines[:].set(color="0.6", linewidth=0.6)
    properties = FontProperties(family=list(families), size=font_size)
    plain = {"parse_math": False, "usetex": False, "fontproperties": properties}
    axes.set_xticks(np.arange(len(source_labels)) + 0.5)
    axes.set_yticks(np.arange(len(target_labels)) + 0.5)
    axes.set_yticklabels([shorten(label, LABEL_COLUMNS) for label in target_labels], **plain)
    columns = [_column_label(shorten(label, LABEL_COLUMNS)) for label in source_labels]
    axes.set_xticklabels([text for text, _ in columns], linespacing=1.05, **plain)
    for label, (_, rotation) in zip(axes.get_xticklabels(), columns, strict=True):
        label.set_rotation(rotation)
    return mesh


def _column_label(label: str) -> tuple[str, int]:
    """Text and rotation above a column: Chinese from top to bottom, other scripts turned by 90°."""
    letters = all(unicodedata.category(character) == "Lo" for character in label)
    if letters and display_width(label) == 2 * len(label):
        return "\n".join(label), 0
    return label, 90 if display_width(label) > 2 else 0


def _font_size(cell: float) -> float:
    """The largest size in points at which lines in neighboring cells stay apart."""
    return min(11.0, 0.72 * cell * POINTS_PER_INCH)


def _caption(explanation: Explanation, max_tokens: int) -> list[str]:
    lines = [f"score {explanation.score:.3f}", *explanation.notes]
    for side, tokens in (
        ("source", explanation.source_tokens),
        ("target", explanation.target_tokens),
    ):
        if len(tokens) > max_tokens:
            lines.append(f"the first {max_tokens} of {len(tokens)} {side} tokens")
    if not explanation.attention.size:
        lines.append("no tokens to draw")
    return lines


def _add_scale(figure: Figure, mesh, width: float, height: float) -> None:
    """A color bar of a fixed size in inches beside the map, which may be larger or smaller."""
    long, thick = min(max(height, 1.2), 2.4), 0.12
    left = max(width, 0.9) + 0.18  # to the right of the caption as well
    scale_axes = figure.add_axes((left / width, 1 - long / height, thick / width, long / height))
    scale = figure.colorbar(mesh, cax=scale_axes, ticks=[0, 0.05, 0.2, 0.5, 1.0])
    scale.ax.set_yticklabels(["0", "0.05", "0.2", "0.5", "1"], usetex=False)
    scale.ax.tick_params(length=2, width=0.5, labelsize=7, colors="0.35")
    scale.outline.set(edgecolor="0.6", linewidth=0.6)


def _add_caption(axes: Axes, lines: list[str], families: Sequence[str]) -> None:
    axes.annotate(
        "\n".join(lines),
        xy=(0, 0),
        xycoords="axes fraction",
        xytext=(0, -5),
        textcoords="offset points",
        va="top",
        parse_math=False,
        usetex=False,
        color="0.35",
        fontproperties=FontProperties(family=list(families), size=7),
    )


def heat_map_bytes(
    explanation: Explanation,
    image_format: str = "png",
    dots_per_inch: int = DOTS_PER_INCH,
    max_tokens: int = 80,
) -> bytes:
    r"""The encoded picture of `heat_map`, whose size is bounded whatever the sentence.

    Args:
        explanation: What to draw.
        image_format: `"png"` or `"svg"`; the letters in an SVG are outlines, so that it looks the
            same where the fonts are not installed.
        dots_per_inch: Fineness of a PNG.
        max_tokens: Most tokens drawn along either side.

    Returns:
        The bytes of the file.

    Example:
        >>> heat_map_bytes(explanation)[:4]
        b'\x89PNG'
    """
    metadata: dict[str, str | None] = {
        "Title": clean_text(f"{explanation.text} → {explanation.target}")
    }
    if image_format == "svg":
        metadata["Date"] = None
    buffer = io.BytesIO()
    heat_map(explanation, max_tokens).savefig(
        buffer,
        format=image_format,
        dpi=dots_per_inch,
        bbox_inches="tight",
        pad_inches=0.1,
        metadata=metadata,
    )
    return buffer.getvalue()
