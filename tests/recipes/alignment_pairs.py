r"""Whether a translator looks at the right word: 50 pairs of words in real sentences.

    python tests/recipes/alignment_pairs.py RUN dev.tsv

RUN was trained on the English and Chinese sentences of Tatoeba, in either direction; dev.tsv has
its validation sentences, English in the first column and Chinese in the second. They are not part
of the project: the pairs are places in them.

The model is given the reference translation, and says where it looks for each of its subwords. Of a
word of the target the weights of its subwords are averaged; a full stop is no part of a word. A
word of the source is right if what its subwords have together is the largest weight: larger than
that of any other word of an English source, and of any other subword of a Chinese one, which has no
spaces between words. A stricter count, where the largest weight of a single subword has to lie in
the right word, is told too.
"""

from __future__ import annotations

import argparse
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

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

MARK = "\u2581"  # SentencePiece's, of the beginning of a word
UNKNOWN = "<unk>"
END_ID = 3


@dataclass(frozen=True)
class Verdict:
    """What became of one pair.

    Attributes:
        line: of the file, from 1.
        english: the word.
        chinese: the word.
        right: whether the subwords of the right source word have the largest weight together.
        strict: whether the subword with the largest weight lies in the right source word.
        looked_at: that subword.
    """

    line: int
    english: str
    chinese: str
    right: bool
    strict: bool
    looked_at: str


def character_spans(pieces: Sequence[str], text: str) -> list[tuple[int, int]]:
    """First place, and the one after the last, of each subword in its text without spaces.

    An unknown subword, which may stand for several characters, goes as far as to the next known.
    """
    text = "".join(unicodedata.normalize("NFKC", text).split())
    bodies = [piece.replace(MARK, "") for piece in pieces]
    spans, place = [], 0
    for number, body in enumerate(bodies):
        end = place + len(body)
        if body == UNKNOWN:
            following = next((b for b in bodies[number + 1 :] if b not in ("", UNKNOWN)), "")
            found = text.find(following, place + 1) if following else -1
            end = found if found > 0 else len(text)
        spans.append((place, end))
        place = end
    return spans


def word_numbers(pieces: Sequence[str]) -> np.ndarray:
    """Of each subword the number of its word, between spaces; of a mark another for each."""
    words = np.cumsum([piece.startswith(MARK) for piece in pieces]) - 1
    marks = np.array([not any(map(str.isalnum, piece)) for piece in pieces])
    return np.where(marks, len(pieces) + np.arange(len(pieces)), words)


def subwords_between(pieces: Sequence[str], text: str, first: int, end: int) -> np.ndarray:
    """True for subwords with a character of the text from `first` to before `end`."""
    spans = character_spans(pieces, text)
    return np.array([start < end and stop > first for start, stop in spans])


def subwords_of(
    pieces: Sequence[str], text: str, english: bool, pair: tuple[int, int, int, int]
) -> np.ndarray:
    """True for the subwords of the word of a pair, in its English or its Chinese sentence."""
    _, word, first, end = pair
    if english:
        return word_numbers(pieces) == word
    return subwords_between(pieces, text, first, end)


def is_largest(weights: np.ndarray, right: np.ndarray, groups: np.ndarray) -> bool:
    """Whether the right subwords have more weight together than any other word has.

    Args:
        weights: of the source subwords, (S,).
        right: True for those of the right word, (S,).
        groups: of each subword the number of its word, (S,).
    """
    others = np.bincount(groups[~right], weights[~right], minlength=1)
    return bool(weights[right].sum() > others.max())


def judge(model, rows: Sequence[Sequence[str]], reverse: bool) -> list[Verdict]:
    """What becomes of each pair.

    Args:
        model: a `TextToText`.
        rows: English and Chinese of each line of the file.
        reverse: whether the model translates from Chinese.
    """
    chosen = [rows[line - 1][:2] for line, *_ in PAIRS]
    sources, targets = zip(*(row[::-1] if reverse else row for row in chosen), strict=True)
    found = attention_to_targets(model, sources, targets)
    verdicts = []
    for pair, row, (source, target, attention) in zip(PAIRS, chosen, found, strict=True):
        written = subwords_of(target, row[not reverse], reverse, pair)
        right = subwords_of(source, row[reverse], not reverse, pair)
        weights = attention[written].mean(axis=0)
        groups = np.arange(len(source)) if reverse else word_numbers(source)
        largest = int(weights.argmax())
        line, word, first, end = pair
        verdicts.append(
            Verdict(
                line,
                row[0].split()[word],
                row[1].replace(" ", "")[first:end],
                is_largest(weights, right, groups),
                bool(right[largest]),
                source[largest],
            )
        )
    return verdicts


def attention_to_targets(
    model, sources: Sequence[str], targets: Sequence[str]
) -> Iterator[tuple[list[str], list[str], np.ndarray]]:
    """Subwords of source and target, and the attention (T, S) while the target was written.

    The ends of both are left out.
    """
    import tensorflow as tf

    from attention_zoo.zoo.decoding.options import GenerationOptions
    from attention_zoo.zoo.decoding.search import generate

    options = GenerationOptions(beam_size=1, max_length=128, max_length_ratio=None)
    for source, target in zip(sources, targets, strict=True):
        ids = [model.tokenizer.encode([text])[0] for text in (source, target)]
        given = tf.constant([[*ids[0], END_ID]])
        written = generate(model.model, given, options, True, prefix=tf.constant([ids[1]]))
        if written.ids[0, 0, : len(ids[1])].numpy().tolist() != ids[1].tolist():
            raise AssertionError(f"The search did not begin with what it was given: {target}")
        attention = written.attention[0, 0, : len(ids[1]), : len(ids[0])].numpy()
        pieces = [model.tokenizer.pieces(row) for row in ids]
        yield pieces[0], pieces[1], attention


def check_run(run: str | Path, data: str | Path) -> list[Verdict]:
    """What becomes of each pair with the model of a run."""
    from attention_zoo.recipes.core.run import Run

    with open(data, encoding="utf-8") as file:
        rows = [line.rstrip("\n").split("\t") for line in file]
    return judge(Run(run).load(), rows, Run(run).read_config().reverse)


def report(verdicts: Sequence[Verdict]) -> str:
    """The share, and the pairs that are wrong."""
    right = sum(verdict.right for verdict in verdicts)
    strict = sum(verdict.strict for verdict in verdicts)
    wrong = [
        f"  line {v.line}: {v.english} and {v.chinese}, most on {v.looked_at}"
        for v in verdicts
        if not v.right
    ]
    share = f"{right} of {len(verdicts)} right, {right / len(verdicts):.0%}"
    return "\n".join([f"{share}; {strict} with the largest single subword", *wrong])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", help="the folder of the run")
    parser.add_argument("data", help="the validation sentences, English TAB Chinese")
    arguments = parser.parse_args()
    print(report(check_run(arguments.run, arguments.data)))
