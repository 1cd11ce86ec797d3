"""Draws have the probabilities that temperature, top k and top p leave, and the limits hold."""

import numpy as np
import pytest
import tensorflow as tf
from tiny_models import TableModel, random_source, repeats_ngram, tiny_model, trimmed

from attention_zoo.zoo.decoding.options import NEG_INF, GenerationOptions
from attention_zoo.zoo.decoding.search import generate
from attention_zoo.zoo.decoding.strategies import draw
from attention_zoo.zoo.text.tokenizer import END_ID, START_ID

PROBABILITIES = np.array([0.4, 0.1, 0.3, 0.05, 0.15])
DRAWS = 40_000


def drawn(**options):
    """Shares of the ids in many draws from `PROBABILITIES`."""
    logits = tf.constant(np.log(PROBABILITIES), tf.float32)
    options = GenerationOptions(do_sample=True, seed=3, **options)
    ids = draw(tf.broadcast_to(logits, (DRAWS // 8, 8, 5)), options).numpy()
    return np.bincount(ids.ravel(), minlength=5) / DRAWS


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({}, [0, 1, 2, 3, 4]),
        ({"top_k": 2}, [0, 2]),
        ({"top_k": 9}, [0, 1, 2, 3, 4]),
        ({"top_p": 0.69}, [0, 2]),
        ({"top_p": 0.71}, [0, 2, 4]),
        ({"top_p": 0.01}, [0]),
        # Of the three best, two have 0.8 of what is left.
        ({"top_k": 3, "top_p": 0.8}, [0, 2]),
    ],
    ids=str,
)
def test_draws_have_the_probabilities_that_are_left(options, kept):
    expected = np.zeros(5)
    expected[kept] = PROBABILITIES[kept] / PROBABILITIES[kept].sum()
    shares = drawn(**options)
    assert set(np.flatnonzero(shares)) == set(kept)
    np.testing.assert_allclose(shares, expected, atol=0.012)  # five standard deviations


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_temperature_flattens_or_sharpens(temperature):
    expected = PROBABILITIES ** (1 / temperature)
    np.testing.assert_allclose(
        drawn(temperature=temperature), expected / expected.sum(), atol=0.012
    )


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("temperature", [1e-300, 1e-38, 1e-20])
@pytest.mark.parametrize("top_p", [1.0, 0.9])
def test_next_to_no_temperature_leaves_the_most_probable(sign, temperature, top_p):
    logits = tf.constant([[[1.0, 300.0, 3.0]]]) * sign
    options = GenerationOptions(do_sample=True, temperature=temperature, top_p=top_p)
    assert draw(logits, options).numpy().item() == (1 if sign > 0 else 0)


@pytest.mark.parametrize("temperature", [1e9, 1e30])
def test_no_temperature_lets_write_what_may_not_be_written(temperature):
    logits = tf.constant([NEG_INF, 2.0, NEG_INF - 5.0, 1.0])
    options = GenerationOptions(do_sample=True, temperature=temperature, seed=3)
    ids = draw(tf.broadcast_to(logits, (10, 40, 4)), options).numpy()
    assert set(ids.ravel()) == {1, 3}


def test_targets_have_the_probabilities_of_the_model():
    table = np.zeros((3, 6, 6))
    table[:, START_ID, [4, 5]] = 0.7, 0.3
    table[:, 4, [END_ID, 5]] = 0.6, 0.4
    table[:, 5, END_ID] = 1.0
    model = TableModel(table)
    source = tf.constant(np.full((500, 2), END_ID, np.int32))
    options = GenerationOptions(do_sample=True, beam_size=8, length_penalty=0.0, max_length=3)
    hypotheses = generate(model, source, options)
    assert hypotheses.ids.shape[:2] == (500, 8)
    targets = [trimmed(ids) for ids in hypotheses.ids.numpy().reshape(-1, 3)]
    for target, p in {(4, END_ID): 0.42, (4, 5, END_ID): 0.28, (5, END_ID): 0.3}.items():
        assert abs(targets.count(target) / len(targets) - p) < 0.04
        place = targets.index(target)
        np.testing.assert_allclose(hypotheses.scores.numpy().ravel()[place], np.log(p), atol=1e-5)
    assert (np.diff(hypotheses.scores, axis=1) <= 0).all()  # the best first


@pytest.mark.parametrize("kind", ["qkv", "transformer"])
def test_samples_keep_to_what_may_be_written(kind):
    model = tiny_model(kind, 7, seed=4)
    options = GenerationOptions(
        do_sample=True, beam_size=6, min_length=3, max_length=7, no_repeat_ngram=2, temperature=1.5
    )
    source = random_source(5, [4, 1, 2], 7)
    prefix = tf.constant([[6, 5], [0, 0], [4, 0]])
    hypotheses = generate(model, tf.constant(source), options, True, prefix)
    assert hypotheses.attention.shape == (*hypotheses.ids.shape, source.shape[1])
    for row, rows in enumerate(hypotheses.ids.numpy()):
        for ids in rows:
            target = trimmed(ids)
            assert 3 < len(target) <= 7
            assert all(i >= 4 for i in target[:-1])
            assert not repeats_ngram(target, 2)
            start = [int(i) for i in prefix[row] if i]
            assert list(target[: len(start)]) == start
    assert len({trimmed(ids) for ids in hypotheses.ids.numpy()[1]}) > 1


def test_a_seed_repeats_the_draws_and_moves_on_from_call_to_call():
    model = tiny_model("bahdanau", 9, seed=4)
    source = tf.constant(random_source(5, [4, 1], 9))

    def write(seed):
        options = GenerationOptions(do_sample=True, beam_size=4, max_length=8, seed=seed)
        tf.random.set_seed(1)
        return [generate(model, source, options).ids.numpy().tolist() for _ in range(2)]

    first, second = write(1)
    assert first != second
    assert write(1) == [first, second] != write(2)
