"""Candidates for the next token, against a sort of the whole vocabulary and plain lists."""

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from tiny_models import repeats_ngram

from attention_zoo.zoo.decoding.candidates import NoRepeatNgram, best_tokens, make_candidates
from attention_zoo.zoo.decoding.options import NEG_INF, GenerationOptions
from attention_zoo.zoo.text.tokenizer import END_ID, PAD_ID, START_ID, UNKNOWN_ID, Tokenizer


def candidates(logits, options=None, min_lengths=(), processors=()):
    """The candidates of a first step."""
    search = SimpleNamespace(step=0, prefix=(), min_lengths=min_lengths)
    options = options or GenerationOptions()
    return make_candidates(tf.constant(logits), None, search, options, processors, logits.shape[-1])


@pytest.mark.parametrize("vocab_size", [5, 64, 999, 1024, 1031])
@pytest.mark.parametrize("count", [1, 5, 9])
def test_the_best_are_those_of_a_full_sort(vocab_size, count):
    count = min(count, vocab_size)
    random = np.random.default_rng(vocab_size)
    logits = random.normal(size=(3, 2, vocab_size)).astype("float32")
    logits[0, 0, -3:] = 9.0, 8.0, 9.0  # the last block, with two that are equal
    logits[1] = np.round(logits[1])  # many that are equal
    ids, values = best_tokens(tf.constant(logits), count, np.zeros(4, np.float32))
    expected = np.argsort(-logits, axis=-1, kind="stable")[..., :count]
    np.testing.assert_array_equal(ids, expected)
    np.testing.assert_array_equal(values, np.take_along_axis(logits, expected, axis=-1))


@pytest.mark.parametrize("vocab_size", [5, 64, 999, 1024])
@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("in_every_step", [True, False])
def test_special_ids_that_are_ruled_out_take_no_place_of_others(vocab_size, count, in_every_step):
    random = np.random.default_rng(vocab_size)
    logits = random.normal(size=(3, 2, vocab_size)).astype("float32")
    logits[0, :, :4] = 9.0  # the first block has the largest maximum, and maybe nothing else
    logits[1, :, :32] -= 4.0
    logits[2, :, :4] = -9.0
    special = np.zeros((3, 1, 4), "float32")
    special[..., [0, 2]], special[0, 0, 1] = NEG_INF, NEG_INF
    special = special[0, 0] if in_every_step else tf.constant(special)
    ids, values = best_tokens(tf.constant(logits), count, special)
    logits[..., :4] += special
    expected = np.argsort(-logits, axis=-1, kind="stable")[..., :count]
    found = np.take_along_axis(logits, expected, axis=-1)
    np.testing.assert_array_equal(values, found)
    possible = found > NEG_INF / 2
    np.testing.assert_array_equal(ids.numpy()[possible], expected[possible])


@pytest.mark.parametrize("largest", [END_ID, PAD_ID, 1500])
def test_large_logits_have_finite_log_probabilities(largest):
    logits = np.zeros((1, 1, 2000), "float32")
    logits[..., largest] = 5000.0
    for with_end in (True, False):
        found = candidates(logits)
        found.best(2, with_end)
        assert found.log_total[0, 0] == 5000
        assert found.end_log_p()[0, 0] == logits[0, 0, END_ID] - 5000


def test_what_may_not_be_written_counts_all_the_same():
    logits = np.zeros((1, 1, 2000), "float32")
    logits[..., [8, 9]] = 1000.0, 3.0  # beside the first, no other has a probability above zero
    allowed = logits.copy()
    allowed[..., 8] = NEG_INF
    found = candidates(logits, processors=[lambda logits, search: allowed])
    tokens, log_p = found.best(1)
    assert tokens[0, 0, 0] == 9
    assert found.log_total[0, 0] == 1000
    assert log_p[0, 0, 0] == found.log_p(tokens[..., 0])[0, 0] == -997
    assert found.log_p(tf.constant([[8]]))[0, 0] == 0  # what the model has


