"""Reports of a training beside its steps: its data and model, and the scores at its end."""

from __future__ import annotations

from collections.abc import Callable

import keras

from ...zoo.files import write_json
from ...zoo.pipeline.text_to_text import TextToText
from ...zoo.text.tokenizer import Tokenizer
from ..core.config import RunConfig
from ..core.run import Run
from ..core.task import source_format
from ..data.batch_stream import BatchStream
from ..metrics.scores import Scores
from .progress import Progress


def sizes_line(
    config: RunConfig, model: keras.Model, tokenizer: Tokenizer, batches: BatchStream
) -> str:
    """Returns a line with the numbers of parameters, tokens, pairs and batches."""
    vocabulary = f"{tokenizer.vocab_size:,}"
    if not tokenizer.shares_vocabulary:
        vocabulary = f"{tokenizer.source.vocab_size:,} source and {vocabulary} target"
    keep = source_format(config).keep
    cut = f", {batches.cut:,} sources cut to their {keep}" if batches.cut else ""
    return (
        f"{config.model}: {model.count_params():,} parameters, {vocabulary} subwords, "
        f"{batches.num_pairs:,} training pairs ({batches.too_long:,} too long{cut}), "
        f"{batches.batches_in_epoch():,} batches an epoch"
    )


def write_metrics(
    run: Run,
    config: RunConfig,
    progress: Progress,
    best: TextToText,
    scores: Scores,
    baselines: dict[str, Scores],
    metric: str,
    report: Callable[[str], None],
) -> None:
    """Writes and reports the scores of the best model, and what it has to be better than."""
    compared = {name: found.values for name, found in baselines.items()}
    write_json(
        run.metrics_path,
        {
            "steps": progress.step,
            "minutes": round(progress.seconds / 60, 2),
            "ended": progress.ended_by(config.patience),
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
    if progress.step < config.warmup_steps:
        report(
            f"the learning rate was still rising, to its peak at step {config.warmup_steps:,}: "
            "train for longer, or with fewer warmup_steps"
        )
