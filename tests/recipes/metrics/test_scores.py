"""Scores against values by hand and sacreBLEU's own functions."""

import unicodedata

import numpy as np
import pytest
import sacrebleu

from attention_zoo.recipes.metrics.error_rate import edit_distance, token_error_rate
from attention_zoo.recipes.metrics.metric import METRICS
from attention_zoo.recipes.metrics.row_statistics import row_statistics
from attention_zoo.recipes.metrics.scores import Scores, exact_match, translation_scores
from attention_zoo.zoo.errors import ConfigError

PREDICTIONS = ["the cat sat on the mat.", "it is a small house", "he runs"]
REFERENCES = ["the cat sat on a mat.", "it is a very small house", "she runs home"]
CHINESE = ["他们在公园里跑步。", "三月五日,星期一"]


def test_bleu_by_hand():
    # Matching n-grams: 5 of 6, 3 of 5, 2 of 4, 1 of 3; no brevity penalty.
    scores = translation_scores(["a b c d e f"], ["a b c d x f"], "none")
    np.testing.assert_allclose(
        scores.values["bleu"], 100 * (5 / 6 * 3 / 5 * 2 / 4 * 1 / 3) ** 0.25, rtol=1e-6
    )


def test_chrf_by_hand():
    # Matching character n-grams: 2 of 3, 1 of 2, 0 of 1; longer ones there are none.
    scores = translation_scores(["abc"], ["abd"])
    np.testing.assert_allclose(scores.values["chrf"], 100 * (2 / 3 + 1 / 2) / 3, rtol=1e-6)


@pytest.mark.parametrize("tokenize", ["13a", "none", "char", "intl"])
def test_equals_sacrebleu(tokenize):
    scores = translation_scores(PREDICTIONS, REFERENCES, tokenize)
    bleu = sacrebleu.corpus_bleu(PREDICTIONS, [REFERENCES], tokenize=tokenize)
    assert scores.values["bleu"] == bleu.score
    assert scores.values["chrf"] == sacrebleu.corpus_chrf(PREDICTIONS, [REFERENCES]).score
    assert f"tok:{tokenize}" in scores.signatures["bleu"]
    assert f"version:{sacrebleu.__version__}" in scores.signatures["chrf"]
    assert 0 < scores.values["bleu"] < 100


@pytest.mark.parametrize(
    ("references", "tokenization"),
    [
        (CHINESE, "zh"),
        (["カタカナと漢字", "ひらがな", "漢字"], "char"),
        (["约翰・史密斯说"], "zh"),  # the dot of the kana, which Chinese has too
        (["บ้านริมทะเล"], "char"),
        (REFERENCES[:2], "13a"),
        ([CHINESE[0], REFERENCES[0]], "13a"),  # half is not most
        ([*CHINESE, REFERENCES[0]], "zh"),
    ],
)
def test_tokenization_follows_the_script_of_the_references(references, tokenization):
    scores = translation_scores(references, references)
    assert f"tok:{tokenization}" in scores.signatures["bleu"]
    chosen = sacrebleu.corpus_bleu(references, [references], tokenize=tokenization).score
    assert scores.values["bleu"] == chosen


def test_chinese_is_counted_in_characters():
    prediction = "他们在公园里走路。"
    scores = translation_scores([prediction], [CHINESE[0]])
    assert scores.values["bleu"] > 30  # one word to 13a, of which none would match


def test_a_tokenization_that_sacrebleu_cannot_make_is_refused(monkeypatch):
    def fail(name):
        raise RuntimeError(f"\nPlease install {name}.\n")

    monkeypatch.setattr(sacrebleu.metrics.bleu, "_get_tokenizer", fail)
    with pytest.raises(ConfigError, match=r"by ja-mecab here.*install ja-mecab\.$"):
        translation_scores(PREDICTIONS, REFERENCES, "ja-mecab")


def test_exact_match_knows_one_space_from_none_and_one_form_of_letters():
    outputs = ["a  b", "c", "D", "now here", "e\u0301t\u00e9", "3½", "10²"]
    references = ["a\u00a0b", "c ", "d", "nowhere", "\u00e9te\u0301", "31⁄2", "102"]
    assert exact_match(outputs, references) == pytest.approx(100 * 3 / 7)
    assert exact_match(["a"], ["a"]) == 100.0


def test_scores_are_those_of_nfc_on_both_sides():
    composed = "một hai ba bốn năm sáu bảy"
    decomposed = unicodedata.normalize("NFD", composed)
    for output, reference in ((composed, decomposed), (decomposed, composed)):
        values = translation_scores([output], [reference]).values
        assert values == pytest.approx({"bleu": 100, "chrf": 100, "exact_match": 100})
        rows = row_statistics("translation", "bleu", [output], [(reference,)], "13a")
        assert rows.value() == pytest.approx(100)


