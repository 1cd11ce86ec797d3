"""A step of one's own: logits processors and strategies; sources that are features."""

import numpy as np
import pytest
import tensorflow as tf
from tiny_models import (
    exhaustive_search,
    log_probabilities,
    random_source,
    tiny_model,
    trimmed,
)

import attention_zoo.zoo.decoding
from attention_zoo.zoo.decoding import NEG_INF, GenerationOptions, Strategy, generate
from attention_zoo.zoo.models.encoder_decoder import EncoderDecoder
from attention_zoo.zoo.text.tokenizer import END_ID, PAD_ID

SIZE = 7
SEARCHES = [{"beam_size": 1}, {"beam_size": 3}, {"beam_size": 2, "do_sample": True, "seed": 1}]


@pytest.fixture(scope="module")
def model():
    return tiny_model("bahdanau", SIZE, seed=3)


@pytest.fixture(scope="module")
def source():
    return random_source(2, [4, 1, 2], SIZE)


def forbid(token):
    def processor(logits, search):
        return tf.where(tf.range(logits.shape[-1]) == token, NEG_INF, logits)

    return processor


@pytest.mark.parametrize("options", SEARCHES, ids=str)
@pytest.mark.parametrize("token", [5, END_ID])
def test_a_processor_forbids_a_token(model, source, options, token):
    options = GenerationOptions(max_length=5, **options)
    found = generate(model, source, options, logits_processors=[forbid(token)])
    scores = found.scores.numpy()
    if token == END_ID and options.beam_size == 3:  # no target ends
        assert (scores == NEG_INF).all()
        return
    targets = [trimmed(ids) for row in found.ids.numpy() for ids in row]
    assert all(token not in target[:-1] for target in targets)
    if token == END_ID:  # ended by their limits alone
        assert {len(target) for target in targets} == {5}
        assert not found.finished.numpy().any()
    rows = np.repeat(np.arange(len(source)), found.ids.shape[1])
    for row, target, score in zip(rows, targets, scores.ravel(), strict=True):
        log_p = log_probabilities(model, source[row], [target])[0]
        np.testing.assert_allclose(score, log_p / ((5 + len(target)) / 6), atol=1e-5)


def test_beams_without_a_token_are_the_best_of_all_targets_without_it(model, source):
    options = GenerationOptions(
        beam_size=8, max_length=4, max_length_ratio=None, early_stopping=False
    )
    found = generate(model, source, options, logits_processors=[forbid(5)])
    for row in range(len(source)):
        everything = exhaustive_search(model, source[row], SIZE, options)
        expected = [hypothesis for hypothesis in everything if 5 not in hypothesis.ids][:8]
        there = found.scores.numpy()[row] > NEG_INF / 2
        ids = [trimmed(ids) for ids in found.ids.numpy()[row][there]]
        assert ids == [hypothesis.ids for hypothesis in expected]


@pytest.mark.parametrize("options", SEARCHES[:2], ids=str)
def test_processors_are_called_in_turn_and_know_the_search(model, source, options):
    # Each target is made to be 4, 5, 6, by a processor that reads what was written.
    def count_up(logits, search):
        newest = tf.reduce_max(search.written, axis=2)
        last = tf.where(search.live & (search.step > 0), search.tokens, newest)
        tf.debugging.assert_equal(newest, last)
        following = tf.maximum(newest + 1, 4)
        wanted = tf.where(following < SIZE, following, END_ID)
        return tf.where(tf.one_hot(wanted, SIZE) > 0, logits, NEG_INF)

    def add_two(logits, search):
        assert logits.shape[1:] == (options["beam_size"], SIZE)
        return logits + 2.0

    found = generate(
        model,
        source,
        GenerationOptions(max_length=9, length_penalty=0.0, **options),
        logits_processors=[count_up, add_two],
    )
    assert found.ids.numpy()[:, 0].tolist() == [[4, 5, 6, END_ID]] * 3
    assert found.finished.numpy().tolist() == [[True] + [False] * (options["beam_size"] - 1)] * 3
    for row in range(3):
        log_p = log_probabilities(model, source[row], [(4, 5, 6, END_ID)])[0]
        np.testing.assert_allclose(found.scores[row, 0], log_p + 4 * 2.0, atol=1e-4)


def test_logits_of_another_shape_are_refused(model, source):
    for processor in (lambda logits, search: logits[..., 1:], lambda logits, search: logits[0]):
        with pytest.raises(ValueError, match=r"Received: shape=\("):
            generate(model, source, GenerationOptions(), logits_processors=[processor])


