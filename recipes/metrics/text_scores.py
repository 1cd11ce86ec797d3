"""Scores of summaries, answers and replies, in percent but for the counts of words."""

from __future__ import annotations

import importlib.metadata
import re
import string
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence

from rouge_score import rouge_scorer

from ...zoo.text.normalization import to_nfc
from .scores import UNSPACED, Scores, check_rows, mostly_beyond_ascii, mostly_unspaced

WORD = re.compile(rf"{UNSPACED.pattern}|(?:(?!{UNSPACED.pattern})\S)+")
ROUGE = ("rouge1", "rouge2", "rougeL")
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = frozenset(string.punctuation)
References = Sequence[Sequence[str]]


class CharacterTokenizer:
    """Splits text into lower-case words; scripts without spaces between words, into characters."""

    _TOKEN = re.compile(rf"{UNSPACED.pattern}|(?:(?!{UNSPACED.pattern})\w)+")

    def tokenize(self, text: str) -> list[str]:
        return self._TOKEN.findall(_normal(text))


class WordTokenizer:
    """Splits text into lower-case runs of letters, digits and marks; ASCII as rouge-score does."""

    def tokenize(self, text: str) -> list[str]:
        # A vowel sign or an accent of its own is a mark, without which a word falls apart.
        kept = (
            c if c.isalnum() or unicodedata.category(c)[0] == "M" else " " for c in _normal(text)
        )
        return "".join(kept).split()


def _normal(text: str) -> str:
    """Lower case of the form in which models write."""
    return to_nfc(text).lower()


def words(text: str) -> list[str]:
    """The words between white space; the characters of scripts without it."""
    return WORD.findall(text)


def rouge_scores(predictions: Sequence[str], references: References) -> Scores:
    """ROUGE-1, -2 and -L by the package rouge-score: mean F of the rows, without stemming.

    Of several references the best counts. The package's own words are of ASCII letters and digits
    alone, so where most references have other letters, words of any script are compared; and where
    most are in a script without spaces between words, characters. ROUGE-2 has no value where no
    reference has two words, and all three have none where no reference has a word.

    Args:
        predictions: Outputs of the model.
        references: For each prediction all texts that are right.

    Returns:
        Scores `rouge1`, `rouge2` and `rougeL` in percent.

    Reference: Lin 2004, https://aclanthology.org/W04-1013
    """
    values = {
        name: _percent(rows) if any(rouge_countable(name, references)) else None
        for name, rows in rouge_rows(predictions, references).items()
    }
    return Scores(values, {"rouge": rouge_signature(references)})


def rouge_signature(references: References) -> str:
    """Signature of the ROUGE scores: variant, unit and tokenizer."""
    compared, _ = _compared(references)
    version = importlib.metadata.version("rouge-score")
    return f"rouge-score {version}, mean F, no stemming, {compared}"


def rouge_rows(predictions: Sequence[str], references: References) -> dict[str, list[float]]:
    """ROUGE of each row; `rouge_scores` are their means.

    Args:
        predictions: Outputs of the model.
        references: For each prediction all texts that are right.

    Returns:
        Values from 0 to 1 for each row, by the name of the score.
    """
    check_rows(predictions, references)
    scorer = _rouge_scorer(references)
    found: dict[str, list[float]] = {name: [] for name in ROUGE}
    for prediction, row in zip(predictions, references, strict=True):
        scores = [scorer.score(reference, prediction) for reference in row]
        for name, values in found.items():
            values.append(max(score[name].fmeasure for score in scores))
    return found


def rouge_countable(name: str, references: References) -> Iterator[bool]:
    """For each row, True if a reference has what a ROUGE score counts: words, or pairs of them.

    Args:
        name: `"rouge1"`, `"rouge2"` or `"rougeL"`.
        references: For each row all texts that are right.
    """
    scorer = _rouge_scorer(references)
    return (any(scorer.score(text, text)[name].fmeasure > 0 for text in row) for row in references)


def _rouge_scorer(references: References) -> rouge_scorer.RougeScorer:
    return rouge_scorer.RougeScorer(list(ROUGE), tokenizer=_compared(references)[1])


