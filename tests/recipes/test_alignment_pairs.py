r"""Whether a translator from Chinese to English looks at the right word, on real sentences.

50 pairs of words, chosen by hand in the validation sentences of Tatoeba, which are not part of the
project. With a run that was trained on them, as docs/translation.md tells:

    ALIGNMENT_RUN=runs/zh-en ALIGNMENT_DATA=dev.tsv \
        .venv/bin/python -m pytest -m slow -s tests/recipes/test_alignment_pairs.py

The reference translation is given to the model, which says where it looked for each of its words.
"""

from __future__ import annotations

import os

import numpy as np
import pytest

# Line of the file, word of its first column, first character and the one after the last of the
# Chinese word in its second column; lines count from 1, all else from 0.
PAIRS = [
    (185, 5, 4, 6), (437, 3, 8, 10), (451, 2, 2, 3), (451, 4, 5, 6), (465, 1, 1, 2),
    (465, 5, 4, 6), (479, 3, 4, 6), (479, 6, 10, 11), (507, 5, 6, 8), (521, 1, 1, 3),
    (549, 3, 2, 4), (563, 0, 0, 2), (563, 4, 6, 8), (577, 1, 1, 3), (577, 3, 7, 9),
    (591, 6, 6, 8), (605, 3, 7, 9), (605, 4, 2, 4), (605, 6, 1, 2), (619, 3, 9, 11),
    (619, 1, 1, 2), (633, 6, 3, 5), (633, 3, 6, 8), (647, 1, 2, 4), (675, 2, 3, 5),
    (675, 4, 7, 9), (689, 2, 5, 7), (689, 1, 2, 4), (703, 5, 7, 9), (703, 1, 1, 2),
    (717, 4, 5, 7), (731, 1, 0, 2), (731, 5, 9, 11), (745, 2, 10, 12), (745, 5, 6, 8),
    (759, 2, 4, 6), (773, 3, 8, 10), (801, 2, 6, 8), (815, 6, 6, 8), (815, 7, 0, 2),
    (829, 4, 5, 7), (829, 5, 1, 3), (843, 7, 2, 3), (885, 2, 2, 4), (899, 1, 0, 2),
    (913, 4, 2, 4), (913, 3, 0, 2), (941, 6, 7, 9), (983, 7, 4, 6), (1039, 10, 10, 13),
]  # fmt: skip
SHARE = 0.8


def character_spans(pieces):
    """First and last place, and one more, of each subword in its text without spaces."""
    lengths = [len(piece.replace("\u2581", "")) for piece in pieces]
    ends = np.cumsum(lengths)
    return list(zip(ends - lengths, ends, strict=True))


def word_numbers(pieces):
    """Of each subword the number of its word."""
    return np.cumsum([piece.startswith("\u2581") for piece in pieces]) - 1


def attention_to_targets(model, sources, targets):
    """Of each pair the attention (T, S) while the target was written, ends left out."""
    import tensorflow as tf

    from attention_zoo.zoo.generation import GenerationOptions
    from attention_zoo.zoo.search import generate

    options = GenerationOptions(beam_size=1, max_length=128, max_length_ratio=None)
    for source, target in zip(sources, targets, strict=True):
        ids = [model.tokenizer.encode([text])[0] for text in (source, target)]
        given = tf.constant([[*ids[0], 3]])
        written = generate(model.model, given, options, True, prefix=tf.constant([ids[1]]))
        assert written.ids[0, 0, : len(ids[1])].numpy().tolist() == ids[1].tolist()
        attention = written.attention[0, 0, : len(ids[1]), : len(ids[0])].numpy()
        yield *(model.tokenizer.pieces(row) for row in ids), attention


def test_places_of_subwords():
    assert character_spans(["\u2581ab", "c", "\u2581d"]) == [(0, 2), (2, 3), (3, 4)]
    assert word_numbers(["\u2581ab", "c", "\u2581d"]).tolist() == [0, 0, 1]
    assert len(PAIRS) == 50 and len(set(PAIRS)) == 50


@pytest.mark.slow
def test_the_right_word_gets_the_largest_weight():
    run, data = os.environ.get("ALIGNMENT_RUN"), os.environ.get("ALIGNMENT_DATA")
    if not run or not data:
        pytest.skip("needs ALIGNMENT_RUN and ALIGNMENT_DATA, see the head of this file")
    import attention_zoo

    model = attention_zoo.load(run)
    with open(data, encoding="utf-8") as file:
        rows = [line.rstrip("\n").split("\t") for line in file]
    english = [rows[line - 1][0] for line, *_ in PAIRS]
    chinese = [rows[line - 1][1] for line, *_ in PAIRS]
    wrong = []
    found = attention_to_targets(model, chinese, english)
    for (line, word, first, end), (source, target, attention) in zip(PAIRS, found, strict=True):
        weights = attention[word_numbers(target) == word].mean(axis=0)
        largest = int(weights.argmax())
        start, stop = character_spans(source)[largest]
        if stop <= first or start >= end:
            wrong.append(f"{line}: {rows[line - 1][0].split()[word]} looked at {source[largest]}")
    print(f"{len(PAIRS) - len(wrong)} of {len(PAIRS)} right; wrong:", *wrong, sep="\n  ")
    assert len(wrong) <= (1 - SHARE) * len(PAIRS)
