"""Where a run stands, and what is told of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ...zoo.files import write_json
from ...zoo.pipeline.text_to_text import TextToText
from ..core.run import Run
from ..metrics.scores import Scores, shown


@dataclass
class Progress:
    """Where a run stands; kept with its checkpoints."""

    step: int = 0
    seconds: float = 0.0
    tokens: float = 0.0  # of targets, and the seconds in which they were learnt from
    token_seconds: float = 0.0
    skipped: int = 0  # steps that changed nothing, as their gradients were not finite
    best_step: int = 0
    best_value: float | None = None
    evaluations_since_best: int = 0
    history: list[dict[str, float | None]] = field(default_factory=list)

    def ended_by(self, patience: int) -> str:
        """What ends the run here: `"patience"`, or else its `"budget"`."""
        return "patience" if self.evaluations_since_best >= patience else "budget"


class Window:
    """Sums of what was logged since the last report."""

    def __init__(self) -> None:
        self.loss = self.cross_entropy = self.tokens = self.seconds = 0.0

    def add(self, logs: dict[str, Any]) -> None:
        """Takes in the logs of a step."""
        tokens = float(logs["tokens"])
        self.tokens += tokens
        self.loss += tokens * float(logs["loss"])
        self.cross_entropy += tokens * float(logs["cross_entropy"])

    def means(self) -> dict[str, float]:
        """Means over the tokens, and how many there were in a second."""
        return {
            "loss": self.loss / self.tokens,
            "cross_entropy": self.cross_entropy / self.tokens,
            "tokens_per_second": self.tokens / self.seconds,
        }


def training_line(progress: Progress, values: dict[str, float]) -> str:
    """What is reported between two evaluations, in one line."""
    return (
        f"step {progress.step:>7,}  loss {values['loss']:.3f}  "
        f"cross entropy {values['cross_entropy']:.3f}  "
        f"rate {values['learning_rate']:.2e}  "
        f"{values['tokens_per_second']:>6,.0f} tokens/s  "
        f"{progress.seconds / 60:.1f} min"
    )


def evaluation_line(progress: Progress, metric: str, better: bool) -> str:
    """What is reported of the last evaluation, in one line."""
    latest = progress.history[-1]
    return (
        f"step {progress.step:>7,}  validation: {metric} {shown(latest[metric])}  "
        f"perplexity {shown(latest['perplexity'])}" + ("  (best so far)" if better else "")
    )


def write_metrics(
    run: Run,
    progress: Progress,
    best: TextToText,
    scores: Scores,
    baselines: dict[str, Scores],
    metric: str,
    ended: str,
    report: Callable[[str], None],
) -> None:
    """Writes and reports the scores of the best model, and what it has to be better than."""
    compared = {name: found.values for name, found in baselines.items()}
    write_json(
        run.metrics_path,
        {
            "steps": progress.step,
            "minutes": round(progress.seconds / 60, 2),
            "ended": ended,
            "tokens_per_second": round(progress.tokens / max(progress.token_seconds, 1e-9), 1),
            **({"skipped_steps": progress.skipped} if progress.skipped else {}),
            "parameters": best.model.count_params(),
            "metric": metric,
            "best_step": progress.best_step,
            "valid": scores.values,
            "signatures": scores.signatures,
            **({"baselines": compared} if compared else {}),
            "beam_size": best.generation.beam_size,
            "length_penalty": best.generation.length_penalty,
            "history": progress.history,
        },
    )
    report(
        f"best at step {progress.best_step:,} of {progress.step:,}, "
        f"{progress.seconds / 60:.1f} minutes; validation, beam {best.generation.beam_size}:\n"
        f"{scores}"
    )
    for name, found in baselines.items():
        report(f"baseline, {name}: {found.one_line()}")
