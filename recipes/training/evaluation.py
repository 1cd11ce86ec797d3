"""Evaluation of a model on a corpus: decoded scores, perplexity, and samples to read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ...zoo.errors import DataError
from ...zoo.models.encoder_decoder import EncoderDecoder
from ...zoo.pipeline.text_to_text import TextToText
from ...zoo.text.composing import encode_sources
from ...zoo.text.source_format import Source
from ...zoo.text.tokenizer import Tokenizer
from ..core.config import RunConfig
from ..core.model import build_model
from ..core.options import EvaluationOptions
from ..core.parts import import_file
from ..core.run import Run
from ..core.saved_model import text_to_text
from ..core.task import task_of
from ..data.corpus import PairCorpus, spread_rows
from ..metrics.scores import Scores, exact_match, perplexity
from ..metrics.scoring import (
    UnknownTokens,
    counted_words,
    score_targets,
    target_lengths,
)
from ..tensorboard.attention_metrics import attention_metrics
from .length_limits import beyond_limit
from .periodic_evaluation import Evaluation

SAMPLES = 8
PINNED = 4


class Evaluator:
    """Evaluates a model on a corpus, by the functions that are exported and served.

    Args:
        text_to_text: the model; its present weights are evaluated.
        corpus: sources and references.
        config: says which task, which rows and which tokenization.
        trained: a model whose weights are taken over at each evaluation, if it is another one.
    """

    def __init__(
        self,
        text_to_text: TextToText,
        corpus: PairCorpus,
        config: RunConfig,
        trained: EncoderDecoder | None = None,
    ):
        self.text_to_text, self._trained = text_to_text, trained
        # Beams are for the end: greedy search ranks the same weights alike in a fifth of the time.
        self._greedy = text_to_text.with_generation(beam_size=1)
        self.corpus = corpus
        self.config = config
        # The same rows at every evaluation.
        part = corpus.part(spread_rows(len(corpus), config.evaluate_rows))
        self._sources, self._references = part.sources, part.references()
        self.truncated: list[int] = []  # rows from 1 whose output in `full` is one of a part

    def quick(self) -> Evaluation:
        """Greedy outputs of some rows, with samples and the attention of pinned ones."""
        self._take_over_weights()
        outputs = [p.text for p in self._greedy.predict(self._sources)]
        scores = self._scores(self._sources, self._references, outputs)
        to_text = self.text_to_text.source_format.to_text
        samples = [
            (to_text(source), reference[0], output)
            for source, reference, output in zip(
                self._sources, self._references, outputs, strict=True
            )
        ]
        every = max(1, len(samples) // SAMPLES)
        pinned = self._sources[:: max(1, len(samples) // PINNED)][:PINNED]
        pinned.sort(key=lambda source: len(to_text(source)))
        explanations = self._greedy.explain(pinned)
        return Evaluation(
            dict(scores.values),
            samples[::every][:SAMPLES],
            explanations,
            attention_metrics(self._greedy, explanations),
        )

    def full(self) -> Scores:
        """Scores of the whole corpus with the model's own search."""
        self._take_over_weights()
        found = self.text_to_text.predict(self.corpus.sources)
        self.truncated = [row for row, output in enumerate(found, start=1) if output.truncated]
        outputs = [output.text for output in found]
        return self._scores(self.corpus.sources, self.corpus.references(), outputs)

    def save(self, run: Run) -> None:
        """Writes the model that is evaluated, with the weights of this moment, into a run."""
        self._take_over_weights()
        run.save_model(self.text_to_text.model)

    def _take_over_weights(self) -> None:
        trained = self._trained
        if trained is not None and trained is not self.text_to_text.model:
            self.text_to_text.model.set_weights(trained.get_weights())

    def num_cut(self) -> int:
        """Counts the sources of the corpus that are longer than the model reads."""
        return len(self.text_to_text.too_long(self.corpus.sources))

    def num_unscored(self) -> int:
        """Counts the targets of the corpus that are too long for the perplexity."""
        lengths = target_lengths(self.text_to_text.tokenizer, self.corpus.targets)
        return int((lengths > self.config.max_target_length).sum())

    def num_beyond(self) -> int:
        """Counts the targets of the corpus that are longer than any output for their source.

        Those that are longer than any target is are counted by `num_unscored` alone.
        """
        model, corpus = self.text_to_text, self.corpus
        _, sources = encode_sources(
            model.tokenizer.source, model.source_format, corpus.sources, model.max_source_length
        )
        sources = np.minimum(sources + 1, model.max_source_length)
        lengths = np.stack([sources, target_lengths(model.tokenizer, corpus.targets)], axis=1)
        beyond = beyond_limit(lengths, model.generation)
        return int((beyond & (lengths[:, 1] <= model.generation.max_length)).sum())

    def unknown(self) -> dict[str, UnknownTokens]:
        """Unknown tokens in the sources and the targets of the corpus."""
        model, corpus = self.text_to_text, self.corpus
        sources, _ = encode_sources(
            model.tokenizer.source, model.source_format, corpus.sources, model.max_source_length
        )
        targets = model.tokenizer.encode(corpus.targets)
        return {"sources": UnknownTokens.of(sources), "targets": UnknownTokens.of(targets)}

    def _scores(
        self, sources: list[Source], references: list[tuple[str, ...]], outputs: list[str]
    ) -> Scores:
        chosen = task_of(self.config)
        scores = chosen.score(outputs, references, self.config)
        targets = [row[0] for row in references]
        log_p, tokens = score_targets(self.text_to_text, sources, targets)
        total, count = float(log_p.sum()), int(tokens.sum())
        values = {
            **scores.values,
            "cross_entropy": -total / count if count else None,  # of a token, in nats
            "perplexity": perplexity(total, count) if count else None,
        }
        if "word_perplexity" in chosen.metrics:
            unknown = target_lengths(self.text_to_text.tokenizer, targets) - tokens
            of_words = sum(counted_words(targets[i], unknown[i]) for i in np.flatnonzero(tokens))
            values["word_perplexity"] = perplexity(total, of_words) if of_words else None
        return Scores(values, scores.signatures)


