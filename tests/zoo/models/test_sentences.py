"""Sources as sentences: against splitting in Python, and Keras's own recurrent layers."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tiny_models import random_source, tiny_model

from attention_zoo.zoo.models.sentences import (
    Boundaries,
    SentenceEncoder,
    kwargs_from_tokenizer,
    split_sentences,
)
from attention_zoo.zoo.text import split_sentences as split_text
from attention_zoo.zoo.text.composing import encode_sources
from attention_zoo.zoo.text.source_format import SourceFormat, SourceInput
from attention_zoo.zoo.text.tokenizer import END_ID, PAD_ID, Tokenizer

SEPARATOR_ID = 4
BOUNDARIES = Boundaries([7, 9], [END_ID, SEPARATOR_ID])


def split_in_python(row, longest):
    """The sentences of a row of ids, as lists of places, written as one would say it."""
    sentences, open_one, marked = [], False, False
    for place, token in enumerate(row):
        if token in (PAD_ID, END_ID, SEPARATOR_ID):
            open_one = False
            continue
        mark = token in BOUNDARIES.marks
        full = open_one and len(sentences[-1]) == longest
        if not open_one or (marked and not mark) or full:
            sentences.append([])
        sentences[-1].append(place)
        open_one, marked = True, mark
    return sentences


@pytest.mark.parametrize("static_shapes", [False, True])
@pytest.mark.parametrize("longest", [1, 2, 3, 8])
def test_sentences_are_those_of_splitting_in_python(longest, static_shapes):
    source = random_source(3, [0, 1, 5, 9, 14, 14, 14, 14, 3, 7], padding=1)
    found = split_sentences(tf.constant(source), BOUNDARIES, longest, static_shapes)
    expected = [split_in_python(row, longest) for row in source]
    assert sum(map(len, expected)) > 2 * len(source)
    for b, sentences in enumerate(expected):
        lengths = [len(sentence) for sentence in sentences]
        padding = [0] * (found.lengths.shape[1] - len(lengths))
        assert found.lengths[b].numpy().tolist() == lengths + padding
        assert found.counts[b] == max(len(lengths), 1)
        of = np.full(source.shape[1], -1)
        for m, places in enumerate(sentences):
            of[places] = m
            ids = found.ids[b, m].numpy()
            assert ids[: len(places)].tolist() == source[b, places].tolist()
            assert not ids[len(places) :].any()
        np.testing.assert_array_equal(found.of[b], of)


def test_marks_at_the_start_separators_and_padding_alone():
    rows = [[7, 9, 5, 3, 0, 0], [0] * 6, [5, 7, 9, 7, 3, 0], [4, 5, 4, 4, 7, 3]]
    found = split_sentences(tf.constant(rows), BOUNDARIES, 8)
    assert found.lengths.numpy().tolist() == [[2, 1], [0, 0], [4, 0], [1, 1]]
    assert found.counts.numpy().tolist() == [2, 1, 1, 2]


def test_the_last_sentence_is_left_out_wherever_it_stands():
    rows = [[5, 7, 4, 6, 6, 7, 4, 5, 7, 3], [5, 7, 4, 5, 7, 3, 0, 0, 0, 0], [0] * 10]
    found = split_sentences(tf.constant(rows), BOUNDARIES, 8)
    others = found.but_the_last().numpy().tolist()
    assert others == [[False, True, False], [True, True, False], [False, False, False]]


def test_attention_is_shared_out_among_the_tokens_of_a_sentence():
    source = random_source(3, [6, 9, 2])
    model = tiny_model("memory")
    found = split_sentences(tf.constant(source), model.encoder.boundaries, 3)
    there = found.lengths.numpy() > 0
    weights = np.random.default_rng(0).random((3, 2, there.shape[1])) * there[:, None]
    shares = model.encode(source).over_source(tf.constant(weights)).numpy()
    assert shares.shape == (3, 2, source.shape[1])
    for b, n in np.ndindex(3, 2):
        for m in range(there.shape[1]):
            inside = shares[b, n][found.of[b].numpy() == m]
            np.testing.assert_allclose(inside.sum(), weights[b, n, m], atol=1e-6)
            assert len(set(inside)) <= 1
        assert not shares[b, n][found.of[b].numpy() < 0].any()


def test_the_sentences_of_a_model_are_those_of_the_text():
    texts = ["Mr. Ford paid 3.5 dollars. Is he here?", "他在这里。谁？", "No! He is not."]
    tokenizer = Tokenizer.train([*texts, "Hi. Yes."] * 20, vocab_size=70, symbols=["<sep>"])
    boundaries = Boundaries([], kwargs_from_tokenizer(tokenizer)["separator_ids"])
    inputs = SourceFormat((SourceInput("history", "turns"), SourceInput("text")), sentences=1)
    sources = [{"history": "Hi. Yes.\n\nMr. Ford?", "text": text} for text in texts]
    ids = [[*row, END_ID] for row in encode_sources(tokenizer, inputs, sources, 200)[0]]
    padded = tf.ragged.constant(ids).to_tensor()
    found = split_sentences(padded, boundaries, 32)
    for row, text in enumerate(texts):
        expected = ["Hi.", "Yes.", "Mr. Ford?", *map(str.strip, split_text(text))]
        counted = found.ids.numpy()[row, : int(found.counts[row])]
        assert tokenizer.decode(counted) == expected
    # Of what an earlier version had saved nothing is split.
    assert SourceFormat.from_dict({"inputs": [{"name": "text"}]}).sentences == 0
    with pytest.raises(ValueError, match="Received: sentences=2"):
        SourceFormat(sentences=2)


def keras_gru(layer, direction):
    """One direction of a layer as Keras's own, with the same weights."""
    gru = keras.layers.GRU(layer.units, return_sequences=True, go_backwards=direction == 1)
    gru.build((None, None, layer.kernel.shape[1]))
    bias = np.zeros((2, 3 * layer.units))
    bias[0] = layer.bias[direction]
    bias[1, 2 * layer.units :] = layer.candidate_bias[direction]
    gru.set_weights([layer.kernel[direction], layer.recurrent_kernel[direction], bias])
    return gru