def _compared(references: References) -> tuple[str, CharacterTokenizer | WordTokenizer | None]:
    """Unit that ROUGE compares, in words, and its tokenizer; `None` for that of rouge-score."""
    firsts = [row[0] for row in references]
    if mostly_unspaced(firsts):
        return "characters", CharacterTokenizer()
    if mostly_beyond_ascii(firsts):
        return "Unicode words", WordTokenizer()
    return "words", None


def answer_scores(predictions: Sequence[str], references: References) -> Scores:
    """Exact match and F1 of answers as the SQuAD script counts them.

    Case, punctuation, articles and white space do not count; of several references the best does.
    F1 compares words, and characters of scripts without spaces, where punctuation is more than that
    of ASCII.

    Args:
        predictions: Outputs of the model.
        references: For each prediction all answers that are right.

    Returns:
        Scores `exact_match` and `f1` in percent.

    Reference: Rajpurkar et al. 2016, https://aclanthology.org/D16-1264
    """
    values = {name: _percent(rows) for name, rows in answer_rows(predictions, references).items()}
    return Scores(values, {"f1": "SQuAD 1.1, the best of the references of a row"})


def answer_rows(predictions: Sequence[str], references: References) -> dict[str, list[float]]:
    """Exact match and F1 of each row; `answer_scores` are their means.

    Args:
        predictions: Outputs of the model.
        references: For each prediction all answers that are right.

    Returns:
        Values from 0 to 1 for each row, by the name of the score.
    """
    check_rows(predictions, references)
    rows = list(zip(predictions, references, strict=True))
    return {
        "exact_match": [max(float(_is_same(text, right)) for right in row) for text, row in rows],
        "f1": [max(word_f1(text, right) for right in row) for text, row in rows],
    }


def _percent(values: Sequence[float]) -> float:
    return 100 * sum(values) / len(values)


def normalize_answer(text: str) -> str:
    """An answer without case, punctuation, articles and needless white space."""
    unspaced = bool(UNSPACED.search(text))
    kept = "".join(char for char in _normal(text) if not _is_punctuation(char, unspaced))
    return " ".join(words(_ARTICLES.sub(" ", kept)))


def word_f1(prediction: str, reference: str) -> float:
    """F1 of the words of two answers, counted with their multiplicity.

    Args:
        prediction: Output of the model.
        reference: An answer that is right.

    Returns:
        A value from 0 to 1; 1 if both answers have no words.
    """
    output, right = normalize_answer(prediction).split(), normalize_answer(reference).split()
    if not output or not right:
        return float(output == right)
    common = sum((Counter(output) & Counter(right)).values())
    return 2 * common / (len(output) + len(right))


def reply_scores(predictions: Sequence[str], references: References) -> Scores:
    """Scores of replies: their diversity and their overlap with the reference.

    `distinct_1` and `distinct_2` are the numbers of different words and pairs of words in a
    hundred, and have no value where none were written; `most_repeated` is the share of rows with
    the most frequent reply; `f1` is the mean overlap of words with the reference, as in
    `answer_scores`.

    Args:
        predictions: Outputs of the model.
        references: For each prediction all replies that are right.

    Returns:
        The four scores in percent.

    Reference: Li et al. 2016, https://aclanthology.org/N16-1014
    """
    check_rows(predictions, references)
    most_common = Counter(normalize_answer(text) for text in predictions).most_common(1)[0][1]
    values = {
        "distinct_1": distinct(predictions, 1),
        "distinct_2": distinct(predictions, 2),
        "most_repeated": 100 * most_common / len(predictions),
        "f1": answer_scores(predictions, references).values["f1"],
    }
    return Scores(values)


def distinct(texts: Sequence[str], size: int) -> float | None:
    """The number of different n-grams of words for a hundred that were written.

    Args:
        texts: Outputs of the model.
        size: Words of an n-gram.

    Returns:
        A percentage; `None` if there are no n-grams of that size.
    """
    runs = Counter(
        tuple(row[start : start + size])
        for row in (words(text.lower()) for text in texts)
        for start in range(len(row) - size + 1)
    )
    return 100 * len(runs) / runs.total() if runs else None


def _is_same(prediction: str, reference: str) -> bool:
    return normalize_answer(prediction) == normalize_answer(reference)


def _is_punctuation(char: str, unspaced: bool) -> bool:
    return char in _PUNCTUATION or (unspaced and unicodedata.category(char).startswith("P"))
