"""What greedy and beam search share: options, attention, rows on their own, graphs."""

import numpy as np
import pytest
import tensorflow as tf
from tiny_models import plain_greedy_search, random_source, tiny_model, trimmed

from attention_zoo.zoo.decoding.options import GenerationOptions
from attention_zoo.zoo.decoding.search import generate
from attention_zoo.zoo.text.tokenizer import END_ID, START_ID

LENGTHS = [5, 1, 3, 2]


# A search knows a model by its protocol alone: test_seq2seq_models.py asks it of every kind.
@pytest.fixture(scope="module", params=["bahdanau", "memory", "copying-transformer"])
def model(request):
    return tiny_model(request.param, vocab_size=9, seed=21)


@pytest.fixture(scope="module")
def source():
    return random_source(2, LENGTHS, vocab_size=9)


@pytest.mark.parametrize(
    "case",
    [
        {},
        {"max_length": 3},
        {"max_length": 1},
        {"min_length": 4, "length_penalty": 0.0},
        {"forbid_unknown": False, "length_penalty": 0.5},
    ],
    ids=str,
)
def test_one_beam_takes_the_most_probable_subword(model, source, case):
    options = GenerationOptions(**{"beam_size": 1, "max_length": 8, **case})
    hypotheses = generate(model, tf.constant(source), options)
    assert hypotheses.ids.shape[:2] == (len(LENGTHS), 1)
    for row, ids in enumerate(source):
        expected = plain_greedy_search(model, ids, 9, options)
        assert trimmed(hypotheses.ids.numpy()[row, 0]) == expected.ids
        np.testing.assert_allclose(hypotheses.scores[row, 0], expected.score, atol=1e-5)


def test_greedy_rows_have_the_limits_of_their_own_length(source):
    model = tiny_model("bahdanau", vocab_size=9, seed=22)
    for min_length, limits in ((10, [14, 11, 12, 12]), (13, [14, 14, 14, 14])):
        options = GenerationOptions(
            beam_size=1, max_length=14, max_length_ratio=0.7, min_length=min_length
        )
        assert options.length_limits(tf.constant(source)).numpy().tolist() == limits
        hypotheses = generate(model, tf.constant(source), options)
        for row, ids in enumerate(source):
            expected = plain_greedy_search(model, ids, 9, options)
            assert trimmed(hypotheses.ids.numpy()[row, 0]) == expected.ids
            np.testing.assert_allclose(hypotheses.scores[row, 0], expected.score, atol=1e-5)


@pytest.mark.parametrize("ratio", [3.0, 1e9, 1e300])
def test_ratios_beyond_any_length_leave_the_other_limits(source, ratio):
    longest = GenerationOptions(max_length=12, max_length_ratio=ratio)
    assert longest.length_limits(tf.constant(source)).numpy().tolist() == [12, 12, 12, 12]
    shortest = GenerationOptions(max_length=12, max_length_ratio=None, min_length_ratio=ratio)
    fewest = [min(11, 3 * (length + 1)) if ratio == 3.0 else 11 for length in LENGTHS]
    assert shortest.min_lengths(tf.constant(source)).numpy().tolist() == fewest


@pytest.mark.parametrize("beam_size", [1, 3])
def test_attention_is_that_of_a_forced_pass(model, source, beam_size):
    options = GenerationOptions(beam_size=beam_size, max_length=6)
    hypotheses = generate(model, tf.constant(source), options, return_attention=True)
    ids = hypotheses.ids.numpy()  # (B, N, T)
    memory = model.encode(tf.constant(source))
    state = model.initial_state(memory, beam_size, ids.shape[2])
    written = np.pad(ids, [(0, 0), (0, 0), (1, 0)], constant_values=START_ID)
    assert hypotheses.attention.shape == (*ids.shape, source.shape[1])
    for t in range(ids.shape[2]):
        _, state, scores = model.step(tf.constant(written[:, :, t]), state, memory)
        expected = np.where((ids[:, :, t] != 0)[..., None], scores, 0.0)
        np.testing.assert_allclose(hypotheses.attention[:, :, t], expected, atol=1e-5)
    if getattr(model.decoder, "attention", model.decoder) is not None:
        sums = hypotheses.attention.numpy().sum(-1)
        np.testing.assert_allclose(sums, ids != 0, atol=1e-5)