class RemoteEvaluator:
    """An `Evaluator` in a process on TensorFlow, of a model that is trained on another backend.

    Args:
        call: Calls a function there with arguments.
        model: The model that is trained; each evaluation is of its weights.
        run: The folder, which has config and tokenizer.
        corpus: Sources and references.
        generation: Options of the search that follow from the training corpus.
    """

    def __init__(
        self,
        call: Callable[..., Any],
        model: EncoderDecoder,
        run: Run,
        corpus: PairCorpus,
        generation: dict[str, Any],
    ):
        self._call, self._model = call, model
        call(_make_here, run.folder, corpus, generation)

    def quick(self) -> Evaluation:
        """Returns what `Evaluator.quick` returns there."""
        return self._call(_quick_here, self._model.get_weights())

    def save(self, run: Run) -> None:
        """Writes the model with the weights of this moment into a run."""
        self._call(_save_here, run.folder, self._model.get_weights())


_here: list[Evaluator] = []  # that of a `RemoteEvaluator` in another process


def _make_here(folder: Path, corpus: PairCorpus, generation: dict[str, Any]) -> None:
    run = Run(folder)
    for origin in run.read_values()["parts"].values():
        if origin.startswith("/"):  # a file that the user has given to the other process
            import_file(origin.rpartition(":")[0])
    config, tokenizer = run.read_config(), run.read_tokenizer()
    model = build_model(config, tokenizer)
    likely = run.read_shortlist()
    as_served = text_to_text(model, tokenizer, config, run.name, True, likely, **generation)
    _here[:] = [Evaluator(as_served, corpus, config)]


def _quick_here(weights: list[np.ndarray]) -> Evaluation:
    _here[0].text_to_text.model.set_weights(weights)
    return _here[0].quick()


def _save_here(folder: Path, weights: list[np.ndarray]) -> None:
    _here[0].text_to_text.model.set_weights(weights)
    _here[0].save(Run(folder))


def check_targets(
    evaluation: EvaluationOptions,
    max_target_length: int,
    tokenizer: Tokenizer,
    corpus: PairCorpus,
    report: Callable[[str], None],
) -> None:
    """Reports targets for validation that are longer than a model writes, if there are any.

    Raises:
        DataError: those that an evaluation in training looks at are all too long.
    """
    long = target_lengths(tokenizer, corpus.targets) > max_target_length
    rows = spread_rows(len(corpus), evaluation.evaluate_rows)
    if long[rows].all():
        raise DataError(
            f"All {len(rows):,} targets of {corpus.name} that evaluations look at are longer than "
            f"{max_target_length} tokens; raise max_target_length."
        )
    if long.any():
        report(f"validation: {unscored_line(int(long.sum()), max_target_length)}")


def unscored_line(count: int, max_target_length: int) -> str:
    """That some targets are left out of the perplexity."""
    targets = "target" if count == 1 else "targets"
    return f"{count:,} {targets} longer than {max_target_length} tokens: left out of the perplexity"


def scores_by_length(text_to_text: TextToText, corpus: PairCorpus) -> tuple[float, float, float]:
    """Exact matches in percent: of all rows, of the half with shorter sources, of the longer."""
    outputs = [prediction.text for prediction in text_to_text.predict(corpus.sources)]
    references, to_text = corpus.references(), text_to_text.source_format.to_text
    order = sorted(range(len(corpus)), key=lambda i: len(to_text(corpus.sources[i])))
    half = max(1, len(order) // 2)

    def score(rows: list[int]) -> float:
        return exact_match([outputs[i] for i in rows], [references[i] for i in rows])

    return score(order), score(order[:half]), score(order[-half:])
