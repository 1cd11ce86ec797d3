"""A corpus in memory: what is told of the rows that are not in it, and how a change is noticed."""

from dataclasses import replace

import pytest

from attention_zoo.recipes.data.corpus import PairCorpus
from attention_zoo.recipes.data.pair_files import read_pairs


def test_the_first_skipped_rows_are_told_in_one_line(tmp_path):
    told, path = [], tmp_path / "a.tsv"
    for bad in range(5):
        path.write_text("\n".join([*["one\teins"] * 500, *["bad"] * bad]))
        corpus = read_pairs(str(path))
        corpus.part(range(9)).tell_skipped(told.append)
    rows = [f"{path}:{line}: no tab between source and target" for line in (501, 502, 503)]
    assert told == [
        f"1 row skipped: {rows[0]}",
        f"2 rows skipped: {rows[0]}; {rows[1]}",
        f"3 rows skipped: {'; '.join(rows)}",
        f"4 rows skipped: {'; '.join(rows)}; ...",
    ]


@pytest.mark.parametrize(
    "change",
    [
        {"sources": ["ab", "c d"]},
        {"sources": ["a", {"text": "c d"}]},
        {"sources": ["a", {"history": "", "text": "d"}]},
        {"targets": ["x", "Y"]},
        {"targets": ["y", "x"]},
        {"alternatives": [(), ("z",)]},
        {"sources": ["a"], "targets": ["x"]},
    ],
)
def test_a_checksum_is_of_all_texts_in_their_order(change):
    corpus = PairCorpus(["a", {"history": "", "text": "c d"}], ["x", "y"], "one")
    assert replace(corpus, **change).checksum != corpus.checksum
    turned = {"text": "c d", "history": ""}
    assert replace(corpus, sources=["a", turned], name="two").checksum == corpus.checksum