@pytest.fixture(scope="module", params=[1, 3])
def graph(model, request):
    """Options and the search with them as a graph, traced once."""
    options = GenerationOptions(beam_size=request.param, max_length=10, max_length_ratio=1.0)

    @tf.function(input_signature=[tf.TensorSpec((None, None), tf.int32)], autograph=False)
    def search(source):
        return generate(model, source, options, return_attention=True)

    return options, search


def test_a_row_does_not_depend_on_its_neighbours(graph, source):
    _, search = graph
    together = search(tf.constant(source))
    for row, length in enumerate(LENGTHS):
        for padding in (0, 3):
            alone = np.pad(source[row : row + 1, : length + 1], [(0, 0), (0, padding)])
            result = search(tf.constant(alone))
            longest = result.ids.shape[2]
            np.testing.assert_array_equal(together.ids[row, :, :longest], result.ids[0])
            assert not np.any(together.ids[row, :, longest:])
            np.testing.assert_allclose(together.scores[row], result.scores[0], atol=1e-5)
            np.testing.assert_allclose(
                together.attention[row, :, :longest, : length + 1],
                result.attention[0, ..., : length + 1],
                atol=1e-5,
            )
            assert not np.any(result.attention[..., length + 1 :])


def test_a_graph_gives_what_eager_calls_give(model, graph, source):
    options, search = graph
    eager = generate(model, tf.constant(source), options, return_attention=True)
    results = search(tf.constant(source))
    np.testing.assert_array_equal(results.ids, eager.ids)
    np.testing.assert_allclose(results.scores, eager.scores, atol=1e-5)
    np.testing.assert_allclose(results.attention, eager.attention, atol=1e-5)
    assert results.ids.dtype == tf.int32
    assert results.scores.dtype == results.attention.dtype == tf.float32


@pytest.mark.parametrize("beam_size", [1, 3])
def test_a_batch_of_no_rows(beam_size):
    model = tiny_model("qkv", vocab_size=9)
    options = GenerationOptions(beam_size=beam_size, max_length=6, no_repeat_ngram=2)
    hypotheses = generate(model, tf.zeros((0, 3), tf.int32), options, return_attention=True)
    assert hypotheses.ids.shape[0] == hypotheses.scores.shape[0] == 0


@pytest.mark.parametrize(
    ("options", "received"),
    [
        ({"beam_size": 0}, "beam_size=0"),
        ({"beam_size": 2.5}, "beam_size=2.5"),
        ({"max_length": "long"}, "max_length='long'"),
        ({"no_repeat_ngram": True}, "no_repeat_ngram=True"),
        ({"max_length": 0}, "max_length=0"),
        ({"max_length": 2**33}, "max_length=8589934592"),
        ({"length_penalty": "long"}, "length_penalty='long'"),
        ({"max_length_ratio": "2"}, "max_length_ratio='2'"),
        ({"max_length_ratio": float("inf")}, "max_length_ratio=inf"),
        ({"early_stopping": "no"}, "early_stopping='no'"),
        ({"min_length": -1}, "min_length=-1"),
        ({"min_length": 5, "max_length": 5}, "min_length=5, max_length=5"),
        ({"length_penalty": -0.5}, "length_penalty=-0.5"),
        ({"length_penalty": float("nan")}, "length_penalty=nan"),
        ({"max_length_ratio": 0.0}, "max_length_ratio=0.0"),
        ({"min_length_ratio": 2.0}, "max_length_ratio=2.0, min_length_ratio=2.0"),
        ({"min_length_ratio": -1.0}, "min_length_ratio=-1.0"),
        ({"coverage_penalty": -1.0}, "coverage_penalty=-1.0"),
        ({"no_repeat_ngram": -1}, "no_repeat_ngram=-1"),
        ({"do_sample": "false"}, "do_sample='false'"),
        ({"do_sample": True, "temperature": 0.0}, "temperature=0.0"),
        ({"do_sample": True, "temperature": True}, "temperature=True"),
        ({"do_sample": True, "seed": 1.5}, "seed=1.5"),
        ({"do_sample": True, "top_k": -1}, "top_k=-1"),
        ({"do_sample": True, "top_p": 0.0}, "top_p=0.0"),
        ({"top_p": 0.9}, "top_p=0.9"),
        ({"seed": 0}, "seed=0"),
    ],
)
def test_impossible_options_are_refused(options, received):
    with pytest.raises(ValueError, match=rf"Received: .*{received}"):
        GenerationOptions(**options)