MANY_OUTPUTS = ["the cat sat on the mat", "a small house by the sea", "he is running home now"]
MANY_REFERENCES = [
    ("a cat was sitting there", "the cat sat on a mat"),
    ("a small house by the sea",),
    ("he goes home", "he runs home at once", "he is running home now"),
]


def test_several_references_are_those_of_sacrebleu():
    streams = [
        ["a cat was sitting there", "a small house by the sea", "he goes home"],
        ["the cat sat on a mat", None, "he runs home at once"],
        [None, None, "he is running home now"],
    ]
    scores = translation_scores(MANY_OUTPUTS, MANY_REFERENCES, "13a")
    assert scores.values["bleu"] == sacrebleu.corpus_bleu(MANY_OUTPUTS, streams).score
    assert scores.values["chrf"] == sacrebleu.corpus_chrf(MANY_OUTPUTS, streams).score
    assert scores.values["exact_match"] == pytest.approx(100 * 2 / 3)
    assert "nrefs:var" in scores.signatures["bleu"]
    first = translation_scores(MANY_OUTPUTS, [row[0] for row in MANY_REFERENCES], "13a")
    assert first.values["bleu"] < scores.values["bleu"]
    for name, value in scores.values.items():
        rows = row_statistics("translation", name, MANY_OUTPUTS, MANY_REFERENCES, "13a")
        assert rows.value() == pytest.approx(value), name


def levenshtein(one, other):
    """By its recursive definition."""
    if not one or not other:
        return len(one) + len(other)
    replaced = levenshtein(one[1:], other[1:]) + (one[0] != other[0])
    return min(levenshtein(one[1:], other) + 1, levenshtein(one, other[1:]) + 1, replaced)


def test_edit_distance_is_that_of_its_definition():
    random = np.random.default_rng(1)
    for _ in range(60):
        one, other = (tuple(random.choice(list("abc"), random.integers(0, 6))) for _ in range(2))
        assert edit_distance(one, other) == levenshtein(one, other)


def test_token_error_rate_takes_the_best_reference_of_a_row():
    references = [("R IY1 D", "R EH1 D Z"), ("AH0 B AW1 T",), ("K AE1 T",)]
    outputs = ["R EH1 D", "AH0 B AW1 T", ""]
    # One of four is missing of the second; of the third all three.
    assert token_error_rate(outputs, references) == pytest.approx(100 * 4 / 11)
    assert token_error_rate(["a a a"], [("b",)]) == 300
    metric = METRICS["token_error_rate"]
    rows = row_statistics("translation", "token_error_rate", outputs, references, "auto")
    assert rows.value() == token_error_rate(outputs, references)
    assert metric.is_better(5.0, 6.0) and metric.value(outputs[1:2], references[1:2]) == 0


@pytest.mark.parametrize(("predictions", "references"), [(["a"], ["a", "b"]), ([], [])])
def test_unequal_lengths_and_nothing_are_refused(predictions, references):
    received = f"Received: {len(predictions)} predictions and {len(references)} references"
    with pytest.raises(ValueError, match=received):
        translation_scores(predictions, references)


def test_scores_print_every_value_with_its_signature():
    text = str(translation_scores(PREDICTIONS, REFERENCES))
    for name in ("bleu ", "chrf ", "exact_match ", "bleu: nrefs:1", "chrf: nrefs:1"):
        assert name in text


def test_bleu_has_no_value_where_no_reference_has_four_tokens():
    names = ["Anna Berg", "Lena Novak", "Omar Silva Costa"]
    longer = ["Anna Anna Berg Berg", "Lena Novak Lena Novak", "Omar Silva Costa Omar"]
    for outputs in (names, longer):
        scores = translation_scores(outputs, names)
        assert scores.values["bleu"] is None and scores.values["chrf"] > 0
    # What sacreBLEU says of them would choose the wrong ones.
    assert sacrebleu.corpus_bleu(names, [names]).score == 0
    assert sacrebleu.corpus_bleu(longer, [names]).score > 0
    # One name of four tokens is enough, and in another tokenization each of them.
    with_four = [*names, "a b c d"]
    assert translation_scores(with_four, with_four).values["bleu"] == pytest.approx(100)
    assert translation_scores(names, names, "char").values["bleu"] == pytest.approx(100)


def test_no_value_and_a_score_of_zero_are_told_apart():
    text = str(Scores({"bleu": None, "chrf": 0.0}))
    assert "bleu               none\nchrf               0.00\nnone: there is nothing" in text
    assert Scores({"bleu": None, "chrf": 0.0}).one_line() == "bleu none  chrf 0.00"
    assert "nothing" not in str(Scores({"bleu": 0.0}))
