"""Attention as an interactive page: point at a token and see what it looked at."""

from __future__ import annotations

import base64
import hashlib
from html import escape
from typing import TYPE_CHECKING

from .labels import clean_text, display_width, is_right_to_left, token_labels

if TYPE_CHECKING:
    from .explanation import Explanation

__all__ = ["render_frame", "render_page"]

STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --paper: #fff; --line: #c9d1d9; --soft: #57606a;
  --heat: 84 166 255; --focus: #0b57d0; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #f0f3f6; --paper: #14181d; --line: #3d444d; --soft: #b1bac4;
    --heat: 27 92 190; --focus: #a8c7fa; } }
body { margin: 1rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, "Noto Sans", "Noto Sans CJK SC", "PingFang SC", "Microsoft YaHei",
    sans-serif; }
h1 { font-size: 1.1rem; margin: 0 0 .5rem; }
h2 { font-size: .8rem; font-weight: 600; color: var(--soft); margin: .75rem 0 .25rem; }
p { margin: 0 0 .5rem; color: var(--soft); font-size: .85rem; overflow-wrap: anywhere; }
.tokens { display: flex; flex-wrap: wrap; gap: .25rem; }
.tokens button { font: inherit; color: inherit; border: 1px solid var(--line); cursor: pointer;
  border-radius: .3rem; padding: .1rem .4rem; overflow-wrap: anywhere; text-align: start;
  background: rgb(var(--heat) / var(--w, 0)); }
.tokens button[aria-pressed=true] { border-color: var(--focus);
  box-shadow: 0 0 0 1px var(--focus); }
button:focus-visible, .map:focus-visible { outline: 2px solid var(--focus); outline-offset: 2px; }
#said { min-height: 1.5em; margin-top: .5rem; color: var(--ink); }
.map { overflow: auto; max-height: 80vh; }
table { border-collapse: collapse; font-size: .8rem; }
th { font-weight: 400; white-space: nowrap; max-width: 12rem; overflow: hidden;
  text-overflow: ellipsis; }
thead th { writing-mode: vertical-rl; text-align: end; padding: .25rem 0; max-height: 12rem; }
thead th.turned { transform: rotate(180deg); text-align: start; }
tbody th, tfoot th { text-align: end; padding: 0 .4rem; position: sticky; left: 0;
  background: var(--paper); }
td { width: 1.9em; min-width: 1.9em; height: 1.7em; text-align: center; padding: 0;
  border: 1px solid var(--line); background: rgb(var(--heat) / var(--w, 0)); }
thead td { border: 0; background: none; }
tr.on th, th.on { font-weight: 700; text-decoration: underline; }
"""

# One stop of the tab key for each row of tokens; arrows, Home and End move within it. What a token
# looked at comes from the table, which holds every weight once.
SCRIPT = """
(() => {
  const rows = [...document.querySelectorAll("tbody tr")];
  const heads = [...document.querySelectorAll("thead th")];
  const weights = rows.map(row => [...row.cells].slice(1)
    .map(cell => Number(cell.style.getPropertyValue("--w")) || 0));
  const sides = ["source", "target"].map(id =>
    [...document.querySelectorAll("#" + id + " button")]);
  const [source, target] = sides;
  const said = document.getElementById("said");
  const invitation = said.textContent;
  const name = token => "\\u2068" + token.textContent + "\\u2069";  // directions do not mix
  let chosen = null;
  function clear() {
    for (const token of source.concat(target)) {
      token.style.removeProperty("--w");
      token.setAttribute("aria-pressed", "false");
    }
    for (const head of heads.concat(rows)) head.classList.remove("on");
    said.textContent = invitation;
  }
  function show(side, index) {
    clear();
    const others = sides[1 - side];
    const shares = side ? weights[index] : weights.map(row => row[index]);
    sides[side][index].setAttribute("aria-pressed", "true");
    (side ? rows : heads)[index].classList.add("on");
    others.forEach((token, other) => token.style.setProperty("--w", shares[other]));
    const best = shares.map((share, other) => [share, other]).filter(([share]) => share >= .01)
      .sort((a, b) => b[0] - a[0]).slice(0, 3)
      .map(([share, other]) => name(others[other]) + " " + Math.round(100 * share) + "%");
    said.textContent = name(sides[side][index]) + (side ? " \\u2190 " : " \\u2192 ")
      + (best.join(", ") || "\\u2013");
  }
  function restore() { chosen ? show(...chosen) : clear(); }
  sides.forEach((tokens, side) => tokens.forEach((token, index) => {
    token.addEventListener("mouseenter", () => show(side, index));
    token.addEventListener("mouseleave", restore);
    token.addEventListener("focus", () => {
      tokens.forEach(each => { each.tabIndex = each === token ? 0 : -1; });
      chosen = [side, index];
      restore();
    });
    token.addEventListener("click", () => token.focus());
    token.addEventListener("keydown", event => {
      const forth = getComputedStyle(token.parentElement).direction === "rtl" ? -1 : 1;
      const step = {ArrowRight: forth, ArrowLeft: -forth, ArrowDown: 1, ArrowUp: -1}[event.key];
      const next = event.key === "Home" ? 0 : event.key === "End" ? tokens.length - 1
        : step ? Math.min(Math.max(index + step, 0), tokens.length - 1) : -1;
      if (event.key === "Escape") { chosen = null; token.blur(); clear(); }
      if (next < 0) return;
      event.preventDefault();
      tokens[next].focus();
    });
  }));
})();
"""

_SCRIPT_HASH = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()

# The page may run its own script and nothing else, and may load nothing at all: should some text
# of a user ever get into it as markup, a browser still would not act on it.
POLICY = (
    f"default-src 'none'; script-src 'sha256-{_SCRIPT_HASH}'; style-src 'unsafe-inline'; "
    "base-uri 'none'; form-action 'none'"
)

INVITATION = "Point at a token, or reach one with Tab and the arrow keys, to see its weights."


def render_page(explanation: Explanation) -> str:
    """A page in one file, which works without a network.

    Pointing at a target token, or reaching it with the keyboard, shades the source tokens it
    looked at; pointing at a source token shades the target tokens that looked at it. The strongest
    weights are also said in words, and the table below has all of them.

    Args:
        explanation: What to show.

    Returns:
        A complete HTML document, in which every text is escaped.
    """
    source = token_labels(explanation.source_tokens)
    target = token_labels(explanation.target_tokens)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{escape(POLICY)}">
<title>Attention: {_text(explanation.text[:80])}</title>
<style>{STYLE}</style>
</head>
<body>
<main>
<h1>What each token looked at</h1>
{_tokens("source", "Source", source, explanation.text)}
{_tokens("target", "Target", target, explanation.target)}
<p id="said" role="status">{INVITATION}</p>
<h2 id="all">All weights in percent</h2>
<div class="map" role="region" aria-labelledby="all" tabindex="0">
{_table(explanation, source, target)}
</div>
{_note(explanation)}<p>Score {explanation.score:.3f}</p>
</main>
<script>{SCRIPT}</script>
</body>
</html>
"""