@pytest.mark.parametrize("vocab_size", [7, 2000])
@pytest.mark.parametrize("forbid_unknown", [True, False])
def test_log_probabilities_are_of_the_whole_vocabulary(vocab_size, forbid_unknown):
    random = np.random.default_rng(0)
    logits = random.normal(0, 3, (2, 3, vocab_size)).astype("float32")
    logits[:, :, :4] += 8  # special ids, and the end, are the most probable
    options = GenerationOptions(forbid_unknown=forbid_unknown)
    found = candidates(logits, options, min_lengths=tf.constant([0, 1]))
    tokens, best_log_p = found.best(3, with_end=False)
    log_p = logits - np.log(np.exp(logits.astype("float64")).sum(-1, keepdims=True))
    np.testing.assert_allclose(
        found.end_log_p(), np.where([[True], [False]], log_p[..., END_ID], NEG_INF), rtol=1e-5
    )
    for special in (PAD_ID, START_ID, END_ID) + ((UNKNOWN_ID,) if forbid_unknown else ()):
        log_p[..., special] = -np.inf
    expected = np.argsort(-log_p, axis=-1)[..., :3]
    np.testing.assert_array_equal(tokens, expected)
    np.testing.assert_allclose(
        best_log_p, np.take_along_axis(log_p, expected, axis=-1), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("step", [0, 1, 2, 6])
def test_repeats_are_ruled_out_and_nothing_else(size, step):
    random = np.random.default_rng(size)
    written = random.integers(4, 7, (4, 2, 8)).astype("int32")  # after `step` anything
    logits = random.normal(size=(4, 2, 9)).astype("float32")
    search = SimpleNamespace(written=tf.constant(written), step=tf.constant(step))
    result = NoRepeatNgram(size)(tf.constant(logits), search).numpy()
    for row in np.ndindex(4, 2):
        before = tuple(written[row][:step])
        old = repeats_ngram(before, size)
        for i in range(9):
            new = (*before, i)
            runs = [new[j : j + size] for j in range(len(new) - size + 1)]
            repeated = bool(runs) and runs[-1] in runs[:-1]
            assert result[row][i] == (np.float32(NEG_INF) if repeated else logits[row][i])
            assert old or repeated == repeats_ngram(new, size)


def words_of(ids, starts):
    words = []
    for i in ids:
        if starts[i] or not words:
            words.append(())
        words[-1] += (i,)
    return words


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("step", [0, 1, 2, 7, 12])
def test_runs_of_words_are_ruled_out_where_they_would_be_whole(size, step):
    random = np.random.default_rng(size)
    starts = [False] * 4 + [True, True, False, False, False]
    written = random.choice([4, 4, 5, 6, 7], (6, 2, 13)).astype("int32")
    logits = random.normal(size=(6, 2, 9)).astype("float32")
    search = SimpleNamespace(written=tf.constant(written), step=tf.constant(step))
    result = NoRepeatNgram(size, starts)(tf.constant(logits), search).numpy()
    for row in np.ndindex(6, 2):
        before = tuple(written[row][:step].tolist())
        for i in range(4, 9):
            words = words_of((*before, i), starts)
            runs = [tuple(words[j : j + size]) for j in range(len(words) - size + 1)]
            repeated = bool(runs) and runs[-1] in runs[:-1]
            assert result[row][i] == (np.float32(NEG_INF) if repeated else logits[row][i])
    assert step < 7 or size == 3 or (result == np.float32(NEG_INF)).any()


def test_an_unknown_word_of_the_source_is_a_word():
    starts = [False] * 4 + [True, False]
    search = SimpleNamespace(written=tf.constant([[[4, 7, 4, 0]]]), step=tf.constant(3))
    result = NoRepeatNgram(2, starts)(tf.zeros((1, 1, 9)), search).numpy()
    assert np.flatnonzero(result[0, 0] == np.float32(NEG_INF)).tolist() == [7]


def test_words_of_letters_and_of_scripts_without_spaces():
    texts = ["the cat and the dog", "狗和猫 the", "カタ カナ"]
    starts = {}
    for kind in ("char", "bpe"):
        tokenizer = Tokenizer.train(texts * 9, 60, kind, character_coverage=1.0)
        pieces = tokenizer.pieces(range(tokenizer.vocab_size))
        starts |= zip(pieces, tokenizer.word_starts(), strict=True)
    assert all(starts[piece] for piece in ("▁", "▁the", "▁cat", "猫", "カ", "</s>"))
    assert not any(starts[piece] for piece in ("t", "h", "he") if piece in starts)
