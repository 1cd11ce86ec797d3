"""The card of a pack: what the model is, whose data it learned from, and what it scores."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ..metrics.scores import shown
from ..metrics.text_scores import ROUGE

_PIPELINES = {"dialogue": "text-generation"}  # of the Hub, where it has another word for a task
_HUB_METRICS = dict.fromkeys(ROUGE, "rouge")


def render_card(manifest: Mapping[str, Any], metrics: Mapping[str, Any], notes: str = "") -> str:
    """The card in Markdown, with the front matter that the Hugging Face Hub reads.

    Args:
        manifest: Of the pack, without its members.
        metrics: `metrics.json` of the run.
        notes: What else there is to say, in Markdown.
    """
    example = json.dumps((manifest["examples"] or ["TEXT"])[0], ensure_ascii=False)
    commands = (
        f"attention-zoo {use} {manifest['call']} {example}" for use in ("predict", "explain")
    )
    parts = [
        _front_matter(manifest),
        f"# {manifest['name']}",
        manifest["description"],
        "\n".join(["```", *commands, "```"]),
        "## Data and license",
        "\n".join(
            [
                f"- data: {manifest['data']}",
                f"- license of the weights: {manifest['license'] or 'not told'}",
                *([f"- attribution: {manifest['attribution']}"] if manifest["attribution"] else []),
            ]
        ),
        "## Scores",
        _scores(manifest),
        "## How it was made",
        _making(manifest, metrics),
    ]
    return "\n\n".join([*parts, *([notes.strip()] if notes.strip() else [])]) + "\n"


def _front_matter(manifest: Mapping[str, Any]) -> str:
    """YAML, whose strings are written as those of JSON, which it takes too."""
    quoted = json.dumps
    expression, task = manifest["license"], manifest["task"]
    lines = ["library_name: keras", f"pipeline_tag: {_PIPELINES.get(task, task)}"]
    if expression and " " not in expression:
        lines.append(f"license: {expression.lower()}")
    elif expression:
        lines += ["license: other", f"license_name: {quoted(expression)}"]
    if manifest["languages"]:
        lines += ["language:", *(f"- {quoted(language)}" for language in manifest["languages"])]
    lines += ["tags:", "- attention-zoo"]
    if scores := manifest["scores"]:
        lines += [
            "model-index:",
            f"- name: {quoted(manifest['name'])}",
            "  results:",
            f"  - task: {{type: {_PIPELINES.get(task, task)}}}",
            f"    dataset: {{name: {quoted(manifest['scored_on'])}, type: text}}",
            "    metrics:",
        ]
        for name, value in scores.items():
            if value is not None:
                lines.append(
                    f"    - {{type: {_HUB_METRICS.get(name, name)}, name: {quoted(name)}, "
                    f"value: {value:.2f}}}"
                )
    return "\n".join(["---", *lines, "---"])


def _scores(manifest: Mapping[str, Any]) -> str:
    scores, full, kind = manifest["scores"], manifest["float32_scores"], manifest["weights"]
    if not scores:
        return "They were not measured."
    rows: list[tuple[str, ...]]
    if full:
        rows = [("score", "float32", kind, "difference"), ("---",) * 4]
        rows += [
            (name, shown(full.get(name)), shown(value), _difference(full.get(name), value))
            for name, value in scores.items()
        ]
    else:
        rows = [("score", "value"), ("---",) * 2]
        rows += [(name, shown(value)) for name, value in scores.items()]
    lines = [f"| {' | '.join(row)} |" for row in rows]
    said = [f"Measured on {manifest['scored_on']}.", "\n".join(lines)]
    said += [f"`{name}`: `{value}`" for name, value in manifest["signatures"].items()]
    return "\n\n".join(said)


def _difference(before: float | None, after: float | None) -> str:
    return "none" if before is None or after is None else f"{after - before:+.2f}"


def _making(manifest: Mapping[str, Any], metrics: Mapping[str, Any]) -> str:
    lines = [
        f"- model: `{manifest['model']}`, {manifest['parameters']:,} parameters",
        f"- weights: {manifest['weights']}",
        f"- written by: attention-zoo {manifest['attention_zoo']}",
    ]
    if "steps" in metrics:
        minutes = f" in {metrics['minutes']:,} minutes" if "minutes" in metrics else ""
        lines.append(f"- training: {metrics['steps']:,} steps{minutes}")
    if manifest["build"]:
        commands = "\n".join(manifest["build"])
        return "\n".join(lines) + f"\n\nMade again by:\n\n```\n{commands}\n```"
    return "\n".join(lines)
