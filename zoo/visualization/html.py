"""Explanations as interactive pages: point at a token and see its attention.

A page is one file that works without a network. It holds every weight once, in steps of a 255th,
and its script, the viewer that the demo page of the server has too, draws what is shown from them.
Texts reach the script as JSON and become text nodes, never markup.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import re
from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .labels import clean_text, is_right_to_left, token_labels

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .explanation import Explanation
    from .layered_explanation import HeadStatistics

# Name of each kind of attention, and the titles of its columns and rows.
TITLES = {
    "cross": ("Target over source", "Source", "Target"),
    "encoder": ("Source over itself", "Read", "By"),
    "decoder": ("Target over what was written before", "Read", "When this was written"),
}
LEVELS = 255  # a weight is stored as a byte

NUMBERS_STYLE = """
.numbers td, .numbers th { width: auto; padding: .1rem .6rem; text-align: end; background: none; }
.numbers thead th { writing-mode: horizontal-tb; }
"""
COPIED_NOTE = (
    "beside a token: the share copied rather than written, 1 - p_gen; coverage: all attention that "
    "a source token got"
)
NUMBERS_NOTE = """
Entropy in nats: 0 where each token looks at one position. Coverage: the share of the positions that
were looked at. Diagonality: 1 where the attention moves along with the text. Rest: the share on the
end of the sentence, in the target over itself on its start."""


class Maps(NamedTuple):
    """All maps of one kind of attention.

    Attributes:
        rows: The tokens that attend.
        columns: The tokens that are attended to.
        weights: (L, H, rows, columns).
        rollouts: The rollout up to each layer, (L, rows, columns).
    """

    rows: list[str]
    columns: list[str]
    weights: np.ndarray
    rollouts: np.ndarray


def render_page(
    explanation: Explanation, kinds: Mapping[str, Maps], statistics: Sequence[HeadStatistics] = ()
) -> str:
    """A complete HTML document.

    Pointing at a target token, or reaching it with the keyboard, shades the source tokens it
    attended to; pointing at a source token shades the target tokens that attended to it. The
    strongest weights are also given in words, and a table has all of them. Where there are several,
    the kind of attention, the layer and the head can be chosen.

    Args:
        explanation: The output that is explained.
        kinds: The maps by kind: `"cross"`, `"encoder"`, `"decoder"`.
        statistics: Of every head; shown as a table below the map.

    Returns:
        The document, in which every text is escaped.
    """
    notes = explanation.notes
    if explanation.p_gen is not None:  # the viewer shows the other share
        notes = [COPIED_NOTE, *notes[1:]]
    notes_html = "".join(f"<p>{escape(note[0].upper() + note[1:])}.</p>\n" for note in notes)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{escape(_policy())}">
<title>Attention: {_text(explanation.text[:80])}</title>
<style>{_file("explanation_page.css")}{_file("viewer.css")}{NUMBERS_STYLE}</style>
</head>
<body>
<main>
<h1>What each token looked at</h1>
<p dir="auto">{_text(explanation.text)}</p>
<p dir="auto">{_text(explanation.target)}</p>
<noscript><p>The weights are drawn by a script of this page, which is switched off.</p></noscript>
<div class="choices" id="choices">
<label>Attention <select id="kind"></select></label>
<label>Layer <select id="layer"></select></label>
<label>Head <select id="head"></select></label>
</div>
{_tokens("source")}
{_tokens("target")}
<p id="said" role="status"></p>
<details id="map" open>
<summary>All weights, in percent</summary>
<div class="map" role="region" aria-label="All weights, in percent" tabindex="0"></div>
</details>
{_numbers(statistics)}{notes_html}<p>Score {explanation.score:.3f}</p>
</main>
<script type="application/json" id="data">{_json(_data(explanation, kinds))}</script>
<script type="module">{_script()}</script>
</body>
</html>
"""


