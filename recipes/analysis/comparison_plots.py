"""Figures of a comparison: score by length of the source, and score against time."""

from __future__ import annotations

import io
from dataclasses import dataclass

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties

from ...zoo.visualization.fonts import find_families
from ...zoo.visualization.labels import clean_text, shorten
from .comparison import Comparison

DOTS_PER_INCH = 150
SIZE = (7.2, 4.2)  # inches
NAME_COLUMNS = 40  # longer names of runs end in an ellipsis
# Distance of the runs at a bucket, so that their intervals stay apart: of two, and of all.
STEP, SPREAD = 0.1, 0.5
MARKERS = "osD^vPX*<>"


@dataclass(frozen=True)
class Theme:
    """Colors of a figure; color-blind readers can tell the lines apart (Okabe, Ito)."""

    ink: str
    paper: str
    grid: str
    lines: tuple[str, ...]


LIGHT = Theme(
    "#1b1f24", "#ffffff", "#d8dee4", ("#0072b2", "#d55e00", "#009e73", "#aa4499", "#956600")
)
DARK = Theme(
    "#f0f3f6", "#14181d", "#3d444d", ("#56b4e9", "#ff9b5e", "#4fd6a8", "#e08fc9", "#f0e442")
)


def plot_quality_by_length(comparison: Comparison, theme: Theme = LIGHT) -> Figure:
    """Plots the score of each run in each bucket of source lengths, with its interval.

    Args:
        comparison: The comparison to plot.
        theme: Colors of the figure.

    Returns:
        A figure that belongs to no pyplot state.

    Reference: the figure is that of Bahdanau et al. 2015, https://arxiv.org/abs/1409.0473
    """
    figure, axes, properties = _figure(comparison, theme)
    positions = np.arange(len(comparison.buckets))
    step = min(STEP, SPREAD / max(len(comparison.runs) - 1, 1))
    offsets = step * (np.arange(len(comparison.runs)) - (len(comparison.runs) - 1) / 2)
    for number, run in enumerate(comparison.runs):
        # What has no value is NaN here and is not drawn.
        values = np.array([[x.value, x.low, x.high] for x in run.by_length], float).T
        # A value may lie outside of where 95% of its resamples do.
        below, above = np.maximum(values[0] - values[1], 0), np.maximum(values[2] - values[0], 0)
        axes.errorbar(
            positions + offsets[number],
            values[0],
            (below, above),
            **_style(number, theme, run.name),
        )
    axes.set_xticks(positions, [f"{b.label}\n{b.rows:,} rows" for b in comparison.buckets])
    axes.set_xlabel(f"length of the source in {comparison.unit}")
    axes.set_title(f"{_metric(comparison)} by length of the source, with 95% intervals")
    if not comparison.lower_is_better:
        axes.set_ylim(bottom=0)
    _finish(figure, axes, theme, properties)
    return figure


def plot_score_by_time(comparison: Comparison, theme: Theme = LIGHT) -> Figure:
    """Plots the validation score of each run against the minutes of its training.

    Args:
        comparison: The comparison to plot.
        theme: Colors of the figure.

    Returns:
        A figure that belongs to no pyplot state.
    """
    figure, axes, properties = _figure(comparison, theme)
    for number, run in enumerate(comparison.runs):
        minutes, values = np.array(run.history or np.empty((0, 2))).T
        axes.plot(minutes, values, **_style(number, theme, run.name))
    axes.set_xlabel("minutes of training")
    axes.set_title(f"{_metric(comparison)} in validation, greedy search")
    axes.set_xlim(left=0)
    if not comparison.lower_is_better:
        axes.set_ylim(bottom=0)
    _finish(figure, axes, theme, properties)
    return figure


def encode(figure: Figure, image_format: str = "png") -> bytes:
    """Encodes a figure as a file; the same figure gives the same bytes.

    Args:
        figure: The figure.
        image_format: `"png"` or `"svg"`.

    Returns:
        The content of the file.
    """
    buffer = io.BytesIO()
    # The names of what an SVG refers to are hashes, salted by chance unless told otherwise.
    with matplotlib.rc_context({"svg.hashsalt": "attention-zoo"}):
        metadata = {"Date": None} if image_format == "svg" else {}
        figure.savefig(buffer, format=image_format, dpi=DOTS_PER_INCH, metadata=metadata)
    return buffer.getvalue()


def _figure(comparison: Comparison, theme: Theme) -> tuple[Figure, Axes, FontProperties]:
    figure = Figure(figsize=SIZE, dpi=DOTS_PER_INCH, facecolor=theme.paper, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot(facecolor=theme.paper)
    axes.set_ylabel(_metric(comparison))
    families, _ = find_families("".join(clean_text(run.name) for run in comparison.runs))
    return figure, axes, FontProperties(family=families, size=9)


def _style(number: int, theme: Theme, name: str) -> dict:
    return {
        "color": theme.lines[number % len(theme.lines)],
        "marker": MARKERS[number % len(MARKERS)],
        "linestyle": ("-", "--", ":", "-.")[number // len(theme.lines) % 4],
        "label": shorten(clean_text(name), NAME_COLUMNS),
        "markersize": 5,
        "linewidth": 1.4,
    }


def _metric(comparison: Comparison) -> str:
    names = {"bleu": "BLEU", "chrf": "chrF"}
    name = names.get(comparison.metric, comparison.metric.replace("_", " "))
    return f"{name} (lower is better)" if comparison.lower_is_better else name


def _finish(figure: Figure, axes: Axes, theme: Theme, properties: FontProperties) -> None:
    axes.grid(axis="y", color=theme.grid, linewidth=0.6)
    axes.spines[:].set(color=theme.grid)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=theme.ink, labelsize=8, length=0)
    for text in (axes.title, axes.xaxis.label, axes.yaxis.label):
        text.set(color=theme.ink, fontsize=9)
    # Below the axes: within them it could lie on a line or an interval.
    legend = figure.legend(
        loc="outside lower center", ncols=2, frameon=False, prop=properties, labelcolor=theme.ink
    )
    for text in legend.get_texts():
        text.set_parse_math(False)  # a name is no formula, even with dollar signs
