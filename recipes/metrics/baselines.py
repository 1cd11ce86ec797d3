"""Baselines: scores that need little or no learning."""

from __future__ import annotations

import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

from ...zoo.pipeline.text_to_text import TextToText
from ...zoo.text.source_format import Source
from ...zoo.text.special_ids import END_ID, START_ID, UNKNOWN_ID
from ..data.corpus import PairCorpus, spread_rows
from .scores import Scores, perplexity
from .scoring import counted_words
from .text_scores import WORD, answer_scores, reply_scores, rouge_scores, words

LEAD_ROWS = 200  # rows on which the number of first words is chosen
COMPARED = 10**9  # rows times texts, among which to find the nearest: some ten seconds
Baselines = dict[str, Scores]


def summary_baselines(train: PairCorpus, valid: PairCorpus, _: TextToText) -> Baselines:
    """Scores the first words of each source as its summary.

    The number of words is the one with the best ROUGE-L on rows of the training corpus.

    Args:
        train: Training corpus.
        valid: Corpus to score.

    Returns:
        The scores by the name of the baseline.
    """
    count = best_lead(train)
    outputs = [lead(text_of(source), count) for source in valid.sources]
    return {f"first {count} words": rouge_scores(outputs, valid.references())}


def best_lead(corpus: PairCorpus) -> int:
    """The number of first words with the best ROUGE-L, from half to twice those of a target."""
    rows = range(0, len(corpus), max(1, len(corpus) // LEAD_ROWS))[:LEAD_ROWS]
    texts = [text_of(corpus.sources[row]) for row in rows]
    references = [(corpus.targets[row],) for row in rows]
    mean = float(np.mean([len(words(target)) for (target,) in references]))

    def value(count: int) -> float:
        scores = rouge_scores([lead(text, count) for text in texts], references)
        return scores.values["rougeL"] or 0.0

    # At most some ten lengths are tried, as each is a scoring of all rows.
    counts = np.unique(np.linspace(max(1, mean / 2), max(2, 2 * mean), 10).round().astype(int))
    return int(max(counts, key=value))


def lead(text: str, count: int) -> str:
    """The first words of a text, or characters where there are no spaces between words.

    Args:
        text: Any text.
        count: Number of words.
    """
    ends = [word.end() for word in itertools.islice(WORD.finditer(text), count)]
    return " ".join(text[: ends[-1] if ends else 0].split())


def answer_baselines(train: PairCorpus, valid: PairCorpus, _: TextToText) -> Baselines:
    """Scores answers without a look at the context: the most frequent of all and of a question.

    Args:
        train: Training corpus.
        valid: Corpus to score.

    Returns:
        The scores by the name of the baseline.
    """
    overall = Counter(train.targets).most_common(1)[0][0]
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for source, target in train:
        counts[question_of(source)][target] += 1
    best = {question: found.most_common(1)[0][0] for question, found in counts.items()}
    by_question = [best.get(question_of(source), overall) for source in valid.sources]
    references = valid.references()
    return {
        "most frequent answer": answer_scores([overall] * len(valid), references),
        "most frequent to the question": answer_scores(by_question, references),
    }


def reply_baselines(train: PairCorpus, valid: PairCorpus, model: TextToText) -> Baselines:
    """Scores unigrams and bigrams of the model's tokens, and the reply to the nearest text.

    The perplexities are of the targets for which the model has one. The nearest text is searched
    for all rows, or for as many as `COMPARED` allows; then there is no share of different words,
    which falls with the number of rows.

    Args:
        train: Training corpus.
        valid: Corpus to score.
        model: The trained model, whose tokenizer and limits are used.

    Returns:
        The scores by the name of the baseline.
    """
    tokenizer = model.tokenizer
    ngrams = NgramModel(tokenizer.encode(train.targets), tokenizer.vocab_size)
    longest = model.generation.max_length
    rows = list(zip(valid.targets, tokenizer.encode(valid.targets), strict=True))
    scored = [(text, ids) for text, ids in rows if len(ids) < longest]
    # Of unknown tokens as the perplexity of the model.
    copied = model.generation.replace_unknown
    unknown = [0 if copied else int(np.count_nonzero(ids == UNKNOWN_ID)) for _, ids in scored]
    texts = [text for text, _ in scored]
    of_words = sum(map(counted_words, texts, unknown))
    found = {}
    for order, name in ((1, "unigram"), (2, "bigram")) if scored else ():
        log_p = sum(ngrams.log_probability(ids, order, copied) for _, ids in scored)
        found[name] = Scores({"word_perplexity": perplexity(log_p, of_words)})
    part = valid.part(spread_rows(len(valid), max(1, COMPARED // len(train))))
    nearest = NearestSource([text_of(source) for source in train.sources])
    outputs = [train.targets[nearest.find(text_of(source))] for source in part.sources]
    values = reply_scores(outputs, part.references()).values
    if len(part) < len(valid):
        values = {"f1": values["f1"]}
    found["reply to the nearest text"] = Scores(values)
    return found


def text_of(source: Source) -> str:
    """The text of a source, with or without other inputs."""
    return source if isinstance(source, str) else str(source["text"])


def question_of(source: Source) -> str:
    return source if isinstance(source, str) else str(source["question"])


class NearestSource:
    """Finds the text that shares the most rare words with another, by the cosine of tf-idf.

    Args:
        texts: The texts to search.
    """

    def __init__(self, texts: Sequence[str]):
        rows: dict[str, list[int]] = defaultdict(list)
        counts: dict[str, list[int]] = defaultdict(list)
        for row, text in enumerate(texts):
            for word, count in Counter(words(text.lower())).items():
                rows[word].append(row)
                counts[word].append(count)
        total = len(texts)
        self._idf = {word: math.log((1 + total) / (1 + len(found))) for word, found in rows.items()}
        squares = np.zeros(total)
        self._postings: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        for word, found in rows.items():
            weights = (1 + np.log(counts[word])) * self._idf[word]
            self._postings[word] = (np.array(found), weights)
            squares[self._postings[word][0]] += weights**2
        self._norms = np.sqrt(np.maximum(squares, 1e-12))

    def find(self, text: str) -> int:
        """The number of the nearest text; the first of several."""
        similarity = np.zeros(len(self._norms))
        for word, count in Counter(words(text.lower())).items():
            if word in self._postings:
                rows, weights = self._postings[word]
                similarity[rows] += (1 + math.log(count)) * self._idf[word] * weights
        return int(np.argmax(similarity / self._norms))


class NgramModel:
    """A bigram model interpolated with a unigram model and the uniform distribution.

    Each order gives a share of its probability to the order below, larger the more different tokens
    have followed (Witten and Bell 1991), so that no token is impossible.

    Args:
        rows: Token ids of each text, without start and end.
        vocab_size: Number of tokens of the vocabulary.

    Example:

    >>> model = NgramModel(tokenizer.encode(texts), tokenizer.vocab_size)
    >>> model.log_probability(tokenizer.encode(["a house"])[0], order=2)

    Reference: Witten and Bell 1991, https://doi.org/10.1109/18.87000
    """

    def __init__(self, rows: Sequence[np.ndarray], vocab_size: int):
        ended = [np.append(row, END_ID) for row in rows]
        counts = np.bincount(np.concatenate(ended), minlength=vocab_size)
        kinds = np.count_nonzero(counts)
        self.unigram = (counts + kinds / vocab_size) / (counts.sum() + kinds)
        self._pairs: Counter[tuple[int, int]] = Counter()
        for row in ended:
            ids = row.tolist()
            self._pairs.update(zip([START_ID, *ids[:-1]], ids, strict=True))
        self._totals = np.zeros(vocab_size)
        self._kinds = np.zeros(vocab_size)
        for (before, _), count in self._pairs.items():
            self._totals[before] += count
            self._kinds[before] += 1

    def log_probability(self, row: np.ndarray, order: int, count_unknown: bool = True) -> float:
        """Natural log of the probability of a text, its end included.

        Args:
            row: Token ids of the text, without start and end.
            order: 1 for the unigram model, 2 for the bigram model.
            count_unknown: Whether unknown tokens count, or only the tokens after them.

        Returns:
            A number below 0.
        """
        ids = np.append(row, END_ID)
        counted = (ids != UNKNOWN_ID) | count_unknown
        unigram = self.unigram[ids]
        if order == 1:
            return float(np.log(unigram[counted]).sum())
        before = np.append(START_ID, row).astype(int)
        seen = [self._pairs[pair] for pair in zip(before.tolist(), ids.tolist(), strict=True)]
        totals, kinds = self._totals[before], self._kinds[before]
        below = np.where(totals > 0, kinds, 1.0)  # after what was never seen: the unigram alone
        found = (np.array(seen) + below * unigram) / (totals + below)
        return float(np.log(found[counted]).sum())
