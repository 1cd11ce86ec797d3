"""How good a model is on a corpus: decoded scores, perplexity, and samples to read."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..zoo.explanation import Explanation
from ..zoo.source_format import Source
from ..zoo.text_to_text import TextToText
from .attention_health import attention_health
from .baselines import word_perplexity
from .config import RunConfig
from .corpus import PairCorpus
from .metrics import Scores, exact_match
from .tasks import task

SAMPLES = 8
PINNED = 4


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation during training shows."""

    metrics: dict[str, float]
    samples: list[tuple[str, str, str]]  # source, reference, output
    explanations: list[Explanation]
    health: dict[str, float]  # of the attention in these


class Evaluator:
    """Evaluates a model on a corpus, by the functions that are exported and served.

    Args:
        text_to_text: the model; its present weights are evaluated.
        corpus: sources and references.
        config: says which task, which rows and which tokenization.
    """

    def __init__(self, text_to_text: TextToText, corpus: PairCorpus, config: RunConfig):
        self.text_to_text = text_to_text
        # Beams are for the end: greedy search ranks the same weights alike in a fifth of the time.
        self._greedy = text_to_text.with_generation(beam_size=1)
        self.corpus = corpus
        self.config = config
        # Rows evenly spread over the corpus, the same at every evaluation.
        count = min(config.evaluate_rows, len(corpus))
        rows = np.linspace(0, len(corpus) - 1, count).astype(int)
        self._sources = [corpus.sources[i] for i in rows]
        references = corpus.references()
        self._references = [references[i] for i in rows]

    def quick(self) -> Evaluation:
        """Greedy outputs of some rows, with samples and the attention of pinned ones."""
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
            scores.values,
            samples[::every][:SAMPLES],
            explanations,
            attention_health(self._greedy, explanations),
        )

    def full(self) -> Scores:
        """Scores of the whole corpus with the model's own search."""
        outputs = [p.text for p in self.text_to_text.predict(self.corpus.sources)]
        return self._scores(self.corpus.sources, self.corpus.references(), outputs)

    def num_cut(self) -> int:
        """How many sources of the corpus are longer than the model reads."""
        return len(self.text_to_text.too_long(self.corpus.sources))

    def _scores(
        self, sources: list[Source], references: list[tuple[str, ...]], outputs: list[str]
    ) -> Scores:
        chosen = task(self.config.task)
        scores = chosen.score(outputs, references, self.config)
        targets = [row[0] for row in references]
        log_p, tokens = self.text_to_text.score(sources, targets)
        cross_entropy = -float(log_p.sum()) / int(tokens.sum())  # of a subword, in nats
        perplexity = math.exp(min(cross_entropy, 50.0))
        values = {**scores.values, "cross_entropy": cross_entropy, "perplexity": perplexity}
        if "word_perplexity" in chosen.metrics:
            values["word_perplexity"] = word_perplexity(float(log_p.sum()), targets)
        return Scores(values, scores.signatures)


def scores_by_length(text_to_text: TextToText, corpus: PairCorpus) -> tuple[float, float, float]:
    """Exact matches in percent: of all rows, of the half with shorter sources, of the longer."""
    outputs = [prediction.text for prediction in text_to_text.predict(corpus.sources)]
    to_text = text_to_text.source_format.to_text
    order = sorted(range(len(corpus)), key=lambda i: len(to_text(corpus.sources[i])))
    half = max(1, len(order) // 2)

    def score(rows: list[int]) -> float:
        return exact_match([outputs[i] for i in rows], [corpus.targets[i] for i in rows])

    return score(order), score(order[:half]), score(order[-half:])
