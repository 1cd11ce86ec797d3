"""Scores of summaries, answers and replies, against rouge-score itself and formulas by hand."""

import re
import string
from collections import Counter

import numpy as np
import pytest
from rouge_score import rouge_scorer
from rouge_score.tokenizers import DefaultTokenizer

from attention_zoo.recipes.metrics.text_scores import (
    UnicodeTokenizer,
    answer_scores,
    distinct,
    normalize_answer,
    reply_scores,
    rouge_rows,
    rouge_scores,
    word_f1,
    words,
)

OUTPUTS = ["creates menus from the shell", "a fast parser", "nothing at all"]
REFERENCES = ["Creates X menus from the shell", "A parser that is fast.", "tools for images"]


def rows(texts):
    return [(text,) for text in texts]


def test_rouge_is_the_mean_of_what_rouge_score_gives():
    scorer = rouge_scorer.RougeScorer(["rouge1", "rouge2", "rougeL", "rougeLsum"])
    found = [scorer.score(right, out) for right, out in zip(REFERENCES, OUTPUTS, strict=True)]
    scores = rouge_scores(OUTPUTS, rows(REFERENCES))
    for name, value in scores.values.items():
        assert value == pytest.approx(100 * np.mean([score[name].fmeasure for score in found]))
    assert 0 < scores.values["rouge2"] < scores.values["rougeL"] < 100
    assert "words" in scores.signatures["rouge"]


def test_rouge_l_by_hand():
    # The longest common subsequence of "a c d" and "a b c" is "a c": precision and recall 2/3.
    assert rouge_scores(["a c d"], [("a b c",)]).values["rougeL"] == pytest.approx(100 * 2 / 3)


def test_rouge_lsum_reads_sentences_one_by_one():
    # In another order the sequence has one of the two sentences, and the sentences are all there.
    right, out = "Cats sleep here. Dogs run there.", "Dogs run there. Cats sleep here."
    values = rouge_scores([out], [(right,)]).values
    assert values["rougeL"] == pytest.approx(50)
    assert values["rougeLsum"] == pytest.approx(100)
    lines = rouge_scores([out.replace(". ", "\n")], [(right,)]).values
    assert lines["rougeLsum"] == pytest.approx(100)
    by_package = rouge_scorer.RougeScorer(["rougeLsum"]).score(
        "a b c\nd e\nf g h", "d b e\na f g c"
    )
    ours = rouge_scores(["d b e\na f g c"], [("a b c\nd e\nf g h",)]).values
    assert ours["rougeLsum"] == pytest.approx(100 * by_package["rougeLsum"].fmeasure)


def test_of_several_references_the_best_counts():
    scores = rouge_scores(["red house"], [("blue sea", "red house", "red")])
    assert scores.values["rouge1"] == 100


def test_chinese_is_compared_in_characters():
    # 今天下雨 and 明天下雨: 3 of 4 characters; "GPU 3" is two words more in both.
    scores = rouge_scores(["今天下雨 GPU 3"], [("明天下雨 gpu 3",)])
    assert scores.values["rouge1"] == pytest.approx(100 * 5 / 6)
    assert scores.values["rougeL"] == pytest.approx(100 * 5 / 6)
    assert UnicodeTokenizer().tokenize("用GPU, 训练") == ["用", "gpu", "训", "练"]
    assert words("用GPU, 训练") == ["用", "GPU,", "训", "练"]


def test_words_of_other_scripts_are_compared():
    # 2 of the 3 words of either; of the Hindi ones the vowel signs are a part.
    for right, output in (
        ("Дом у моря", "у моря — дверь!"),
        ("البيت بجانب البحر", "باب بجانب البحر"),
        ("समुद्र के पास", "सड़क के पास"),
        ("바다 옆 집", "바다 옆 길"),
    ):
        scores = rouge_scores([output, "x"], rows([right, right]))
        assert scores.values["rouge1"] == pytest.approx(100 * 2 / 3 / 2), right
        assert "Unicode words" in scores.signatures["rouge"]
    # บ้าน and ข้าน: 3 of 4 characters.
    assert rouge_scores(["ข้าน"], rows(["บ้าน"])).values["rouge1"] == pytest.approx(75)
    # A reference may have another form than the one in which models write.
    assert rouge_scores(["мой"], rows(["мои\u0306"])).values["rouge1"] == 100
    assert rouge_scores(["die Tör"], rows(["die Tür"])).values["rouge1"] == 50


def test_rouge_of_a_row_does_not_depend_on_the_others():
    references = ["ein Haus", "die Tür", "кошка сидит дома", "今天下雨", "the cat sat", "a\nb c"]
    outputs = ["ein Maus", "die Tör", "кошка стоит дома", "明天下雨", "the cat sat", "a b c"]
    together = rouge_rows(outputs, rows(references))
    for i, (output, reference) in enumerate(zip(outputs, references, strict=True)):
        alone = rouge_rows([output], rows([reference]))
        for name, values in alone.items():
            assert together[name][i] == values[0]
    assert together["rouge1"] == pytest.approx([0.5, 0.5, 2 / 3, 3 / 4, 1, 1])
    assert rouge_scores(references, rows(references)).values["rougeL"] == 100


def test_texts_without_a_word_are_compared_by_their_signs():
    references = ["👍", "the cat sat", "♥ ♥", "!?"]
    assert rouge_scores(references, rows(references)).values["rouge1"] == 100
    assert rouge_scores(["👎"], rows(["👍"])).values["rouge1"] == 0


