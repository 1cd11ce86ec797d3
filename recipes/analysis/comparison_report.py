"""Report of a comparison: tables, a page in one file, and figures."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from html import escape
from importlib.resources import files
from pathlib import Path

from matplotlib.figure import Figure

from ...zoo.files import write_json, written_atomically
from ...zoo.visualization.labels import clean_text, display_width
from ..metrics.significance import Interval
from .comparison import Comparison
from .comparison_plots import DARK, LIGHT, Theme, encode, plot_quality_by_length, plot_score_by_time
from .source_lengths import LengthDegradation

NONE = "–"
SIGNIFICANT = 0.05
# What would be markup in a cell of a Markdown table.
MARKDOWN = {ord(sign): f"\\{sign}" for sign in "\\|`*<>[]"} | {ord("&"): "&amp;"}

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'"


@dataclass(frozen=True)
class Table:
    """A table of texts; the first cell of each row is its heading."""

    title: str
    note: str
    heads: list[str]
    rows: list[list[str]]


def write_report(comparison: Comparison, folder: Path) -> list[Path]:
    """Writes the page, the figures, the Markdown and the numbers of a comparison.

    Args:
        comparison: Result of `compare`.
        folder: Folder for the files; it is made if missing.

    Returns:
        The files: `comparison.html`, `.md` and `.json`, `quality_by_length.png` and `.svg` and,
        if a run has evaluations, `score_by_time.png` and `.svg`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    page, text, numbers = (folder / f"comparison.{suffix}" for suffix in ("html", "md", "json"))
    for path, content in ((page, to_html(comparison)), (text, to_markdown(comparison))):
        with written_atomically(path) as aside:
            aside.write_text(content, encoding="utf-8")
    write_json(numbers, asdict(comparison))
    pictures = []
    for name, plot, _ in _plots(comparison):
        figure = plot(comparison)
        for image_format in ("png", "svg"):
            pictures.append(folder / f"{name}.{image_format}")
            with written_atomically(pictures[-1]) as aside:
                aside.write_bytes(encode(figure, image_format))
    return [page, text, numbers, *pictures]


def to_markdown(comparison: Comparison) -> str:
    """The tables as Markdown with aligned columns, to be read in a terminal too."""
    parts = [f"# {_title(comparison)}", _about(comparison)]
    for table in tables(comparison):
        lines = _aligned(table)
        parts += [f"## {table.title}", "\n".join(lines), *([table.note] if table.note else [])]
    return "\n\n".join(parts) + "\n"


def to_html(comparison: Comparison) -> str:
    """The report as a page in one file, which works offline and follows the color scheme."""
    parts = [f"<h1>{escape(_title(comparison))}</h1>", f"<p>{escape(_about(comparison))}</p>"]
    overview, by_length, *others = map(_html_table, tables(comparison))
    figures = {name: _html_figure(comparison, plot, alt) for name, plot, alt in _plots(comparison)}
    parts += [overview, figures["quality_by_length"], by_length]
    parts += [figures.get("score_by_time", ""), *others]
    body = "\n".join(part for part in parts if part)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{escape(POLICY)}">
<title>{escape(_title(comparison))}</title>
<style>
{(files(__package__) / "report.css").read_text(encoding="utf-8")}</style>
</head>
<body>
<main>
{body}
</main>
</body>
</html>
"""


def tables(comparison: Comparison) -> list[Table]:
    """Overview, score by length, length degradation if it was requested, and p-values."""
    degradation = (
        [_degradation(comparison, comparison.degradation)] if comparison.degradation else []
    )
    return [_overview(comparison), _by_length(comparison), *degradation, _significance(comparison)]


def _overview(comparison: Comparison) -> Table:
    metric = comparison.metric
    others = [name for name in comparison.runs[0].scores if name != metric]
    heads = ["run", "model", metric, "95% interval", *others, "parameters", "MB"]
    heads += ["training min", "tokens/s", "latency ms", "sentences/s"]
    rows = [
        [
            run.name,
            run.model,
            _number(run.score.value, ".2f"),
            _range(run.score),
            *(_number(run.scores[name], ".2f") for name in others),
            f"{run.parameters:,}",
            f"{run.bytes / 1e6:.1f}",
            _number(run.minutes, ".1f"),
            _number(run.tokens_per_second, ",.0f"),
            _number(run.latency, ".1f"),
            _number(run.sentences_per_second, ",.1f"),
        ]
        for run in comparison.runs
    ]
    note = (
        "MB: of the weights. tokens/s: target tokens in training, without evaluations. latency: "
        "median time of one text decoded by itself; sentences/s: all rows in batches of 64; both "
        "on the machine of this comparison."
    )
    return Table("Overview", note, heads, rows)


def _by_length(comparison: Comparison) -> Table:
    heads = [comparison.unit, "rows", *(run.name for run in comparison.runs)]
    rows = [
        [
            bucket.label,
            f"{bucket.rows:,}",
            *(_with_range(run.by_length[number], "–") for run in comparison.runs),
        ]
        for number, bucket in enumerate(comparison.buckets)
    ]
    title = f"{comparison.metric} by length of the source, with 95% intervals"
    missing = any(score.value is None for run in comparison.runs for score in run.by_length)
    note = f"{NONE}: there is nothing in these rows that {comparison.metric} counts." * missing
    return Table(title, note, heads, rows)


def _degradation(comparison: Comparison, degradation: LengthDegradation) -> Table:
    unit, first = comparison.unit, comparison.runs[0].name
    heads = ["run", f"up to {degradation.short} {unit}", f"{degradation.long} {unit} and more"]
    heads += ["lost, %", f"of what {first} loses"]
    rows = [
        [
            run.name,
            _with_range(found.short),
            _with_range(found.long),
            _with_range(found.percent, digits=1),
            NONE if found.share is None else _with_range(found.share),
        ]
        for run, found in zip(comparison.runs, degradation.runs, strict=True)
    ]
    short, long = degradation.short_rows, degradation.long_rows
    note = (
        f"{comparison.metric} on the {short:,} short and the {long:,} long sources, and how much "
        "of the first is lost on the second, with 95% intervals. The last column is that loss as "
        f"a share of the loss of {first}; {NONE} where that may be no loss."
    )
    return Table("Lost on long sources", note, heads, rows)


def _significance(comparison: Comparison) -> Table:
    names = [run.name for run in comparison.runs]
    rows = [
        [name, *(NONE if value is None else f"{value:.3f}" for value in row)]
        for name, row in zip(names, comparison.p_values, strict=True)
    ]
    note = (
        "Paired bootstrap test, two-sided: how probable so large a difference would be between two "
        f"runs that are equally good. Below {SIGNIFICANT} a difference counts as significant."
    )
    return Table("p value of each difference", note, ["run", *names], rows)


def _plots(comparison: Comparison) -> list[tuple[str, Callable[..., Figure], str]]:
    """Name, function and description of each figure for which there are data."""
    metric, unit = comparison.metric, comparison.unit
    found: list[tuple[str, Callable[..., Figure], str]] = [
        (
            "quality_by_length",
            plot_quality_by_length,
            f"{metric} of each run by length of the source in {unit}; the table below has the "
            "numbers.",
        )
    ]
    if any(run.history for run in comparison.runs):
        best = "; ".join(
            f"{run.name} reaches {_best(comparison, run.history):.2f} "
            f"and trains for {run.history[-1][0]:.1f} minutes"
            for run in comparison.runs
            if run.history
        )
        text = f"{metric} in validation against minutes of training: {best}."
        found.append(("score_by_time", plot_score_by_time, text))
    return found


def _best(comparison: Comparison, history: Sequence[tuple[float, float]]) -> float:
    values = [value for _, value in history]
    return min(values) if comparison.lower_is_better else max(values)


def _html_table(table: Table) -> str:
    heads = "".join(f'<th scope="col"><bdi>{_text(head)}</bdi></th>' for head in table.heads)
    rows = "\n".join(
        f'<tr><th scope="row"><bdi>{_text(row[0])}</bdi></th>'
        + "".join(f"<td><bdi>{_text(cell)}</bdi></td>" for cell in row[1:])
        + "</tr>"
        for row in table.rows
    )
    title = _text(table.title)
    return f"""<h2>{title}</h2>
