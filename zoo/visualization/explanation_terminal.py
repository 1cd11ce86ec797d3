"""Attention as lines of text: shaded cells which line up in any terminal."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import TYPE_CHECKING

from .labels import display_width, shorten, token_labels

if TYPE_CHECKING:
    from .explanation import Explanation

# Background and foreground of xterm's 256 colors, from nothing to all of the attention. Each
# background has its own foreground, so that it is readable on dark terminals and on light ones.
BACKGROUNDS = (231, 195, 153, 111, 69, 26, 25, 18)
FOREGROUNDS = (16, 16, 16, 16, 16, 231, 231, 231)
ASCII_RAMP = " .:-=+*#%@"

NARROW_CELL = 2  # columns of a cell whose label is written downwards
TALLEST_LABEL = 12  # lines of a label that is written downwards
NARROWEST = 16  # columns; less than that cannot hold a label and a cell


def render_lines(explanation: Explanation, width: int | None, color: bool) -> list[str]:
    """The heat map of an explanation as lines of text.

    Target tokens are down the left side. Source tokens are above the cells, side by side if the
    width allows, otherwise written downwards over narrow cells and, if even that is too wide, in
    several blocks below each other. Wide cells also have the weight in percent written in them.
    Of a model that copies, the percentage beside a target token is the share that was written
    rather than copied, and the last row is the sum of the rows above.

    Args:
        explanation: What to draw.
        width: Columns that a line may take; those of the terminal if None.
        color: Whether to shade with ANSI colors; with ASCII characters otherwise.

    Returns:
        The lines.
    """
    if width is None:
        width = shutil.get_terminal_size().columns
    if width < NARROWEST:
        raise ValueError(
            f"`width` must be at least {NARROWEST} columns to hold a label and a cell. "
            f"Received: width={width}"
        )
    ellipsis = "\u2026" if color else "..."
    source = [_plain(label, color) for label in token_labels(explanation.source_tokens)]
    target = [_plain(label, color) for label in token_labels(explanation.target_tokens)]
    if not source or not target:
        return ["(no tokens to draw)"]
    sums = [] if explanation.p_gen is None else ["coverage"]
    margin = min(max(map(display_width, target + sums)), 20, width // 3)
    target = [shorten(label, margin, ellipsis) for label in target]
    rows = [*explanation.attention]
    if explanation.p_gen is not None:
        target = [
            f"{' ' * (margin - display_width(label))}{label} {round(100 * float(share)):3}%"
            for label, share in zip(target, explanation.p_gen, strict=True)
        ]
        target += [shorten(label, margin, ellipsis) + " " * len(" 100%") for label in sums]
        rows.append(explanation.coverage)
        margin += len(" 100%")
    room = width - margin - 1

    # Coverage is a sum, which may be of four digits.
    digits = max(3, *(len(str(round(100 * float(row.max())))) for row in rows))
    columns = [max(display_width(label), digits) for label in source]
    if sum(columns) + len(columns) <= room:
        blocks = [(0, [[_pad(label, size) for label, size in zip(source, columns, strict=True)]])]
        gap = " "
    else:
        columns = [NARROW_CELL] * len(source)
        per_block = room // NARROW_CELL
        blocks = [
            (start, _downwards(source[start : start + per_block], ellipsis))
            for start in range(0, len(source), per_block)
        ]
        gap = ""
    shade = _color_cell if color else _ascii_cell
    lines: list[str] = []
    for start, header in blocks:
        stop = start + len(header[0])
        lines += ["", *(" " * (margin + 1) + gap.join(row).rstrip() for row in header)]
        for label, weights in zip(target, rows, strict=True):
            cells = zip(weights[start:stop], columns[start:stop], strict=True)
            row = gap.join(shade(float(weight), size) for weight, size in cells)
            lines.append(f"{' ' * (margin - display_width(label))}{label} {row}".rstrip())
    return [*lines[1:], "", _legend(shade, color), *explanation.notes]


def _plain(label: str, color: bool) -> str:
    """Without color all that this module adds is ASCII: the marks in labels as well."""
    return label if color else label.replace("\u00b7", "-").replace("\u2423", "_")


def _pad(label: str, columns: int) -> str:
    """The label in the middle of its column."""
    space = columns - display_width(label)
    return " " * (space // 2) + label + " " * (space - space // 2)


def _downwards(labels: list[str], ellipsis: str) -> list[list[str]]:
    """Labels written from top to bottom, ending just above the cells. Rows of cells' width."""
    stacks = []
    for label in labels:
        letters = _letters(label)
        if len(letters) > TALLEST_LABEL:
            dots = [ellipsis] if len(ellipsis) == 1 else list("..")
            letters = letters[: TALLEST_LABEL - len(dots)] + dots
        stacks.append(letters)
    height = max(map(len, stacks))
    stacks = [[""] * (height - len(letters)) + letters for letters in stacks]
    return [
        [stack[row] + " " * (NARROW_CELL - display_width(stack[row])) for stack in stacks]
        for row in range(height)
    ]


def _letters(label: str) -> list[str]:
    """Letters together with the accents and joiners that follow them."""
    letters: list[str] = []
    for character in label:
        if letters and display_width(letters[-1] + character) == display_width(letters[-1]):
            letters[-1] += character
        else:
            letters.append(character)
    return letters


def _level(weight: float, levels: int) -> int:
    """As in the picture, by the square root: a tenth is to be seen beside nothing."""
    return min(int(weight**0.5 * levels), levels - 1)


def _color_cell(weight: float, columns: int) -> str:
    level = _level(weight, len(BACKGROUNDS))
    percent = round(100 * weight)
    text = str(percent) if columns > NARROW_CELL and percent else ""
    return f"\x1b[38;5;{FOREGROUNDS[level]};48;5;{BACKGROUNDS[level]}m{text:^{columns}}\x1b[0m"


def _ascii_cell(weight: float, columns: int) -> str:
    return ASCII_RAMP[_level(weight, len(ASCII_RAMP))] * columns


def _legend(shade: Callable[[float, int], str], color: bool) -> str:
    levels = len(BACKGROUNDS) if color else len(ASCII_RAMP)
    cells = [shade(((i + 0.5) / levels) ** 2, 1) for i in range(levels)]
    light, dark = "".join(cells[: levels // 2]), "".join(cells[levels // 2 :])
    return f"0% {light} 25% {dark} 100%"
