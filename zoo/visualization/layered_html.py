"""All attention of a model as one interactive page: choose kind, layer and head, point at a token.

The page holds every weight once, in steps of a 255th, and computes what is shown from them. Texts
reach it as JSON and as text nodes, never as markup.
"""

from __future__ import annotations

import base64
import hashlib
import json
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from .explanation_html import STYLE
from .labels import clean_text, is_right_to_left, token_labels
from .layered_script import SCRIPT

if TYPE_CHECKING:
    from .layered_explanation import LayeredExplanation

__all__ = ["render_frame", "render_page"]

MORE_STYLE = """
.choices { display: flex; flex-wrap: wrap; gap: .5rem 1rem; margin: 0 0 .5rem; }
.choices label { font-size: .85rem; color: var(--soft); }
select { font: inherit; color: var(--ink); background: var(--paper); border: 1px solid var(--line);
  border-radius: .3rem; padding: .2rem .4rem; }
select:focus-visible { outline: 2px solid var(--focus); outline-offset: 2px; }
.numbers td, .numbers th { width: auto; padding: .1rem .6rem; text-align: end; }
.numbers thead th { writing-mode: horizontal-tb; }
"""

_SCRIPT_HASH = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()

# As of the page of a single map: its own script and nothing else.
POLICY = (
    f"default-src 'none'; script-src 'sha256-{_SCRIPT_HASH}'; style-src 'unsafe-inline'; "
    "base-uri 'none'; form-action 'none'"
)

TITLES = {
    "cross": ("Target over source", "Source", "Target"),
    "encoder": ("Source over itself", "Read", "By"),
    "decoder": ("Target over what was written before", "Read", "When this was written"),
}
LEVELS = 255  # a weight is stored as a byte


def render_page(explanation: LayeredExplanation) -> str:
    """A page in one file, which works without a network.

    Args:
        explanation: what to show.

    Returns:
        A complete HTML document, in which every text is escaped.
    """
    own = explanation.explanation
    kinds = "".join(
        f'<option value="{kind}">{TITLES[kind][0]}</option>' for kind in explanation.kinds
    )
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{escape(POLICY)}">
<title>Attention: {_text(own.text[:80])}</title>
<style>{STYLE}{MORE_STYLE}</style>
</head>
<body>
<main>
<h1>What each token looked at, in every layer and head</h1>
<p dir="auto">{_text(own.text)}</p>
<p dir="auto">{_text(own.target)}</p>
<noscript><p>The weights are drawn by a script of this page, which is switched off.</p></noscript>
<div class="choices">
<label>Attention <select id="kind">{kinds}</select></label>
<label>Layer <select id="layer"></select></label>
<label>Head <select id="head"></select></label>
</div>
{_tokens("source")}
{_tokens("target")}
<p id="said" role="status"></p>
<h2 id="all">All weights in percent</h2>
<div class="map" role="region" aria-labelledby="all" tabindex="0"><table id="map"></table></div>
<h2 id="heads">Every head in numbers</h2>
<div class="map" role="region" aria-labelledby="heads" tabindex="0">
{_numbers(explanation)}
</div>
<p>Entropy in nats: 0 where each token looks at one place. Coverage: the share of the places that
were looked at. Diagonality: 1 where the attention moves along with the text. Rest: the share on the
end of the sentence, in the target over itself on its start. Score {own.score:.3f}</p>
</main>
<script type="application/json" id="data">{_json(_data(explanation))}</script>
<script>{SCRIPT}</script>
</body>
</html>
"""


def render_frame(explanation: LayeredExplanation) -> str:
    """The page in a frame of its own, to be shown inside another page such as a notebook."""
    height = min(420 + 28 * len(explanation.explanation.target_tokens), 900)
    page = escape(render_page(explanation))
    return (
        f'<iframe title="Attention" sandbox="allow-scripts" srcdoc="{page}" '
        f'style="width: 100%; height: {height}px; border: 0"></iframe>'
    )


def _tokens(name: str) -> str:
    return (
        f'<h2 id="{name}-title"></h2>\n'
        f'<div class="tokens" id="{name}" role="group" aria-labelledby="{name}-title"></div>'
    )


def _numbers(explanation: LayeredExplanation) -> str:
    rows = "\n".join(
        f'<tr><th scope="row">{TITLES[head.kind][0]}</th><td>{head.layer}</td><td>{head.head}</td>'
        f"<td>{head.entropy:.2f}</td><td>{head.coverage:.2f}</td><td>{head.diagonality:.2f}</td>"
        f"<td>{head.end:.2f}</td></tr>"
        for head in explanation.statistics()
    )
    names = ("Attention", "Layer", "Head", "Entropy", "Coverage", "Diagonality", "Rest")
    heads = "".join(f'<th scope="col">{name}</th>' for name in names)
    return f"""<table class="numbers">
<thead><tr>{heads}</tr></thead>
<tbody>
{rows}
</tbody>
</table>"""


def _data(explanation: LayeredExplanation) -> dict[str, Any]:
    """What the script reads: labels, weights and rollouts of each kind."""
    found = {}
    for kind in explanation.kinds:
        weights = explanation.weights(kind)
        rows, columns = explanation.tokens(kind)
        _, columns_title, rows_title = TITLES[kind]
        rollouts = [
            explanation.view(kind, layer + 1, "rollout").attention for layer in range(len(weights))
        ]
        found[kind] = {
            "titles": [columns_title, rows_title],
            "columns": token_labels(columns),
            "rows": token_labels(rows),
            "rightToLeft": [
                is_right_to_left(" ".join(columns)),
                is_right_to_left(" ".join(rows)),
            ],
            "layers": weights.shape[0],
            "heads": weights.shape[1],
            "weights": _bytes(weights),
            "rollouts": _bytes(np.array(rollouts)),
        }
    return found


def _bytes(weights: np.ndarray) -> str:
    levels = np.round(np.clip(weights, 0, 1) * LEVELS).astype(np.uint8)
    return base64.b64encode(levels.tobytes()).decode()


def _json(value: Any) -> str:
    """JSON that can stand in a script element: nothing in it ends the element."""
    return json.dumps(value, ensure_ascii=False).replace("<", "\\u003c")


def _text(text: str) -> str:
    return escape(clean_text(text))
