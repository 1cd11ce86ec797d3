"""BPE-dropout beside SentencePiece, beside its exact distribution, and where it must do nothing."""

from collections import Counter, defaultdict

import numpy as np
import pytest

from attention_zoo.zoo.text.bpe_dropout import BpeDropout
from attention_zoo.zoo.text.tokenizer import UNKNOWN_ID, Tokenizer

TEXTS = [
    "the lowest newest widest house is the oldest",
    "a lower and newer townhouse, wider than the lowest",
    "das niedrigste neueste breiteste Haus ist das älteste",
    "最新的房子是最低的房子",
    "aaaa aaaaaaa banana bananas",
    "newest？low……lower",
]


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.train(TEXTS * 5, vocab_size=120, symbols=["<sep>"])


def exact_distribution(tokenizer, word, dropout):
    """The probability of each way to split a word: algorithm 1 of the paper, all draws at once."""
    ranks = {piece: -score for piece, score in zip(*pieces_and_scores(tokenizer), strict=True)}
    found = defaultdict(float)
    open_states = {tuple(word): 1.0}
    while open_states:
        pieces, probability = open_states.popitem()
        merges = [
            (ranks[pieces[i] + pieces[i + 1]], i)
            for i in range(len(pieces) - 1)
            if pieces[i] + pieces[i + 1] in ranks
        ]
        for _, i in sorted(merges):
            merged = (*pieces[:i], pieces[i] + pieces[i + 1], *pieces[i + 2 :])
            share = probability * (1 - dropout)
            open_states[merged] = open_states.get(merged, 0.0) + share
            probability *= dropout
        found[pieces] += probability
    return found


def pieces_and_scores(tokenizer):
    ids = [i for i in range(tokenizer.vocab_size) if not tokenizer.control_mask()[i]]
    return tokenizer.pieces(ids), tokenizer.scores()[ids]


def test_without_dropout_rows_are_those_of_sentencepiece(tokenizer):
    rows = tokenizer.encode([*TEXTS, "", "houses aaa aaaaaa newestest", "未知 ☃☃ low☃est"])
    resplit = BpeDropout(tokenizer, 0.0)(rows, np.random.default_rng(0))
    assert [row.tolist() for row in resplit] == [row.tolist() for row in rows]
    assert all(row.dtype == np.int32 for row in resplit)


@pytest.mark.parametrize("dropout", [0.1, 0.6])
@pytest.mark.parametrize("word", ["newest", "aaaaa", "townhouse"])
def test_each_split_is_as_frequent_as_it_is_probable(tokenizer, word, dropout):
    draws = 20_000
    (ids,) = tokenizer.encode([word])
    rows = BpeDropout(tokenizer, dropout)([ids] * draws, np.random.default_rng(1))
    counted = Counter(tuple(tokenizer.pieces(row)) for row in rows)
    expected = exact_distribution(tokenizer, f"▁{word}", dropout)
    assert len(expected) > 5 and set(counted) <= set(expected)
    for pieces, probability in expected.items():
        deviation = np.sqrt(draws * probability * (1 - probability))
        assert abs(counted[pieces] - draws * probability) < 5 * deviation + 1


def test_the_text_stays_and_so_does_what_is_no_text(tokenizer):
    text = "the ☃ lowest ☃☃ house"
    (ids,) = tokenizer.encode([text])
    mark = tokenizer.id_of("<sep>")
    row = np.array([*ids, mark, *ids], np.int32)
    for resplit in BpeDropout(tokenizer, 0.5)([row] * 20, np.random.default_rng(2)):
        pieces = resplit.tolist()
        assert pieces.count(mark) == 1
        halves = pieces[: pieces.index(mark)], pieces[pieces.index(mark) + 1 :]
        assert tokenizer.decode(halves) == tokenizer.decode([ids, ids])
        assert pieces.count(UNKNOWN_ID) == 2 * ids.tolist().count(UNKNOWN_ID)


def test_bytes_stay_whatever_their_names_could_be_made_of():
    texts = [*TEXTS, "<0xE9> is <0xAB> and <0123456789ABCDEF>"]
    tokenizer = Tokenizer.train(texts * 5, vocab_size=420, byte_fallback=True)
    rows = tokenizer.encode(["the ☃ lowest ☃☃house", "<0xE2> 龘est"])
    is_byte = np.array(tokenizer.byte_mask())
    resplit = BpeDropout(tokenizer, 0.5)(rows, np.random.default_rng(2))
    assert tokenizer.decode(resplit) == tokenizer.decode(rows)
    for row, other in zip(rows, resplit, strict=True):
        np.testing.assert_array_equal(other[is_byte[other]], row[is_byte[row]])
        assert len(other) > len(row) and is_byte[row].any()
    without = BpeDropout(tokenizer, 0.0)(rows, np.random.default_rng(2))
    assert [row.tolist() for row in without] == [row.tolist() for row in rows]


def test_rows_depend_on_the_draws_alone_and_stand_where_they_stood(tokenizer):
    rows = tokenizer.encode(TEXTS) + [np.array([], np.int32)]
    resplit = BpeDropout(tokenizer, 0.3)
    one, again = (resplit(rows, np.random.default_rng(7)) for _ in range(2))
    other = resplit(rows, np.random.default_rng(8))
    assert [row.tolist() for row in one] == [row.tolist() for row in again]
    assert [row.tolist() for row in one] != [row.tolist() for row in other]
    assert tokenizer.decode(one) == tokenizer.decode(rows)
    assert resplit([], np.random.default_rng(7)) == []


def test_more_rows_than_are_worked_at_together(tokenizer, monkeypatch):
    monkeypatch.setattr("attention_zoo.zoo.text.bpe_dropout._CHUNK", 2)
    rows = tokenizer.encode(TEXTS)
    resplit = BpeDropout(tokenizer, 0.3)(rows, np.random.default_rng(7))
    assert tokenizer.decode(resplit) == tokenizer.decode(rows)


@pytest.mark.parametrize("dropout", [-0.1, 1.0, float("nan")])
def test_an_impossible_dropout_is_refused(tokenizer, dropout):
    with pytest.raises(ValueError, match=f"Received: dropout={dropout}"):
        BpeDropout(tokenizer, dropout)


def test_subwords_of_another_kind_are_refused():
    unigram = Tokenizer.train(TEXTS * 5, vocab_size=90, kind="unigram")
    with pytest.raises(ValueError, match=r"kind 'bpe'.*Received: a tokenizer with scores"):
        BpeDropout(unigram, 0.1)