class SecondBest(Strategy):
    """Always the second most probable token."""

    def next_tokens(self, candidates, search):
        return candidates.best(2)[0][..., 1]


def test_a_strategy_of_ones_own(model, source):
    options = GenerationOptions(beam_size=1, max_length=6, max_length_ratio=None)
    found = generate(model, source, options, strategy=SecondBest)
    for row, ids in enumerate(source):
        target: tuple[int, ...] = ()
        while not target or target[-1] != END_ID:
            longer = [(*target, i) for i in range(END_ID, SIZE)]
            log_p = log_probabilities(model, ids, longer)
            target = longer[int(np.argsort(log_p)[-2])]
            if len(target) == 6:
                target = (*target[:-1], END_ID)
        assert trimmed(found.ids.numpy()[row, 0]) == target
        log_p = log_probabilities(model, ids, [target])[0]
        np.testing.assert_allclose(found.scores[row, 0], log_p / ((5 + len(target)) / 6), atol=1e-5)


class AnnealedSampling(Strategy):
    """Sampling that ends as greedy search."""

    reads_written = True

    def next_tokens(self, candidates, search):
        assert search.written.shape[1] == self.num_hypotheses
        noise = -tf.math.log(-tf.math.log(tf.random.uniform(tf.shape(candidates.logits))))
        temperature = tf.where(search.step < 2, 1.0, 0.0)
        return tf.argmax(candidates.logits + temperature * noise, -1, tf.int32)


def test_sampling_that_cools_down_goes_on_as_greedy_search(model, source):
    options = GenerationOptions(beam_size=8, max_length=7, min_length=3, max_length_ratio=None)
    tf.random.set_seed(1)
    found = generate(model, source, options, strategy=AnnealedSampling)
    ids = found.ids.numpy()
    assert len({tuple(target[:2]) for target in ids[0]}) > 2
    greedy = GenerationOptions(beam_size=1, max_length=7, min_length=3, max_length_ratio=None)
    for row in range(len(source)):
        for target in ids[row]:
            started = generate(model, source[row : row + 1], greedy, prefix=[target[:2]])
            assert trimmed(target) == trimmed(started.ids.numpy()[0, 0])


@pytest.mark.parametrize("options", SEARCHES, ids=str)
def test_a_target_that_its_limit_cut_is_marked(model, source, options):
    options = GenerationOptions(max_length=2, max_length_ratio=None, **options)
    found = generate(model, source, options)
    lengths = (found.ids.numpy() != PAD_ID).sum(-1)
    np.testing.assert_array_equal(found.finished, lengths < 2)
    assert len(np.unique(found.finished)) == 2


@pytest.mark.parametrize("options", SEARCHES[:2], ids=str)
def test_features_are_read_as_ids_are(model, source, options):
    features = model.source_embedding(source)
    same = EncoderDecoder(
        model.encoder, model.decoder, model.output_layer, target_embedding=model.target_embedding
    )
    options = GenerationOptions(max_length=6, **options)
    expected = generate(model, source, options, return_attention=True)
    found = generate(same, features, options, return_attention=True, source_mask=source != PAD_ID)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
    alone = generate(same, features[:1], options)  # all of them are there
    np.testing.assert_array_equal(alone.ids, expected.ids[:1, :, : alone.ids.shape[2]])


def test_public_names_are_imported_when_asked_for():
    for name in attention_zoo.zoo.decoding.__all__:
        assert getattr(attention_zoo.zoo.decoding, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = attention_zoo.zoo.decoding.nothing


@pytest.mark.parametrize("kind", ["bahdanau", "transformer", "rotary", "alibi", "pointer"])
@pytest.mark.parametrize("beam_size", [1, 3])
@pytest.mark.parametrize("prefix", [None, [[5, 6], [4, 0], [0, 0]]], ids=["free", "prefix"])
def test_static_shapes_change_nothing_but_the_length(kind, beam_size, prefix, source):
    model = tiny_model(kind, SIZE, seed=3)
    options = GenerationOptions(beam_size=beam_size, max_length=9, max_length_ratio=0.1)
    prefix = None if prefix is None else tf.constant(prefix)
    expected = generate(model, source, options, True, prefix)
    found = generate(model, source, options, True, prefix, static_shapes=True)
    longest = expected.ids.shape[2]
    assert found.ids.shape[2] == 9
    np.testing.assert_array_equal(found.ids[:, :, :longest], expected.ids)
    assert not found.ids[:, :, longest:].numpy().any()
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-5)
    np.testing.assert_allclose(found.attention[:, :, :longest], expected.attention, atol=1e-5)
    np.testing.assert_array_equal(found.finished, expected.finished)
