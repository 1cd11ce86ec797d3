"""Scores of summaries, answers and replies, in percent but for the counts of words."""

from __future__ import annotations

import importlib.metadata
import re
import string
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence

from rouge_score import rouge_scorer

from ...zoo.text.normalization import UNSPACED, to_nfc
from ...zoo.text.sentences import split_sentences
from .scores import Scores, check_rows

WORD = re.compile(rf"{UNSPACED.pattern}|(?:(?!{UNSPACED.pattern})\S)+")
ROUGE = ("rouge1", "rouge2", "rougeL", "rougeLsum")
_ARTICLES = re.compile(r"\b(a|an|the)\b")
# The sign before a number, its point, and the marks in it but for a comma before three digits.
_OF_NUMBERS = re.compile(
    rf"(?:(?<![^\W_])|(?<={UNSPACED.pattern})|(?<=\de))[-+－](?=[$€£¥]?\.?\d)"
    r"|(?<![^\W\d_])\.(?=\d)|(?<=\d)[-+:/^*–．：／－](?=\d)|(?<=\d)[,，](?=\d)(?!\d{3}(?!\d))"
)
_PUNCTUATION = frozenset(string.punctuation)
References = Sequence[Sequence[str]]


class UnicodeTokenizer:
    """Splits text into lower-case runs of letters, digits and marks; ASCII as rouge-score does.

    Of scripts without spaces between words each letter is one. What only controls how letters look,
    such as a joiner, parts no words. A text without a word, such as an emoji, is made of its signs.
    """

    _TOKEN = re.compile(rf"{UNSPACED.pattern}|(?:(?!{UNSPACED.pattern})\S)+")

    def tokenize(self, text: str) -> list[str]:
        signs = [c for c in _normal(text) if unicodedata.category(c) != "Cf"]
        # A vowel sign or an accent of its own is a mark, without which a word falls apart.
        kept = (c if c.isalnum() or unicodedata.category(c)[0] == "M" else " " for c in signs)
        return self._TOKEN.findall("".join(kept)) or [c for c in signs if not c.isspace()]


def _normal(text: str) -> str:
    """Lower case of the form in which models write."""
    return to_nfc(text).lower()


def words(text: str) -> list[str]:
    """The words between white space; the characters of scripts without it."""
    return WORD.findall(text)


def rouge_scores(predictions: Sequence[str], references: References) -> Scores:
    """ROUGE-1, -2, -L and -Lsum by the package rouge-score: mean F of the rows, without stemming.

    Of several references the best counts. Words are runs of letters and digits of any script, where
    the package's own are of ASCII alone; in scripts without spaces between words, characters. What
    a row has does not change with the others. ROUGE-L reads a summary as one sentence; ROUGE-Lsum
    reads its lines and sentences one by one, and is the same for one sentence. ROUGE-2 has no value
    where no reference has two words, and none has one where no reference has a word.

    Args:
        predictions: Outputs of the model.
        references: For each prediction all texts that are right.

    Returns:
        Scores `rouge1`, `rouge2`, `rougeL` and `rougeLsum` in percent.

    Reference: Lin 2004, https://aclanthology.org/W04-1013
    """
    values = {
        name: _percent(rows) if any(rouge_countable(name, references)) else None
        for name, rows in rouge_rows(predictions, references).items()
    }
    return Scores(values, {"rouge": rouge_signature()})


def rouge_signature() -> str:
    """Signature of the ROUGE scores: variant and unit."""
    version = importlib.metadata.version("rouge-score")
    return f"rouge-score {version}, mean F, no stemming, Unicode words, split into sentences"


def rouge_rows(predictions: Sequence[str], references: References) -> dict[str, list[float]]:
    """ROUGE of each row; `rouge_scores` are their means.

    Args:
        predictions: Outputs of the model.
        references: For each prediction all texts that are right.

    Returns:
        Values from 0 to 1 for each row, by the name of the score.
    """
    check_rows(predictions, references)
    scorer = _rouge_scorer()
    found: dict[str, list[float]] = {name: [] for name in ROUGE}
    for prediction, row in zip(predictions, references, strict=True):
        lines = _sentence_lines(prediction)
        scores = [scorer.score(_sentence_lines(reference), lines) for reference in row]
        for name, values in found.items():
            values.append(max(score[name].fmeasure for score in scores))
    return found


def rouge_countable(name: str, references: References) -> Iterator[bool]:
    """For each row, True if a reference has what a ROUGE score counts: words, or pairs of them.

    Args:
        name: `"rouge1"`, `"rouge2"`, `"rougeL"` or `"rougeLsum"`.
        references: For each row all texts that are right.
    """
    scorer = _rouge_scorer()
    return (any(scorer.score(text, text)[name].fmeasure > 0 for text in row) for row in references)


def _sentence_lines(text: str) -> str:
    """The text with a sentence on each line, where the package looks for them."""
    return "\n".join(sentence.strip() for sentence in split_sentences(text))


def _rouge_scorer() -> rouge_scorer.RougeScorer:
    return rouge_scorer.RougeScorer(list(ROUGE), tokenizer=UnicodeTokenizer())


def answer_scores(predictions: Sequence[str], references: References) -> Scores:
    """Exact match and F1 of answers as the script of SQuAD 2.0 counts them.

    Case, punctuation, articles and white space do not count; of several references the best does.
    Other than there numbers keep their sign, point and inner marks, as 1/2 and 3:30 are not 12 and
    330, and an answer that is nothing but articles
    or punctuation stays as it is. A question without an answer has the reference "", which is
    right, in F1 too, for an empty output alone. F1 compares words, and characters of scripts
    without spaces, where punctuation is more than that of ASCII.

    Args:
        predictions: Outputs of the model.
        references: For each prediction all answers that are right.

    Returns:
        Scores `exact_match` and `f1` in percent.

    Reference: Rajpurkar et al. 2016, https://aclanthology.org/D16-1264; Rajpurkar et al. 2018,
    https://aclanthology.org/P18-2124
    """
    values = {name: _percent(rows) for name, rows in answer_rows(predictions, references).items()}
    return Scores(
        values,
        {"f1": "SQuAD 2.0, the best of the references of a row, numbers with their signs"},
    )


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
    """An answer without case, punctuation, articles and needless white space.

    The marks of a number stay, but for those of thousands, and what would be nothing at all stays
    as it is.
    """
    unspaced, text = bool(UNSPACED.search(text)), _normal(text)
    of_numbers = {match.start() for match in _OF_NUMBERS.finditer(text)}
    kept = "".join(
        char
        for position, char in enumerate(text)
        if position in of_numbers or not _is_punctuation(char, unspaced)
    )
    return " ".join(words(_ARTICLES.sub(" ", kept)) or words(kept) or words(text))


def word_f1(prediction: str, reference: str) -> float:
    """F1 of the words of two answers, counted with their multiplicity.

    Args:
        prediction: Output of the model.
        reference: An answer that is right.

    Returns:
        A value from 0 to 1; 1 if both answers are empty, and 0 if one is.
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