@pytest.mark.parametrize(
    ("source", "max_length", "prefix", "received"),
    [
        ([[5, 3]], 17, None, "max_source_length=2, max_target_length=17"),
        ([[5] * 17], 9, None, "max_source_length=17, max_target_length=9"),
        ([[5, 3]], 9, [[5] * 16], "max_source_length=2, max_target_length=17"),
    ],
)
def test_what_is_beyond_the_positions_of_a_model_is_refused(source, max_length, prefix, received):
    model = tiny_model("learned")  # 16 of them
    options = GenerationOptions(beam_size=1, max_length=max_length)
    prefix = None if prefix is None else tf.constant(prefix)
    with pytest.raises(ValueError, match=received):
        generate(model, tf.constant(source), options, prefix=prefix)


@pytest.mark.parametrize(("source", "prefix"), [([[5] * 17], [[5]]), ([[5, 3]], [[5] * 16])])
def test_a_graph_refuses_what_is_beyond_the_positions_of_a_model(source, prefix):
    model = tiny_model("learned")  # 16 of them
    options = GenerationOptions(beam_size=2, max_length=9)

    @tf.function(input_signature=[tf.TensorSpec((None, None), tf.int32)] * 2, autograph=False)
    def search(source, prefix):
        return generate(model, source, options, prefix=prefix).ids

    assert search(tf.constant([[5] * 16]), tf.constant([[5] * 15])).shape == (1, 2, 16)
    with pytest.raises(tf.errors.InvalidArgumentError, match="positions for 16 tokens"):
        search(tf.constant(source), tf.constant(prefix))


@pytest.mark.parametrize("beam_size", [1, 3])
def test_a_prefix_goes_up_to_its_end(beam_size):
    options = GenerationOptions(beam_size=beam_size, max_length=5)
    model, source = tiny_model("qkv"), tf.constant([[5, 3]] * 3)
    expected = generate(model, source, options, prefix=tf.constant([[5, 6], [5, 0], [0, 0]]))
    ended = [[5, 6, 3, 0, 0], [5, 3, 7, 7, 7], [0, 7, 7, 7, 7]]
    for prefix in (tf.constant(ended), ended, np.array(ended)):  # the last of 64 bits
        result = generate(model, source, options, prefix=prefix)
        assert result.ids.numpy().tolist() == expected.ids.numpy().tolist()
    assert (expected.ids.numpy()[0, :, :2] == [5, 6]).all()


@pytest.mark.parametrize(
    ("source", "prefix", "received"),
    [
        (np.zeros((2, 0)), None, r"source.shape=\(2, 0\)"),
        ([[5, 3]], [[5], [6]], r"source.shape=\(1, 2\), prefix.shape=\(2, 1\)"),
        ([[5, 3]] * 2, [[5]], r"source.shape=\(2, 2\), prefix.shape=\(1, 1\)"),
    ],
)
def test_sources_without_room_and_prefixes_of_other_sources_are_refused(source, prefix, received):
    with pytest.raises(ValueError, match=f"Received: {received}"):
        generate(tiny_model("qkv"), source, GenerationOptions(max_length=5), prefix=prefix)


def test_a_padded_prefix_counts_without_its_padding():
    options = GenerationOptions(beam_size=1, max_length=3)
    prefix = tf.constant([[5, 6, 7, *[0] * 30]])
    ids = generate(tiny_model("learned"), tf.constant([[5, 3]]), options, prefix=prefix).ids
    assert ids.numpy().tolist() == [[[5, 6, 7, 3]]]


@pytest.mark.parametrize("do_sample", [False, True])
def test_where_nothing_may_be_written_a_target_ends(do_sample):
    # Two subwords, none of them twice, and no end before the fifth.
    options = GenerationOptions(
        beam_size=1, do_sample=do_sample, min_length=5, max_length=9, no_repeat_ngram=1
    )
    ids = generate(tiny_model("none", 6), tf.constant([[4, 3]]), options).ids.numpy()[0, 0]
    assert sorted(trimmed(ids)) == [END_ID, 4, 5]


def test_options_round_trip_and_the_penalty_is_that_of_the_paper():
    options = GenerationOptions(beam_size=3, length_penalty=0.6, max_length_ratio=None)
    assert GenerationOptions(**options.get_config()) == options
    lengths = np.array([1, 7, 25])
    np.testing.assert_allclose(
        options.penalty(tf.constant(lengths)), ((5 + lengths) / 6) ** 0.6, rtol=1e-6
    )