def render_frame(explanation: Explanation) -> str:
    """The page in a frame of its own, to be shown inside another page such as a notebook.

    The frame keeps the style and the script apart from those around it, and lets the script reach
    nothing outside.

    Args:
        explanation: What to show.

    Returns:
        An `iframe` element.
    """
    height = min(360 + 28 * len(explanation.target_tokens), 900)
    page = escape(render_page(explanation))
    return (
        f'<iframe title="Attention" sandbox="allow-scripts" srcdoc="{page}" '
        f'style="width: 100%; height: {height}px; border: 0"></iframe>'
    )


def _text(text: str) -> str:
    return escape(clean_text(text))


def _tokens(name: str, title: str, labels: list[str], text: str) -> str:
    buttons = "\n".join(
        f'<button type="button" dir="auto" aria-pressed="false" tabindex="{-1 if index else 0}">'
        f"{escape(label)}</button>"
        for index, label in enumerate(labels)
    )
    direction = "rtl" if is_right_to_left(text) else "ltr"
    return f"""<h2 id="{name}-title">{title}</h2>
<p dir="auto">{_text(text)}</p>
<div class="tokens" id="{name}" role="group" aria-labelledby="{name}-title"
  dir="{direction}">
{buttons}
</div>"""


def _table(explanation: Explanation, source: list[str], target: list[str]) -> str:
    """Every weight once, as the number in a cell and as the property that shades it."""
    heads = "".join(_column_head(label) for label in source)
    rows = "\n".join(
        f'<tr><th scope="row"><bdi>{escape(label)}</bdi>{share}</th>'
        f"{''.join(map(_cell, weights))}</tr>"
        for label, share, weights in zip(
            target, _shares(explanation), explanation.attention.tolist(), strict=True
        )
    )
    return f"""<table>
<thead><tr><td></td>{heads}</tr></thead>
<tbody>
{rows}
</tbody>
{_coverage(explanation)}</table>"""


def _shares(explanation: Explanation) -> list[str]:
    """Beside each target token how much of it was written; nothing if the model does not copy."""
    if explanation.p_gen is None:
        return [""] * len(explanation.target_tokens)
    return [f" <small>{round(100 * float(share))}%</small>" for share in explanation.p_gen]


def _coverage(explanation: Explanation) -> str:
    """A last row with the sums of all others, if the model copies."""
    if explanation.p_gen is None:
        return ""
    cells = "".join(map(_cell, explanation.coverage.tolist()))
    return f'<tfoot><tr><th scope="row">coverage</th>{cells}</tr></tfoot>\n'


def _note(explanation: Explanation) -> str:
    notes = [note[0].upper() + note[1:] for note in explanation.notes]
    if explanation.p_gen is not None:
        notes.append("Coverage: all attention that a source token got")
    return "".join(f"<p>{escape(note)}.</p>\n" for note in notes)


def _column_head(label: str) -> str:
    """Read from bottom to top like the labels of the picture, or downwards if it is Chinese."""
    turned = "" if display_width(label) == 2 * len(label) else ' class="turned"'
    return f'<th scope="col"{turned}><bdi>{escape(label)}</bdi></th>'


def _cell(weight: float) -> str:
    if weight < 0.0005:
        return "<td></td>"
    percent = round(100 * weight) or ""
    return f'<td style="--w:{min(weight, 1):.3f}">{percent}</td>'