def read_by_keras(layer, rows):
    """States (S, 2 D) of one sequence, and the last of each direction."""
    forward, backward = (keras_gru(layer, i)(rows[None])[0].numpy() for i in (0, 1))
    last = np.concatenate([forward[-1], backward[-1]])
    return np.concatenate([forward, backward[::-1]], axis=-1), last


def test_it_reads_words_then_sentences():
    layer = SentenceEncoder(3, [7], max_sentence_length=4)
    random = np.random.default_rng(0)
    ids = np.array([[5, 6, 7, 8, 5, 5, 5, 9, 3], [7, 3, 8, 8, 3, 0, 0, 0, 0]], np.int32)
    sentences = [[[0, 1, 2], [3, 4, 5, 6], [7]], [[0], [2, 3]]]
    inputs = random.normal(size=(2, 9, 6)).astype("float32")
    layer.build(inputs.shape)
    layer.set_weights([random.normal(0, 0.5, w.shape) for w in layer.weights])
    encoded = layer(inputs, ids != 0, ids)
    for b, positions in enumerate(sentences):
        alone = np.stack([read_by_keras(layer.words, inputs[b, row])[1] for row in positions])
        context, ends = read_by_keras(layer.sentences, alone)
        found = encoded.states[b, : len(positions)]
        np.testing.assert_allclose(found, alone + context, atol=1e-5)
        expected = np.concatenate([alone[-1], ends])
        np.testing.assert_allclose(encoded.summary[b], expected, atol=1e-5)
    assert encoded.mask.numpy().tolist() == [[True, True, False], [True, False, False]]
