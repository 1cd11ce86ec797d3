"""What models are compared with: n-grams, first words, frequent answers, the nearest text."""

import itertools
import math
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest

from attention_zoo.recipes.data.corpus import PairCorpus
from attention_zoo.recipes.metrics import baselines
from attention_zoo.recipes.metrics.baselines import (
    NearestSource,
    NgramModel,
    answer_baselines,
    best_lead,
    lead,
    summary_baselines,
)
from attention_zoo.recipes.metrics.scoring import counted_words
from attention_zoo.recipes.metrics.text_scores import reply_scores
from attention_zoo.zoo.text.tokenizer import END_ID, START_ID

ROWS = [np.array(row, np.int32) for row in ([4, 5, 4], [4, 6], [5], [4, 5])]
VOCABULARY = 8


def bigram_by_hand(before, word):
    texts = [[START_ID, *row.tolist(), END_ID] for row in ROWS]
    singles = Counter(word for text in texts for word in text[1:])
    pairs = Counter(pair for text in texts for pair in itertools.pairwise(text))
    total = sum(singles.values())
    unigram = (singles[word] + len(singles) / VOCABULARY) / (total + len(singles))
    after = {pair: count for pair, count in pairs.items() if pair[0] == before}
    if not after:
        return unigram, unigram
    kinds, count = len(after), sum(after.values())
    return unigram, (after.get((before, word), 0) + kinds * unigram) / (count + kinds)


@pytest.mark.parametrize("order", [1, 2])
def test_ngrams_by_hand(order):
    model = NgramModel(ROWS, VOCABULARY)
    for row in ([4, 5], [6, 6, 7], []):
        text = [START_ID, *row, END_ID]
        expected = sum(
            math.log(bigram_by_hand(before, word)[order - 1])
            for before, word in itertools.pairwise(text)
        )
        found = model.log_probability(np.array(row, np.int32), order)
        assert found == pytest.approx(expected)


def test_probabilities_of_the_next_subword_add_up_to_one():
    assert NgramModel(ROWS, VOCABULARY).unigram.sum() == pytest.approx(1)
    for before in (START_ID, 4, 6, 7):
        total = sum(bigram_by_hand(before, word)[1] for word in range(VOCABULARY))
        assert total == pytest.approx(1)


def test_perplexity_of_a_word_counts_the_end():
    # Three words and one end, then one word and one end.
    assert [counted_words(text, 0) for text in ("a b c", "d", "你好", "")] == [4, 2, 3, 1]
    # What was left out counts for a word, the end always.
    assert [counted_words("a b c", left) for left in (1, 3, 9)] == [3, 1, 1]


def test_the_nearest_text_has_the_largest_cosine():
    texts = ["the cat sat", "the dog ran to the cat", "a dog", "the the the", "rain in may"]
    nearest = NearestSource(texts)
    idf = {
        word: math.log((1 + len(texts)) / (1 + sum(word in text.split() for text in texts)))
        for word in set(" ".join(texts).split())
    }

    def vector(text):
        counts = Counter(text.split())
        return {w: (1 + math.log(c)) * idf[w] for w, c in counts.items() if w in idf}

    def cosine(one, other):
        dot = sum(value * other.get(word, 0) for word, value in one.items())
        return dot / max(1e-6, math.sqrt(sum(v * v for v in other.values())))

    for query in ("a dog", "cat the", "rain dog", "ran to may"):
        found = [cosine(vector(query), vector(text)) for text in texts]
        assert nearest.find(query) == int(np.argmax(found))
    assert nearest.find("unheard of") == 0


@pytest.mark.parametrize("compared", [10**9, 3 * 4])
def test_replies_of_the_nearest_text_are_to_as_many_rows_as_the_model(compared, monkeypatch):
    monkeypatch.setattr(baselines, "COMPARED", compared)
    replies = {"hello you": "hi", "good bye": "see you", "what time": "noon"}
    train = PairCorpus(list(replies), list(replies.values()), "train")
    texts = ["hello", "what", "bye", "hello you", "time", "you", "good", "what time"]
    targets = ["hi"] * 7 + ["noon " * 9]  # the last one is longer than the model writes
    valid = PairCorpus(texts, targets, "valid")
    ids = {"hi": [4], "see you": [5, 6], "noon": [7], "noon " * 9: [7] * 9}
    model = SimpleNamespace(
        tokenizer=SimpleNamespace(
            encode=lambda texts: [np.array(ids[text], np.int32) for text in texts],
            vocab_size=VOCABULARY,
        ),
        generation=SimpleNamespace(max_length=9, replace_unknown=False),
    )
    found = baselines.reply_baselines(train, valid, model)
    # What follows "hi" does not depend on how often it stands there.
    one = baselines.reply_baselines(train, valid.part([0]), model)
    assert found["bigram"].values == pytest.approx(one["bigram"].values)
    written = ["hi", "noon", "see you", "hi", "noon", "hi", "see you", "noon"]
    rows = range(8) if compared == 10**9 else [0, 2, 4, 7]
    expected = reply_scores([written[i] for i in rows], [(targets[i],) for i in rows]).values
    expected = expected if len(rows) == 8 else {"f1": expected["f1"]}
    assert found["reply to the nearest text"].values == pytest.approx(expected)


def test_first_words_of_a_text():
    assert lead("one two  three four", 3) == "one two three"
    assert lead("今天下雨", 3) == "今天下"
    assert lead("Keras 3 是一个 deep learning 框架", 7) == "Keras 3 是一个 deep learning"
    assert lead("", 3) == lead("  ", 3) == ""
    train = PairCorpus(["a b c x y z u v"] * 2, ["a b c", "a b c"], "train")
    assert best_lead(train) == 3
    valid = PairCorpus(["red house by the sea", {"text": "a b c d", "length": 2}], ["x", "y"], "v")
    (name,) = summary_baselines(train, valid, None)
    assert name == "first 3 words"


def test_answers_without_the_context():
    def source(question):
        return {"context": "", "question": question}

    train = PairCorpus(
        [source("who?"), source("who?"), source("who?"), source("where?"), source("where?")],
        ["Tom", "Tom", "Anna", "hall", "hall"],
        "train",
    )
    valid = PairCorpus(
        [source("who?"), source("where?"), source("how?")], ["Tom", "hall", "x"], "v"
    )
    found = answer_baselines(train, valid, None)
    assert found["most frequent answer"].values["exact_match"] == pytest.approx(100 / 3)
    by_question = found["most frequent to the question"].values["exact_match"]
    assert by_question == pytest.approx(200 / 3)