def test_a_joiner_parts_no_words():
    word = "می\u200cخواهم"
    assert UnicodeTokenizer().tokenize(f"{word}\u200f.") == [word.replace("\u200c", "")]
    assert rouge_scores([word.replace("\u200c", " ")], rows([word])).values["rouge1"] == 0


def test_words_of_ascii_are_those_of_rouge_score():
    text = "".join(map(chr, range(128))) + " It's a_b-c 3.14 X1y  END"
    assert UnicodeTokenizer().tokenize(text) == DefaultTokenizer().tokenize(text)


def squad_normal(text):
    """The steps of the SQuAD script, written out."""
    text = "".join(c for c in text.lower() if c not in set(string.punctuation))
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def squad_f1(output, right):
    output, right = squad_normal(output).split(), squad_normal(right).split()
    same = sum((Counter(output) & Counter(right)).values())
    if same == 0:
        return 0.0
    precision, recall = same / len(output), same / len(right)
    return 2 * precision * recall / (precision + recall)


ANSWERS = [
    ("The Garden!", ["garden", "the park"]),
    ("in the old   garden", ["an old garden", "garden"]),
    ("yes", ["no"]),
    ("b b a c", ["a b b"]),
    ("football,apple", ["apple,football"]),
]


def test_answers_are_counted_as_the_squad_script_does():
    outputs = [output for output, _ in ANSWERS]
    references = [tuple(right) for _, right in ANSWERS]
    exact = [
        max(squad_normal(output) == squad_normal(right) for right in row)
        for output, row in zip(outputs, references, strict=True)
    ]
    overlap = [
        max(squad_f1(output, right) for right in row)
        for output, row in zip(outputs, references, strict=True)
    ]
    scores = answer_scores(outputs, references).values
    assert scores["exact_match"] == pytest.approx(100 * np.mean(exact))
    assert scores["f1"] == pytest.approx(100 * np.mean(overlap))
    assert exact == [True, False, False, False, False]
    assert scores["f1"] > scores["exact_match"]
    for output, row in ANSWERS:
        assert normalize_answer(output) == squad_normal(output)
        assert word_f1(output, row[0]) == pytest.approx(squad_f1(output, row[0]))


def test_chinese_answers_are_compared_in_characters():
    assert normalize_answer("《红楼梦》。") == "红 楼 梦"
    assert word_f1("红楼", "红楼梦") == pytest.approx(2 * 2 / 5)
    assert answer_scores(["北京。"], [("北京",)]).values["exact_match"] == 100


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("A", "a"),
        ("The A.", "the a"),
        ("1.5", "1.5"),
        ("-5 degrees.", "-5 degrees"),
        ("+.5", "+.5"),
        ("1,000.25 km!", "1000.25 km"),
        ("3.", "3"),
        ("U.S. 5-7", "us 5-7"),
        ("1/2, 3:30, 2020-01-05", "1/2 3:30 2020-01-05"),
        ("1,5 (-5) -$5 =-5", "1,5 -5 -5 -5"),
        ("1e-5 10^2 1,000,000 1,2345", "1e-5 10^2 1000000 1,2345"),
        ("COVID-19 F-16 no.5 a/b", "covid19 f16 no5 ab"),
        ("温度-5度，３．５。", "温 度 -5 度 ３．５"),
        ("...", "..."),
        ("", ""),
    ],
)
def test_answers_keep_what_they_mean(text, normal):
    assert normalize_answer(text) == normal


def test_a_question_without_an_answer_is_right_with_nothing_alone():
    assert [word_f1(*pair) for pair in (("", ""), ("", "a cat"), ("a cat", ""))] == [1, 0, 0]
    values = answer_scores(["", "x", "", "A"], [("",), ("",), ("A",), ("a", "b")]).values
    assert values == {"exact_match": 50, "f1": 50}


def test_answers_are_compared_in_nfc():
    scores = answer_scores(["Malmo\u0308", "5 km²"], [("Malmö",), ("5 km2",)])
    assert scores.values == {"exact_match": 50, "f1": 75}


def test_distinct_and_repeated_by_hand():
    replies = ["I see", "i see", "I do not see", "no"]
    # 9 words of which i, see, do, not, no differ; 5 pairs of which 4 do.
    assert distinct(replies, 1) == pytest.approx(100 * 5 / 9)
    assert distinct(replies, 2) == pytest.approx(100 * 4 / 5)
    assert distinct(["no"], 2) is None  # nothing was written that could differ
    scores = reply_scores(replies, rows(["I see", "no", "no", "no"])).values
    assert scores["most_repeated"] == 50
    assert scores["f1"] == pytest.approx(100 * 2 / 4)


@pytest.mark.parametrize("score", [rouge_scores, answer_scores, reply_scores])
def test_rows_without_a_partner_are_refused(score):
    with pytest.raises(ValueError, match="Received: 2 predictions and 1 references"):
        score(["a", "b"], [("a",)])
    with pytest.raises(ValueError, match="Received: 0 predictions"):
        score([], [])


@pytest.mark.parametrize(
    ("references", "without_value"),
    [
        ([("yes",), ("no", "never")], {"rouge2"}),
        ([("yes",), ("no", "not now")], set()),  # one pair of words can be written
        ([("👍",), ("!",)], {"rouge2"}),
        ([("\u200c",), (" ",)], {"rouge1", "rouge2", "rougeL", "rougeLsum"}),
    ],
)
def test_rouge_has_no_value_where_no_reference_has_what_it_counts(references, without_value):
    outputs = [row[-1] for row in references]
    values = rouge_scores(outputs, references).values
    assert {name for name, value in values.items() if value is None} == without_value
    assert all(value > 0 for value in values.values() if value is not None)
