"""Shortlists: the same targets where they are on the list, and no other tokens elsewhere."""

import numpy as np
import pytest
import tensorflow as tf
from tiny_models import random_source, tiny_model

from attention_zoo.zoo.decoding.options import GenerationOptions
from attention_zoo.zoo.decoding.search import generate
from attention_zoo.zoo.decoding.shortlist import Shortlist

SIZE = 40


def some_shortlist(likely: int = 6) -> Shortlist:
    random = np.random.default_rng(0)
    return Shortlist(random.integers(4, SIZE, (SIZE, likely)), np.array([5, 9]))


def allowed(shortlist: Shortlist, row: np.ndarray, count: int, own: bool) -> set[int]:
    """What a source may be written with, token by token."""
    ids = [int(i) for i in row if i > 0]
    found = {int(t) for i in ids for t in shortlist.likely[i, :count]}
    return found | {0, 1, 2, 3} | set(shortlist.always.tolist()) | (set(ids) if own else set())


def forbid_others(may: list[set[int]]):
    """A logits processor that leaves each row the tokens that it may write."""
    mask = tf.constant([[token in tokens for token in range(SIZE)] for tokens in may])

    def processor(logits, search):
        return tf.where(tf.gather(mask, search.rows)[:, None], logits, -1e9)

    return processor


@pytest.mark.parametrize("kind", ["bahdanau", "transformer"])
def test_greedy_search_writes_what_it_would_if_all_else_were_forbidden(kind):
    model, shortlist = tiny_model(kind, SIZE, seed=1), some_shortlist()
    source = random_source(3, [4, 1, 6], SIZE)
    may = [allowed(shortlist, row, 3, own=True) for row in source]
    options = {"beam_size": 1, "max_length": 8}
    found = generate(model, source, GenerationOptions(**options, shortlist=3), shortlist=shortlist)
    expected = generate(
        model, source, GenerationOptions(**options), logits_processors=[forbid_others(may)]
    )
    np.testing.assert_array_equal(found.ids, expected.ids)
    free = generate(model, source, GenerationOptions(**options))
    assert not np.array_equal(found.ids, free.ids)  # the list has an effect


@pytest.mark.parametrize(
    ("kind", "beams"), [("bahdanau", 1), ("transformer", 3), ("pointer", 3), ("own-source", 1)]
)
def test_a_list_of_all_tokens_changes_nothing(kind, beams):
    model = tiny_model(kind, SIZE, seed=2)
    sources = model.source_embedding.input_dim
    shortlist = Shortlist(np.zeros((sources, 1), int), np.arange(SIZE))
    source = random_source(4, [3, 5], sources)
    options = GenerationOptions(max_length=7, beam_size=beams)
    expected = generate(model, source, options, return_attention=True)
    options = GenerationOptions(**{**options.get_config(), "shortlist": 1})
    found = generate(model, source, options, return_attention=True, shortlist=shortlist)
    np.testing.assert_array_equal(found.ids, expected.ids)
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-5)
    np.testing.assert_allclose(found.attention, expected.attention, atol=1e-5)


@pytest.mark.parametrize("options", [{"beam_size": 1}, {"beam_size": 3}], ids=str)
def test_a_row_does_not_depend_on_the_others(options):
    model, shortlist = tiny_model("pointer", SIZE, seed=1), some_shortlist()
    source = random_source(5, [2, 6, 3], SIZE)
    options = GenerationOptions(max_length=6, shortlist=2, **options)
    together = generate(model, source, options, shortlist=shortlist)
    for row, ids in enumerate(source):
        alone = generate(model, ids[None, : np.sum(ids > 0)], options, shortlist=shortlist)
        length = alone.ids.shape[2]
        np.testing.assert_array_equal(together.ids[row, :, :length], alone.ids[0])
        np.testing.assert_allclose(together.scores[row], alone.scores[0], atol=1e-5)


def test_prefixes_and_words_of_the_source_are_written_whatever_is_on_the_list():
    model = tiny_model("transformer", SIZE, seed=1)
    nothing = Shortlist(np.zeros((SIZE, 1), int), np.array([], int))
    source = np.array([[20, 21, 3, 0], [22, 23, 24, 3]], np.int32)
    prefix = np.array([[30, 31], [32, 0]])
    options = GenerationOptions(beam_size=2, max_length=6, shortlist=1)
    found = generate(model, source, options, prefix=prefix, shortlist=nothing).ids.numpy()
    assert (found[0, :, :2] == [30, 31]).all() and (found[1, :, 0] == 32).all()
    assert set(found[0].ravel()) <= {0, 3, 20, 21, 30, 31}
    assert set(found[1].ravel()) <= {0, 3, 22, 23, 24, 32}
    assert (generate(model, source, options, shortlist=nothing).ids.numpy() > 3).any()


