"""What a file of texts may be encoded in and end with, and what in it is no text."""

import gzip
import json
from pathlib import Path

import pytest
from test_pair_files import refusal

from attention_zoo.recipes.data.pair_files import read_pairs


def write(name, content):
    """Writes a file in the folder of the test, and returns its name."""
    Path(name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return name


def test_blank_lines_at_the_end_are_no_rows_and_others_are():
    row = '{"source": "one", "target": "eins"}\n'
    pairs = [("one", "eins")] * 2
    assert list(read_pairs(write("a.tsv", "one\teins\n" * 2 + "\n \r\n"))) == pairs
    assert list(read_pairs(write("a.jsonl", row * 2 + "\n"))) == pairs
    source, target = write("a.en", "one\none\n\n"), write("a.de", "eins\neins\n\n\n")
    assert list(read_pairs(f"{source},{target}")) == pairs
    assert "a.tsv:2: no tab" in refusal(write("a.tsv", "one\teins\n\none\teins\n"))
    # A line that is blank on one side only has a partner.
    target = write("a.de", "eins\neins\nzwei\n")
    assert "a.en:3: the source is empty" in refusal(f"{source},{target}")


@pytest.mark.parametrize(
    "encoding", ["utf-16", "utf-32", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"]
)
def test_utf16_and_utf32_are_read_with_a_mark_and_without(encoding):
    pairs = [(f"the house {number}", f"das Haus Tür 门 {number}") for number in range(300)]
    lines = "".join(f"{source}\t{target}\n" for source, target in pairs)
    rows = "".join(json.dumps({"source": a, "target": b}) + "\n" for a, b in pairs)
    assert list(read_pairs(write("a.tsv", lines.encode(encoding)))) == pairs
    assert list(read_pairs(write("a.tsv.gz", gzip.compress(lines.encode(encoding))))) == pairs
    assert list(read_pairs(write("a.jsonl", rows.encode(encoding)))) == pairs
    sides = ["\n".join(side) for side in zip(*pairs, strict=True)]
    spec = write("a.en", sides[0]) + "," + write("a.de", sides[1].encode(encoding))
    assert list(read_pairs(spec)) == pairs


def test_a_null_character_in_json_is_no_text():
    rows = [{"source": "one", "target": "eins"}, {"source": "o\0", "target": "eins"}]
    path = write("a.jsonl", "\n".join(map(json.dumps, rows)))
    assert refusal(path).startswith(f"{path}:2: a null character")


def test_a_byte_order_mark_of_a_file_that_was_appended_is_no_text():
    parts = [f"\ufeff{word}\tx\n".encode() for word in ("one", "two")]
    assert read_pairs(write("a.tsv", b"".join(parts))).sources == ["one", "two"]
    packed = write("a.tsv.gz", b"".join(map(gzip.compress, parts)))
    assert read_pairs(packed).sources == ["one", "two"]


@pytest.mark.parametrize("text", ["\u200b", "\ufeff", "\u2060\u200b", " \u200e\x07", "\u3164"])
def test_a_side_of_marks_that_cannot_be_seen_is_empty(text):
    for row, side in ((f"one\t{text}", "target"), (f"a\tb\n{text}\teins", "source")):
        path = write("a.tsv", f"{row}\none\teins\n")
        assert f"the {side} is empty" in refusal(path)
        row = {"source": "one", "target": "eins", side: f"{text}\n"}
        assert f"the {side} is empty" in refusal(write("a.jsonl", json.dumps(row) + "\n{}"))
    seen = read_pairs(write("a.tsv", "a\u200bb\tx\u2060y\none\teins\n"))
    assert next(iter(seen)) == ("a\u200bb", "x\u2060y")