def render_frame(page: str, rows: int) -> str:
    """A page in a frame, to be shown inside another page such as a notebook.

    The frame keeps the style and the script apart from those around it, and lets the script reach
    nothing outside.

    Args:
        page: The document.
        rows: The number of rows of its table, from which its height follows.

    Returns:
        An `iframe` element.
    """
    height = min(420 + 28 * rows, 900)
    return (
        f'<iframe title="Attention" sandbox="allow-scripts" srcdoc="{escape(page)}" '
        f'style="width: 100%; height: {height}px; border: 0"></iframe>'
    )


@functools.lru_cache
def _file(name: str) -> str:
    return (files(__package__) / name).read_text(encoding="utf-8")


@functools.lru_cache
def _script() -> str:
    """The viewer and the script of the page as one module."""
    page = re.sub(r"^import .*;\n", "", _file("explanation_page.js"), flags=re.MULTILINE)
    return _file("viewer.js") + page


@functools.lru_cache
def _policy() -> str:
    """Content security policy: the page may run its own script, and load nothing at all.

    Should a text of a user ever get into the page as markup, a browser would not act on it.
    """
    digest = base64.b64encode(hashlib.sha256(_script().encode()).digest()).decode()
    return (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; "
        "base-uri 'none'; form-action 'none'"
    )


def _tokens(name: str) -> str:
    return (
        f'<h2 id="{name}-title"></h2>\n'
        f'<div class="words" id="{name}" role="group" aria-labelledby="{name}-title"></div>'
    )


def _numbers(statistics: Sequence[HeadStatistics]) -> str:
    """The statistics of every head as a table, or nothing."""
    if not statistics:
        return ""
    rows = "\n".join(
        f'<tr><th scope="row">{TITLES[head.kind][0]}</th><td>{head.layer}</td><td>{head.head}</td>'
        f"<td>{head.entropy:.2f}</td><td>{head.coverage:.2f}</td><td>{head.diagonality:.2f}</td>"
        f"<td>{head.end:.2f}</td></tr>"
        for head in statistics
    )
    names = ("Attention", "Layer", "Head", "Entropy", "Coverage", "Diagonality", "Rest")
    heads = "".join(f'<th scope="col">{name}</th>' for name in names)
    return f"""<h2 id="heads">Every head in numbers</h2>
<div class="map" role="region" aria-labelledby="heads" tabindex="0">
<table class="numbers">
<thead><tr>{heads}</tr></thead>
<tbody>
{rows}
</tbody>
</table>
</div>
<p>{NUMBERS_NOTE}</p>
"""


def _data(explanation: Explanation, kinds: Mapping[str, Maps]) -> dict[str, Any]:
    """Data for the script: labels, weights and rollouts of each kind, and the copied shares."""
    p_gen = explanation.p_gen
    return {
        "kinds": {kind: _data_of(kind, maps) for kind, maps in kinds.items()},
        "copied": None if p_gen is None else [round(1 - float(share), 4) for share in p_gen],
    }


def _data_of(kind: str, maps: Maps) -> dict[str, Any]:
    name, columns_title, rows_title = TITLES[kind]
    return {
        "name": name,
        "titles": [columns_title, rows_title],
        "columns": token_labels(maps.columns),
        "rows": token_labels(maps.rows),
        "rightToLeft": [is_right_to_left(" ".join(side)) for side in (maps.columns, maps.rows)],
        "layers": maps.weights.shape[0],
        "heads": maps.weights.shape[1],
        "weights": _bytes(maps.weights),
        "rollouts": _bytes(maps.rollouts),
    }


def _bytes(weights: np.ndarray) -> str:
    levels = np.round(np.clip(weights, 0, 1) * LEVELS).astype(np.uint8)
    return base64.b64encode(levels.tobytes()).decode()


def _json(value: Any) -> str:
    """JSON that can stand in a script element: nothing in it ends the element."""
    return json.dumps(value, ensure_ascii=False).replace("<", "\\u003c")


def _text(text: str) -> str:
    return escape(clean_text(text))