def test_unknown_words_of_the_source_are_copied():
    model = tiny_model("pointer", SIZE, seed=1)
    nothing = Shortlist(np.zeros((SIZE, 1), int), np.array([], int))
    source = np.array([[-1, -2, 3]], np.int32)
    options = GenerationOptions(
        beam_size=1, max_length=5, replace_unknown=True, shortlist=1, min_length=3
    )
    found = generate(model, source, options, shortlist=nothing).ids.numpy()
    assert set(found[0, 0, :3]) <= {-1, -2} and found[0, 0, -1] == 3


def test_no_run_is_written_twice():
    model, shortlist = tiny_model("bahdanau", SIZE, seed=2), some_shortlist()
    source = random_source(1, [4, 4], SIZE)
    options = GenerationOptions(
        beam_size=1, max_length=9, min_length=7, no_repeat_ngram=1, shortlist=3
    )
    starts = [True] * SIZE
    found = generate(model, source, options, word_starts=starts, shortlist=shortlist).ids.numpy()
    assert all(len(set(row[:7])) == 7 for row in found[:, 0])


def test_what_is_left_out_counts():
    """The log p of a target is nearly that of the whole vocabulary."""
    model, shortlist = tiny_model("transformer", SIZE, seed=1), some_shortlist()
    source = random_source(3, [4, 1, 6], SIZE)
    options = GenerationOptions(beam_size=1, max_length=6, length_penalty=0.0, shortlist=3)
    found = generate(model, source, options, shortlist=shortlist)
    ids = found.ids[:, 0].numpy()
    target = np.concatenate([np.full((len(ids), 1), 2), ids[:, :-1]], axis=1)
    logits = model({"source": source, "target": target}).numpy()
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    chosen = np.take_along_axis(log_p, ids[..., None], -1)[..., 0]
    expected = (chosen * (ids > 0)).sum(1)
    among = [sorted(allowed(shortlist, row, 3, own=True)) for row in source]
    renormalized = [
        sum(
            logits[r, t, i] - np.log(np.exp(logits[r, t, among[r]]).sum())
            for t, i in enumerate(ids[r])
            if i > 0
        )
        for r in range(len(source))
    ]
    error = np.abs(found.scores[:, 0] - expected)
    assert (error < 0.5 * np.abs(np.array(renormalized) - expected)).all()


def test_a_table_is_learned_from_pairs():
    """Token n of a source is translated to n + 20, and one token is in all targets."""
    random = np.random.default_rng(0)
    sources = [random.choice(np.arange(4, 16), 4, replace=False) for _ in range(200)]
    targets = [np.append(random.permutation(row + 20), [-1, 19, 19]) for row in sources]
    learned = Shortlist.learn(sources, targets, (16, SIZE), 2, frequent=1, always=[30, 39])
    np.testing.assert_array_equal(learned.always, [0, 1, 2, 3, 19, 30])  # no target has 39
    for token in set(range(4, 16)) - {10}:
        assert learned.likely[token, 0] == token + 20
    assert 30 not in learned.likely and not learned.likely[:4].any()
    again = Shortlist.from_bytes(learned.to_bytes())
    np.testing.assert_array_equal(again.likely, learned.likely)
    np.testing.assert_array_equal(again.always, learned.always)


@pytest.mark.parametrize("sources", [[], [np.array([], int)], [np.array([5])]])
def test_nothing_is_learned_from_nothing(sources):
    learned = Shortlist.learn(sources, [np.array([], int)] * len(sources), (8, 9), 2)
    assert learned.likely.shape == (8, 2) and not learned.likely.any()


def test_what_cannot_be_is_refused():
    model, source = tiny_model("transformer", SIZE), random_source(0, [3], SIZE)
    options = GenerationOptions(shortlist=4, max_length=5)
    for other, words in [(None, "of none"), (some_shortlist(likely=3), "of 3 tokens")]:
        with pytest.raises(ValueError, match=words):
            generate(model, source, options, shortlist=other)
    with pytest.raises(ValueError, match="one of 12 tokens of sources"):
        generate(model, source, options, shortlist=Shortlist(np.zeros((12, 4), int), np.arange(4)))
    with pytest.raises(ValueError, match="logits_processors"):
        generate(model, source, options, logits_processors=[print], shortlist=some_shortlist())
    with pytest.raises(ValueError, match="whole numbers of shape"):
        Shortlist(np.zeros(3, int), np.arange(4))
    with pytest.raises(ValueError, match="tensors"):
        Shortlist.from_bytes(b"nothing")
    with pytest.raises(ValueError, match="shortlist"):
        GenerationOptions(shortlist=-1)