<div class="wide" role="region" aria-label="{title}" tabindex="0">
<table>
<thead><tr>{heads}</tr></thead>
<tbody>
{rows}
</tbody>
</table>
</div>{f"{chr(10)}<p>{_text(table.note)}</p>" if table.note else ""}"""


def _html_figure(comparison: Comparison, plot: Callable[..., Figure], alt: str) -> str:
    dark, light = (_data_address(comparison, plot, theme) for theme in (DARK, LIGHT))
    return (
        f'<figure><picture><source media="(prefers-color-scheme: dark)" srcset="{dark}">\n'
        f'<img src="{light}" alt="{_text(alt)}"></picture></figure>'
    )


def _data_address(comparison: Comparison, plot: Callable[..., Figure], theme: Theme) -> str:
    encoded = base64.b64encode(encode(plot(comparison, theme), "svg")).decode()
    return f"data:image/svg+xml;base64,{encoded}"


def _aligned(table: Table) -> list[str]:
    """The lines of a Markdown table, the first column left-aligned and numbers right-aligned."""
    cells = [
        [clean_text(cell).translate(MARKDOWN) for cell in row] for row in (table.heads, *table.rows)
    ]
    widths = [max(map(display_width, column)) for column in zip(*cells, strict=True)]
    rule = [f"{'-' * max(width - 1, 2)}:" for width in widths]
    rule[0] = "-" * max(widths[0], 3)
    padded = [
        [
            _padded(cell, width, left=column == 0)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        for row in [cells[0], rule, *cells[1:]]
    ]
    return [f"| {' | '.join(row)} |" for row in padded]


def _padded(cell: str, width: int, left: bool) -> str:
    space = " " * (width - display_width(cell))
    return cell + space if left else space + cell


def _title(comparison: Comparison) -> str:
    return f"{len(comparison.runs)} runs of {comparison.task} compared"


def _about(comparison: Comparison) -> str:
    signature = f" {comparison.metric}: {comparison.signature}." if comparison.signature else ""
    left_out = ""
    if comparison.skipped:
        left_out += (
            f" Rows skipped: {comparison.skipped:,}, the first {comparison.skipped_rows[0]}."
        )
    if comparison.unscored:
        left_out += (
            f" Rows left out, whose targets are too long for a model: {comparison.unscored:,}."
        )
    return clean_text(
        f"{comparison.rows:,} rows of {comparison.data}; {comparison.resamples:,} resamples, "
        f"seed {comparison.seed}.{left_out}{signature}"
    )


def _range(interval: Interval, between: str = "–", digits: int = 2) -> str:
    if interval.value is None:
        return NONE
    return f"{interval.low:.{digits}f}{between}{interval.high:.{digits}f}"


def _with_range(interval: Interval, between: str = " to ", digits: int = 2) -> str:
    # What is lost may be negative, so there is no dash between by default.
    value = _number(interval.value, f".{digits}f")
    return value if value == NONE else f"{value} ({_range(interval, between, digits)})"


def _number(value: float | None, form: str) -> str:
    return NONE if value is None else format(value, form)


def _text(text: str) -> str:
    return escape(clean_text(text))
