"""Notes of a run for the card of its export: data, scores, and texts to try it with."""

from __future__ import annotations

import functools
import sys
from typing import Any

from ...zoo.errors import ConfigError, DataError
from ...zoo.presets.pack import CARD
from ..core.corpora import read_validation
from ..core.packed_run import PackedRun
from ..core.run import Run
from ..core.task import source_format, task_of
from ..data.corpus import PairCorpus
from ..metrics.scores import shown


class RunNotes:
    """Notes of a run for the card of an export and its checks.

    Args:
        run: the run.
        rows: rows of the dev set that are scored to see what a variant of the weights loses.
        generation: options of generation that are published and are not those of the run.
    """

    def __init__(self, run: Run, rows: int, generation: dict[str, Any] | None = None):
        self._generation = generation or {}
        self._run = run
        self._config = run.read_config()
        self._num_rows = rows

    @functools.cached_property
    def _dev(self) -> PairCorpus | None:
        """The validation corpus, if it is still where it was."""
        config = self._config
        try:
            return read_validation(config)
        except (DataError, OSError):
            return None
        except ConfigError as error:  # the task is in a file that nobody gave
            print(f"without rows of the validation data: {error}", file=sys.stderr)
            return None

    def quality(self, pipeline: Any) -> dict[str, float]:
        """Scores of a pipeline on rows spread over the dev set; none without it.

        Metrics that have no value there are left out.
        """
        if self._dev is None:
            return {}
        every = max(1, len(self._dev) // self._num_rows)
        sources = self._dev.sources[::every][: self._num_rows]
        references = self._dev.references()[::every][: self._num_rows]
        outputs = [prediction.text for prediction in pipeline.predict(sources)]
        scores = task_of(self._config).score(outputs, references, self._config).values
        return {name: value for name, value in scores.items() if value is not None}

    def text(self) -> str:
        """Data and scores in Markdown, for the card; of a pack, also what its own card says."""
        config = self._config
        data = "the embedded example" if config.train is None else f"`{config.train}`"
        keep = source_format(config).keep
        lines = [
            f"- task: {config.task}",
            f"- model: `{config.model}`",
            f"- longest source: {config.max_source_length:,} tokens; of a longer one the {keep} "
            "is read",
            f"- trained on: {data}",
        ]
        if config.valid is not None:
            lines.append(f"- validated on: `{config.valid}`")
        changed = ", ".join(f"{name}={value}" for name, value in self._generation.items())
        if changed:
            lines.append(f"- published with {changed}; the scores below are without")
        metrics = self._metrics()
        for name in ("parameters", "steps", "best_step", "beam_size", "length_penalty"):
            if name in metrics:
                lines.append(f"- {name.replace('_', ' ')}: {metrics[name]:,}")
        parts = ["## Data and training", "\n".join(lines)]
        if isinstance(self._run, PackedRun):
            _, _, body = self._run.pack.members[CARD].decode().partition("\n# ")
            return "\n\n".join([*parts, body.partition("\n")[2].strip()])
        scores = metrics.get("valid") or {}
        if scores:
            rows = [f"| {name} | {shown(value)} |" for name, value in scores.items()]
            parts += ["## Scores on the validation data"]
            parts += ["\n".join(["| score | value |", "|---|---|", *rows])]
            signatures = metrics.get("signatures") or {}
            parts += [f"`{name}`: `{value}`" for name, value in signatures.items()]
        return "\n\n".join(parts)

    def _metrics(self) -> dict[str, Any]:
        try:
            return self._run.read_metrics()
        except (OSError, ConfigError):
            return {}
