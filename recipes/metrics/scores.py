"""Scores of written texts against references, by the field's own tools."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import sacrebleu

from ...zoo.errors import ConfigError
from ...zoo.text.normalization import SOUTHEAST_ASIAN, UNSPACED, to_nfc

# What sacreBLEU's "zh" leaves in one piece. Not the kana's middle dot: names in Chinese have it.
_UNSPLIT_BY_ZH = re.compile(rf"[\u3041-\u309f\u30a1-\u30fa{SOUTHEAST_ASIAN}]")


@dataclass(frozen=True)
class Scores:
    """Values of metrics by name, with the signatures that say how they are counted.

    Perplexity and cross entropy are per token, word perplexity is per word; all others are
    percentages. A value is `None` where there is nothing in the rows that the metric counts, so
    that outputs equal to their references would score 0 too.
    """

    values: Mapping[str, float | None]
    signatures: dict[str, str] = field(default_factory=dict)

    def one_line(self) -> str:
        """The values in one line, without signatures."""
        return "  ".join(f"{name} {shown(value)}" for name, value in self.values.items())

    def __str__(self) -> str:
        lines = [f"{name:<16}{shown(value):>7}" for name, value in self.values.items()]
        if None in self.values.values():
            lines.append("none: there is nothing in these rows that this metric counts")
        lines += [f"{name}: {signature}" for name, signature in self.signatures.items()]
        return "\n".join(lines)


def shown(value: float | None) -> str:
    """A score with two decimals, or `none` where it has no value."""
    return "none" if value is None else f"{value:.2f}"


def translation_scores(
    predictions: Sequence[str],
    references: Sequence[str | tuple[str, ...]],
    tokenize: str = "auto",
) -> Scores:
    """BLEU and chrF by sacreBLEU, and the share of exact matches.

    Of all texts their form in Unicode NFC with single spaces for white space is compared, in which
    models write by default.

    BLEU counts n-grams of up to four tokens. Where no reference has four of them it is 0 for
    outputs that are right, and above that for longer ones that are wrong: it has no value there.

    Args:
        predictions: Outputs of the model.
        references: One for each prediction, or a tuple of all that are right.
        tokenize: Tokenization of sacreBLEU: `"13a"`, `"zh"`, `"char"`, `"none"` for text that is
            tokenized already, …; `"auto"` is `"char"` where most references have kana, Thai, Lao,
            Myanmar or Khmer, `"zh"` where most have Han, `"13a"` otherwise.

    Returns:
        Scores `bleu`, `chrf` and `exact_match` in percent.

    Raises:
        ValueError: There is not one reference for each prediction, or there are none.
        ConfigError: sacreBLEU cannot load the tokenization.

    Reference: Papineni et al. 2002, https://aclanthology.org/P02-1040; Popović 2015,
    https://aclanthology.org/W15-3049; Post 2018, https://aclanthology.org/W18-6319
    """
    check_rows(predictions, references)
    rows = _rows(references)
    outputs, streams = [to_nfc(text) for text in predictions], reference_streams(rows)
    firsts = [row[0] for row in rows]
    values: dict[str, float | None] = {}
    signatures = {}
    for name, metric in (("bleu", bleu_of(firsts, tokenize)), ("chrf", sacrebleu.CHRF())):
        has_value = any(countable(metric, firsts))
        score = metric.corpus_score(outputs, streams).score
        values[name] = score if has_value else None
        signatures[name] = str(metric.get_signature())  # of the references scored last
    values["exact_match"] = exact_match(predictions, rows)
    return Scores(values, signatures)


def bleu_of(references: Sequence[str], tokenize: str = "auto") -> sacrebleu.BLEU:
    """SacreBLEU's BLEU with a tokenization, or with the one that fits the script.

    Args:
        references: Texts by whose script `"auto"` chooses.
        tokenize: Name of a tokenization, or `"auto"`.

    Returns:
        A metric of sacreBLEU.

    Raises:
        ConfigError: sacreBLEU cannot load the tokenization: a package or a download is missing.
    """
    if tokenize == "auto":
        if _mostly(_UNSPLIT_BY_ZH, references):
            tokenize = "char"
        else:
            tokenize = "zh" if mostly_unspaced(references) else "13a"
    try:
        # `force` only silences a warning about text that is tokenized already.
        return sacrebleu.BLEU(tokenize=tokenize, force=True)
    except (Exception, SystemExit) as error:  # which one depends on the tokenization
        raise ConfigError(
            f"sacreBLEU cannot tokenize by {tokenize} here. Choose another: --set bleu_tokenize of "
            f"a training, --tokenize of evaluate and compare. {str(error).strip() or repr(error)}"
        ) from error


def countable(metric: sacrebleu.BLEU | sacrebleu.CHRF, references: Sequence[str]) -> Iterator[bool]:
    """For each reference, True if it has what a metric counts: as its own output it scores above 0.

    Args:
        metric: A metric of sacreBLEU.
        references: Texts.
    """
    return (metric.corpus_score([text], [[text]]).score > 0 for text in references)


def perplexity(log_probability: float, count: int) -> float:
    """Perplexity of texts, exp(-log p / count).

    It is bounded at that of a cross entropy of 50 nats, so that an untrained model has one, too.

    Args:
        log_probability: Natural log of the probability of all texts.
        count: Number of tokens or words in them.
    """
    return math.exp(min(-log_probability / count, 50.0))


def check_rows(predictions: Sequence[str], references: Sequence) -> None:
    """Checks that there is one reference for each prediction.

    Args:
        predictions: Outputs of the model.
        references: One for each prediction.

    Raises:
        ValueError: The numbers differ or are 0.
    """
    if len(predictions) != len(references) or not references:
        raise ValueError(
            "Each prediction needs one reference, and there must be one at least. "
            f"Received: {len(predictions)} predictions and {len(references)} references"
        )


def reference_streams(references: Sequence[tuple[str, ...]]) -> list[list[str | None]]:
    """References as sacreBLEU takes them: the first of each row, the second of each row, and so on.

    Args:
        references: For each row all texts that are right.

    Returns:
        Texts in the form of `to_nfc`; `None` where a row has no more.
    """
    rows = ([to_nfc(text) for text in row] for row in references)
    return [list(stream) for stream in itertools.zip_longest(*rows)]


def exact_match(predictions: Sequence[str], references: Sequence[str | tuple[str, ...]]) -> float:
    """Share of the predictions that equal one of their references, in percent; see `equal_rows`.

    Args:
        predictions: Outputs of the model.
        references: One for each prediction, or a tuple of all that are right.
    """
    equal = equal_rows(predictions, _rows(references))
    return 100.0 * sum(equal) / len(equal)


def equal_rows(predictions: Sequence[str], references: Sequence[tuple[str, ...]]) -> list[bool]:
    """For each prediction, True if it equals one of its references in the form of `to_nfc`.

    Args:
        predictions: Outputs of the model.
        references: For each prediction all texts that are right.
    """
    return [
        to_nfc(prediction) in map(to_nfc, row)
        for prediction, row in zip(predictions, references, strict=True)
    ]


def _rows(references: Sequence[str | tuple[str, ...]]) -> list[tuple[str, ...]]:
    return [(row,) if isinstance(row, str) else row for row in references]


def mostly_unspaced(texts: Sequence[str]) -> bool:
    """True if most texts are in a script that puts no spaces between words."""
    return _mostly(UNSPACED, texts)


def _mostly(pattern: re.Pattern[str], texts: Sequence[str]) -> bool:
    return sum(bool(pattern.search(text)) for text in texts) > len(texts) / 2
