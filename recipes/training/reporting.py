"""Reports of a training beside its steps: its data and model, and the scores at its end."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable

import keras

from ...zoo.errors import ConfigError
from ...zoo.files import write_json
from ...zoo.pipeline.text_to_text import TextToText
from ...zoo.text.tokenizer import Tokenizer
from ..core.config import Budget, RunConfig
from ..core.corpora import overlap_line
from ..core.run import Run
from ..core.task import source_format
from ..data.batch_stream import BatchStream
from ..data.corpus import PairCorpus, spread_rows
from ..data.prepared import PreparedCorpus
from ..metrics.scores import Scores
from .fitted import fitted_values
from .progress import Progress

FEW_ROWS, FEW_VALID = 200, 50
SAMPLES = 3  # at the end
# What is told before a training, under words for it.
CHOSEN = {
    "tokens": ("tokenizer", "source_tokenizer", "target_tokenizer", "vocab_size", "bpe_dropout")
    + ("character_coverage",),
    "texts": ("max_source_length", "max_target_length", "batch_tokens"),
    "rate": ("learning_rate", "warmup_steps", "schedule", "cooldown_share", "average_decay"),
    "best by": ("metric",),
}


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
        f"{config.model}: {model.count_params():,} parameters, {vocabulary} tokens, "
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
            "planned": {"steps": progress.planned_steps, "minutes": progress.planned_minutes},
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
    warmup = progress.warmup_steps or config.warmup_steps
    if progress.step < warmup:
        report(
            f"the learning rate was still rising, to its peak at step {warmup:,}: "
            "train for longer, or with fewer warmup_steps"
        )


def corpora_lines(
    config: RunConfig, budget: Budget, train: PairCorpus | PreparedCorpus, valid: PairCorpus
) -> list[str]:
    """Lines on both corpora of a training, and on what was chosen for them."""
    lines = [train.report(), valid.report()]
    if (line := overlap_line(config, train, valid)) is not None:
        lines.append(line)
    if len(train) < FEW_ROWS:
        lines.append(
            f"{len(train):,} rows are few: a model learns them by heart, and little else unless "
            "they are very regular; thousands are usual"
        )
    elif len(valid) < FEW_VALID:
        lines.append(f"{len(valid):,} rows to validate with are few: their scores are rough")
    return [*lines, *_untagged_lines(config, train, valid), *chosen_lines(config, budget)]


def _untagged_lines(
    config: RunConfig, train: PairCorpus | PreparedCorpus, valid: PairCorpus
) -> list[str]:
    """Lines on the sources without a language tag; a corpus that has none of the tags is refused.

    Raises:
        ConfigError: No source of a corpus begins with a tag.
    """
    lines = []
    for corpus in (train, valid):
        if not isinstance(corpus, PairCorpus):
            continue  # the texts of a prepared corpus are not at hand
        count = len(source_format(config).untagged(corpus.sources))
        if count == len(corpus) > 0:
            raise ConfigError(
                f"No source of {corpus.name} begins with one of tags={config.tags}: write the tag "
                f"of its direction in front of each, such as {config.tags.split()[0]!r} and a "
                "space, or leave out tags."
            )
        if count:
            lines.append(f"{corpus.name}: {count:,} sources begin with none of {config.tags}")
    return lines


def chosen_lines(config: RunConfig, budget: Budget) -> list[str]:
    """Lines on what was chosen for a corpus, and on its time; none where all was set."""
    if config.stated is None:
        return []
    values = {n: value for n, value in fitted_values(config).items() if value is not None}
    if set(config.kinds_of_tokens) <= {"char"}:
        values.pop("vocab_size", None)
    if config.metric == "bleu":  # the usual one, in place of which a corpus may need another
        values.pop("metric", None)
    if not config.bpe_dropout:
        values.pop("bpe_dropout", None)
    options = {n: v for n, v in values.items() if n.startswith("model.")}
    lines = [
        "chosen for this corpus, as you set nothing else (--model NAME, --set NAME=VALUE):",
        f"  {'model':<8} {' '.join([config.model, *_set(options)])}",
    ]
    for words, names in CHOSEN.items():
        shown = _set({name: values[name] for name in names if name in values})
        lines += [f"  {words:<8} {' '.join(shown)}"] if shown else []
    return [*lines, f"  {'time':<8} {budget_words(budget)}"]


def _set(values: dict[str, object]) -> list[str]:
    """Values as `--set` takes them."""
    return [f"{name}={str(v).lower() if isinstance(v, bool) else v}" for name, v in values.items()]


def budget_words(budget: Budget) -> str:
    """The longest that a training takes, and the option that changes it."""
    minutes = None if budget.max_minutes is None else f"{budget.max_minutes:g} minutes"
    epochs = None if budget.max_epochs is None else f"{budget.max_epochs:,} epochs"
    steps = None if budget.max_steps is None else f"{budget.max_steps:,} steps"
    limits = " or ".join(filter(None, (minutes, epochs, steps)))
    if not limits:
        return "until the metric gets no better"
    first = ", whichever comes first" if " or " in limits else ""
    return f"{limits}{first} (--max-minutes); Ctrl-C stops and keeps what is learned"


def stopped_line(run: Run, step: int) -> str:
    """A line on a training that was stopped, and what can be done with it."""
    told = f"stopped and saved at step {step:,}; give the same command to go on"
    if not run.model_path.is_file():
        return told
    return f"{told}, or ask it as it is: attention-zoo predict {run.folder} TEXT"


def closing_lines(run: Run, best: TextToText, corpus: PairCorpus) -> list[str]:
    """Lines at the end of a training: some outputs beside their references, and what to do next."""
    rows = spread_rows(len(corpus), SAMPLES + 2)
    part = corpus.part(rows[1:-1] if len(rows) > SAMPLES + 1 else rows[:SAMPLES])
    to_text = best.source_format.to_text
    lines = []
    for source, target, output in zip(
        part.sources, part.targets, best.predict(part.sources), strict=True
    ):
        texts = {"source": to_text(source), "expected": target, "output": output.text}
        lines += [""] + [f"  {name:<9} {_short(text)}" for name, text in texts.items()]
    shortest = min(part.sources, key=lambda source: len(to_text(source)))
    given = shortest if isinstance(shortest, str) else json.dumps(shortest, ensure_ascii=False)
    text = shlex.quote(given)
    folder = shlex.quote(str(run.folder))
    return [
        *lines,
        "",
        "next:",
        f"  attention-zoo predict {folder} {text}",
        f"  attention-zoo explain {folder} {text}",
        f"  attention-zoo evaluate {folder} --data FILE",
        f"  attention-zoo export {folder} models && attention-zoo serve models",
    ]


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 90 else f"{line[:89]}…"
